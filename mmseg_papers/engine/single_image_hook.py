"""Finding out before training that batch norm cannot train on a batch of one image."""

from __future__ import annotations

import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from ..datasets.class_uniform import ClassUniformSampler
from ..datasets.seeded import SeededSampler

#: Samplers without a last batch.
ENDLESS = (InfiniteSampler, SeededSampler, ClassUniformSampler)


@HOOKS.register_module()
class SingleImageHook(Hook):
    """Refuse batches of one image where a batch norm would see one value of each channel.

    After pooling to one pixel, as in ASPP, PyTorch's batch norm stops with an error that names
    neither layer nor cure: at once with ``batch_size=1``, and after a whole epoch if the data set
    leaves a last batch of one image. Only then this evaluates one image to find such layers.
    """

    priority = "VERY_HIGH"

    def before_train(self, runner: Runner) -> None:
        """Check the data loader against the model.

        Args:
            runner (Runner): Of the training.

        Raises:
            ValueError: If a batch of one image occurs and a layer cannot train on it.
        """
        cure = single_image_cure(runner.train_dataloader)
        if cure is None:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        names = norms_of_one_value(model, runner.train_dataloader)
        if names:
            raise ValueError(
                f"batch norm cannot train {', '.join(names)} on a batch of one image, where it "
                f"sees one value of each channel: {cure}, or give the modules that hold these "
                "layers norm_cfg=dict(type='GN', num_groups=32)"
            )


def single_image_cure(loader: DataLoader) -> str | None:
    """What to set so that no batch has one image; ``None`` if none has.

    Args:
        loader (DataLoader): Of the training.

    Returns:
        str, optional: For an error message.
    """
    if loader.batch_size is None:  # a batch sampler forms the batches
        return None
    if loader.batch_size == 1:
        return "set train_dataloader.batch_size to at least 2"
    ends = not isinstance(loader.sampler, ENDLESS)
    if ends and not loader.drop_last and len(loader.sampler) % loader.batch_size == 1:
        return (
            f"{len(loader.sampler)} images in batches of {loader.batch_size} leave a last one of "
            "one image; set train_dataloader.drop_last=True"
        )
    return None


@torch.no_grad()
def norms_of_one_value(model: nn.Module, loader: DataLoader) -> list[str]:
    """Names of the batch norms in training mode that see one value of each channel of one image.

    Args:
        model (nn.Module): A segmentor.
        loader (DataLoader): Of the training, whose first image goes through the model.

    Returns:
        list[str]: In the order of their use.
    """
    synchronises = get_world_size() > 1
    norms = {
        norm: name
        for name, norm in model.train().named_modules()
        if isinstance(norm, _BatchNorm) and norm.training
        if not (synchronises and isinstance(norm, nn.SyncBatchNorm))
    }
    found: list[str] = []

    def record(norm: nn.Module, inputs: tuple) -> None:
        if inputs[0].numel() == inputs[0].shape[1]:
            found.append(norms[norm])

    handles = [norm.register_forward_pre_hook(record) for norm in norms]
    # In evaluation mode nothing fails, and running statistics stay.
    model.eval()
    data = model.data_preprocessor(loader.collate_fn([loader.dataset[0]]), True)
    model(**data, mode="loss")
    for handle in handles:
        handle.remove()
    model.train()
    return list(dict.fromkeys(found))
