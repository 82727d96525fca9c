"""Records of sines, exponentials, the error function and activations: minigrad/ops/functions.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import minigrad as mg
from tests.records import offsets, sizes
from tests.records.draw import F, distinct, kink, normal, positive, randn, special, t, tied, torch, uniform
from tests.records.elementwise import ANY_ARRAY
from tests.records.record import Absent, Convention, Elementwise, Kink, OperatorRecord, Refusal, Sample, Special, sample


def _samples(draw: Any = randn) -> dict[str, Sample]:
    """Make two samples: that shapes do not matter is the work of the tape, which other records prove."""
    return {"0-d": sample(draw()), "matrix": sample(draw(2, 3))}


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _cdf(x: Any) -> Any:
    """The share of normal numbers below x, by the error function of the standard library."""
    return (1 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2))) / 2


def _density(x: Any) -> Any:
    return np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def _leaky(x: Any, negative_slope: float = 0.01) -> Any:
    return np.maximum(x, 0) + negative_slope * np.minimum(x, 0)


RECORDS = {
    "sin": OperatorRecord(
        drawn=sizes.unary(),
        offset=offsets.one(),
        special=Special(),
        definition=np.sin,
        samples=_samples(),
        analytic=True,
        torch=lambda x: torch.sin(x),
        elementwise=Elementwise(normal, lambda g, x: (g * np.cos(x),)),
        refuses=ANY_ARRAY,
    ),
    "cos": OperatorRecord(
        drawn=sizes.unary(),
        offset=offsets.one(),
        special=Special(),
        definition=np.cos,
        samples=_samples(),
        analytic=True,
        torch=lambda x: torch.cos(x),
        elementwise=Elementwise(normal, lambda g, x: (-g * np.sin(x),)),
        refuses=ANY_ARRAY,
    ),
    "log1p": OperatorRecord(
        drawn=sizes.unary(sizes.Sizes.positive),
        offset=offsets.one(),
        special=Special(definition=lambda x: special.log1p(x)),
        definition=lambda x: np.log(1 + x),
        samples=_samples(positive),
        analytic=True,
        torch=lambda x: torch.log1p(x),
        scipy=lambda x: special.log1p(x),
        elementwise=Elementwise(uniform, lambda g, x: (g / (1 + x),)),
        refuses=ANY_ARRAY,
    ),
    "expm1": OperatorRecord(
        drawn=sizes.unary(),
        offset=Absent("expm1(1e4) overflows"),
        special=Special(definition=lambda x: special.expm1(x)),
        definition=lambda x: np.exp(x) - 1,
        samples=_samples(),
        analytic=True,
        torch=lambda x: torch.expm1(x),
        scipy=lambda x: special.expm1(x),
        elementwise=Elementwise(normal, lambda g, x: (g * np.exp(x),)),
        refuses=ANY_ARRAY,
    ),
    "erf": OperatorRecord(
        drawn=sizes.unary(),
        offset=offsets.one(),
        special=Special(definition=lambda x: special.erf(x)),
        definition=np.vectorize(math.erf, otypes=[float]),
        samples=_samples(),
        analytic=True,
        torch=lambda x: torch.erf(x),
        scipy=lambda x: special.erf(x),
        elementwise=Elementwise(normal, lambda g, x: (g * 2 / math.sqrt(math.pi) * np.exp(-(x**2)),)),
        refuses=ANY_ARRAY,
    ),
    "softplus": OperatorRecord(
        drawn=sizes.unary(),
        offset=offsets.one(),
        special=Special(definition=lambda x: np.logaddexp(x, np.zeros_like(x))),
        definition=lambda x: np.log(1 + np.exp(x)),
        samples=_samples(),
        analytic=True,
        torch=lambda x: F.softplus(x),
        scipy=lambda x: -special.log_expit(-x),
        elementwise=Elementwise(normal, lambda g, x: (g * _sigmoid(x),)),
        refuses=ANY_ARRAY,
    ),
    "leaky_relu": OperatorRecord(
        drawn=sizes.unary(sizes.Sizes.spread),
        offset=offsets.one(),
        special=Special(
            conventions={
                "nan": Convention(
                    lambda x: mg.leaky_relu(x, 0.25),
                    [np.nan, -0.0, np.inf, -np.inf],
                    [np.nan, -0.0, np.inf, -np.inf],
                    [0.25, 0.25, 1.0, 0.25],
                    "else negative_slope g: so at 0, and at NaN",
                )
            },
        ),
        definition=_leaky,
        samples=_samples(distinct)
        | {
            "slope": sample(distinct(2, 3), negative_slope=0.25),
            "steeper-below": sample(distinct(2, 3), negative_slope=3.0),
        },
        analytic=False,
        torch=lambda x, negative_slope=0.01: F.leaky_relu(x, negative_slope),
        elementwise=Elementwise(tied, lambda g, x: (np.where(x > 0, g, 0.01 * g),)),
        numbers={"slope": lambda kind, x: mg.leaky_relu(x, kind(0.25))},
        refuses={
            "slope": Refusal(lambda: mg.leaky_relu(t(2), -0.1), "finite number with negative_slope >= 0, got -0.1"),
            "slope-in-a-vector": Refusal(lambda: mg.leaky_relu(t(2), np.array([0.5])), r"got array\(\[0\.5\]\)"),
        },
        kinks={
            "0": kink(mg.leaky_relu, 0.0, 0.01),
            "around-0": Kink(lambda x: mg.leaky_relu(x, 0.25), [-1.0, 0.0, 2.0], [0.25, 0.25, 1.0]),
        },
    ),
    "silu": OperatorRecord(
        drawn=sizes.unary(),
        offset=offsets.one(),
        special=Special(),
        definition=lambda x: x * _sigmoid(x),
        samples=_samples(),
        analytic=True,
        torch=lambda x: F.silu(x),
        scipy=lambda x: x * special.expit(x),
        elementwise=Elementwise(normal, lambda g, x: (g * _sigmoid(x) * (1 + x * _sigmoid(-x)),)),
        refuses=ANY_ARRAY,
    ),
    "gelu": OperatorRecord(
        drawn=sizes.unary(),
        offset=offsets.one(),
        special=Special(definition=lambda x: x * special.ndtr(x)),
        definition=lambda x: x * _cdf(x),
        samples=_samples(),
        analytic=True,
        torch=lambda x: F.gelu(x),
        scipy=lambda x: x * special.ndtr(x),
        elementwise=Elementwise(normal, lambda g, x: (g * (_cdf(x) + x * _density(x)),)),
        refuses=ANY_ARRAY,
    ),
}
