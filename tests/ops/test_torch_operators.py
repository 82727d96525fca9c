"""PyTorch as an independent oracle, operator by operator: values, first and second gradients.

The samples are those of every other check (tests/samples.py). Each operator has a counterpart here that takes the
same arguments, in minigrad's layout, and hands them to PyTorch; so gradients come back in minigrad's layout, too.
After the operators, what is made of them: layers, SGD, schedules, running statistics.
"""

import operator

import numpy as np
import pytest
from numpy.testing import assert_allclose

import minigrad as mg
from tests.samples import SAMPLES, every_sample

torch = pytest.importorskip("torch")
F = torch.nn.functional

#: How far apart float64 results may be, relative to the largest element.
DOUBLE = 1e-10

#: And float32 results: some hundred roundings of 6e-8.
SINGLE = 2e-5


# What PyTorch calls it -----------------------------------------------------------------------


def channels_first(x):
    return x.movedim(-1, 1)


def channels_last(x):
    return x.movedim(1, -1)


def numbers_as_tensors(f):
    """PyTorch's maximum takes no numbers."""

    def apply(a, b):
        like = a if isinstance(a, torch.Tensor) else b
        return f(*[v if isinstance(v, torch.Tensor) else torch.tensor(v, dtype=like.dtype) for v in (a, b)])

    return apply


def reduction(f):
    """PyTorch takes `dim` and `keepdim`, and not everywhere None for all axes."""

    def apply(x, axis=None, keepdims=False):
        dims = (tuple(range(x.ndim)) or 0) if axis is None else axis
        return f(x, dim=dims, keepdim=keepdims)

    return apply


def power(a, b):
    """PyTorch takes b a ** (b - 1) for the constant 0 where b = 0, and so loses 1 / a from its derivative in b."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and (b == 0).any():
        return torch.exp(b * torch.log(a))
    return torch.pow(a, b)


def pad(x, pad_width, constant_values=0.0):
    return F.pad(x, [n for pair in reversed(pad_width) for n in pair], value=constant_values)


def getitem(x, index):
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, slice) and (part.step or 1) < 0 for part in parts):  # which PyTorch does not know
        places = np.arange(x.numel()).reshape(x.shape)[index]
        return x.reshape(-1)[torch.tensor(places.copy())]
    parts = [torch.tensor(part) if isinstance(part, list | np.ndarray) else part for part in parts]
    return x[tuple(parts)]


def kernel(w, *axes):
    """Copy: PyTorch's backward refuses a weight whose strides are permuted."""
    return w.permute(axes).clone(memory_format=torch.contiguous_format)


def conv2d(x, w, b=None, **settings):
    return channels_last(F.conv2d(channels_first(x), kernel(w, 3, 2, 0, 1), b, **settings))


def conv_transpose2d(x, w, b=None, **settings):
    return channels_last(F.conv_transpose2d(channels_first(x), kernel(w, 2, 3, 0, 1), b, **settings))


def pool(f, border):
    def apply(x, kernel, stride=None, padding=0):
        (kh, kw), (ph, pw) = (v if isinstance(v, tuple) else (v, v) for v in (kernel, padding))
        x = channels_first(x)
        if 2 * ph > kh or 2 * pw > kw:  # more than PyTorch's pooling pads
            x, padding = F.pad(x, (pw, pw, ph, ph), value=border), 0
        return channels_last(f(x, kernel, stride, padding))

    return apply


def batch_norm(x, gamma, beta, mean, var, **settings):
    return channels_last(F.batch_norm(channels_first(x), mean, var, gamma, beta, **settings))


TWINS = {
    "abs": torch.abs,
    "add": operator.add,
    "avg_pool2d": pool(F.avg_pool2d, 0.0),
    "batch_norm": batch_norm,
    "broadcast_to": torch.broadcast_to,
    "clip": lambda x, a_min=None, a_max=None: torch.clamp(x, a_min, a_max),
    "concatenate": lambda arrays, axis=0: torch.cat(arrays, axis),
    "conv2d": conv2d,
    "conv_transpose2d": conv_transpose2d,
    "cross_entropy": F.cross_entropy,
    "div": operator.truediv,
    "exp": torch.exp,
    "expand_dims": torch.unsqueeze,
    "flip": lambda x, axis=None: torch.flip(
        x, tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    ),
    "getitem": getitem,
    "global_avg_pool2d": lambda x: F.adaptive_avg_pool2d(channels_first(x), 1).flatten(1),
    "linear": lambda x, w, b=None: F.linear(x, w.T, b),
    "log": torch.log,
    "log_softmax": lambda x, axis=-1: torch.log_softmax(x, axis),
    "logsumexp": reduction(torch.logsumexp),
    "matmul": torch.matmul,
    "max": reduction(torch.amax),
    "max_pool2d": pool(F.max_pool2d, -np.inf),
    "maximum": numbers_as_tensors(torch.maximum),
    "mean": reduction(torch.mean),
    "min": reduction(torch.amin),
    "minimum": numbers_as_tensors(torch.minimum),
    "mse_loss": F.mse_loss,
    "mul": operator.mul,
    "neg": torch.neg,
    "pad": pad,
    "pow": power,
    "relu": torch.relu,
    "reshape": lambda x, shape: x.reshape(shape),
    "sigmoid": torch.sigmoid,
    "softmax": lambda x, axis=-1: torch.softmax(x, axis),
    "sqrt": torch.sqrt,
    "squeeze": torch.squeeze,
    "stack": lambda arrays, axis=0: torch.stack(arrays, axis),
    "sub": operator.sub,
    "sum": reduction(torch.sum),
    "tanh": torch.tanh,
    "transpose": lambda x, axes=None: x.permute(tuple(reversed(range(x.ndim))) if axes is None else axes),
    "var": reduction(lambda x, **settings: torch.var(x, correction=0, **settings)),
    "where": torch.where,
}

#: Positional settings that PyTorch calls otherwise.
RENAMED = {"expand_dims": {"axis": "dim"}, "squeeze": {"axis": "dim"}, "broadcast_to": {"shape": "size"}}
RENAMED["cross_entropy"] = {"labels": "target"}

#: Operators without a counterpart, and why.
WITHOUT = {"dropout": "each draws its own mask; tests/samples.py compares with NumPy, given the seed"}

COMPARED = [p for p in every_sample() if p.values[0] not in WITHOUT]


def test_every_operator_has_a_counterpart_or_a_reason():
    assert sorted([*TWINS, *WITHOUT]) == sorted(SAMPLES)


# The two sides -------------------------------------------------------------------------------


def random(shape, seed):
    """Draw cotangents with both signs: ones would let wrong rules pass."""
    return np.random.default_rng([7, seed]).standard_normal(shape)


def assert_close(ours, theirs, what, bound=DOUBLE):
    """Compare relative to the largest element; where all are zero, relative to a thousandth."""
    theirs = theirs.detach().numpy(force=True)
    atol = bound * max(np.abs(theirs).max(initial=0.0), 1e-3)
    assert_allclose(ours.data, theirs, rtol=0, atol=atol, err_msg=what, equal_nan=False, strict=True)


def run_torch(name, sample, inputs):
    """Call PyTorch as the sample calls minigrad: the call is caught with its arrays, which then are exchanged."""
    args, settings = sample.apply(lambda *args, **settings: (args, settings), sample.inputs)
    theirs = {id(array): tensor for array, tensor in zip(sample.inputs, inputs, strict=True)}

    def exchange(value):
        if id(value) in theirs:
            return theirs[id(value)]
        if isinstance(value, list) and name in ("concatenate", "stack"):
            return [exchange(v) for v in value]
        if isinstance(value, np.ndarray) and name != "getitem":
            return torch.tensor(value.astype(inputs[0].detach().numpy().dtype) if value.dtype.kind == "f" else value)
        return value

    renamed = RENAMED.get(name, {})
    return TWINS[name](*map(exchange, args), **{renamed.get(k, k): exchange(v) for k, v in settings.items()})


@pytest.mark.parametrize(("name", "sample"), COMPARED)
@pytest.mark.parametrize(("dtype", "bound"), [("float64", DOUBLE), ("float32", SINGLE)], ids=["float64", "float32"])
def test_value_and_first_gradients(name, sample, dtype, bound):
    arrays = [np.asarray(x, dtype) for x in sample.inputs]
    ours = [mg.Tensor(x, requires_grad=True) for x in arrays]
    theirs = [torch.tensor(x, requires_grad=True) for x in arrays]
    out, expected = sample.apply(getattr(mg, name), ours), run_torch(name, sample, theirs)
    assert_close(out, expected, "value", bound)
    g = random(out.shape, 0).astype(dtype)
    first = mg.grad(out, ours, g)
    for i, (d, e) in enumerate(zip(first, torch.autograd.grad(expected, theirs, torch.tensor(g)), strict=True)):
        assert_close(d, e, f"gradient of input {i}", bound)


@pytest.mark.parametrize(("name", "sample"), COMPARED)
def test_second_gradients(name, sample):
    """The gradient of a random combination of the first gradients: in every input, and in the cotangent."""
    ours = [mg.Tensor(np.array(x), requires_grad=True) for x in sample.inputs]
    theirs = [torch.tensor(x, requires_grad=True) for x in sample.inputs]
    out, expected = sample.apply(getattr(mg, name), ours), run_torch(name, sample, theirs)

    g = mg.Tensor(random(out.shape, 0), requires_grad=True)
    h = torch.tensor(g.data, requires_grad=True)
    first = mg.grad(out, ours, g, create_graph=True)
    first_expected = torch.autograd.grad(expected, theirs, h, create_graph=True)
    weights = [random(d.shape, 1 + i) for i, d in enumerate(first)]
    for i, (d, e) in enumerate(zip(first, first_expected, strict=True)):
        assert_close(d, e, f"first gradient of input {i}, recorded")

    # where an operator is linear, nothing leads from its gradient to its input: start there, too, from zeros
    zeros = [np.zeros(x.shape) for x in (*ours, g)]
    second = mg.grad([*first, *ours, g], [*ours, g], [*weights, *zeros])
    total = sum((torch.tensor(w) * d).sum() for w, d in zip(weights, first_expected, strict=True))
    total = total + sum((0 * x).sum() for x in (*theirs, h))
    second_expected = torch.autograd.grad(total, [*theirs, h])
    for i, (d, e) in enumerate(zip(second, second_expected, strict=True)):
        what = f"input {i}" if i < len(ours) else "the cotangent"
        assert_close(d, e, f"second gradient of {what}")


# Layers --------------------------------------------------------------------------------------


def layout(array):
    """Turn a weight (kh, kw, c, o) into (o, c, kh, kw), and (in, out) into (out, in)."""
    return torch.tensor(array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T if array.ndim == 2 else array)


def double(kind, *args, **settings):
    """Make a layer of PyTorch in float64."""
    return getattr(torch.nn, kind)(*args, **settings).double()


def ours(kind, *args, **settings):
    """Make a layer of minigrad in float64."""
    return getattr(mg.nn, kind)(*args, **settings, rng=0, dtype=np.float64)


IMAGES = (3, 6, 5, 4)

LAYERS = {
    "Linear": (ours("Linear", 4, 3), double("Linear", 4, 3), (5, 4)),
    "Linear without bias": (ours("Linear", 4, 3, bias=False), double("Linear", 4, 3, bias=False), (5, 4)),
    "Linear on a stack": (ours("Linear", 4, 3), double("Linear", 4, 3), (2, 5, 4)),
    "Conv2d": (ours("Conv2d", 4, 3, 3, padding=1), double("Conv2d", 4, 3, 3, padding=1), IMAGES),
    "Conv2d with stride": (
        ours("Conv2d", 4, 3, (3, 2), stride=(2, 3), padding=(1, 0), bias=False),
        double("Conv2d", 4, 3, (3, 2), stride=(2, 3), padding=(1, 0), bias=False),
        IMAGES,
    ),
    "Conv2d with dilation": (
        ours("Conv2d", 4, 2, (2, 3), dilation=(3, 2), padding=2),
        double("Conv2d", 4, 2, (2, 3), dilation=(3, 2), padding=2),
        IMAGES,
    ),
    "Conv2d in groups": (
        ours("Conv2d", 4, 6, 3, groups=2, stride=2, padding=1),
        double("Conv2d", 4, 6, 3, groups=2, stride=2, padding=1),
        IMAGES,
    ),
    "Conv2d depthwise, with dilation": (
        ours("Conv2d", 4, 8, 3, groups=4, dilation=2, padding=2),
        double("Conv2d", 4, 8, 3, groups=4, dilation=2, padding=2),
        IMAGES,
    ),
    "BatchNorm2d": (mg.nn.BatchNorm2d(4, dtype=np.float64), double("BatchNorm2d", 4), IMAGES),
    "BatchNorm2d with settings": (
        mg.nn.BatchNorm2d(4, momentum=0.4, eps=1e-2, dtype=np.float64),
        double("BatchNorm2d", 4, momentum=0.4, eps=1e-2),
        IMAGES,
    ),
    "ReLU": (mg.nn.ReLU(), double("ReLU"), IMAGES),
    "MaxPool2d": (mg.nn.MaxPool2d(2), double("MaxPool2d", 2), IMAGES),
    "MaxPool2d that overlaps": (
        mg.nn.MaxPool2d(3, stride=2, padding=1),
        double("MaxPool2d", 3, stride=2, padding=1),
        IMAGES,
    ),
    "AvgPool2d": (mg.nn.AvgPool2d((2, 3)), double("AvgPool2d", (2, 3)), IMAGES),
    "AvgPool2d that overlaps": (
        mg.nn.AvgPool2d(3, stride=(1, 2), padding=1),
        double("AvgPool2d", 3, stride=(1, 2), padding=1),
        IMAGES,
    ),
    "GlobalAvgPool2d": (
        mg.nn.GlobalAvgPool2d(),
        torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()),
        IMAGES,
    ),
    "Flatten": (mg.nn.Flatten(), double("Flatten"), (3, 4, 2)),
    "Identity": (mg.nn.Identity(), double("Identity"), (3, 2)),
    "Sequential": (
        mg.nn.Sequential(ours("Linear", 4, 5), mg.nn.ReLU(), ours("Linear", 5, 2)),
        torch.nn.Sequential(double("Linear", 4, 5), torch.nn.ReLU(), double("Linear", 5, 2)),
        (3, 4),
    ),
}


def copy_parameters(layer, twin, seed=0):
    """Give both the same random parameters."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for p, q in zip(layer.parameters(), twin.parameters(), strict=True):
            p.data = rng.standard_normal(p.shape)
            assert q.shape == layout(p.data).shape
            q.copy_(layout(p.data))


def assert_parameters(layer, twin, what, gradients=False):
    for (name, p), q in zip(layer.named_parameters(), twin.parameters(), strict=True):
        mine, yours = (p.grad, q.grad) if gradients else (p, q)
        assert_close(mg.Tensor(layout(mine.data).numpy()), yours, f"{what}: {name}")


def call_both(layer, twin, x):
    """Run both on x, replay from a random cotangent; return outputs and the gradients of x, in our layout."""
    a, b = mg.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    out = layer(a)
    expected = channels_last(twin(channels_first(b))) if x.ndim == 4 else twin(b)
    g = random(out.shape, 3)
    for p in (*layer.parameters(), *twin.parameters()):
        p.grad = None
    out.backward(g)
    expected.backward(torch.tensor(g))
    return out, expected, a.grad, b.grad


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("case", LAYERS)
def test_layer(case, training):
    layer, twin, shape = LAYERS[case]
    layer.train(training)
    twin.train(training)
    copy_parameters(layer, twin)
    out, expected, dx, dx_expected = call_both(layer, twin, random(shape, 1))
    assert_close(out, expected, "value")
    assert_close(dx, dx_expected, "gradient of x")
    assert_parameters(layer, twin, "gradient", gradients=True)


def test_running_statistics_over_several_steps():
    layer, twin = mg.nn.BatchNorm2d(3, dtype=np.float64), double("BatchNorm2d", 3)
    copy_parameters(layer, twin)
    for step in range(6):
        training = step != 3  # in between, a step of evaluation, which leaves them alone
        layer.train(training)
        twin.train(training)
        x = (1 + step) * random((2 + step, 3, 4, 3), step) + np.array([5.0, -100.0, 0.0])
        out, expected, dx, dx_expected = call_both(layer, twin, x)
        assert_close(out, expected, f"value, step {step}")
        assert_close(dx, dx_expected, f"gradient of x, step {step}")
        assert_parameters(layer, twin, f"gradient, step {step}", gradients=True)
        assert_close(mg.Tensor(layer.running_mean.data), twin.running_mean, f"mean, step {step}")
        assert_close(mg.Tensor(layer.running_var.data), twin.running_var, f"variance, step {step}")
    layer.eval()
    twin.eval()
    x = random((2, 2, 2, 3), 9)
    out, expected, _, _ = call_both(layer, twin, x)
    assert_close(out, expected, "value in evaluation")


# Optimizer and schedule ----------------------------------------------------------------------


def train_both(sgd, twin_sgd, p, q, steps, after=lambda: None):
    """Take steps down a bowl that is not symmetric: loss = mean((A w - y) ** 2) + mean(w ** 4)."""
    a, y = random((7, p.shape[0]), 10), random((7, p.shape[1]), 11)
    for step in range(steps):
        loss = mg.mse_loss(mg.Tensor(a) @ p, mg.Tensor(y)) + (p**4).mean()
        sgd.zero_grad()
        loss.backward()
        twin_loss = F.mse_loss(torch.tensor(a) @ q, torch.tensor(y)) + (q**4).mean()
        twin_sgd.zero_grad()
        twin_loss.backward()
        assert_close(loss, twin_loss, f"loss, step {step}")
        sgd.step()
        twin_sgd.step()
        assert_close(p, q, f"parameter after step {step}")
        after()


@pytest.mark.parametrize(
    ("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True), (0.5, True)], ids=lambda v: str(v)
)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_sgd(momentum, nesterov, weight_decay):
    p = mg.nn.Parameter(random((4, 2), 0))
    q = torch.tensor(p.data.copy(), requires_grad=True)
    settings = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
    train_both(mg.optim.SGD([p], 0.05, **settings), torch.optim.SGD([q], 0.05, **settings), p, q, steps=8)


def test_sgd_with_groups():
    arrays = [random((2, 3), i) for i in range(3)]
    p = [mg.nn.Parameter(a.copy()) for a in arrays]
    q = [torch.tensor(a, requires_grad=True) for a in arrays]
    sgds = [
        make(
            [{"params": w[:2], "weight_decay": 0.0}, {"params": w[2:], "momentum": 0.5}],
            lr=0.1,
            momentum=0.9,
            weight_decay=0.2,
        )
        for make, w in ((mg.optim.SGD, p), (torch.optim.SGD, q))
    ]
    for step in range(5):
        for i, (a, b) in enumerate(zip(p, q, strict=True)):
            g = random((2, 3), 100 * step + i)
            a.grad = None if step == i == 1 else mg.Tensor(g)  # once, one has no gradient: it stays where it is
            b.grad = None if step == i == 1 else torch.tensor(g)
        for sgd in sgds:
            sgd.step()
        for i, (a, b) in enumerate(zip(p, q, strict=True)):
            assert_close(a, b, f"parameter {i} after step {step}")


@pytest.mark.parametrize("milestones", [[3, 6], [1], [5, 5, 6]])
def test_multi_step_lr(milestones):
    p = mg.nn.Parameter(random((4, 2), 0))
    q = torch.tensor(p.data.copy(), requires_grad=True)
    sgd, twin_sgd = mg.optim.SGD([p], 0.05, momentum=0.9), torch.optim.SGD([q], 0.05, momentum=0.9)
    schedule = mg.optim.MultiStepLR(sgd, milestones, gamma=0.3)
    twin_schedule = torch.optim.lr_scheduler.MultiStepLR(twin_sgd, milestones, gamma=0.3)
    rates = []

    def after():
        schedule.step()
        twin_schedule.step()
        rates.append((sgd.lr, twin_schedule.get_last_lr()[0]))

    train_both(sgd, twin_sgd, p, q, 9, after)
    assert_allclose(*zip(*rates, strict=True), rtol=1e-13)
