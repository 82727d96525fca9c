"""Fewer layers for inference: batch norm folded into the convolution before it.

In evaluation, batch norm is a fixed scale and shift of each channel,

    y = s x + t,    s = gamma / sqrt(running_var + eps),    t = beta - s running_mean,

and a convolution is linear in its weights: s (w * x + b) + t = (s w) * x + (s b + t). So one layer does the
work of two.

Next: :mod:`minigrad.optim.groups`.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import numpy as np

from minigrad.device import namespace
from minigrad.nn.layers import BatchNorm2d, Conv2d, Identity, Linear, Sequential
from minigrad.nn.module import Module, Parameter

Net = TypeVar("Net", bound=Module)


def fold_batch_norm(model: Net) -> Net:
    """Return a copy of a model for inference, with fewer layers and the same outputs.

    Wherever a BatchNorm2d directly follows a Conv2d or Linear in a Sequential, one layer replaces both. In other
    Modules the order of the layers is known only to ``forward``, so the class has to declare it, as the blocks of
    :mod:`models.plain` do: ``norm_after = {"conv1": "bn1"}``. Then the first attribute becomes the new layer, and
    the second an Identity.

    Parameters
    ----------
    model : Module
        It is not changed. It should be trained already, because the running statistics are folded.

    Returns
    -------
    Module
        Of the same class, in evaluation mode. Its outputs are those of ``model.eval()`` up to rounding. Do not
        train it: the folded layers no longer normalise.

    Raises
    ------
    TypeError
        If `model` is not a Module.

    Examples
    --------
    >>> from minigrad import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False, rng=0), nn.BatchNorm2d(8), nn.ReLU())
    >>> fold_batch_norm(net)
    Sequential(
      (0): Conv2d(3, 8, 3)
      (1): ReLU()
    )
    """
    if not isinstance(model, Module):
        raise TypeError(f"fold_batch_norm: expected a Module, got {type(model).__name__}")
    # Objects in the memo are not copied: gradients are not needed here, and may refer to a whole graph.
    folded = copy.deepcopy(model, {id(p.grad): None for p in model.parameters() if p.grad is not None})
    for _, module in folded.named_modules():
        if isinstance(module, Sequential) and getattr(module.forward, "__func__", None) is Sequential.forward:
            module.layers = _folded(module.layers)
        norms = _norms_after(module).items()
        found = [(layer, norm, _merged(getattr(module, layer), getattr(module, norm))) for layer, norm in norms]
        merged = [entry for entry in found if entry[2]]
        for layer, norm, one in merged:
            if [other for _, other, _ in merged].count(norm) == 1:  # after two layers, a norm has work left
                setattr(module, layer, one)
                setattr(module, norm, Identity())
    return folded.eval()


def _norms_after(module: Module) -> dict[str, str]:
    """Return ``norm_after`` of the class that defines the ``forward`` in use: {layer: norm that follows it}."""
    owner = next((owner for owner in (module, *type(module).__mro__) if "forward" in vars(owner)), module)
    norms: dict[str, str] = vars(owner).get("norm_after", {})
    return norms


def _folded(layers: list[Module]) -> list[Module]:
    """Return the layers of a Sequential with each pair replaced by a new layer; the given layers are not changed."""
    result: list[Module] = []
    for layer in layers:
        if result and (merged := _merged(result[-1], layer)):
            result[-1] = merged
        else:
            result.append(layer)
    return result


def _merged(layer: Module, norm: Module) -> Module | None:
    """Return a Conv2d or Linear that also does the work of `norm`, its weights computed in float64.

    None for other classes, derived ones included: they may compute something else.
    """
    if not ((type(layer) is Conv2d or type(layer) is Linear) and type(norm) is BatchNorm2d):
        return None
    dtype = layer.weight.dtype
    wide = np.promote_types(dtype, np.float64)
    arrays = norm.weight.data, norm.bias.data, norm.running_mean.data, norm.running_var.data
    gamma, beta, mean, var = (a.astype(wide) for a in arrays)
    scale = gamma / namespace(var).sqrt(var + norm.eps)  # (c_out,)
    bias = 0 if layer.bias is None else layer.bias.data.astype(wide)
    merged = copy.copy(layer)
    merged.weight = Parameter((layer.weight.data.astype(wide) * scale).astype(dtype))
    merged.bias = Parameter((beta + (bias - mean) * scale).astype(dtype))
    return merged
