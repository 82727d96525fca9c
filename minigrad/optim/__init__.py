"""Optimizers, clipping, and learning-rate schedules."""

from minigrad.optim.adam import Adam, AdamW
from minigrad.optim.clip import clip_grad_norm
from minigrad.optim.optimizer import Optimizer
from minigrad.optim.schedules import CosineLR, MultiStepLR, ReduceOnPlateau, Schedule, Warmup, WarmupUntil
from minigrad.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CosineLR",
    "MultiStepLR",
    "Optimizer",
    "ReduceOnPlateau",
    "Schedule",
    "Warmup",
    "WarmupUntil",
    "clip_grad_norm",
]
