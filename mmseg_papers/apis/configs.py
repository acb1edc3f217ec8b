"""The configs that come with the package, by name."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from mmengine.config import Config

from ..models.option_errors import near_names

#: ``model-index.yml`` and the folders it names, as OpenMIM reads them.
MIM = Path(__file__).parents[1] / ".mim"
CONFIGS = MIM / "configs"


def packaged_configs() -> dict[str, Path]:
    """The configs that come with the package.

    Returns:
        dict[str, Path]: Name without ``.py`` -> file, without the shared parts of ``_base_``.
    """
    files = sorted(CONFIGS.glob("[!_]*/*.py"))
    return {file.stem: file for file in files}


def resolved_config(config: str | Path | Config) -> Config:
    """A config with its bases merged in, so that it stands alone and can be changed.

    Args:
        config (str | Path | Config): A file; or else a packaged config's name, with or without
            ``.py`` and folder; or a config, which is copied.

    Returns:
        Config: The config.

    Raises:
        ValueError: If there is no such config, with the nearest ones, or it cannot be read.
    """
    if isinstance(config, Config):
        return deepcopy(config)
    if not Path(config).is_file():
        return Config.fromfile(packaged_config(str(config)))
    try:
        return Config.fromfile(config)
    except Exception as error:  # a config is a program and may raise anything
        reason = str(error).split("\n")[0]
        raise ValueError(
            f"config {config} cannot be read: {type(error).__name__}: {reason}"
        ) from error


def packaged_config(name: str) -> Path:
    """The file of a packaged config.

    Args:
        name (str): Its name, with or without ``.py`` and folder.

    Returns:
        Path: The file.

    Raises:
        ValueError: If there is no such config; names the nearest ones.
    """
    configs = packaged_configs()
    stem = Path(name).name.removesuffix(".py")
    if stem not in configs:
        raise ValueError(
            f"no config {name!r}, as a file or in mmseg-papers (`python -m mmseg_papers list` "
            f"lists these){near_names(stem, configs, cutoff=0.3)}"
        )
    return configs[stem]


def require_parts(config: Config, *parts: str) -> None:
    """Refuse a config that lacks what is to be used.

    Args:
        config (Config): Read from a file.
        *parts (str): Needed, such as ``model``.

    Raises:
        ValueError: If one is missing.
    """
    if missing := [part for part in parts if config.get(part) is None]:
        raise ValueError(
            f"config {config.filename} has no {' and no '.join(missing)}; give the whole config "
            "that the model was trained with"
        )


def transform_name(step: dict) -> str:
    """A transform's name in a config.

    Args:
        step (dict): Its ``type`` and options.

    Returns:
        str: The type without its scope; of a class, its name.
    """
    kind = step["type"]
    return kind.rpartition(".")[2] if isinstance(kind, str) else kind.__name__
