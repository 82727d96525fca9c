"""Modules, layers, initialisation."""

import collections
import copy
import pickle
import types

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import minigrad as mg
from minigrad import nn
from models import cifar_resnet


def net():
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, rng=0), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2, rng=1)
    )


def images(n=4):
    return mg.Tensor(np.random.default_rng(0).standard_normal((n, 2, 2, 2)).astype("float32"))


# Module ----------------------------------------------------------------------------------------


def test_names_are_paths_in_the_order_of_definition():
    model = net()
    assert [name for name, _ in model.named_parameters()] == [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
        "4.weight",
        "4.bias",
    ]
    assert [name for name, _ in model.named_buffers()] == ["1.running_mean", "1.running_var"]
    assert sorted(model.state_dict()) == sorted(
        [name for name, _ in model.named_parameters()] + [name for name, _ in model.named_buffers()]
    )


def test_a_shared_parameter_comes_once():
    model = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=1))
    model.layers[1].weight = model.layers[0].weight
    assert len(list(model.parameters())) == 3


def test_train_and_eval_reach_every_part():
    model = net()
    assert all(module.training for _, module in model.named_modules())
    assert model.eval() is model
    assert not any(module.training for _, module in model.named_modules())
    before = model.state_dict()
    model(images())
    for name, value in model.state_dict().items():
        assert_array_equal(value, before[name])
    model.train()(images())
    assert not np.array_equal(model.state_dict()["1.running_mean"], before["1.running_mean"])


def test_state_goes_from_one_model_to_another():
    a, b = net(), nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, rng=5), *net().layers[1:4], nn.Linear(12, 2, rng=6))
    a(images())  # moves the running statistics
    b.load_state_dict(a.state_dict())
    assert_array_equal(a.eval()(images()).data, b.eval()(images()).data)
    state = a.state_dict()
    state["0.weight"][...] = 0  # a copy: the model does not change
    assert a.layers[0].weight.data.any()


def test_a_state_that_does_not_fit_is_refused_whole():
    model = net()
    before = model.state_dict()
    state = {name: value + 1 for name, value in before.items()}
    del state["0.weight"]
    state["head.weight"] = np.zeros(1)
    state["4.bias"] = np.zeros(7)
    with pytest.raises(ValueError, match="load_state_dict") as caught:
        model.load_state_dict(state)
    for line in ("missing: 0.weight", "unexpected: head.weight", "4.bias: expected shape (2,), got (7,)"):
        assert line in str(caught.value)
    for name, value in model.state_dict().items():
        assert_array_equal(value, before[name])


def test_parameters_and_modules_in_lists():
    class Ensemble(nn.Module):
        def __init__(self):
            self.gains = [nn.Parameter([1.0]), nn.Parameter([2.0])]
            self.parts = (nn.Linear(2, 2, rng=0), nn.ReLU())

    model = Ensemble()
    assert [name for name, _ in model.named_parameters()] == ["gains.0", "gains.1", "parts.0.weight", "parts.0.bias"]
    model.again = model.parts[0]
    model.itself = model
    assert len(list(model.named_modules())) == 3
    for hidden in (nn.Parameter([1.0]), nn.Buffer(np.ones(1)), nn.ReLU()):
        model.hidden = {hidden}
        with pytest.raises(TypeError, match="Ensemble.hidden: .*not in a set"):
            list(model.parameters())


class Heads(nn.Module):
    """Layers by name, in dicts in lists in dicts, and a dict that holds itself."""

    def __init__(self):
        self.heads = {
            "digit": nn.Linear(2, 3, rng=0),
            "colour": [nn.Linear(2, 1, rng=1), {"gain": nn.Parameter([2.0])}],
        }
        self.statistics = collections.OrderedDict(mean=nn.Buffer(np.zeros(2, "float32")), n=3)
        self.heads["all"] = self.heads

    def forward(self, x):
        linear, scale = self.heads["colour"]
        return self.heads["digit"](x - self.statistics["mean"].data), linear(x) * scale["gain"]


def test_layers_in_dicts_have_their_keys_in_their_paths():
    net, other = Heads(), Heads()
    paths = [
        "heads.colour.1.gain",
        "heads.digit.weight",
        "heads.digit.bias",
        "heads.colour.0.weight",
        "heads.colour.0.bias",
    ]
    assert [name for name, _ in net.named_parameters()] == paths
    assert [name for name, _ in net.named_buffers()] == ["statistics.mean"]
    assert [path for path, _ in net.named_modules()] == ["", "heads.digit", "heads.colour.0"]
    assert not any(module.training for _, module in net.eval().named_modules())
    assert "(heads.digit): Linear(2, 3)" in repr(net)
    net.load_state_dict({name: array + 1 for name, array in net.state_dict().items()})
    other.load_state_dict(net.state_dict())
    x = mg.Tensor([[1.0, -2.0]])
    for same in (other, copy.deepcopy(net), pickle.loads(pickle.dumps(net)), nn.fold_batch_norm(net)):
        for got, expected in zip(same(x), net(x), strict=True):
            assert_array_equal(got.data, expected.data, strict=True)
    (net(x)[0].sum() + net(x)[1].sum()).backward()
    assert all(p.grad is not None for p in net.parameters())
    assert net.to("cpu").heads["digit"].weight.grad is None


class Nested(nn.Module):
    """Everything that a Module may hold, in lists and tuples in lists, and one list that holds itself."""

    def __init__(self):
        self.gains = [[nn.Parameter([2.0])], ((nn.Parameter([3.0]),), nn.Buffer(np.array([5.0], "float32")))]
        self.branches = [
            [nn.Linear(1, 1, rng=0), nn.BatchNorm2d(1)],
            ([nn.Sequential(nn.Linear(1, 1, rng=1), nn.BatchNorm2d(1))], nn.Dropout(0.5, rng=2)),
        ]
        self.branches.append(self.branches)

    def forward(self, x):
        (linear, norm), ((chain,), dropout), _ = self.branches
        ((a,), ((b,), c)) = self.gains
        return dropout(norm(linear(x)) * a + chain(x) * b) * c.data


NESTED = ["branches.0.0.weight", "branches.0.0.bias", "branches.0.1.weight", "branches.0.1.bias"]
NESTED += ["branches.1.0.0.0.weight", "branches.1.0.0.0.bias", "branches.1.0.0.1.weight", "branches.1.0.0.1.bias"]


def test_lists_in_lists_are_walked():
    """They were overlooked: neither trained nor saved nor put into evaluation mode, without a word."""
    net = Nested()
    assert [name for name, _ in net.named_parameters()] == ["gains.0.0", "gains.1.0.0", *NESTED]
    statistics = [
        f"{name}.{part}" for name in ("branches.0.1", "branches.1.0.0.1") for part in ("running_mean", "running_var")
    ]
    assert [name for name, _ in net.named_buffers()] == ["gains.1.1", *statistics]
    assert list(net.state_dict()) == [name for name, _ in (*net.named_parameters(), *net.named_buffers())]
    paths = [
        "",
        "branches.0.0",
        "branches.0.1",
        "branches.1.0.0",
        "branches.1.0.0.0",
        "branches.1.0.0.1",
        "branches.1.1",
    ]
    assert [path for path, _ in net.named_modules()] == paths
    assert not any(module.training for _, module in net.eval().named_modules())
    seen = []
    net.apply(lambda module: seen.append(type(module).__name__))
    assert seen == ["Nested", "Linear", "BatchNorm2d", "Sequential", "Linear", "BatchNorm2d", "Dropout"]
    assert "(branches.1.0.0): Sequential(" in repr(net)


def test_what_stands_in_nested_lists_is_trained_copied_loaded_and_folded():
    net, other = Nested(), Nested()
    net.branches[0][1].running_mean.data[...] = 0.5
    x = mg.Tensor(np.random.default_rng(0).standard_normal((8, 1)).astype("float32"))
    expected = net.eval()(x).data
    for same in (copy.deepcopy(net), nn.fold_batch_norm(net), other):
        same.load_state_dict(net.state_dict()) if same is other else None
        assert_allclose(same.eval()(x).data, expected, rtol=1e-5)
    assert len(nn.fold_batch_norm(net).branches[1][0][0]) == 1
    assert len(net.branches[1][0][0]) == 2
    before = net.state_dict()
    sgd = mg.optim.SGD(net.parameters(), 0.1)
    (net.train()(x) ** 2).sum().backward()
    sgd.step()
    unmoved = {name for name, value in net.state_dict().items() if np.array_equal(value, before[name])}
    assert unmoved <= {
        "gains.1.1",
        "branches.0.0.bias",
        "branches.1.0.0.0.bias",
    }  # a bias before batch norm has no gradient
    assert net.to("cpu").branches[0][0].weight.grad is None


HIDDEN = {
    "dict of lists": lambda thing: {1: [thing]},
    "dict of dicts": lambda thing: {"a": {"b": {"c.d": thing}}},
    "dict in a list": lambda thing: [1, {None: thing}],
    "dict in a dict in tuples": lambda thing: (((), {"a": [{("b", 1): (thing,)}]}),),
    "ordered dict": lambda thing: collections.OrderedDict([(1, thing)]),
    "mapping": lambda thing: types.MappingProxyType({"a.b": thing}),
    "set": lambda thing: {thing},
    "frozen set": lambda thing: [frozenset([thing])],
    "deque": lambda thing: collections.deque([thing]),
    "user list": lambda thing: collections.UserList([[thing]]),
}


@pytest.mark.parametrize("kind", HIDDEN)
@pytest.mark.parametrize("thing", [lambda: nn.Parameter([1.0]), lambda: nn.Buffer(np.ones(1)), nn.ReLU], ids=range(3))
def test_what_is_not_walked_is_refused_wherever_it_stands(kind, thing):
    net = nn.Sequential(nn.ReLU(), Mask())
    net[1].hidden = HIDDEN[kind](thing())
    uses = [nn.Module.state_dict, nn.Module.eval, nn.Module.train, lambda net: net.apply(print), nn.fold_batch_norm]
    for use in [*uses, lambda net: net.to("cpu"), lambda net: list(net.parameters()), lambda net: list(net.buffers())]:
        with pytest.raises(TypeError, match=r"^Mask\.hidden[.\w]*: .* not in a \w+( with such keys)?; use a list"):
            use(net)


def test_settings_in_a_dict_are_nobodys_business():
    net = nn.Sequential(Mask())
    net[0].settings = {"sizes": [(1, 2), {3}], "names": collections.deque("ab"), "f": print}
    assert list(net.state_dict()) == ["0.mask", "0.scales.0", "0.scales.1"]
    assert not net.eval()[0].training


class Mask(nn.Module):
    """A layer with a buffer, buffers in a list, and a shared one."""

    def __init__(self):
        self.mask = nn.Buffer(np.array([1.0, 0.0], "float32"))
        self.scales = [nn.Buffer(np.full(2, 3.0, "float32")), nn.Buffer(np.ones(2, "float32"))]
        self.again = self.mask

    def forward(self, x):
        return x * self.mask.data * self.scales[0].data


def test_buffers_are_saved_loaded_and_not_trained():
    model, other = Mask(), Mask()
    assert list(model.parameters()) == []
    assert [name for name, _ in model.named_buffers()] == ["mask", "scales.0", "scales.1"]
    model.mask.data = np.array([0.0, 5.0], "float32")
    other.load_state_dict(model.state_dict())
    assert_array_equal(other(mg.Tensor([1.0, 1.0])).data, [0, 15])
    assert not np.shares_memory(other.mask.data, model.mask.data)
    assert model.to("cpu") is model
    with pytest.raises(TypeError, match="Buffer: expected an array, got list"):
        nn.Buffer([1.0])


@pytest.mark.parametrize("attribute", [np.ones(2), [np.ones(2)], (nn.ReLU(), np.ones(2))])
@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.state_dict(),
        lambda model: model.load_state_dict({}),
        lambda model: model.to("cpu"),
        lambda model: mg.optim.SGD(model.parameters(), 0.1),
    ],
)
def test_an_array_alone_is_refused_with_the_fix(attribute, use):
    model = nn.Sequential(Mask())
    model[0].weights = attribute
    with pytest.raises(
        TypeError, match=r"Mask\.weights(\.\d)?: .*neither saved nor moved; wrap it: nn\.Buffer\(array\)"
    ):
        use(model)
    model[0]._weights = vars(model[0]).pop("weights")
    assert list(model.state_dict()) == ["0.mask", "0.scales.0", "0.scales.1"]


def test_a_sequential_is_a_sequence_of_its_layers():
    model = net()
    assert len(model) == 5
    assert model[1] is model.layers[1]
    assert list(model) == model.layers
    assert [type(layer).__name__ for layer in model][-1] == type(model[-1]).__name__ == "Linear"

    with pytest.raises(IndexError):
        model[5]
    head = model[-1] = nn.Linear(12, 7, rng=0)
    assert model[4] is head
    assert model(images()).shape == (4, 7)
    with pytest.raises(TypeError, match=r"got list; pass them one by one: Sequential\(\*layers\)"):
        nn.Sequential([nn.ReLU()])

    class Headed(nn.Sequential):
        def __init__(self):
            super().__init__(nn.ReLU())
            self.head = nn.Linear(2, 1, rng=0)

    assert [name for name, _ in Headed().named_modules()] == ["", "0", "head"]
    assert type(Headed()[:1]) is type(Headed()[:]) is nn.Sequential


ENDS = [None, 0, 2, 5, 9, -1, -9]


@pytest.mark.parametrize("step", [None, 1, 2, -1])
def test_a_slice_is_a_sequential_of_its_own(step):
    """Of the same layers; what is put into it, or into the whole, is not put into the other: of all layers, too."""
    model, other = net(), nn.Identity()
    layers = list(model)
    for i in [slice(begin, end, step) for begin in ENDS for end in ENDS]:
        part = model[i]
        assert type(part) is nn.Sequential
        assert part.layers == layers[i]
        part.layers.append(other)
        part[0] = other
        part.eval().extra = other
        assert list(model) == layers
        assert vars(model).keys() == {"layers"}
        part = model[i]
        model[1] = other
        assert part.layers == layers[i]
        model[1] = layers[1]


def test_sizes_and_seeds_are_checked():
    for make in (
        lambda: nn.Linear(0, 3, rng=0),
        lambda: nn.Linear(3, 2.5, rng=0),
        lambda: nn.Conv2d(-1, 3, 3, rng=0),
        lambda: nn.BatchNorm2d(0),
    ):
        with pytest.raises(ValueError, match="expected c(_in|_out)? to be an int of at least 1, got"):
            make()
    for wrong, expected in [
        ({"kernel": "three"}, "kernel to be an int of at least 1, or a pair of them, got 'three'"),
        ({"kernel": 0}, "kernel to be an int of at least 1"),
        ({"stride": "two"}, "stride to be an int of at least 1"),
        ({"stride": (1, 2, 3)}, "stride to be an int of at least 1"),
        ({"padding": -1}, "padding to be an int of at least 0"),
        ({"dilation": 0}, "dilation to be an int of at least 1"),
        ({"groups": 0}, "groups to be an int of at least 1"),
    ]:
        with pytest.raises(ValueError, match=f"Conv2d: expected {expected}"):
            nn.Conv2d(3, 3, **({"kernel": 3, "rng": 0} | wrong))
    for pool in (nn.MaxPool2d, nn.AvgPool2d):
        with pytest.raises(ValueError, match=f"{pool.__name__}: expected stride to be an int of at least 1"):
            pool(2, stride=0)
    with pytest.raises(ValueError, match="Dropout: expected a number with 0 <= p < 1, got 1"):
        nn.Dropout(1, rng=0)
    with pytest.raises(ValueError, match="Conv2d: groups=2 must divide c_in = 3 and c_out = 4"):
        nn.Conv2d(3, 4, 3, groups=2, rng=0)
    made = {"Linear": lambda rng: nn.Linear(3, 2, rng=rng), "Dropout": lambda rng: nn.Dropout(rng=rng)}
    for name, make in made.items():
        for wrong in (None, 1.5, -1, "seed"):
            expected = rf"{name}: expected rng to be a .*, got {wrong!r}"
            with pytest.raises(TypeError, match=expected):
                make(wrong)


def test_frozen_parameters_get_no_gradient():
    model = net()
    for p in model.layers[0].parameters():
        p.requires_grad = False
    model(images()).sum().backward()
    assert model.layers[0].weight.grad is None
    sgd = mg.optim.SGD(model.parameters(), 0.1)  # a frozen parameter stays where it is
    before = model.layers[0].weight.data.copy()
    sgd.step()
    sgd.zero_grad()
    assert_array_equal(model.layers[0].weight.data, before)
    model.to("cpu")
    model(images()).sum().backward()
    assert model.layers[4].weight.grad is not None


def test_to_drops_gradients_and_keeps_parameters():
    model = net()
    model(images()).sum().backward()
    parameters = list(model.parameters())
    assert model.to("cpu") is model
    assert list(model.parameters()) == parameters
    assert all(p.grad is None for p in parameters)


def test_repr_shows_the_parts():
    assert "(0): Conv2d(2, 3, 3, padding=1)" in repr(net())
    assert repr(nn.Sequential()) == "Sequential()"


class Scale(nn.Module):
    """A layer of a user: `gain` is a setting with an attribute, `hidden` one without."""

    def __init__(self, gain, hidden, *, steps=(1, 2)):
        self.gain, self.steps = gain, steps


#: Layers as one writes them: their repr is the same, without the seed.
WRITTEN = [
    "Linear(3, 2)",
    "Linear(3, 2, bias=False, dtype='float64')",
    "Conv2d(2, 4, 3)",
    "Conv2d(2, 4, 3, padding='same')",
    "Conv2d(2, 4, (1, 2), stride=(2, 1), padding=(0, 1), dilation=2, groups=2, bias=False)",
    "BatchNorm2d(3)",
    "BatchNorm2d(3, momentum=0.2, eps=0.001, dtype='float64')",
    "MaxPool2d(3, stride=2, padding=1)",
    "AvgPool2d((1, 2), stride=1)",
    "Dropout(p=0.3)",
    *("ReLU()", "GlobalAvgPool2d()", "Flatten()", "Identity()", "Tanh()", "Sigmoid()", "SiLU()", "GELU()"),
    "LeakyReLU(negative_slope=0.2)",
    "LayerNorm(8)",
    "LayerNorm((4, 4, 8), eps=0.001, dtype='float64')",
    "GroupNorm(2, 8)",
    "GroupNorm(2, 8, eps=0.001)",
    "Embedding(100, 8)",
    "ConvTranspose2d(4, 3, 4, stride=2, padding=(1, 0), output_padding=1, bias=False)",
]


@pytest.mark.parametrize("text", WRITTEN)
def test_a_layer_is_shown_as_it_is_written(text):
    kind = getattr(nn, text.partition("(")[0])
    drawn = (nn.Linear, nn.Conv2d, nn.Dropout, nn.Embedding, nn.ConvTranspose2d)
    seed = {"rng": 0} if kind in drawn else {}
    layer = eval(f"make({text.partition('(')[2]}", {"make": lambda *args, **settings: kind(*args, **settings, **seed)})
    assert repr(layer) == text


@pytest.mark.parametrize("number", [1 / 3, 0.1 + 0.2, 1e-7 / 3, 1 - 2**-53])
def test_numbers_are_written_with_all_digits(number):
    """Else the layer that one reads would not be the layer that one has."""
    assert repr(nn.Dropout(number, rng=0)) == f"Dropout(p={number})"
    assert repr(nn.BatchNorm2d(3, momentum=number)) == f"BatchNorm2d(3, momentum={number})"


def test_every_layer_has_a_text():
    kinds = {name for name, kind in vars(nn).items() if isinstance(kind, type) and issubclass(kind, nn.Module)}
    assert {text.partition("(")[0] for text in WRITTEN} == kinds - {"Module", "Sequential"}


def test_a_layer_of_a_user_is_shown_by_the_attributes_that_it_has():
    assert repr(Scale(2.0, 3)) == "Scale(2.0)"
    assert repr(Scale([0.5, np.ones(2)], 3, steps=4)) == "Scale([0.5, [1.0, 1.0]], steps=4)"
    assert repr(Scale(np.ones((3, 2)), 3, steps=(2, 2))) == "Scale(<float64 (3, 2)>, steps=(2, 2))"
    assert repr(Scale(abs, 3)) == "Scale(abs)"
    assert repr(Scale(object(), 3)) == "Scale(object(...))"
    missing = Scale(1, 2)
    del missing.gain
    assert repr(missing) == "Scale()"


def test_an_attribute_that_there_is_not_is_refused_with_those_that_there_are():
    """What a user of PyTorch writes first: `.weight`, `.append`."""
    for module, name, held in [
        (nn.Linear(2, 1, rng=0), "w", "c_in, c_out, weight, bias"),
        (net(), "append", "layers"),
        (nn.ReLU(), "inplace", "none"),
    ]:
        kind = type(module).__name__
        with pytest.raises(AttributeError, match=f"^{kind} has no attribute '{name}'; it has {held}") as caught:
            getattr(module, name)
        assert (caught.value.name, caught.value.obj) == (name, module)
        assert not hasattr(module, name)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(3, 4), r"^Linear: missing .* 'rng'; it takes \(c_in, c_out, \*, bias, rng, dtype\)$"),
        (lambda: nn.Conv2d(3, 4, 3, 1, rng=0), r"^Conv2d: too many .*; it takes \(c_in, c_out, kernel, \*, stride, "),
        (lambda: nn.LeakyReLU(0.1, inplace=True), r"^LeakyReLU: .* 'inplace'; it takes \(negative_slope\)$"),
        (
            lambda: mg.data.DataLoader(mg.data.Digits(), 3, shuffle=True),
            r"^DataLoader: .* 'shuffle'; it takes \(dataset, ",
        ),
        (lambda: mg.data.split(mg.data.Digits(), 3, seed=0), r"^split: .* 'rng'; it takes \(dataset, held_out, rng\)$"),
    ],
)
def test_a_call_with_other_arguments_is_refused_with_those_that_there_are(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_a_type_error_of_the_users_own_code_is_passed_on():
    def transform(images, rng):
        raise TypeError("mine")

    with pytest.raises(TypeError, match=r"^mine$"):
        next(iter(mg.data.DataLoader(mg.data.Digits(), 3, transform=transform)))


def test_apply_and_hooks():
    model, kinds, shapes = net(), [], []
    model.apply(lambda module: kinds.append(type(module).__name__))
    assert kinds == ["Sequential", "Conv2d", "BatchNorm2d", "ReLU", "Flatten", "Linear"]
    end = model.layers[0].hook(lambda module, out: shapes.append((type(module), out.shape)))
    model(images())
    end()
    end()  # once more does nothing
    model(images())
    assert shapes == [(nn.Conv2d, (4, 2, 2, 3))]
    assert "_hooks" not in model.state_dict()


# Layers ----------------------------------------------------------------------------------------


def test_a_convolution_keeps_the_size_of_its_images_with_the_padding_same():
    x = mg.Tensor(np.random.default_rng(0).standard_normal((2, 5, 6, 2)))
    for kernel, settings in ((3, {}), ((2, 4), {}), (3, {"dilation": (2, 1)}), (3, {"groups": 2})):
        conv = nn.Conv2d(2, 4, kernel, padding="same", rng=0, dtype="float64", **settings)
        assert conv(x).shape == (2, 5, 6, 4)
        assert_array_equal(conv(x).data, mg.conv2d(x, conv.weight, conv.bias, padding="same", **settings).data)
    assert_array_equal(
        nn.Conv2d(2, 4, 3, padding="same", rng=0, dtype="float64")(x).data,
        nn.Conv2d(2, 4, 3, padding=1, rng=0, dtype="float64")(x).data,
    )
    with pytest.raises(ValueError, match=r'^Conv2d: expected stride 1 with padding="same", got \(2, 2\)'):
        nn.Conv2d(2, 4, 3, stride=2, padding="same", rng=0)
    with pytest.raises(
        ValueError, match=r"^Conv2d: expected padding to be an int, a pair of ints or \"same\", got 'SAME'"
    ):
        nn.Conv2d(2, 4, 3, padding="SAME", rng=0)


def test_layers_call_their_operators():
    x = images()
    conv = nn.Conv2d(2, 4, (1, 2), stride=(2, 1), padding=(0, 1), groups=2, rng=0)
    assert conv.weight.shape == (1, 2, 1, 4)
    expected = mg.conv2d(x, conv.weight, conv.bias, stride=(2, 1), padding=(0, 1), groups=2)
    assert_array_equal(conv(x).data, expected.data)
    assert (conv.kernel, conv.stride, conv.padding, conv.dilation) == ((1, 2), (2, 1), (0, 1), (1, 1))
    assert conv.groups == 2
    assert nn.Conv2d(2, 4, 3, bias=False, rng=0).bias is None
    for pool, operator in ((nn.MaxPool2d, mg.max_pool2d), (nn.AvgPool2d, mg.avg_pool2d)):
        expected = operator(x, 2, stride=1, padding=1)
        assert_array_equal(pool(2, stride=1, padding=1)(x).data, expected.data)
        assert_array_equal(pool((1, 2))(x).data, operator(x, (1, 2)).data)
    assert nn.Linear(2, 4, bias=False, rng=0).bias is None
    flat = nn.Flatten()(x)
    assert_array_equal(flat.data, x.data.reshape(4, -1))
    assert nn.Flatten()(images(0)).shape == (0, 8)
    assert_array_equal(nn.GlobalAvgPool2d()(x).data, mg.global_avg_pool2d(x).data)
    assert nn.Identity()(x) is x


def test_batch_norm_statistics():
    layer = nn.BatchNorm2d(2, momentum=0.3, dtype=np.float64)
    x = np.random.default_rng(0).standard_normal((5, 3, 2, 2)) * [1, 4] + [2, -1]
    layer(mg.Tensor(x))
    flat = x.reshape(-1, 2)
    assert_allclose(layer.running_mean.data, 0.3 * flat.mean(0), rtol=1e-12)
    assert_allclose(layer.running_var.data, 0.7 + 0.3 * flat.var(0, ddof=1), rtol=1e-12)  # unbiased
    layer.eval()
    out = layer(mg.Tensor(x)).data
    assert_allclose(out, (x - layer.running_mean.data) / np.sqrt(layer.running_var.data + 1e-5), rtol=1e-12)


def test_the_mean_of_a_batch_is_right_to_one_rounding_in_float32():
    """What rounding takes from the mean of a block is put right."""
    for seed in range(4):
        x = (np.random.default_rng(seed).standard_normal((64, 20, 20, 3)) + 1e3).astype("float32")
        layer = nn.BatchNorm2d(3, momentum=1.0)
        layer(mg.Tensor(x))
        expected = x.astype("float64").reshape(-1, 3).mean(0)
        assert_allclose(layer.running_mean.data, expected, rtol=0, atol=np.spacing(np.float32(1e3)))


@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_batch_norm_is_accurate_far_from_zero_in_float32(shift):
    """A variance computed as E[x x] - E[x] E[x] would be noise here."""
    x = np.random.default_rng(0).standard_normal((64, 20, 20, 3)) + shift
    layer = nn.BatchNorm2d(3)
    out = layer(mg.Tensor(x.astype("float32"))).data
    single = x.astype("float32").astype("float64").reshape(-1, 3)
    assert_allclose(layer.running_var.data, 0.9 + 0.1 * single.var(0, ddof=1), rtol=2e-6)
    flat = out.reshape(-1, 3)
    assert_allclose(flat, (single - single.mean(0)) / np.sqrt(single.var(0) + 1e-5), atol=3e-4 if shift else 1e-6)


def test_batch_norm_rule_and_twin_use_what_the_forward_used():
    """In evaluation, statistics that move between forward and backward change nothing."""
    layer = nn.BatchNorm2d(2, dtype=np.float64).eval()
    x = mg.Tensor(np.random.default_rng(0).standard_normal((5, 2)), requires_grad=True)
    y = (layer(x) ** 2).sum()
    layer.running_mean.data += 3.0
    layer.running_var.data *= 4.0
    (plain,) = mg.grad(y, x, retain_graph=True)
    (recorded,) = mg.grad(y, x, create_graph=True)
    assert_allclose(plain.data, 2 * x.data / (1 + 1e-5), rtol=1e-12)
    assert_allclose(recorded.data, plain.data, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_net_stays_in_its_dtype(dtype):
    model = cifar_resnet(8, dtype=dtype)
    x = mg.Tensor(np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype(dtype))
    loss = mg.cross_entropy(model(x), np.array([1, 2]))
    loss.backward()
    mg.optim.SGD(model.parameters(), 0.1, weight_decay=1e-4).step()
    for array in [loss.data, *model.state_dict().values(), *(p.grad.data for p in model.parameters())]:
        assert array.dtype == dtype


@pytest.mark.parametrize(("wrap", "given"), [(mg.Tensor, "float64"), (mg.Tensor, "float32"), (np.asarray, "float64")])
def test_data_of_another_dtype_than_the_layers_is_told_the_layers(wrap, given):
    """The first error that a user of pandas meets: data in float64 beside weights in float32."""
    own = {"float64": "float32", "float32": "float64"}[given]
    x = np.ones((2, 3, 3, 4), given)
    for name, layer, message in [
        ("linear", nn.Linear(4, 2, rng=0, dtype=own), f"got {own} and {given}; convert the {given} array or Tensor"),
        ("conv2d", nn.Conv2d(4, 2, 3, rng=0, dtype=own), f"got x of {given} and w of {own}; convert x"),
    ]:
        with pytest.raises(TypeError, match=rf"^{name}: .*{message} with .astype\('{own}'\)"):
            nn.Sequential(layer)(wrap(x))


# Initialisation --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "variance"),
    [(nn.init.he_normal, 2 / 200), (nn.init.he_uniform, 2 / 200), (nn.init.glorot_uniform, 2 / 700)],
)
def test_the_variance_is_that_of_the_rule(draw, variance):
    for shape in [(200, 500), (2, 5, 20, 50)]:
        w = draw(shape, rng=0)
        assert w.dtype == np.float32
        assert_allclose(w.var(), variance, rtol=0.03)
        assert abs(w.mean()) < 0.1 * np.sqrt(variance)


def test_draws_depend_on_the_seed_alone():
    for draw in (nn.init.he_normal, nn.init.he_uniform, nn.init.glorot_uniform):
        assert_array_equal(draw((3, 4), rng=1), draw((3, 4), rng=np.random.default_rng(1)))
        assert not np.array_equal(draw((3, 4), rng=1), draw((3, 4), rng=2))
        assert_array_equal(draw((3, 4), rng=1), draw((3, 4), rng=1, dtype=np.float64).astype("float32"))
    with pytest.raises(ValueError, match="expected the shape of a weight"):
        nn.init.he_normal((3,), rng=0)


def test_new_weights_have_the_variances_that_the_docstrings_give():
    """An embedding's are 1; through a transposed convolution and a ReLU signals keep their mean square."""
    assert_allclose(nn.Embedding(300, 50, rng=0).weight.data.var(), 1, rtol=0.05)
    x = np.random.default_rng(0).standard_normal((2, 20, 20, 64)).clip(0).astype("float32")
    for settings in ({"stride": 2, "kernel": 4}, {"stride": (1, 3), "kernel": 6}, {"kernel": 3}):
        out = nn.ConvTranspose2d(64, 64, rng=0, **settings)(mg.Tensor(x)).data[:, 6:-6, 6:-6]
        assert_allclose((out**2).mean(), 2 * (x**2).mean(), rtol=0.1)
    for layer in (nn.LayerNorm((2, 3)), nn.GroupNorm(2, 4)):
        assert {name: (float(a.min()), float(a.max())) for name, a in layer.state_dict().items()} == {
            "weight": (1.0, 1.0),
            "bias": (0.0, 0.0),
        }


def every_layer():
    """A net of all new layers on integers: (n, 6) to (n, 12, 12, 2)."""
    rng = np.random.default_rng(0)
    return nn.Sequential(
        nn.Embedding(9, 8, rng=rng),
        nn.LayerNorm(8),
        nn.Linear(8, 8, rng=rng),
        *(nn.Tanh(), nn.Sigmoid(), nn.SiLU(), nn.GELU(), nn.LeakyReLU()),
        Square(),
        nn.GroupNorm(4, 8),
        nn.ConvTranspose2d(8, 2, 4, stride=2, padding=1, rng=rng),
    )


class Square(nn.Module):
    """All sums of two of six vectors, as an image."""

    def forward(self, x):
        return x.reshape(x.shape[0], 6, 1, 8) + x.reshape(x.shape[0], 1, 6, 8)


def test_the_new_layers_are_copied_pickled_summed_up_and_drawn():
    net, words = every_layer(), np.random.default_rng(1).integers(0, 9, (3, 6))
    for same in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert repr(same) == repr(net)
        assert_array_equal(same(words).data, net(words).data, strict=True)
    names = ["0.weight", "1.weight", "1.bias", "2.weight", "2.bias", "9.weight", "9.bias", "10.weight", "10.bias"]
    assert list(net.state_dict()) == names
    found = mg.inspect.summary(net, (6,))
    assert found.parameters == sum(p.size for p in net.parameters())
    assert [row.shape for row in found.rows if row.kind in ("Embedding", "ConvTranspose2d")] == [(6, 8), (12, 12, 2)]
    assert "not counted" not in repr(found)
    assert found.macs == 6 * 8 * 8 + 36 * 4 * 4 * 8 * 2
    text = mg.inspect.draw_graph(net(words).sum()).dot
    assert all(name in text for name in ("getitem", "tanh", "sigmoid", "silu", "gelu"))
    net(words).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("f", [nn.init.he_normal, nn.init.he_uniform, nn.init.glorot_uniform])
def test_weights_that_are_drawn_in_pieces_are_those_of_one_draw(f, monkeypatch):
    """So memory need not hold all of them in float64; and the generator ends in the same state."""
    results = []
    for piece in (10**6, 7, 1):
        monkeypatch.setattr(nn.init, "PIECE", piece)
        rng = np.random.default_rng(0)
        results.append((f((5, 3, 4), rng=rng), rng.random()))
    for weights, after in results[1:]:
        assert_array_equal(weights, results[0][0], strict=True)
        assert after == results[0][1]


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (lambda p: nn.Dropout(p, rng=0), [-0.1, 1.0, 1.5, NAN, INF, "0.5", None, [0.5], True]),
        (lambda m: nn.BatchNorm2d(2, momentum=m), [-0.1, 1.1, NAN, INF, "0.1", None]),
        (lambda e: nn.BatchNorm2d(2, eps=e), [0.0, -1e-5, NAN, INF, "1e-5", None]),
        (lambda c: nn.BatchNorm2d(c), [0, -1, 2.0, NAN, "2", None]),
        (lambda c: nn.Linear(c, 2, rng=0), [0, -1, 2.0, NAN, "2", None]),
        (lambda b: nn.Linear(2, 2, bias=b, rng=0), ["no", None, 0, NAN]),
        (lambda b: nn.Conv2d(2, 2, 1, bias=b, rng=0), ["no", None, 0, NAN]),
        (lambda k: nn.Conv2d(2, 2, k, rng=0), [0, -1, 2.0, NAN, INF, None, (1, -1), (1, NAN), "ab"]),
        (lambda s: nn.Conv2d(2, 2, 1, stride=s, rng=0), [0, -1, 2.0, NAN, INF, None, (1, 0)]),
        (lambda p: nn.Conv2d(2, 2, 1, padding=p, rng=0), [-1, 2.0, NAN, INF, None, (1, -1)]),
        (lambda d: nn.Conv2d(2, 2, 1, dilation=d, rng=0), [0, -1, 2.0, NAN, INF, None]),
        (lambda g: nn.Conv2d(2, 2, 1, groups=g, rng=0), [0, -1, 2.0, NAN, INF, None]),
        (lambda s: nn.LeakyReLU(s), [-0.1, NAN, INF, "0.1", None]),
        (lambda n: nn.LayerNorm(n), [0, -1, 2.0, NAN, None, (), (3, 0), (2, 1.5), "ab"]),
        (lambda e: nn.LayerNorm(2, eps=e), [0.0, -1e-5, NAN, INF, "1e-5", None]),
        (lambda g: nn.GroupNorm(g, 4), [0, -1, 3, 2.0, NAN, "2", None]),
        (lambda c: nn.GroupNorm(2, c), [0, -1, 3, 2.0, NAN, "2", None]),
        (lambda e: nn.GroupNorm(2, 4, eps=e), [0.0, -1e-5, NAN, INF, "1e-5", None]),
        (lambda n: nn.Embedding(n, 2, rng=0), [0, -1, 2.0, NAN, "2", None]),
        (lambda n: nn.Embedding(2, n, rng=0), [0, -1, 2.0, NAN, "2", None]),
        (lambda r: nn.Embedding(2, 2, rng=r), [-1, 2.0, NAN, "2", None]),
        (lambda k: nn.ConvTranspose2d(2, 2, k, rng=0), [0, -1, 2.0, NAN, INF, None, (1, -1)]),
        (lambda s: nn.ConvTranspose2d(2, 2, 1, stride=s, rng=0), [0, -1, 2.0, NAN, INF, None]),
        (lambda p: nn.ConvTranspose2d(2, 2, 3, padding=p, rng=0), [-1, 2.0, NAN, INF, None]),
        (
            lambda p: nn.ConvTranspose2d(2, 2, 3, stride=4, output_padding=p, rng=0),
            [-1, 4, (0, 5), 2.0, NAN, INF, None],
        ),
        (lambda b: nn.ConvTranspose2d(2, 2, 1, bias=b, rng=0), ["no", None, 0, NAN]),
        (lambda k: nn.MaxPool2d(k), [0, -1, 2.0, NAN, INF, None, "abc"]),
        (lambda p: nn.AvgPool2d(2, padding=p), [-1, 1.0, NAN, INF, None]),
        (lambda s: nn.AvgPool2d(2, stride=s), [0, -1, 1.0, NAN, INF]),
    ],
)
def test_a_setting_out_of_range_is_refused_at_once(make, values):
    """Not in use: a layer with momentum=nan trained, and was wrong in evaluation."""
    for value in values:
        with pytest.raises(
            (ValueError, TypeError),
            match=r"^(Dropout|\w+Norm(2d)?|Linear|Conv(Transpose)?2d|MaxPool2d|AvgPool2d|LeakyReLU|Embedding): ",
        ):
            make(value)


@pytest.mark.parametrize("training", ["eval", 0, None])
def test_a_mode_is_true_or_false(training):
    """`net.train("eval")` put the net into training mode."""
    net = nn.Sequential(nn.ReLU()).eval()
    with pytest.raises(TypeError, match="^train: expected training to be True or False, got "):
        net.train(training)
    assert not net.training
