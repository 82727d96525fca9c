"""Layers and nets: reading order init, module, layers, fold."""

# fmt: off
# isort: off
from minigrad.nn import init
from minigrad.nn.fold import fold_batch_norm
from minigrad.nn.layers import (
    AvgPool2d, BatchNorm2d, Conv2d, ConvTranspose2d, Dropout, Embedding, Flatten, GELU, GlobalAvgPool2d, GroupNorm,
    Identity, LayerNorm, LeakyReLU, Linear, MaxPool2d, ReLU, Sequential, Sigmoid, SiLU, Tanh,
)
from minigrad.nn.module import Buffer, Module, Parameter, Unmatched

__all__ = [
    "GELU", "AvgPool2d", "BatchNorm2d", "Buffer", "Conv2d", "ConvTranspose2d", "Dropout", "Embedding", "Flatten",
    "GlobalAvgPool2d", "GroupNorm", "Identity", "LayerNorm", "LeakyReLU", "Linear", "MaxPool2d", "Module", "Parameter",
    "ReLU", "Sequential", "SiLU", "Sigmoid", "Tanh", "Unmatched", "fold_batch_norm", "init",
]
