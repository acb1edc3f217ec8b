"""Starting from another model's weights, with a list of what was not taken over."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import Tensor, nn

from ..checkpoints.files import read_checkpoint
from ..models.layers import CompleteLoading

#: Where a layer may depend on the number of classes.
HEADS = ("decode_head.", "auxiliary_head.")


@HOOKS.register_module()
class FineTuneHook(Hook):
    """Load a checkpoint of a model with other classes, and stop if more than these differs.

    MMEngine's ``load_from`` loads what fits and says in a warning what does not, whatever it is.
    This loads everything but the weights of the heads whose number of classes differs, and logs
    each of these; a weight that is missing, or of another shape elsewhere, is an error. A backbone
    of this package also takes a file for RGB images when it has other channels. A resumed training
    is left as it is.

    Args:
        checkpoint (str): A file or URL with a ``state_dict`` of a segmentor.

    Raises:
        TypeError: If ``checkpoint`` is not a string.
    """

    priority = "HIGHEST"

    def __init__(self, checkpoint: str) -> None:
        if not isinstance(checkpoint, str):
            raise TypeError(f"checkpoint must be a file or URL, got {checkpoint!r}")
        self.checkpoint = checkpoint

    def before_train(self, runner: Runner) -> None:
        """Load, unless the training was resumed.

        Args:
            runner (Runner): Of the training.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no checkpoint or of another model.
        """
        if runner.iter > 0:
            return
        loaded = read_checkpoint(self.checkpoint)
        state_dict = loaded.get("state_dict", loaded)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        fresh = load_all_but_classes(model, state_dict, self.checkpoint)
        what = "\n  ".join(fresh) or "nothing"
        print_log(f"{self.checkpoint} loaded; random as initialised:\n  {what}", "current")


def load_all_but_classes(
    model: nn.Module, state_dict: dict[str, Tensor], source: str = "the file"
) -> list[str]:
    """Load weights; those of heads that differ in the number of classes stay as they are.

    Args:
        model (nn.Module): A segmentor.
        state_dict (dict[str, Tensor]): Weights of one with perhaps other classes.
        source (str): Its name in errors.

    Returns:
        list[str]: What was not loaded, with both shapes.

    Raises:
        ValueError: If a weight is missing, or differs in shape elsewhere or otherwise.
    """
    state_dict, fresh, wrong = dict(state_dict), [], []
    for name, own in model.state_dict().items():
        if name not in state_dict:
            if not name.endswith("num_batches_tracked"):
                wrong.append(f"{name} is missing")
        elif (shape := getattr(state_dict[name], "shape", None)) is None:
            wrong.append(f"{name} is a {type(state_dict[name]).__name__}")
        elif shape != own.shape:
            change = f"{name}: {list(shape)} there, {list(own.shape)} here"
            if name.startswith(HEADS) and shape[1:] == own.shape[1:]:
                fresh.append(change)
                state_dict[name] = own
            elif not _adapts(model, name):
                wrong.append(change)
    if wrong:
        raise ValueError(
            f"{source} is of another model than this config's; nothing was loaded. "
            f"{len(wrong)} weights do not fit: {'; '.join(wrong[:5])}{'; ..' * (len(wrong) > 5)}"
        )
    model.load_state_dict(state_dict, strict=False)
    return fresh


def _adapts(model: nn.Module, name: str) -> bool:
    """Whether the backbone itself says what it does with a weight of another shape."""
    return name.startswith("backbone.") and isinstance(model.backbone, CompleteLoading)
