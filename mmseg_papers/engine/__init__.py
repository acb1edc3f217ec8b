"""What the runner needs beyond MMEngine; importing lets it load checkpoints safely and offline."""

from .channels_last_hook import ChannelsLastHook
from .checkpoint_globals import allow_checkpoint_globals
from .fine_tune_hook import FineTuneHook
from .pretrained_weights import register_weights_loader
from .single_image_hook import SingleImageHook
from .validation_hooks import ValidationLossHook, ValidationPicturesHook

allow_checkpoint_globals()
register_weights_loader()

__all__ = [
    "ChannelsLastHook",
    "FineTuneHook",
    "SingleImageHook",
    "ValidationLossHook",
    "ValidationPicturesHook",
    "allow_checkpoint_globals",
    "register_weights_loader",
]
