"""The training loop, its checkpoints and its reports."""

from minigrad.train.loop import evaluate, fit, refresh_statistics
from minigrad.train.run import Checkpoint

__all__ = ["Checkpoint", "evaluate", "fit", "refresh_statistics"]
