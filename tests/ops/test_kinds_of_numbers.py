"""Not only plain arrays of float32 and float64: integers, float16, mapped files; NumPy's numbers in settings."""

import numpy as np
import pytest

import minigrad as mg
from tests.records import RECORDS, every_sample
from tests.tools.again import captured
from tests.tools.compare import cotangent, leaf, leaves, same

CONDITION = np.array([[True, False, True]] * 3)

#: Those that refuse integers.
FLOATS_ONLY = {"conv2d", "batch_norm"}

#: Definitions with a constant of floating point: what they are for integers.
OF_INTEGERS = {
    "relu": lambda x: np.maximum(x, x.dtype.type(0)),
    "linear": lambda x, w, b=None: x @ w if b is None else x @ w + b,
}


@pytest.mark.parametrize("name", [name for name in RECORDS if name not in FLOATS_ONLY])
def test_of_integers_the_value_and_the_dtype_are_numpys(name):
    """The sum of integers is one. Where NumPy gives floats (float16 for int8), arrays are refused, as Tensors are."""
    for key, sample in RECORDS[name].samples.items():
        if (name, key) in (("pow", "to-the--1"), ("dropout", "evaluation")):  # NumPy refuses it; nothing is done
            continue
        inputs = [np.asarray(np.round(2 * np.abs(x)) + 1).astype("int32") for x in sample.inputs]
        expected = np.asarray(sample.apply(OF_INTEGERS.get(name, RECORDS[name].definition), inputs))
        if expected.dtype.kind in "iub":
            same(np.asarray(sample.apply(getattr(mg, name), inputs)), expected, rtol=1e-10, atol=0, what=key)
            continue
        for given in (inputs, [x.astype("int8") for x in inputs], [mg.Tensor(x) for x in inputs]):
            with pytest.raises(TypeError, match=rf"^{name}: .*(convert the integers first|floating-point numbers)"):
                sample.apply(getattr(mg, name), given)


#: Those whose result is one of floating point also for integers.
FLOATS_OF_INTEGERS = {"div", "exp", "log", "sqrt", "tanh", "sigmoid", "dropout", "mean", "var", "logsumexp", "softmax"}
FLOATS_OF_INTEGERS |= {"log_softmax", "cross_entropy", "mse_loss", "avg_pool2d", "global_avg_pool2d"}
FLOATS_OF_INTEGERS |= {"sin", "cos", "log1p", "expm1", "erf", "softplus", "leaky_relu", "silu", "gelu"}
FLOATS_OF_INTEGERS |= {"std", "layer_norm", "group_norm", "nll_loss", "binary_cross_entropy"}


def whole(setting, exponent):
    """Make an integer of a float: an exponent, or a bound or a constant that has more digits than float64."""
    if not isinstance(setting, float):
        return setting
    return round(10 * setting) if exponent else round(10 * setting) * 2**53 + 1


def whole_and_small(setting):
    """Make an integer of a float, one that every kind holds."""
    return round(abs(setting)) if isinstance(setting, float) else setting


@pytest.mark.parametrize("name", [name for name in RECORDS if name not in FLOATS_ONLY | FLOATS_OF_INTEGERS])
def test_integers_are_exact_over_their_whole_range(name):
    """They have more digits than float64, and stay integers; what is too large wraps, as NumPy's does."""
    rng, definition = np.random.default_rng(0), OF_INTEGERS.get(name, RECORDS[name].definition)
    for key, sample in RECORDS[name].samples.items():
        if (name, key) == ("pow", "to-the--1"):  # NumPy refuses it
            continue
        for sign in (1, -1):
            inputs = [sign * (rng.integers(2**53, 2**62, x.shape) | 1) for x in sample.inputs]
            if name == "pow" and sign < 0:  # NumPy has no negative exponents
                continue
            args, settings = captured(sample, inputs)
            args = [whole(value, name == "pow") for value in args]
            settings = {k: whole(value, name == "pow") for k, value in settings.items()}
            expected = np.asarray(definition(*args, **settings))
            assert expected.dtype == np.int64
            np.testing.assert_array_equal(np.asarray(getattr(mg, name)(*args, **settings)), expected, key, strict=True)


WIDTHS = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "uint64"]


@pytest.mark.parametrize("kind", WIDTHS)
@pytest.mark.parametrize("name", [name for name in RECORDS if name not in FLOATS_ONLY | FLOATS_OF_INTEGERS])
def test_integers_of_every_width_are_numpys(name, kind):
    """Over their whole range: where NumPy makes them wider, and where they wrap. Then the dtype is NumPy's, too."""
    rng, definition = np.random.default_rng(0), OF_INTEGERS.get(name, RECORDS[name].definition)
    most = 1 if kind == "bool" else np.iinfo(kind).max
    for key, sample in RECORDS[name].samples.items():
        inputs = [rng.integers(0, most, x.shape, "uint64", endpoint=True).astype(kind) for x in sample.inputs]
        args, settings = captured(sample, inputs)
        args = [whole_and_small(value) for value in args]
        settings = {k: whole_and_small(value) for k, value in settings.items()}
        try:
            expected = np.asarray(definition(*args, **settings))
        except (TypeError, ValueError, OverflowError):  # NumPy does not subtract booleans, for example
            continue
        if expected.dtype.kind in "iub":
            ours = np.asarray(getattr(mg, name)(*args, **settings))
            np.testing.assert_array_equal(ours, expected, key, strict=True)


@pytest.mark.parametrize(("name", "sample"), every_sample(lambda _, sample: len(sample.inputs) > 1))
@pytest.mark.parametrize(("one", "others"), [("float32", "float64"), ("float64", "float32")])
def test_a_tensor_of_another_dtype_is_refused_at_every_place(one, others, name, sample):
    """What a forward adds in place keeps the dtype of the others: looking at the result is not enough."""
    for place in range(len(sample.inputs)):
        tensors = [mg.Tensor(x.astype(one if i == place else others)) for i, x in enumerate(sample.inputs)]
        with pytest.raises(TypeError, match="one dtype"):
            sample.apply(getattr(mg, name), tensors)


@pytest.mark.parametrize(("name", "sample"), every_sample(lambda _, sample: len(sample.inputs) > 1))
def test_a_wider_array_beside_tensors_is_refused_at_every_place(name, sample):
    """It is not rounded in silence, also not by a kernel that adds it to a result of float32 in place."""
    for place in range(len(sample.inputs)):
        inputs = [np.asarray(x) if i == place else mg.Tensor(x.astype("float32")) for i, x in enumerate(sample.inputs)]
        with pytest.raises(TypeError, match="one dtype"):
            sample.apply(getattr(mg, name), inputs)


@pytest.mark.parametrize("name", RECORDS)
def test_float16_is_refused(name):
    """Its largest number is 65,504: sums, counts and squares would overflow. Arrays by the operator, as by Tensor."""
    for key, sample in RECORDS[name].samples.items():
        inputs = [np.asarray(x, "float16") for x in sample.inputs]
        if (name, key) != ("dropout", "evaluation"):  # nothing is done
            with pytest.raises(TypeError, match=rf"^{name}: .*float16"):
                sample.apply(getattr(mg, name), inputs)
        with pytest.raises(TypeError, match=r"^Tensor: expected at least float32, got float16.*astype\('float32'\)"):
            leaves(sample, "float16")


def converted(setting):
    """Make every int in a setting NumPy's narrowest that holds it, and every bool a boolean of NumPy's."""
    if isinstance(setting, tuple | list):
        return type(setting)(map(converted, setting))
    return np.min_scalar_type(setting).type(setting) if type(setting) in (int, bool) else setting


@pytest.mark.parametrize("name", RECORDS)
def test_integers_and_booleans_of_numpy_do_as_settings(name):
    """Axes, shapes, sizes and flags are often computed by NumPy: each alone, and each in a tuple or a list."""
    for key, sample in RECORDS[name].samples.items():
        inputs, results = leaves(sample), []
        for convert in (lambda setting: setting, converted):
            args, settings = captured(sample, inputs)
            out = getattr(mg, name)(*map(convert, args), **{k: convert(value) for k, value in settings.items()})
            results.append([out, *mg.grad(out, inputs, cotangent(out), create_graph=True, retain_graph=True)])
            results[-1] += mg.grad(out, inputs, cotangent(out))
        for a, b in zip(*results, strict=True):
            same(a, b, rtol=0, atol=0, what=key)


def test_what_narrow_settings_add_up_to_may_be_wide():
    """100 + 100 is not an int8."""
    n = np.int8(100)
    assert mg.pad(np.ones((2, 3)), [(n, n), (0, 0)]).shape == (202, 3)
    assert mg.conv2d(np.ones((1, 3, 3, 100)), np.ones((3, 3, 1, 200)), groups=n).shape == (1, 1, 1, 200)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, kind)
        for name in ("add", "sub", "mul", "div", "pow", "maximum", "minimum", "where", "matmul", "concatenate")
        for kind in ("bool", "int8", "uint8", "int16")
    ],
)
def test_beside_float32_smaller_numbers_are_those_numbers_in_float32(name, kind):
    """An array that does not promote float32, on the right and on the left: value, gradients of both orders."""
    f = {"where": lambda a, b: mg.where(CONDITION, a, b), "concatenate": lambda a, b: mg.concatenate([a, b])}
    f = f.get(name, getattr(mg, name))
    x, other = np.array([[0.5, 2.0, 3.0]] * 3, "float32"), np.array([[1, 3, 7]] * 3).astype(kind)
    for g in (f, lambda a, b: f(b, a)):
        results = []
        for array in (other, other.astype("float32")):
            tensor = leaf(x)
            out = g(tensor, array)
            (dx,) = mg.grad(out, tensor, cotangent(out), create_graph=True)
            (ddx,) = mg.grad((dx * tensor).sum(), tensor, retain_graph=True)
            results.append([out, dx, ddx, *mg.grad(out, tensor, cotangent(out))])
        for a, b in zip(*results, strict=True):
            assert a.dtype == np.float32
            same(a, b, rtol=2e-6, atol=1e-6)


# Subclasses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in RECORDS if name != "batch_norm"])  # asks for one type
def test_arrays_that_are_mapped_from_a_file_are_arrays(name, tmp_path):
    """As data sets often are; they are of a subclass of NumPy's arrays."""

    def mapped(array, file):
        if not isinstance(array, np.ndarray) or not array.size:
            return array
        there = np.memmap(tmp_path / file, array.dtype, "w+", shape=array.shape)
        there[...] = array
        return there

    for i, (key, sample) in enumerate(RECORDS[name].samples.items()):
        results = []
        for convert in (lambda array, file: array, mapped):
            inputs = [mg.Tensor(convert(x, f"{i}-{j}"), requires_grad=True) for j, x in enumerate(sample.inputs)]
            args, settings = captured(sample, inputs)
            args = [convert(a, f"{i}-{j}a") for j, a in enumerate(args)]
            out = getattr(mg, name)(*args, **{k: convert(v, f"{i}-{k}") for k, v in settings.items()})
            arrays = [convert(x, f"{i}-{j}") for j, x in enumerate(sample.inputs)]
            value = sample.apply(getattr(mg, name), arrays)
            results.append([value, out, *mg.grad(out, inputs, cotangent(out))])
        for a, b in zip(*results, strict=True):
            same(a, b, rtol=0, atol=0, what=key)


def test_labels_that_are_mapped_from_a_file_are_checked(tmp_path):
    labels = np.memmap(tmp_path / "labels", "int64", "w+", shape=(2,))
    for wrong in (-1, 3):
        labels[:] = 0, wrong
        with pytest.raises(ValueError, match="cross_entropy: labels go from"):
            mg.cross_entropy(np.zeros((2, 3)), labels)
