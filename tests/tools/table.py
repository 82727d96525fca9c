"""What has been proven of each operator: ``python -m tests.tools.table``.

Every public operator, its number of samples, and for each check the worst relative error over them:

- first, second: gradients and second derivatives against central differences, about 1e-10 at best;
- order: the lowest order at which the error of the first-order approximation shrinks; 2, or infinite if linear;
- complex: against complex steps, to machine precision, for operators made of analytic functions;
- adjoint: <f(x), y> against <x, f'(y)>, for linear operators;
- twin: a fused operator against its definition;
- float32: results and gradients of float32 against float64;
- and, by a tick: inputs, results and cotangents untouched; equal to the bit on 1, 2 and 3 threads.
"""

from __future__ import annotations

import math

import minigrad as mg
from minigrad.checks.operators import CHECKS
from tests.records import RECORDS

COLUMNS = {
    "first": "first order",
    "second": "second order",
    "order": "taylor",
    "complex": "complex step",
    "adjoint": "adjoint",
    "twin": "twin",
    "float32": "dtype",
    "alias": "aliasing",
    "threads": "determinism",
}


def row(name: str) -> dict[str, float]:
    """Run every check on every sample of an operator; return the worst error of each."""
    worst: dict[str, float] = {}

    def note(check: str, value: float | None) -> None:
        if value is not None:
            pick = min if check == "taylor" else max
            worst[check] = pick(worst.get(check, value), value)

    record = RECORDS[name]
    for sample in record.samples.values():
        f = sample.function(name)
        for check, run in CHECKS.items():
            note(check, run(f, sample.inputs))
        if record.analytic:
            note("complex step", mg.complex_step_check(f, sample.inputs))
        if sample.affine or not record.linear:
            continue
        for g, inputs in sample.linear_maps(f, record.linear):
            note("adjoint", mg.adjoint_check(g, inputs))
    return worst


def cell(check: str, worst: dict[str, float]) -> str:
    """Write one figure."""
    if check not in worst:
        return ""
    if check in ("aliasing", "determinism"):
        return "yes"
    if check == "taylor":
        return "linear" if math.isinf(worst[check]) else f"{worst[check]:.2f}"
    return f"{worst[check]:.0e}" if worst[check] else "0"


def main() -> None:
    """Print the table."""
    print(f"{'operator':<20}{'samples':>8}" + "".join(f"{head:>9}" for head in COLUMNS))
    for name, record in RECORDS.items():
        worst = row(name)
        print(f"{name:<20}{len(record.samples):>8}" + "".join(f"{cell(check, worst):>9}" for check in COLUMNS.values()))
    print(f"\n{len(RECORDS)} operators, {sum(len(record.samples) for record in RECORDS.values())} samples")


if __name__ == "__main__":
    main()
