"""Everything that only a real GPU can show, in one command and five minutes: ``python -m tests.gpu``.

It runs the device suite on CuPy, trains a ResNet-20 for 200 steps beside the host, counts waits, times a step beside
PyTorch on the same GPU where that is installed, and writes a page in Markdown. Where there is no GPU it says so, and
its exit status is 2; it is 1 if something failed.

    pip install -e ".[test,gpu]" && python -m tests.gpu
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import minigrad as mg
from tests.benchmarks import machine
from tests.gpu import measure

ROOT = Path(__file__).parents[2]


def main(arguments: list[str] | None = None) -> int:
    """Run all parts, print the page, write it, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "gpu.md", help="where to write (docs/gpu.md)")
    options = parser.parse_args(arguments)
    try:
        mg.Tensor([0.0]).to("cuda")
    except RuntimeError as error:
        print(f"No GPU was found, so nothing was tested on one, and no page was written.\n{error}")
        return 2
    start = time.perf_counter()
    page = [head(), on_what()]
    section, passed = suite()
    page.append(section)
    for part in (beside_the_host, waits, times):
        print(f"\n{part.__doc__}", flush=True)
        page.append(part())
        print(page[-1], flush=True)
    page.append(f"All of it took {time.perf_counter() - start:.0f} s.")
    options.page.write_text("\n\n".join(page) + "\n")
    print(f"\nwritten: {options.page}")
    return 0 if passed else 1


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Write a table in Markdown; all columns but the first are numbers."""
    head = list(head)
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def head() -> str:
    """Say what this page is."""
    return f"""# On a real GPU

`python -m tests.gpu` wrote this page on {datetime.now(UTC):%d %B %Y}, with minigrad {mg.__version__}.
To write it for your GPU:

```sh
pip install -e ".[test,gpu]" && python -m tests.gpu
```"""


def on_what() -> str:
    """Name the GPU, the processor, and all versions."""
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(0)
    runtime, driver = cupy.cuda.runtime.runtimeGetVersion(), cupy.cuda.runtime.driverGetVersion()
    facts = machine.facts()
    libraries = [f"CuPy {cupy.__version__}", *facts["numpy_and_blas"], f"PyTorch {facts['torch']}"]
    return table(
        ["", "this machine"],
        [
            ["GPU", f"{properties['name'].decode()}, {properties['totalGlobalMem'] / 2**30:.0f} GiB"],
            ["CUDA", f"{version(runtime)} (the driver supports {version(driver)})"],
            ["libraries", ", ".join(libraries)],
            ["host", f"{facts['cpu']}, {mg.get_num_threads()} threads, Python {facts['python']}"],
        ],
    ).replace("---:", "---")


def version(number: int) -> str:
    """Write CUDA's 13000 as 13.0."""
    return f"{number // 1000}.{number % 1000 // 10}"


def suite() -> tuple[str, bool]:
    """Run the device suite in a process of its own; return its section of the page, and whether all tests passed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "tests/gpu/test_cupy.py", "--tb=short", f"--junitxml={report}"]
        subprocess.run(command, cwd=ROOT)
        return told(report)


def told(report: Path) -> tuple[str, bool]:
    """Read pytest's report in XML."""
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None]
    seconds = sum(float(case.get("time", 0)) for case in cases)
    passed = len(cases) - len(failed) - len(skipped)
    rest = [f"- failed: `{case.get('name')}`: {_reason(case)}" for case in failed]
    rest += [f"- skipped: `{case.get('name')}`: {_reason(case)}" for case in skipped]
    section = f"""## The suite

`tests/gpu/test_cupy.py` compares everything with NumPy: values and gradients of both orders of all samples of all
operators, training steps, checkpoints, the training loop, every error. It also runs the forward and backward pass of
each sample while the GPU is held up, to see that the host does not wait.

Passed: {passed}, failed: {len(failed)}, skipped: {len(skipped)}, in {seconds:.0f} s."""
    return "\n\n".join([section, *(["\n".join(rest)] if rest else [])]), bool(cases) and not failed


def _reason(case: Any) -> str:
    """Return the first line of what a test says."""
    said = [case.find(tag) for tag in ("failure", "error", "skipped")]
    return next((element.get("message", "").splitlines() or [""])[0] for element in said if element is not None)


def beside_the_host() -> str:
    """Train a ResNet-20 for 200 steps on the GPU and on the host, in float32 and in float64."""
    (here, away), (here64, away64) = (
        [measure.training(device, dtype) for device in ("cpu", "cuda")] for dtype in ("float32", "float64")
    )
    rows = []
    for i in (0, 1, 4, 9, 19, 49, 99, 199):
        losses = [f"{run.losses[i]:.6f}" for run in (here, away)]
        apart = [f"{abs(a.losses[i] - b.losses[i]):.1e}" for a, b in ((here, away), (here64, away64))]
        rows.append([i + 1, *losses, *apart])
    head = ["step", "loss on the host", "loss on the GPU", "difference", "the same in float64: difference"]
    return f"""## Training beside the host

A ResNet-20 learns the 8x8 digits, 128 a step, from the same weights and on the same batches. A GPU adds numbers in
another order, so sums are rounded otherwise. In float32 training amplifies this; in float64 the same code shows how
much of the difference is more than rounding.

{table(head, rows)}

Test error in float32: {here.test_error:.2%} on the host, {away.test_error:.2%} on the GPU; in float64:
{here64.test_error:.2%} and {away64.test_error:.2%}. The 200 steps in float32 took {here.seconds:.1f} s on the host and
{away.seconds:.1f} s on the GPU, where kernels are compiled at their first use."""


def waits() -> str:
    """Hold the GPU up and see whether the host waits."""
    counts = measure.waits()
    return f"""## Waits

The GPU is held up while the host runs a part of a training step of ResNet-8. If the host has to wait for the GPU, it
cannot finish that part.

{table(["part of a step", "waits, in 10 steps"], counts.items())}"""


def times() -> str:
    """Time training steps, beside PyTorch's where it is installed and finds the GPU."""
    rows = []
    for title, case in measure.CASES.items():
        ours, *others = sides = measure.sides(case)
        for side in sides:
            ratio = "" if side is ours else f"{ours.median / side.median:.2f}"
            figures = [f"{value:.2f}" for value in (side.median, min(side.times), min(side.submitted))]
            rows.append([f"{title}: {side.name}", *figures, f"{side.peak_bytes / 1e6:,.0f}", ratio])
        if not others:
            rows.append([f"{title}: PyTorch is not installed, or finds no GPU", *[""] * 5])
    head = ["step", "median [ms]", "minimum [ms]", "to submit it [ms]", "peak [MB]", "minigrad's time / this"]
    return f"""## A training step

Forward, loss, backward and SGD with momentum. The libraries take turns: five steps each time, seven times. "To submit
it" is the shortest time in which Python handed over all kernels of a step: a GPU that waits for Python is no faster.

{table(head, rows)}"""


if __name__ == "__main__":
    sys.exit(main())
