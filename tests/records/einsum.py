"""The record of einsum: minigrad/ops/einsum.py."""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg
from tests.records import offsets, sizes
from tests.records.draw import ones, randn, t, torch
from tests.records.many import MANY
from tests.records.record import Large, OperatorRecord, Refusal, Sample, Special, sample, type_error


def _call(op: Any, *arrays: Any, subscripts: str) -> Any:
    return op(subscripts, *arrays)


def _sample(subscripts: str, *shapes: tuple[int, ...]) -> Sample:
    return sample(*(randn(*s, seed=i) for i, s in enumerate(shapes)), call=_call, subscripts=subscripts)


def einsum_gradients(g: Any, subscripts: str, *arrays: Any) -> tuple[Any, ...]:
    """By NumPy's einsum: g takes the place of each factor in turn. (No letter is in one factor alone.)"""
    factors, _, result = subscripts.partition("->")
    parts, gradients = factors.split(","), []
    for i, part in enumerate(parts):
        rest = [*parts[:i], *parts[i + 1 :]]
        gradients.append(np.einsum(f"{','.join([result, *rest])}->{part}", g, *arrays[:i], *arrays[i + 1 :]))
    return tuple(gradients)


X = t(2, 3)

RECORDS = {
    "einsum": OperatorRecord(
        drawn=sizes.einsum,
        offset=offsets.Offset(
            sample(offsets.near(8, 30), offsets.around_0(30, 5), call=_call, subscripts="ij,jk->ik"), 30, (5, 8)
        ),
        special=Special(
            unlike_definition=dict.fromkeys(
                ("inf", "-inf", "mixed"), "sums are made as early as possible, before products"
            )
        ),
        definition=np.einsum,
        samples={
            "product": _sample("ij,jk->ik", (2, 3), (3, 4)),
            "implicit": _sample("ij,jk", (2, 3), (3, 2)),
            "stacks": _sample("bqd, bkd -> bqk", (2, 3, 2), (2, 2, 2)),
            "stack-in-the-middle": _sample("qbd,kdb->kbq", (2, 2, 3), (2, 3, 2)),
            "inner": _sample("i,i->", (3,), (3,)),
            "outer": _sample("i,j->ji", (2,), (3,)),
            "number": _sample(",i->i", (), (3,)),
            "transpose": _sample("ij->ji", (2, 3)),
            "sum": _sample("ijk->j", (2, 3, 2)),
            "sum-in-one": _sample("ij,jk->j", (2, 3), (3, 2)),
            "no-letter-in-common": _sample("ij,k->k", (2, 3), (2,)),
            "three-with-a-common-letter": _sample("bi,bj,b->ij", (2, 3), (2, 2), (2,)),
        },
        analytic=True,
        linear="each",
        torch=lambda subscripts, *arrays: torch.einsum(subscripts, *arrays),
        many=MANY["einsum"],
        large={
            "product": Large(((3700, 50), (210, 50)), (50, 210, 3700), {"subscripts": "ij,kj->ki"}, _call, blocks=2)
        },
        gradients=lambda g, subscripts, *arrays: einsum_gradients(g, subscripts, *arrays),
        accepts={"capitals": lambda: mg.einsum("Ij,jK->KI", ones(2, 3), ones(3, 1))},
        refuses={
            "diagonal": Refusal(lambda: mg.einsum("ii->i", t(2, 2)), "each letter once in an array, .* got 'ii->i'"),
            "twice-in-the-result": Refusal(lambda: mg.einsum("i->ii", t(2)), "each letter once"),
            "dots": Refusal(lambda: mg.einsum("...i->i", X), 'letters for the axes of each array, as in "ij,jk->ik"'),
            "unknown-letter": Refusal(
                lambda: mg.einsum("ij->k", X), "letters of the arrays in the result, got 'ij->k'"
            ),
            "too-few-arrays": Refusal(lambda: mg.einsum("ij,jk", X), "expected 2 arrays for 'ij,jk', got 1"),
            "axes": Refusal(lambda: mg.einsum("ijk->i", X), r"an array with axes 'ijk', got shape \(2, 3\)"),
            "sizes": Refusal(lambda: mg.einsum("ij,ij", X, X.T), "one size for 'i', got 2 and 3"),
            "order": type_error(lambda: mg.einsum(X, "ij"), "expected subscripts to be a text, got Tensor"),
            "dtypes": type_error(lambda: mg.einsum("ij,ij", X, t(2, 3, dtype="float64")), "expected one dtype"),
        },
    ),
}
