"""One record for each operator: its samples, its definition, its counterparts; all generic tests run over this table.

To add an operator: write it, export it from ``minigrad.ops``, and add its record to the file of its family. If the
record lacks something, tests/ops/test_records.py names it. This is the whole record of softplus, in
tests/records/functions.py::

    "softplus": OperatorRecord(
        drawn=sizes.unary(),
        offset=offsets.one(),
        special=Special(),
        definition=lambda x: np.log(1 + np.exp(x)),
        samples=_samples(),
        analytic=True,
        torch=lambda x: F.softplus(x),
        scipy=lambda x: -special.log_expit(-x),
        elementwise=Elementwise(normal, lambda g, x: (g * _sigmoid(x),)),
        refuses=ANY_ARRAY,
    ),

With it, ``python -m pytest tests/ops -k softplus`` compares values with the definition and with PyTorch; gradients of
both orders with finite differences, complex steps and PyTorch; drawn shapes with the formula; drawn sizes, up to seven
axes, with the definition; float32 with float64, also around an offset of 10,000; NaN, infinities and ties with the
definition and PyTorch; and it checks memory, layouts, threads, a second run, and the strict double of a GPU. Then
``python -m pytest tests -k softplus`` also plants faults in the rule, which must all be caught, and runs the example of
the docstring; tests/test_house.py counts lines. (``_samples``, ``normal``, ``F`` and ``ANY_ARRAY``
are at hand in that file.)

The record of a fused operator, whose rule works on raw arrays, also has ``fused=...``: see batch_norm's record in
tests/records/norm.py, and the pattern of its code in minigrad/ops/norm.py: the twin, the private operator with its
joint rule, the public function with its checks. :class:`~tests.records.record.OperatorRecord` says what else a record
may hold: linearity, kinks, large cases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.records import (
    choices,
    conv,
    einsum,
    elementwise,
    functions,
    loss,
    matmul,
    norm,
    plain,
    pool,
    reduction,
    shape,
)
from tests.records.record import OperatorRecord

RECORDS: dict[str, OperatorRecord] = (
    elementwise.RECORDS
    | choices.RECORDS
    | functions.RECORDS
    | shape.RECORDS
    | reduction.RECORDS
    | matmul.RECORDS
    | einsum.RECORDS
    | conv.RECORDS
    | pool.RECORDS
    | norm.RECORDS
    | loss.RECORDS
)
RECORDS |= {
    name: replace(RECORDS[name], large=large, gradients=plain.gradients_of(name, RECORDS[name].definition))
    for name, large in plain.LARGE.items()
}


def every_sample(where: Callable[..., bool] = lambda record, sample: True) -> list[Any]:
    """List (name, sample) for pytest, of all records or of some, with ids such as conv2d-stride2."""
    import pytest

    return [
        pytest.param(name, sample, id=f"{name}-{key}")
        for name, record in RECORDS.items()
        for key, sample in record.samples.items()
        if where(record, sample)
    ]


def every(part: str) -> list[Any]:
    """List (name, item) for pytest, for everything in one part of the records: "refuses", "kinks", "large"."""
    import pytest

    return [
        pytest.param(name, item, id=f"{name}-{key}")
        for name, record in RECORDS.items()
        if isinstance(items := getattr(record, part), dict)
        for key, item in items.items()
    ]
