r"""The device suite on dpnp's CPU device: a foreign library, with memory of its own. Skipped where it is absent.

In an environment of its own (3 GB), made and run by one command::

    python3 -m venv .dpnp && .dpnp/bin/pip install -e ".[test]" dpnp && \
        OCL_ICD_FILENAMES=$PWD/.dpnp/lib/libintelocl.so SYCL_CACHE_PERSISTENT=1 \
        .dpnp/bin/python -m pytest tests/device/test_dpnp.py
"""

import sys

import pytest

from tests.device.on_device import OnDevice

dpnp = pytest.importorskip("dpnp")
try:
    dpnp.zeros(1)
except Exception as error:  # whatever SYCL raises where it finds no device
    pytest.skip(f"dpnp finds no device: {error}", allow_module_level=True)

from tests.tools import dpnp_adapter  # noqa: E402  it imports dpnp


@pytest.fixture(autouse=True)
def bridged(monkeypatch):
    """Let dpnp be found under CuPy's name, so that ``.to("cuda")`` leads to it."""
    monkeypatch.setitem(sys.modules, "cupy", dpnp_adapter.cupy)


class TestDpnp(OnDevice):
    """Equal to NumPy's within the rounding of other sums."""

    xp = dpnp
    tolerance = 1e-11
