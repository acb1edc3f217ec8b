"""Which line of OpenMMLab is installed, and whether this package works with it.

Two lines ship the same import names: the OneDL line (maintained) and the OpenMMLab line (last
releases 2023-2025). An environment must hold exactly one of them.
"""

from __future__ import annotations

from importlib import metadata

#: line -> import name -> (distribution, first version, first version known not to fit or not seen)
LINES: dict[str, dict[str, tuple[str, str, str]]] = {
    "onedl": {
        "mmengine": ("onedl-mmengine", "0.10.12", "0.11"),
        "mmcv": ("onedl-mmcv", "2.3.6", "2.4"),
        "mmseg": ("onedl-mmsegmentation", "1.4.2", "1.5"),
    },
    "openmmlab": {
        "mmengine": ("mmengine", "0.10.7", "0.11"),
        "mmcv": ("mmcv", "2.1.0", "2.2.0"),
        "mmseg": ("mmsegmentation", "1.2.2", "1.3"),
    },
}

INSTALL = {
    "onedl": "pip install 'mmseg-papers[onedl]'",
    "openmmlab": "bash requirements/openmmlab.sh python (from a clone of mmseg-papers)",
}


def installed_version(distribution: str) -> str | None:
    """Version of an installed distribution.

    Args:
        distribution (str): Its name on the package index, e.g. ``'onedl-mmcv'``.

    Returns:
        str | None: The version, or None where it is not installed.
    """
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def installed_line() -> str:
    """Name of the OpenMMLab line that is installed, after checking that it is whole and alone.

    Returns:
        str: ``'onedl'`` or ``'openmmlab'``.

    Raises:
        ImportError: If neither line is installed, or a distribution of the line is missing.
        RuntimeError: If distributions of both lines are installed, or a version is outside the
            range this package was run with. (Not an ImportError: MMEngine replaces the text of
            those when a config's ``custom_imports`` fails.)
    """
    found = {
        line: {d: v for d, _, _ in names.values() if (v := installed_version(d)) is not None}
        for line, names in LINES.items()
    }
    if not any(found.values()):
        needed = " or ".join(", ".join(d for d, _, _ in names.values()) for names in LINES.values())
        raise ImportError(
            f"mmseg_papers needs MMSegmentation, and none is installed (looked for {needed}). "
            f"Install the maintained line with: {INSTALL['onedl']}"
        )
    if all(found.values()):
        both = ", ".join(f"{d} {v}" for group in found.values() for d, v in group.items())
        remove = " ".join(d for group in found.values() for d in group)
        raise RuntimeError(
            f"two lines of OpenMMLab are installed over each other ({both}); they write the same "
            f"folders, so neither is whole. Remove both and install one: pip uninstall -y {remove} "
            f"&& {INSTALL['onedl']}"
        )
    line = next(name for name, group in found.items() if group)
    for distribution, first, beyond in LINES[line].values():
        version = found[line].get(distribution)
        if version is None:
            raise ImportError(
                f"mmseg_papers found the {line} line of OpenMMLab without {distribution}. "
                f"Install it with: {INSTALL[line]}"
            )
        if not _release(first) <= _release(version) < _release(beyond):
            # pip alone cannot compile this mmcv.
            cure = (
                INSTALL[line]
                if distribution == "mmcv"
                else f"pip install '{distribution}>={first},<{beyond}'"
            )
            raise RuntimeError(
                f"mmseg_papers runs with {distribution} >= {first}, < {beyond}, but {version} is "
                f"installed. Cure: {cure}"
            )
    return line


def _release(version: str) -> tuple[int, ...]:
    """Leading numbers of a version, for comparison: ``'2.13.0+cpu'`` -> ``(2, 13, 0)``."""
    numbers = []
    for part in version.split("+")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
