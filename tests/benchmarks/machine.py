"""What the figures were taken on."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def facts() -> dict[str, Any]:
    """Return what is known about the machine and the libraries, for the header and the JSON."""
    torch = "not installed"
    with suppress(PackageNotFoundError):
        torch = version("torch")
    return {
        "cpu": cpu(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "numpy_and_blas": numpy_and_blas(),
        "torch": torch,
        "settings": {key: value for key, value in os.environ.items() if re.match("(OPENBLAS|OMP|MKL|GOTO)_", key)},
    }


def header(facts: dict[str, Any]) -> str:
    """Write the facts as lines."""
    settings = " ".join(f"{key}={value}" for key, value in facts["settings"].items())
    return "\n".join(
        [
            f"{facts['cpu']} ({facts['machine']}), {facts['processors']} processors, load {facts['load']}",
            f"Python {facts['python']}, {', '.join(facts['numpy_and_blas'])}, torch {facts['torch']}",
            f"environment: {settings or 'no settings for BLAS'}",
        ]
    )


def cpu() -> str:
    """Name the processor."""
    with suppress(FileNotFoundError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown processor"


def numpy_and_blas() -> list[str]:
    """Name NumPy's version, and its BLAS with the kernel that runs."""
    import numpy as np

    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return [f"numpy {np.__version__}"]
    found = [info for info in threadpool_info() if info["user_api"] == "blas"]
    kernels = {
        f"{info['internal_api']} {info['version']}, kernel {info.get('architecture', 'unknown')}" for info in found
    }
    return [f"numpy {np.__version__}", *(sorted(kernels) or ["a BLAS that threadpoolctl does not know"])]
