"""keep_freed_memory changes a setting of the C library when it is called, and only then."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

import minigrad as mg
from minigrad.kernels import memory


@pytest.mark.parametrize(
    ("platform", "variable", "library", "set_"),
    [
        ("linux", "PATH", True, True),
        ("linux", "MALLOC_ARENA_MAX", True, False),  # a user who sets one of the library's variables has decided
        ("linux", "GLIBC_TUNABLES", True, False),
        ("linux", "PATH", False, False),  # another C library than GNU's
        ("darwin", "PATH", True, False),
    ],
)
def test_freed_memory_is_kept_with_gnus_c_library_unless_its_variables_are_set(
    platform, variable, library, set_, monkeypatch
):
    options = {}
    functions = {"mallopt": options.__setitem__} if library else {}
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: SimpleNamespace(**functions))
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os, "environ", {variable: "1"})
    for _ in range(2):
        mg.keep_freed_memory()
    mmap_max, trim_threshold = -4, -1  # as malloc.h has them
    assert options == ({mmap_max: 0, trim_threshold: 2**31 - 1} if set_ else {})


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_importing_minigrad_changes_no_setting_of_malloc():
    """With the library's defaults, arrays of 1 MB and of 64 MB go back to the system when they are freed."""
    code = """
import numpy as np
import minigrad as mg, models
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20
def left_after_freeing():
    before = resident()
    parts = [np.ones(2**17) for _ in range(64)]
    whole = np.ones(2**23)
    assert resident() > before + 120
    del parts, whole
    return resident() - before
print(left_after_freeing() < 20)
mg.keep_freed_memory()
print(left_after_freeing() > 110)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert result.stdout.split() == ["True", "True"]
