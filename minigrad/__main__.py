"""What is installed, and whether it works: ``python -m minigrad`` and ``python -m minigrad --check``.

The check proves every operator on this machine, with its NumPy and its BLAS, by :func:`minigrad.check_operator`: each
on the small arrays of :data:`SAMPLES`. The test suite, which is not installed, proves more.
"""

from __future__ import annotations

import argparse
import inspect
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import models, ops
from minigrad.typing import Shape

#: Calls and the shapes of their arrays. Operators that are not listed take arrays of (2, 3) and (3,), if they take two.
SAMPLES: dict[str, tuple[Callable[..., Any], list[Shape]]] = {
    "avg_pool2d": (lambda x: mg.avg_pool2d(x, 2, padding=1), [(1, 4, 5, 2)]),
    "batch_norm": (
        lambda x, c, b: mg.batch_norm(x, c, b, np.zeros(2, x.dtype), np.ones(2, x.dtype), training=True),
        [(5, 2), (2,), (2,)],
    ),
    "binary_cross_entropy": (mg.binary_cross_entropy, [(2, 3), (2, 3)]),
    "broadcast_to": (lambda x: mg.broadcast_to(x, (4, 2, 3)), [(2, 1)]),
    "clip": (lambda x: mg.clip(x, -0.5, 0.5), [(2, 3)]),
    "concatenate": (lambda a, b: mg.concatenate([a, b], axis=1), [(2, 3), (2, 1)]),
    "conv2d": (lambda x, w, b: mg.conv2d(x, w, b, stride=2, padding=1), [(2, 4, 5, 2), (3, 3, 2, 3), (3,)]),
    "conv_transpose2d": (lambda x, w, b: mg.conv_transpose2d(x, w, b, stride=2), [(2, 2, 3, 2), (3, 3, 2, 3), (3,)]),
    "cross_entropy": (lambda x: mg.cross_entropy(x, [2, 0]), [(2, 3)]),
    "dropout": (lambda x: mg.dropout(x, rng=np.random.default_rng(0), training=True), [(2, 3)]),
    "einsum": (lambda a, b: mg.einsum("nij,jk->nk", a, b), [(2, 2, 3), (3, 2)]),
    "embedding": (lambda w: mg.embedding(np.array([[2, 0], [2, 1]]), w), [(3, 2)]),
    "expand_dims": (lambda x: mg.expand_dims(x, 1), [(2, 3)]),
    "getitem": (lambda x: x[[0, 1, 0], 1:], [(2, 3)]),
    "global_avg_pool2d": (mg.global_avg_pool2d, [(2, 3, 2, 2)]),
    "group_norm": (lambda x, c, b: mg.group_norm(x, 2, c, b), [(2, 3, 4), (4,), (4,)]),
    "layer_norm": (lambda x, c, b: mg.layer_norm(x, 3, c, b), [(2, 3), (3,), (3,)]),
    "linear": (mg.linear, [(2, 3), (3, 4), (4,)]),
    "log": (lambda x: mg.log(x + 1.0), [(2, 3)]),
    "matmul": (mg.matmul, [(2, 2, 3), (3, 4)]),
    "max_pool2d": (lambda x: mg.max_pool2d(x, 3, stride=2, padding=1), [(1, 4, 5, 2)]),
    "mse_loss": (mg.mse_loss, [(2, 3), (2, 3)]),
    "nll_loss": (lambda x: mg.nll_loss(x, [2, 0]), [(2, 3)]),
    "pad": (lambda x: mg.pad(x, [(1, 2), (0, 1)]), [(2, 3)]),
    "pow": (lambda a, b: mg.pow(a + 1.0, b), [(2, 3), (3,)]),
    "reshape": (lambda x: mg.reshape(x, (3, 2)), [(2, 3)]),
    "sqrt": (lambda x: mg.sqrt(x + 1.0), [(2, 3)]),
    "squeeze": (lambda x: mg.squeeze(x, 1), [(2, 1, 3)]),
    "stack": (lambda a, b: mg.stack([a, b], axis=1), [(2, 3), (2, 3)]),
    "where": (lambda a, b: mg.where(np.array([True, False, True]), a, b), [(2, 3), (3,)]),
}


def main(arguments: list[str] | None = None) -> int:
    """Print what is installed, and check it if asked; return the exit status, 1 if a check failed."""
    parser = argparse.ArgumentParser("python -m minigrad", description="Say what is installed.")
    parser.add_argument("--check", action="store_true", help="also prove every operator on this machine, in seconds")
    options = parser.parse_args(arguments)
    for name, what in installed().items():
        print(f"{name:<10}{what}")
    return check() if options.check else 0


def installed() -> dict[str, str]:
    """Say what is installed, and where."""
    from threadpoolctl import threadpool_info

    blas = [f"{b['internal_api']} {b['version']}, {b.get('architecture')} kernels" for b in threadpool_info()]
    home = Path(mg.__file__).parents[1]
    in_clone = (home / "demos/degradation.py").exists() and (home / "docs/chapters").exists()
    return {
        "minigrad": f"{mg.__version__}, in {home / 'minigrad'}",
        "nets": models.__name__ + ("" if models.__name__ == "models" else ": another models hides the short name"),
        "Python": f"{platform.python_version()} on {platform.platform()}",
        "NumPy": np.__version__,
        "BLAS": "; ".join(blas) or "not OpenBLAS or MKL: its threads cannot be controlled",
        "threads": f"{mg.get_num_threads()} on {os.cpu_count()} processors",
        "demos": f"python -m demos, in {home}" if in_clone else "in the source archive, minigrad_numpy-*.tar.gz",
        "docs": f"{home / 'docs'}" if in_clone else "in the source archive, too",
    }


def check() -> int:
    """Prove every operator, a line for each; return 1 if a proof failed, else 0."""
    start, failed = time.perf_counter(), []
    for name in ops.__all__:
        call, arrays = sample(name)
        try:
            errors = mg.check_operator(call, [arrays])
        except mg.GradientError as error:
            failed.append(name)
            print(f"{name:<22}WRONG: {error}")
        else:
            print(
                f"{name:<22}" + "  ".join(f"{order} {errors[order]:.0e}" for order in ("first order", "second order"))
            )
    count, seconds = len(ops.__all__), time.perf_counter() - start
    print(f"\n{count - len(failed)} of {count} operators proven in {seconds:.1f} s: first and second derivatives")
    print("equal those by finite differences, and all bits are the same on 1, 2 and 3 threads")
    return int(bool(failed))


def sample(name: str) -> tuple[Callable[..., Any], list[Any]]:
    """Return a call of an operator, and its arrays: numbers of both signs, not near 0 or one another."""
    function = getattr(ops, name)
    parameters = inspect.signature(function).parameters.values()
    inputs = sum(p.default is p.empty and p.kind is not p.KEYWORD_ONLY for p in parameters)
    call, shapes = SAMPLES.get(name, (function, [(2, 3), (3,)][:inputs]))
    rng = np.random.default_rng(0)
    sizes = [np.prod(shape, dtype=int) for shape in shapes]
    numbers = [rng.permutation(np.linspace(0.2, 0.8, n)) * rng.choice([-1, 1], n) for n in sizes]
    return call, [array.reshape(shape) for array, shape in zip(numbers, shapes, strict=True)]


if __name__ == "__main__":
    raise SystemExit(main())
