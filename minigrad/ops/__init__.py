"""The operators: definition, forward and rule side by side.

Reading order: elementwise, functions, shape, reduction, matmul, einsum, windows, conv, pool, norm, loss; methods puts
them on Tensor.
"""

# fmt: off
# isort: off
from minigrad.autograd.broadcasting import broadcast_to
from minigrad.ops.conv import conv2d, conv_transpose2d
from minigrad.ops.einsum import einsum
from minigrad.ops.elementwise import (
    abs, add, clip, div, dropout, exp, log, maximum, minimum, mul, neg, pow, relu, sigmoid, sqrt, sub, tanh, where,
)
from minigrad.ops.functions import cos, erf, expm1, gelu, leaky_relu, log1p, silu, sin, softplus
from minigrad.ops.loss import binary_cross_entropy, cross_entropy, log_softmax, mse_loss, nll_loss, softmax
from minigrad.ops.matmul import linear, matmul
from minigrad.ops.methods import install
from minigrad.ops.norm import batch_norm, group_norm, layer_norm
from minigrad.ops.pool import avg_pool2d, global_avg_pool2d, max_pool2d
from minigrad.ops.reduction import cumsum, logsumexp, max, mean, min, prod, std, sum, var
from minigrad.ops.shape import (
    concatenate, embedding, expand_dims, flip, getitem, pad, reshape, squeeze, stack, transpose,
)

__all__ = [
    "abs", "add", "avg_pool2d", "batch_norm", "binary_cross_entropy", "broadcast_to", "clip", "concatenate", "conv2d",
    "conv_transpose2d", "cos", "cross_entropy", "cumsum", "div", "dropout", "einsum", "embedding", "erf", "exp",
    "expand_dims", "expm1", "flip", "gelu", "getitem", "global_avg_pool2d", "group_norm", "layer_norm", "leaky_relu",
    "linear", "log", "log1p", "log_softmax", "logsumexp", "matmul", "max", "max_pool2d", "maximum", "mean", "min",
    "minimum", "mse_loss", "mul", "neg", "nll_loss", "pad", "pow", "prod", "relu", "reshape", "sigmoid", "silu",
    "sin", "softmax", "softplus", "sqrt", "squeeze", "stack", "std", "sub", "sum", "tanh", "transpose", "var",
    "where",
]

install()
