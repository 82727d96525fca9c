"""The answer to a name of PyTorch: the name is PyTorch's, minigrad lacks it, and the line names what there is."""

import ast
import re
import tomllib
import types
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.testing import assert_allclose

import minigrad as mg
from minigrad import data, inspect, nn, optim
from minigrad.data import transforms

TABLE = tomllib.loads(Path(mg.advice.__file__).with_name("advice.toml").read_text(encoding="utf-8"))
ROWS = [(place, name, line) for place, lines in TABLE.items() for name, line in lines.items()]

WEIGHT = nn.Parameter([1.0])
OURS = {
    "minigrad": mg,
    "minigrad.nn": nn,
    "minigrad.optim": optim,
    "minigrad.data": data,
    "minigrad.data.transforms": transforms,
    "minigrad.inspect": inspect,
    "Tensor": WEIGHT,
    "Module": nn.Linear(2, 3, rng=0),
    "Optimizer": optim.SGD([WEIGHT], 0.1),
}


@pytest.mark.parametrize(("place", "name", "line"), ROWS)
def test_the_line_is_said_and_names_what_there_is(place, name, line):
    with pytest.raises(AttributeError) as caught:
        getattr(OURS[place], name)
    assert str(caught.value).endswith(f"has no attribute {name!r}; write {line}")
    for part, attribute in re.findall(r"\b(mg|nn|optim|data|transforms|inspect|net|x|optimizer)\.(\w+)", line):
        places = {"mg": "minigrad", "net": "Module", "x": "Tensor", "optimizer": "Optimizer"}
        places["transforms"] = "minigrad.data.transforms"
        assert hasattr(OURS[places.get(part, f"minigrad.{part}")], attribute), attribute


@pytest.mark.parametrize("place", OURS)
def test_a_name_of_nobody_gets_no_advice(place):
    assert not hasattr(OURS[place], "nowhere")
    with pytest.raises(AttributeError, match=r"^.* has no attribute 'nowhere'(; it has .*)?$"):
        _ = OURS[place].nowhere


def test_the_names_are_pytorchs():
    torch = pytest.importorskip("torch")
    theirs = {
        "minigrad": [torch],
        "minigrad.nn": [torch.nn],
        "minigrad.optim": [torch.optim],
        "minigrad.data": [torch.utils.data],
        "minigrad.data.transforms": [],
        "minigrad.inspect": [],
        "Tensor": [torch.Tensor],
        "Module": [torch.nn.Module, torch.nn.Linear(1, 1), torch.nn.Conv2d(1, 1, 1)],
        "Optimizer": [torch.optim.SGD([torch.ones(1)], 0.1)],
    }
    lacking = [(place, name) for place, name, _ in ROWS if not any(hasattr(thing, name) for thing in theirs[place])]
    torchvisions = [("minigrad.data", "ImageFolder")]
    others = ("minigrad.data.transforms", "minigrad.inspect")  # not PyTorch's own
    assert lacking == torchvisions + [row[:2] for row in ROWS if row[0] in others]


# What the lines do ---------------------------------------------------------------------------

REMARKS = r", (for|which|with f|with all)\b.*|; they .*"
SEPARATORS = r", or |, with |; of an? \w+, |(?<=is made), |(?<=itself): "


def codes(line):
    """Return the parts of a line that are Python; the rest is English."""
    found = []
    for part in re.split(SEPARATORS, re.sub(REMARKS, "", line)):
        try:
            ast.parse(part)
        except SyntaxError:
            continue
        found.append(part)
    return found


def things():
    """Return what stands in the lines, by name."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.standard_normal(shape).astype("float32")

    x, net = nn.Parameter(draw(2, 3, 4)), nn.Sequential(nn.Sequential(nn.Linear(4, 2, rng=0)), nn.BatchNorm2d(2))
    parameters = [nn.Parameter([3.0]), nn.Parameter([4.0])]
    for p in (x, *parameters, *net.parameters()):
        p.grad = mg.Tensor(p.data)
    return {
        **{"np": np, "mg": mg, "nn": nn, "optim": optim, "data": data, "transforms": transforms, "inspect": inspect},
        **{"x": x, "y": draw(2, 3, 4), "array": draw(2, 3, 4), "arrays": [x, mg.Tensor(draw(2, 5, 4))]},
        **{
            "a": mg.Tensor(draw(2, 3, 4)),
            "b": mg.Tensor(draw(2, 4, 5)),
            "axis": 1,
            "n": 2,
            "length": 2,
            "c": 3,
            "p": 0.25,
        },
        **{
            "shape": (6, 4),
            "value": 2.5,
            "dtype": "float64",
            "rng": np.random.default_rng(0),
            "widths": [(0, 0), (1, 2)],
        },
        **{"labels": np.array([2, 0]), "logits": draw(2, 4), "log_probabilities": draw(2, 4)},
        **{"targets": rng.random((2, 4), "float32"), "parameters": parameters, "max_norm": 2.5, "iterations": 8},
        **{"sgd": optim.SGD(parameters, 0.5), "optimizer": optim.SGD(net.parameters(), 0.5), "net": net},
        **{"layer": nn.Linear(2, 3, rng=0), "self": nn.ReLU(), "dataset": data.Digits()},
        **{
            "degrees": 30,
            "size": 5,
            "loss": (x * x).sum(),
            "seen": (seen := []),
            "f": lambda *given: seen.append(given),
        },
        "module": net,
        "models": types.SimpleNamespace(resnet18=lambda **settings: settings),
    }


def on_a_device(device):
    """Stand for a net, or a Tensor, that can be moved to a device that this machine lacks."""
    return types.SimpleNamespace(to=lambda device: device)


#: Other things, for lines in which a name means something else.
NUMBERS = {"a": -0.5, "b": 0.75}
VECTORS = {"a": mg.Tensor([1.0, 2.0]), "b": mg.Tensor([3.0, -5.0])}
IMAGES = np.random.default_rng(1).integers(0, 256, (40, 6, 5, 3), "uint8")
MAPS = mg.Tensor(np.random.default_rng(2).standard_normal((2, 5, 4, 3)).astype("float32"))
FILTERS = mg.Tensor(np.random.default_rng(3).standard_normal((2, 3, 3, 6)).astype("float32"))
OTHERS = {
    **dict.fromkeys(["clamp", "linspace"], NUMBERS),
    **{"dot": VECTORS, "expand": {"shape": (5, 2, 3, 4)}, "cuda": dict.fromkeys(["net", "x"], on_a_device("cuda"))},
    **{"functional": {"x": MAPS, "w": FILTERS}, "ZeroPad2d": {"widths": [(0, 0), (1, 2), (0, 3)]}},
    "long": {"x": mg.Tensor([[1.0, -2.5]])},
    "kernel_size": {"layer": nn.Conv2d(3, 4, (3, 5), rng=0)},
}


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def in_pieces(s):
    return [s.x.data[:, :2], s.x.data[:, 2:]]


def is_clipped(norm, s):
    return (norm, [round(p.grad.item(), 4) for p in s.parameters]) == (5.0, [1.5, 2.0])


def second_step(optimizer, s):
    """Take steps along 1 and 2, and return how far the second went, as a share of the rate."""
    p = s.parameters[0]
    for g in (1.0, 2.0):
        before, p.grad = p.item(), mg.Tensor([g])
        optimizer.step()
    return (before - p.item()) / optimizer.lr


def is_flipped(flip):
    """Whether each image is as it was or upside down, and about as many are either."""
    out = flip(IMAGES, np.random.default_rng(0))
    kept, turned = ((out == way).all((1, 2, 3)) for way in (IMAGES, IMAGES[:, ::-1]))
    return (kept ^ turned).all() and 10 < kept.sum() < 30


def is_turned(transform, degrees, scale):
    return (transform.degrees, transform.translate, tuple(transform.scale)) == (degrees, 0.0, scale)


def is_cut(transform, s):
    return (type(transform), transform.size, transform.padding) == (transforms.RandomCrop, s.size, 4)


def normalised(layer):
    x = np.random.default_rng(0).standard_normal((50, 3)).astype("float32") * 7 + 1
    return np.allclose(layer(mg.Tensor(x)).data, (x - x.mean(0)) / x.std(0), atol=1e-4)


def dropped(layer, s):
    out = layer(mg.Tensor(np.ones(4000, "float32"))).data
    return np.allclose(np.unique(out), [0, 1 / (1 - s.p)]) and abs((out == 0).mean() - s.p) < 0.05


def hooked(s):
    (s.x * 3.0).sum().backward()
    return [g.data.tolist() for (g,) in s.seen] == [np.full(s.x.shape, 3.0).tolist()]


def hooked_forward(s):
    out = s.net(s.a)
    return [(m is s.net, given is out) for m, given in s.seen] == [(True, True)]


def no_part_in(parts, other):
    return len(parts[0]) == len(other) - 2 and not {*parts[0].indices} & {*parts[1].indices} and len(parts[1]) == 2


def unrecorded(context, s):
    with context:
        return not (s.x * 2.0).requires_grad


ENGLISH = None
#: For each line, what its codes give: a value, or a function that looks at the value and at what else there is.
MEANT = {
    "minigrad": {
        "tensor": lambda s: [np.array([1, 2], "float32")],
        "zeros": lambda s: [np.zeros((6, 4), "float32")],
        "ones": lambda s: [np.ones((6, 4), "float32")],
        "full": lambda s: [np.full((6, 4), 2.5, "float32")],
        "eye": lambda s: [np.array([[1, 0], [0, 1]], "float32")],
        "arange": lambda s: [np.array([0, 1], "float32")],
        "linspace": lambda s: [np.array([-0.5, 0.75], "float32")],
        "randn": lambda s: [np.random.default_rng(0).standard_normal((6, 4), "float32"), lambda _: s.rng.random() < 1],
        "rand": lambda s: [np.random.default_rng(0).random((6, 4), "float32"), lambda _: s.rng.random() < 1],
        "from_numpy": lambda s: [s.array],
        "manual_seed": ENGLISH,
        "float32": lambda s: [np.float32, "float32"],
        "float64": lambda s: [np.float64, "float64"],
        "int64": lambda s: [np.int64, "int64"],
        "cat": lambda s: [np.concatenate([array.data for array in s.arrays], 1)],
        "split": lambda s: [in_pieces(s)],
        "chunk": lambda s: [in_pieces(s)],
        "unsqueeze": lambda s: [s.x.data[:, None]],
        "permute": lambda s: [np.moveaxis(s.x.data, 2, 1)],
        "swapaxes": lambda s: [np.swapaxes(s.x.data, 1, 2)],
        "clamp": lambda s: [np.minimum(np.maximum(s.x.data, np.float32(-0.5)), np.float32(0.75))],
        "amax": lambda s: [np.amax(s.x.data, 1)],
        "argmax": lambda s: [np.argmax(s.x.data, 1)],
        "flatten": lambda s: [s.x.data.reshape(2, 12)],
        "mm": lambda s: [np.einsum("nij,njk->nik", s.a.data, s.b.data)],
        "bmm": lambda s: [np.einsum("nij,njk->nik", s.a.data, s.b.data)],
        "square": lambda s: [s.x.data * s.x.data],
        "cuda": lambda s: ["cuda", "cuda"],
        "enable_grad": ENGLISH,
        "inference_mode": lambda s: [lambda context: unrecorded(context, s)],
        "compile": ENGLISH,
    },
    "minigrad.nn": {
        "functional": lambda s: [
            (
                np.maximum(MAPS.data, 0),
                np.einsum("nxyckl,klcd->nxyd", sliding_window_view(MAPS.data, (2, 3), (1, 2)), FILTERS.data),
            )
        ],
        "ModuleList": ENGLISH,
        "ModuleDict": ENGLISH,
        "ParameterList": ENGLISH,
        "CrossEntropyLoss": lambda s: [-np.log(softmax(s.logits)[[0, 1], s.labels]).mean()],
        "NLLLoss": lambda s: [-s.log_probabilities[[0, 1], s.labels].mean()],
        "BCEWithLogitsLoss": lambda s: [(np.log1p(np.exp(s.logits)) - s.targets * s.logits).mean()],
        "MSELoss": lambda s: [((s.x.data - s.y) ** 2).mean()],
        "Softmax": lambda s: [softmax(s.x.data)],
        "LogSoftmax": lambda s: [np.log(softmax(s.x.data))],
        "Softplus": lambda s: [np.log1p(np.exp(s.x.data))],
        "AdaptiveAvgPool2d": lambda s: [lambda layer: np.allclose(layer(MAPS).data, MAPS.data.mean((1, 2)), atol=1e-6)],
        "BatchNorm1d": lambda s: [normalised],
        "Dropout2d": lambda s: [lambda layer: dropped(layer, s)],
        "ZeroPad2d": lambda s: [np.pad(s.x.data, s.widths)],
        "utils": lambda s: [lambda norm: is_clipped(norm, s)],
    },
    "minigrad.optim": {
        "lr_scheduler": lambda s: [
            lambda both: (
                [both[0].factor(i) for i in (0, 4, 8)] == pytest.approx([1.0, 0.5, 0.0])
                and [both[1].factor(i) for i in (999, 1000)] == pytest.approx([1.0, 0.1])
            )
        ],
        "RMSprop": lambda s: [lambda adam: second_step(adam, s) == pytest.approx(2 / (4.99 / 1.99) ** 0.5, rel=1e-3)],
        "NAdam": lambda s: [
            lambda adam: second_step(adam, s) == pytest.approx(2.9 / 1.9 / (4.999 / 1.999) ** 0.5, rel=1e-3)
        ],
        "Adagrad": ENGLISH,
        "LBFGS": ENGLISH,
    },
    "minigrad.data": {
        "random_split": lambda s: [lambda parts: no_part_in(parts, s.dataset)],
        "ImageFolder": ENGLISH,
    },
    "minigrad.data.transforms": {
        "ToTensor": lambda s: [
            lambda t: np.allclose(t(IMAGES), IMAGES / 255, atol=1e-6) and t(IMAGES).dtype == np.float32,
        ],
        "RandomRotation": lambda s: [lambda t: is_turned(t, s.degrees, (1.0, 1.0))],
        "RandomResizedCrop": lambda s: [lambda t: is_turned(t, 0, (0.8, 1.2)), lambda t: is_cut(t, s)],
        "RandomApply": ENGLISH,
        "Lambda": ENGLISH,
        "Pad": lambda s: [lambda t: is_cut(t, s)],
        "RandomVerticalFlip": lambda s: [is_flipped],
    },
    "minigrad.inspect": {"graph": lambda s: [lambda graph: isinstance(graph, inspect.Graph)]},
    "Tensor": {
        "view": lambda s: [s.x.data.reshape(6, 4)],
        "permute": lambda s: [np.moveaxis(s.x.data, 2, 1)],
        "swapaxes": lambda s: [np.swapaxes(s.x.data, 1, 2)],
        "unsqueeze": lambda s: [s.x.data[:, None]],
        "expand": lambda s: [np.stack([s.x.data] * 5)],
        "clamp": lambda s: [np.minimum(np.maximum(s.x.data, np.float32(-0.5)), np.float32(0.75))],
        "amax": lambda s: [np.amax(s.x.data, 1)],
        "pow": lambda s: [s.x.data * s.x.data],
        "square": lambda s: [s.x.data * s.x.data],
        "matmul": lambda s: [np.einsum("nij,njk->nik", s.a.data, s.b.data)],
        "mm": lambda s: [np.einsum("nij,njk->nik", s.a.data, s.b.data)],
        "dot": lambda s: [np.float32(-7.0)],
        "softmax": lambda s: [softmax(s.x.data)],
        "sigmoid": lambda s: [1 / (1 + np.exp(-s.x.data))],
        "tanh": lambda s: [np.tanh(s.x.data)],
        "relu": lambda s: [np.maximum(s.x.data, 0)],
        "norm": lambda s: [np.linalg.norm(s.x.data.ravel())],
        "chunk": lambda s: [in_pieces(s)],
        "split": lambda s: [in_pieces(s)],
        "clone": lambda s: [lambda y: (y.data == s.x.data).all() and not np.shares_memory(y.data, s.x.data)],
        "copy_": lambda s: [lambda _: (s.x.data == s.array).all()],
        "zero_": lambda s: [
            lambda _: (s.x.dtype, s.x.shape, abs(s.x.data).sum()) == (np.float32, (2, 3, 4), 0),
            lambda _: s.x.grad is None,
        ],
        "add_": lambda s: [lambda _: s.x.dtype == np.float32 and (s.x.data == things()["x"].data + s.y).all()],
        "requires_grad_": lambda s: [lambda _: s.x.requires_grad],
        "register_hook": lambda s: [lambda end: hooked(s)],
        "contiguous": ENGLISH,
        "cpu": lambda s: [s.x.data],
        "cuda": lambda s: ["cuda", "cuda"],
        "float": lambda s: [s.x.data.astype("float32")],
        "double": lambda s: [s.x.data.astype("float64")],
        "long": lambda s: [s.x.data.astype("int64")],
        "type": lambda s: [s.x.data.astype("float64")],
        "dim": lambda s: [3],
        "numel": lambda s: [24],
        "storage": lambda s: [lambda array: array is s.x.data],
    },
    "Module": {
        "cuda": lambda s: ["cuda", "cuda"],
        "cpu": lambda s: [lambda net: net is s.net],
        **dict.fromkeys(
            ("double", "float", "half"),
            lambda s: [{"rng": 0, "dtype": "float64"}, s.x.data.astype("float64")],
        ),
        "zero_grad": lambda s: [lambda _: all(p.grad is None for p in s.net.parameters())],
        "requires_grad_": lambda s: [lambda _: not any(p.requires_grad for p in s.net.parameters())],
        "modules": lambda s: [[s.net, s.net[0], s.net[0][0], s.net[1]]],
        "children": lambda s: [[s.net[0], s.net[1]]],
        "register_forward_hook": lambda s: [lambda end: hooked_forward(s)],
        "register_buffer": lambda s: [lambda _: dict(s.self.named_buffers())["name"].data is s.array],
        "register_parameter": lambda s: [lambda _: (dict(s.self.named_parameters())["name"].data == s.array).all()],
        "add_module": lambda s: [lambda _: dict(s.self.named_children()) == {"name": s.layer}],
        "in_features": lambda s: [2],
        "out_features": lambda s: [3],
        "kernel_size": lambda s: [(3, 5)],
    },
    "Optimizer": {"param_groups": lambda s: [lambda groups: groups is s.optimizer.groups], "add_param_group": ENGLISH},
}


def equal(value, expected):
    """Compare Tensors and arrays, also in lists and tuples, with their dtypes; anything else by ==."""
    if isinstance(expected, list | tuple) and any(isinstance(part, np.ndarray) for part in expected):
        assert len(value) == len(expected)
        for mine, theirs in zip(value, expected, strict=True):
            equal(mine, theirs)
    elif isinstance(expected, np.ndarray | np.generic):
        got = value.data if isinstance(value, mg.Tensor) else value
        assert_allclose(got, np.asarray(expected), rtol=2e-5, atol=1e-6, strict=True, equal_nan=False)
    else:
        assert value == expected


@pytest.mark.parametrize(("place", "name", "line"), ROWS)
def test_the_line_does_what_the_name_means(place, name, line):
    """Whatever in it is Python is run, and compared with what PyTorch's name does, in NumPy."""
    meant = MEANT[place][name]
    if meant is ENGLISH:
        return
    given = things() | OTHERS.get(name, {})
    s = types.SimpleNamespace(**given)
    parts, expected = codes(line), meant(s)
    assert len(parts) == len(expected)
    for part, right in zip(parts, expected, strict=True):
        run = eval if isinstance(ast.parse(part).body[0], ast.Expr) else exec
        value = run(part, given)
        if isinstance(right, types.FunctionType):
            assert right(value), part
        else:
            equal(value, right)


def test_every_line_has_a_meaning():
    assert [(place, name) for place, lines in MEANT.items() for name in lines] == [row[:2] for row in ROWS]
