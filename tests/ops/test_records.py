"""The records of the operators are complete, and what they claim is true."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import minigrad as mg
from minigrad.checks.operators import CHECKS
from tests import records
from tests.records import RECORDS
from tests.records.conv import conv2d_by_loops
from tests.records.draw import normal
from tests.records.record import Absent, Elementwise, OperatorRecord, Special, lacks, sample
from tests.records.sizes import unary


@pytest.mark.parametrize("name", mg.ops.__all__)
def test_record_is_complete(name):
    missing = lacks(name, getattr(mg, name), RECORDS.get(name))
    assert not missing, "\n".join(missing)


def test_records_are_of_operators():
    assert sorted(RECORDS) == sorted(mg.ops.__all__)


def test_no_operator_has_two_records():
    families = [module.RECORDS for module in vars(records).values() if isinstance(getattr(module, "RECORDS", 0), dict)]
    assert len(families) > 5
    assert sum(map(len, families)) == len(RECORDS)


def test_what_a_record_lacks_is_named():
    assert lacks("softplus", mg.exp, None) == ["softplus: has no record; add one in tests/records"]
    empty = lacks("softplus", mg.exp, OperatorRecord())
    assert [line.split(":")[1] for line in empty] == [
        f" its record lacks {part}"
        for part in ("definition", "samples", "analytic", "torch", "refuses", "offset", "drawn", "special", "large")
    ]
    assert empty[3] == "softplus: its record lacks torch: the same in PyTorch, or Absent('why there is none')"


def test_a_kink_is_asked_of_operators_that_are_not_analytic_and_numbers_of_settings_that_are_numbers():
    parts = {
        "definition": np.exp,
        "samples": {"vector": sample(np.ones(3))},
        "torch": Absent("an example"),
        "refuses": Absent("an example"),
        "elementwise": Elementwise(normal, lambda g, x: (g,)),
        "offset": Absent("an example"),
        "drawn": unary(),
        "special": Special(),
    }
    assert lacks("softplus", mg.exp, OperatorRecord(**parts, analytic=True)) == []
    (kinks,) = lacks("softplus", mg.exp, OperatorRecord(**parts, analytic=False))
    assert kinks.startswith("softplus: its record lacks kinks: ")
    (numbers,) = lacks("softplus", mg.pad, OperatorRecord(**parts, analytic=True))
    assert numbers == "softplus: its record lacks numbers: a call with NumPy scalars for constant_values"


@pytest.mark.parametrize("name", [name for name, record in RECORDS.items() if record.linear is None])
def test_an_operator_that_is_linear_is_said_to_be(name):
    """Otherwise its adjoint would not be checked."""
    samples = [s for s in RECORDS[name].samples.values() if not s.affine]
    with np.errstate(all="ignore"):
        ratios = [
            np.allclose(s.apply(getattr(mg, name), [-1.5 * x for x in s.inputs]), -1.5 * s.function(name)(*s.inputs))
            for s in samples
        ]
    assert not all(ratios), f"{name}: linear; say so in its record: 'jointly' or 'each'"


@pytest.mark.parametrize("name", RECORDS)
def test_an_operator_is_said_to_be_fused_if_it_has_a_twin(name):
    """Otherwise nothing would be compared with the twin."""
    one = next(iter(RECORDS[name].samples.values()))
    assert RECORDS[name].fused == (CHECKS["twin"](one.function(name), one.inputs) is not None)


def test_the_loops_of_the_samples_are_a_convolution():
    """The definition of conv2d, on a case small enough to do by hand."""
    x = np.arange(4.0).reshape(1, 2, 2, 1)
    w = np.array([1.0, 10.0]).reshape(1, 2, 1, 1)
    assert_allclose(conv2d_by_loops(x, w).ravel(), [10.0, 32.0])
