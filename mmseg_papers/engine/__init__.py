"""What the runner needs beyond MMEngine; importing lets it load checkpoints safely and offline."""

from ..checkpoints.checkpoint_globals import allow_checkpoint_globals
from ..checkpoints.loading import register_papers_loader
from .channels_last_hook import ChannelsLastHook
from .cpu_runner import CPURunner
from .fine_tune_hook import FineTuneHook
from .finite_loss_hook import FiniteLossHook
from .output_stride_hook import OutputStrideHook
from .pretrained_weights import register_weights_loader
from .safe_checkpoint_hook import SafeCheckpointHook, WholeFilesBackend
from .seeded_train_loop import SeededTrainLoop
from .single_image_hook import SingleImageHook
from .validation_hooks import ValidationLossHook, ValidationPicturesHook

allow_checkpoint_globals()
register_weights_loader()
register_papers_loader()

__all__ = [
    "CPURunner",
    "ChannelsLastHook",
    "FineTuneHook",
    "FiniteLossHook",
    "OutputStrideHook",
    "SafeCheckpointHook",
    "SeededTrainLoop",
    "SingleImageHook",
    "ValidationLossHook",
    "ValidationPicturesHook",
    "WholeFilesBackend",
    "register_weights_loader",
]
