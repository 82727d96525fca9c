"""What the figures were taken on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

from demos import lab

#: Settings that choose kernels or threads.
SETTINGS = "(OPENBLAS|OMP|MKL|GOTO|ONEDNN|DNNL|ATEN|NPY|XLA|BLIS)_"

# PyTorch's own loops, oneDNN (most convolutions) and MKL (matrix products) choose their kernels each for themselves.
# The last two say which when they run.
ASK_TORCH = """
import torch
print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()} kernels")
torch.nn.functional.conv2d(torch.ones(8, 16, 32, 32), torch.ones(16, 16, 3, 3))
torch.ones(64, 64) @ torch.ones(64, 64)
"""


def facts() -> dict[str, Any]:
    """Return what is known about the machine and the libraries, for the header and the JSON."""
    return {
        "cpu": lab.processor(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "numpy_and_blas": numpy_and_blas(),
        "torch": torch(),
        "settings": {key: value for key, value in os.environ.items() if re.match(SETTINGS, key)},
    }


def header(facts: dict[str, Any]) -> str:
    """Write the facts as lines."""
    settings = " ".join(f"{key}={value}" for key, value in facts["settings"].items())
    return "\n".join(
        [
            f"{facts['cpu']} ({facts['machine']}), {facts['processors']} processors, load {facts['load']}",
            f"minigrad's side: Python {facts['python']}, {', '.join(facts['numpy_and_blas'])}",
            f"PyTorch's side: {', '.join(facts['torch']) or 'not installed'}",
            f"environment: {settings or 'no settings for kernels or threads'}",
        ]
    )


def numpy_and_blas() -> list[str]:
    """Name NumPy's version with its best loops, and its BLAS with the kernel that runs."""
    import numpy as np

    simd = np.show_config(mode="dicts")["SIMD Extensions"]
    own = [f"numpy {np.__version__}", f"loops for {[*simd['baseline'], *simd.get('found', [])][-1]}"]
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return own
    found = [info for info in threadpool_info() if info["user_api"] == "blas"]
    kernels = {
        f"{info['internal_api']} {info['version']}, kernel {info.get('architecture', 'unknown')}" for info in found
    }
    return [*own, *(sorted(kernels) or ["a BLAS that threadpoolctl does not know"])]


def torch() -> list[str]:
    """Name PyTorch's version with its best loops, and the instructions that oneDNN and MKL use."""
    if find_spec("torch") is None:
        return []
    env = os.environ | {"ONEDNN_VERBOSE": "1", "MKL_VERBOSE": "1"}
    said = subprocess.run([sys.executable, "-c", ASK_TORCH], check=True, capture_output=True, text=True, env=env).stdout
    found = {
        "oneDNN": re.search(r"onednn_verbose.*,cpu,isa:(.*)", said),
        "MKL": re.search(r"MKL_VERBOSE .*\(Intel\(R\) (.*?)\)", said),
    }
    return [said.splitlines()[0], *(f"{name} {match[1]}" for name, match in found.items() if match)]
