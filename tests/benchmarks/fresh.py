"""A step that needs a new process each time: an import."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

TIMED_IMPORT = "import time; start = time.perf_counter(); import {name}; print(time.perf_counter() - start)"


def imports(name: str) -> Callable[[], float]:
    """Import a module in a new process; the step returns its own seconds, without the start of Python.

    Python may keep the bytecode of our files, as pip has done for NumPy's; the first import is warm-up.
    """
    command = [sys.executable, "-c", TIMED_IMPORT.format(name=name)]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return lambda: float(subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout)
