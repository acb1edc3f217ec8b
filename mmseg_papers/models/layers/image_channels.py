"""Images with other channels than a network was built for."""

from __future__ import annotations

from torch import Tensor, nn


def check_image_channels(images: Tensor, first: nn.Conv2d, network: nn.Module) -> None:
    """Refuse images that the first convolution cannot take, by the names of options.

    Args:
        images (Tensor): (N, C, H, W).
        first (nn.Conv2d): The network's first convolution.
        network (nn.Module): A backbone, for the message.

    Raises:
        ValueError: If C is not the convolution's number of channels.
    """
    if images.shape[1] != first.in_channels:
        raise ValueError(
            f"the images have {images.shape[1]} channels and {type(network).__name__} was built "
            f"with in_channels={first.in_channels}; set backbone.in_channels, and as many values "
            "in data_preprocessor.mean and std"
        )
