"""What the runner needs beyond MMEngine; importing lets ``torch.load`` read its checkpoints."""

from .checkpoint_globals import allow_checkpoint_globals

allow_checkpoint_globals()

__all__ = ["allow_checkpoint_globals"]
