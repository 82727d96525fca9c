"""The training loop, its checkpoints and its reports."""

from minigrad.train.loop import evaluate, fit, refresh_statistics

__all__ = ["evaluate", "fit", "refresh_statistics"]
