"""Settings of Hypothesis: the same examples on every run. Settings of the processes of ``pytest -n``.

More of them, and new ones each time: ``python -m pytest --hypothesis-profile=explore tests/ops``.
"""

import gc
import os
import signal

import pytest
from hypothesis import HealthCheck, settings

if "PYTEST_XDIST_WORKER" in os.environ:  # there is a process for each core: BLAS and PyTorch need no more threads
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "explore", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("ci")

# A suite that was started in the background inherits an ignored SIGINT, and then Ctrl-C could not be tested.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    """Keep the 20,000 tests that were collected out of the collections of garbage to come."""
    gc.freeze()


@pytest.fixture
def no_draws(monkeypatch):
    """Let nets begin with zeros, which cost no time and no memory: for tests of names, shapes and counts."""
    import numpy as np

    monkeypatch.setattr("minigrad.nn.layers.he_normal", lambda shape, *, rng, dtype: np.zeros(shape, dtype))
