"""Starting from another model's weights, with a list of what was not taken over."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ..checkpoints.files import read_checkpoint
from ..models.layers.complete_loading import load_whole


@HOOKS.register_module()
class FineTuneHook(Hook):
    """Load a checkpoint of a model with other classes, and stop if more than these differs.

    MMEngine's ``load_from`` loads what fits and says in a warning what does not, whatever it is.
    This loads everything but the weights whose shapes follow the number of classes, and children
    that only train (``auxiliary_head``) where the file has none, and logs each of these. A weight
    that is missing, left over, or of another shape elsewhere is an error. A backbone of this
    package also takes a file for RGB images when it has other channels. A resumed training is left
    as it is.

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
            ValueError: If it is no checkpoint, or of another model, or a weight is NaN or infinite.
        """
        if runner.iter > 0:
            return
        loaded = read_checkpoint(self.checkpoint)
        state_dict = loaded.get("state_dict", loaded)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        random = load_whole(model, state_dict, self.checkpoint, but_classes=True)
        what = "\n  ".join(f"{name}: {why}" for name, why in random.items()) or "nothing"
        print_log(f"{self.checkpoint} loaded; random as initialised:\n  {what}", "current")
