"""Optimizers and learning-rate schedules."""

from minigrad.optim.schedules import CosineLR, MultiStepLR, ReduceOnPlateau, Schedule, Warmup, WarmupUntil
from minigrad.optim.sgd import SGD

__all__ = ["SGD", "CosineLR", "MultiStepLR", "ReduceOnPlateau", "Schedule", "Warmup", "WarmupUntil"]
