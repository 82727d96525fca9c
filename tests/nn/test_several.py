"""Beyond the first: mixed lists and dicts, shared layers, several hooks, derived classes, large draws."""

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import minigrad as mg
from minigrad import nn
from minigrad.nn.module import evaluation
from tests.tools.again import LAYERS

# What a Module finds -------------------------------------------------------------------------

KINDS = [lambda: nn.Parameter([1.0]), lambda: nn.Buffer(np.ones(1)), nn.ReLU]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("keys", [(1, 2, 3), ("a", "b", "c.d"), ("a", "b", ("c", "d")), (None, "a", "b")])
def test_a_dict_in_which_only_one_value_would_be_overlooked_is_refused(kind, place, keys):
    """Keys are parts of paths: 1 and "1", or "c.d" and "d" within "c", would have one path."""
    net = nn.Sequential(nn.ReLU(), nn.ReLU())
    values = ["text", None]
    values.insert(place, kind())
    net[1].settings = {3: "depth"}
    net[1].names = {}
    assert list(net.parameters()) == []  # dicts of other things are no concern of a Module
    net[1].hidden = dict(zip(keys, values, strict=True))
    with pytest.raises(TypeError, match=r"ReLU\.hidden: .*not in a dict with such keys; use a list"):
        list(net.parameters())


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_name_in_a_list_is_the_place_in_it(kind):
    """What is no part of the net has a place, too: functions in a Sequential, None where a layer has no bias."""
    net = nn.Sequential(abs, nn.Linear(2, 2, bias=False, rng=0), abs, nn.Sequential(abs, nn.BatchNorm2d(2)))
    net.mixed = kind([None, nn.Parameter([1.0]), nn.ReLU(), 3, nn.Buffer(np.ones(1)), nn.Linear(1, 1, rng=0)])
    assert [name for name, _ in net.named_modules()] == ["", "1", "3", "3.1", "mixed.2", "mixed.5"]
    assert [name for name, _ in net.named_parameters()] == [
        "mixed.1",
        "1.weight",
        "3.1.weight",
        "3.1.bias",
        "mixed.5.weight",
        "mixed.5.bias",
    ]
    assert [name for name, _ in net.named_buffers()] == ["mixed.4", "3.1.running_mean", "3.1.running_var"]


@pytest.mark.parametrize("name", ["layers2", "sublayers", "layers_", "Layers", "a", "number_of_layers"])
def test_only_the_list_of_a_sequential_has_no_name_in_paths(name):
    """A name that begins or ends with `layers` stays whole; so does the key `layers` of a dict."""

    def made(seed):
        rng = np.random.default_rng(seed)
        net = nn.Sequential(nn.ReLU(), nn.Linear(1, 1, rng=rng), nn.Sequential(nn.Linear(1, 1, rng=rng)))
        part = nn.Linear(1, 1, rng=rng)
        setattr(net, name, [nn.Linear(1, 1, rng=rng), {"layers": [part, part], "layers_": nn.BatchNorm2d(1)}])
        return nn.Sequential(net)

    net, other = made(0), made(1)
    own = ["0", "1", "2", f"{name}.0", f"{name}.1.layers.0", f"{name}.1.layers_"]
    assert list(dict(net[0].named_children())) == [*own[:5], f"{name}.1.layers.1", own[5]]
    paths = ["0", *(f"0.{path}" for path in [*own[:3], "2.0", *own[3:]])]
    assert [path for path, _ in net.named_modules()] == ["", *paths]
    held = [path for path in paths if path not in ("0", "0.0", "0.2")]
    assert [path for path, _ in net.named_parameters()] == [f"{p}.{part}" for p in held for part in ("weight", "bias")]
    assert [path for path, _ in net.named_buffers()] == [
        f"{held[-1]}.{part}" for part in ("running_mean", "running_var")
    ]
    assert other.load_state_dict(net.state_dict()) == ([], [])
    for path, array in net.state_dict().items():
        assert_array_equal(other.state_dict()[path], array, strict=True)


class Fails(nn.Sequential):
    """A model that cannot go into evaluation mode; its parts can."""

    def eval(self):
        for layer in self.layers:
            layer.eval()
        raise RuntimeError("not this one")


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("mode", [True, False])
def test_modes_are_restored_where_a_model_fails_on_the_way_in(place, mode):
    """Those of the models before it, its own, and those of the models behind it."""
    parts = [nn.Sequential(nn.ReLU(), nn.ReLU()).train(mode) for _ in range(3)]
    models = [nn.Sequential(part, nn.ReLU()) for part in parts]
    models.insert(place, Fails(nn.ReLU(), parts[0]))
    modes = [(module, module.training) for model in models for _, module in model.named_modules()]
    with pytest.raises(RuntimeError, match="not this one"), evaluation(*models):
        pass
    assert all(module.training is training for module, training in modes)


@pytest.mark.parametrize("modes", list(itertools.product([True, False], repeat=3)))
def test_modes_are_restored_where_models_share_layers(modes):
    """Two nets on one body, a net beside its own part, and one net twice."""
    body = nn.Sequential(nn.ReLU())
    a, b = nn.Sequential(body), nn.Sequential(body, nn.ReLU())
    layers = [a, b, body]
    for models in [(a, b), (b, a), (a, body), (body, a), (a, a), (a, b, body)]:
        for layer, training in zip(layers, modes, strict=True):
            layer.training = training
        body[0].training = modes[0]
        with evaluation(*models):
            assert not any(module.training for model in models for _, module in model.named_modules())
        assert [*(layer.training for layer in layers), body[0].training] == [*modes, modes[0]]


def first_paths(module, path="", seen=()):
    """Return the path at which a walk from part to part, in their order, meets each Module first."""
    found = {} if id(module) in seen else {id(module): path}
    for name, part in module.named_children() if found else ():
        found |= first_paths(part, f"{path}.{name}" if path else name, {*seen, *found})
    return found


@pytest.mark.parametrize("seed", range(20))
def test_a_shared_module_has_the_path_at_which_it_comes_first(seed):
    """Whatever is shared at whatever depths: the paths of states are those of a walk in order."""
    rng = np.random.default_rng(seed)
    parts = [nn.Linear(1, 1, rng=0), nn.BatchNorm2d(1), nn.ReLU(), nn.Linear(1, 1, rng=1)]
    for _ in range(6):
        chosen = [parts[i] for i in rng.integers(len(parts), size=3)]
        parts.append(nn.Sequential(*chosen))
    net = nn.Sequential(*(parts[i] for i in rng.permutation(len(parts))), parts[0])
    paths = first_paths(net)
    assert [(id(module), path) for path, module in net.named_modules()] == list(paths.items())
    for kind in (net.named_parameters, net.named_buffers):
        owned = {f"{paths[id(m)]}.{name}": v for m in parts[:4] for name, v in getattr(m, kind.__name__)()}
        assert dict(kind()) == owned
    expected = {name for kind in (net.named_parameters, net.named_buffers) for name, _ in kind()}
    assert set(net.state_dict()) == expected


# State ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loaded_state_is_copied(dtype):
    """The dtype of the model stays; two nets that load one state have nothing in common."""
    state = nn.Sequential(nn.Linear(2, 3, rng=1, dtype=dtype), nn.BatchNorm2d(3, dtype=dtype)).state_dict()
    before = {name: array.copy() for name, array in state.items()}
    for own in ("float32", "float64"):
        net = nn.Sequential(nn.Linear(2, 3, rng=0, dtype=own), nn.BatchNorm2d(3, dtype=own))
        net.load_state_dict(state)
        for value in [*net.parameters(), *net.buffers()]:
            assert value.data.dtype == own
            assert not any(np.shares_memory(value.data, given) for given in state.values())
        net(mg.Tensor(np.ones((4, 2), own))).sum().backward()
        mg.optim.SGD(net.parameters(), 1.0, weight_decay=0.5).step()
        for name, array in state.items():
            assert_array_equal(array, before[name], strict=True)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("weight", (2, 3)),
        ("weight", (6,)),
        ("weight", (1, 3, 2)),
        ("weight", (3, 2, 1)),
        ("bias", (1, 2)),
        ("bias", (2, 1)),
        ("s", (1,)),
        ("one", ()),
        ("one", (1, 1)),
    ],
)
def test_an_array_of_the_same_size_in_another_shape_is_refused(name, shape):
    """NumPy would write (1, 2) into (2,) without a word."""
    net = nn.Linear(3, 2, rng=0)
    net.s, net.one = nn.Parameter(np.array(1.0)), nn.Buffer(np.ones(1))
    state = net.state_dict()
    changed = {key: array + 1 for key, array in state.items()} | {name: state[name].reshape(shape)}
    with pytest.raises(ValueError, match="load_state_dict") as caught:
        net.load_state_dict(changed)
    assert f"{name}: expected shape {state[name].shape}, got {shape}" in str(caught.value)
    for key, array in net.state_dict().items():
        assert_array_equal(array, state[key], strict=True)


# Hooks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ended", [e for n in range(4) for e in itertools.permutations(range(3), n)])
@pytest.mark.parametrize("within", [False, True])
def test_each_of_three_hooks_ends_when_it_is_told_to(ended, within):
    """Before a forward pass, or by itself within it: there every hook is called once more, none is skipped."""
    layer, seen, ends = nn.ReLU(), [], []

    def note(i):
        seen.append(i)
        if within and i in ended and i in ends_left:
            ends_left.pop(i)()

    ends = [layer.hook(lambda module, out, i=i: note(i)) for i in range(3)]
    ends_left = dict(enumerate(ends))
    if not within:
        for i in ended:
            ends_left.pop(i)()
    layer(mg.Tensor([1.0]))
    assert seen == (list(range(3)) if within else sorted(ends_left))
    seen.clear()
    layer(mg.Tensor([1.0]))
    assert seen == sorted(set(range(3)) - set(ended))


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("ended", range(3))
def test_a_function_that_is_hooked_several_times_is_called_as_often(ended, times):
    """Each end takes back its own, however often it is called; also on another layer, and beside another function."""
    layers, seen = [nn.ReLU(), nn.ReLU()], []

    def note(module, out):
        seen.append(module)

    layers[1].hook(note)
    ends = [layers[0].hook(note), layers[0].hook(lambda *_: seen.append(None)), layers[0].hook(note)]
    for _ in range(times):
        ends[ended]()
    for layer in layers:
        layer(mg.Tensor([1.0]))
    expected = [layers[0], None, layers[0]]
    assert seen == [*expected[:ended], *expected[ended + 1 :], layers[1]]


# Random numbers ------------------------------------------------------------------------------

X = np.ones(1000)


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: nn.Linear(20, 50, rng=rng).weight.data,
        lambda rng: nn.Conv2d(4, 5, 3, rng=rng).weight.data,
        lambda rng: nn.ConvTranspose2d(4, 5, 3, rng=rng).weight.data,
        lambda rng: nn.Embedding(20, 50, rng=rng).weight.data,
        lambda rng: nn.Dropout(0.5, rng=rng)(mg.Tensor(X)).data,
        lambda rng: nn.init.he_normal((20, 50), rng=rng),
        lambda rng: nn.init.he_uniform((20, 50), rng=rng),
        lambda rng: nn.init.glorot_uniform((20, 50), rng=rng),
    ],
)
def test_layers_with_one_generator_draw_one_after_the_other(draw):
    """It is the Generator itself that they draw from, not a copy in the state that it had."""
    rng = np.random.default_rng(0)
    first, state = draw(rng), rng.bit_generator.state
    assert state != np.random.default_rng(0).bit_generator.state
    second = draw(rng)
    assert (first != second).any()
    rng.bit_generator.state = state
    assert_array_equal(draw(rng), second, strict=True)


@pytest.mark.parametrize("shape", [(7, 3), (257, 256), (3, 3, 64, 128)])
@pytest.mark.parametrize("rule", ["he_normal", "he_uniform", "glorot_uniform"])
def test_draws_of_every_size_are_made_in_float64_and_rounded_once(rule, shape):
    fan_in, fan_out = math.prod(shape[:-1]), math.prod(shape[:-2]) * shape[-1]
    rng = np.random.default_rng(0)
    draws = rng.standard_normal(shape) if rule == "he_normal" else rng.uniform(-1, 1, shape)
    variance = 2 / (fan_in + fan_out) if rule == "glorot_uniform" else 2 / fan_in
    expected = draws * math.sqrt(variance * (1 if rule == "he_normal" else 3))
    for dtype in ("float32", "float64", "longdouble"):
        drawn = getattr(nn.init, rule)(shape, rng=0, dtype=dtype)
        np.testing.assert_allclose(drawn, expected.astype(dtype), rtol=2 * np.finfo(dtype).eps, strict=True)


# Folding -------------------------------------------------------------------------------------


def derived(kind):
    """A class whose forward computes something else."""
    return type("Derived", (kind,), {"forward": lambda self, x: mg.exp(kind.forward(self, x) * 0.1)})


def same(kind):
    """A class that only has another name: even that is left, since a class may do anything."""
    return type("Same", (kind,), {})


@pytest.mark.parametrize("change", [derived, same])
@pytest.mark.parametrize("changed", [nn.Linear, nn.Conv2d, nn.BatchNorm2d])
def test_a_derived_class_is_not_folded(changed, change):
    made = {kind: change(kind) if kind is changed else kind for kind in (nn.Linear, nn.Conv2d, nn.BatchNorm2d)}
    net = nn.Sequential(
        made[nn.Conv2d](3, 3, 1, rng=0), made[nn.BatchNorm2d](3), made[nn.Linear](3, 3, rng=1), made[nn.BatchNorm2d](3)
    )
    x = mg.Tensor(np.random.default_rng(0).standard_normal((2, 4, 4, 3)).astype("float32"))
    net(x)
    folded = nn.fold_batch_norm(net)
    left = {nn.Linear: 3, nn.Conv2d: 3, nn.BatchNorm2d: 4}[changed]
    assert len(folded) == left
    np.testing.assert_allclose(folded(x).data, net.eval()(x).data, rtol=1e-5, atol=1e-5, strict=True)


# Frozen, empty -------------------------------------------------------------------------------


def of_all_kinds(seed):
    rng = np.random.default_rng(seed)
    conv, norm = nn.Conv2d(3, 4, 3, padding=1, rng=rng), nn.BatchNorm2d(4)
    net = nn.Sequential(conv, norm, nn.ReLU(), nn.Flatten(), nn.Linear(16, 2, rng=rng))
    net.gains = [nn.Parameter(rng.random(2)), nn.Parameter(rng.random(3))]
    for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        value.data[...] = rng.uniform(0.5, 1.5, 4)
    return net


@pytest.mark.parametrize("frozen", [[], [0], [-1], [0, 3], range(8)])
def test_frozen_parameters_are_listed_saved_loaded_and_folded_like_others(frozen):
    """To freeze a parameter takes away its gradient, and nothing else."""
    net, other, free = of_all_kinds(0), of_all_kinds(1), of_all_kinds(0)
    assert len(list(net.parameters())) == 8
    for each in (net, other):
        for i in frozen:
            list(each.parameters())[i].requires_grad = False
    assert [name for name, _ in net.named_parameters()] == [name for name, _ in free.named_parameters()]
    other.load_state_dict(net.state_dict())
    assert list(net.state_dict()) == list(free.state_dict())
    for name, array in free.state_dict().items():
        assert_array_equal(net.state_dict()[name], array, strict=True)
        assert_array_equal(other.state_dict()[name], array, strict=True)
    for name, array in nn.fold_batch_norm(free).state_dict().items():
        assert_array_equal(nn.fold_batch_norm(net).state_dict()[name], array, strict=True)
    assert sum(p.requires_grad for p in other.parameters()) == 8 - len(frozen)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_a_batch_of_no_images_has_the_shape_of_any_other(kind, training):
    """Batch norm has no statistics of nothing: only in evaluation does it take such a batch."""
    layer = LAYERS[kind]("float32").train(training and kind != "BatchNorm2d")
    for shape in ((6, 5, 4), (3, 7, 4)):
        x = mg.Tensor(np.ones((2, *shape), "float32"), requires_grad=True)
        none = mg.Tensor(x.data[:0], requires_grad=True)
        out = layer(none)
        assert out.shape == (0, *layer(x).shape[1:])
        out.sum().backward()
        assert none.grad.shape == (0, *shape)
