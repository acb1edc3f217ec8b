"""What the runner needs beyond MMEngine; importing lets ``torch.load`` read its checkpoints."""

from .checkpoint_globals import allow_checkpoint_globals
from .validation_hooks import ValidationLossHook, ValidationPicturesHook

allow_checkpoint_globals()

__all__ = ["ValidationLossHook", "ValidationPicturesHook", "allow_checkpoint_globals"]
