"""Fixtures of several tests: settings of the process are restored, and products take the path that a test names."""

import pytest

import minigrad as mg
from minigrad.kernels import blas, products


@pytest.fixture(autouse=True)
def number_of_threads_restored():
    before = mg.get_num_threads()
    yield
    mg.set_num_threads(before)


@pytest.fixture
def libraries():
    """The BLAS libraries, on two threads each."""
    blas.libraries.cache_clear()  # a test before this one may have loaded another: SciPy has its own
    found = blas.libraries()
    assert found
    before = [library.get_num_threads() for library in found]
    for library in found:
        library.set_num_threads(2)
    yield found
    for library, count in zip(found, before, strict=True):
        library.set_num_threads(count)


@pytest.fixture(params=[False, True], ids=["no small kernels", "small kernels"])
def small_kernels(request, monkeypatch):
    """Whether products.py takes BLAS to have kernels for small matrices: results must be right in both cases."""
    monkeypatch.setattr(products, "has_small_kernels", lambda: request.param)
    return request.param
