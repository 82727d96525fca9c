"""Layers and nets: reading order init, module, layers."""

from minigrad.nn import init
from minigrad.nn.layers import BatchNorm2d, Conv2d, Flatten, GlobalAvgPool2d, Identity, Linear, ReLU, Sequential
from minigrad.nn.module import Module, Parameter

__all__ = [
    "BatchNorm2d",
    "Conv2d",
    "Flatten",
    "GlobalAvgPool2d",
    "Identity",
    "Linear",
    "Module",
    "Parameter",
    "ReLU",
    "Sequential",
    "init",
]
