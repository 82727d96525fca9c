"""Layers and nets: reading order init, module, layers, fold."""

# fmt: off
# isort: off
from minigrad.nn import init
from minigrad.nn.fold import fold_batch_norm
from minigrad.nn.layers import (
    AvgPool2d, BatchNorm2d, Conv2d, Dropout, Flatten, GlobalAvgPool2d, Identity, Linear, MaxPool2d, ReLU, Sequential,
)
from minigrad.nn.module import Buffer, Module, Parameter, Unmatched

__all__ = [
    "AvgPool2d", "BatchNorm2d", "Buffer", "Conv2d", "Dropout", "Flatten", "GlobalAvgPool2d", "Identity", "Linear",
    "MaxPool2d", "Module", "Parameter", "ReLU", "Sequential", "Unmatched", "fold_batch_norm", "init",
]
