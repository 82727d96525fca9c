"""Every setting of layers and initialisation, changed once; the numbers are worked out by hand."""

import copy
import itertools
import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn.module import evaluation
from tests.tools.settings import Refused, Row, check, missing, observe

#: Rows of 0 to 3, 4 to 7, 8 to 11 and 12 to 15.
SQUARE = mg.Tensor(np.arange(16.0).reshape(1, 4, 4, 1))


#: A seed that fits into no 64 bits.
SEED = 2**70 + 1


def on_square(layer):
    """Apply a layer to the square; the weights of a convolution are ones."""
    for p in layer.parameters():
        p.data = np.ones_like(p.data, np.float64)
    return layer(SQUARE).data[0, :, :, 0]


def sums(kernel=2, **settings):
    """The sums of windows."""
    return on_square(nn.Conv2d(1, 1, kernel, bias=False, rng=0, **settings))


def largest(kernel=2, **settings):
    """The largest numbers of windows, all below zero: padding is not among them."""
    layer = nn.MaxPool2d(kernel, **settings)
    return layer(SQUARE - 20.0).data[0, :, :, 0] + 20


def averages(kernel=2, **settings):
    return on_square(nn.AvgPool2d(kernel, **settings))


def normal(shape, fan_in, seed=0):
    return np.random.default_rng(seed).standard_normal(shape) * math.sqrt(2 / fan_in)


def uniform(shape, fan, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape) * math.sqrt(6 / fan)


def linear(c_in=3, c_out=2, **settings):
    return nn.Linear(c_in, c_out, **({"rng": 0} | settings))


def conv(c_in=4, c_out=6, kernel=3, **settings):
    return nn.Conv2d(c_in, c_out, kernel, **({"rng": 0} | settings))


def upward(c_in=4, c_out=3, kernel=2, **settings):
    return nn.ConvTranspose2d(c_in, c_out, kernel, **({"rng": 0} | settings))


def spread(kernel=1, **settings):
    """The numbers 1 to 4, each spread over a window of ones."""
    layer = nn.ConvTranspose2d(1, 1, kernel, bias=False, rng=0, **settings)
    layer.weight.data = np.ones_like(layer.weight.data, np.float64)
    return layer(mg.Tensor(np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1))).data[0, :, :, 0].tolist()


def normalised_by(layer):
    return layer(mg.Tensor(np.array([[1.0, 3.0], [5.0, 11.0]]))).data.tolist()


def dtypes(module):
    return {name: array.dtype.name for name, array in module.state_dict().items()}


def statistics(**settings):
    """Mean and variance after the numbers 1 and 3, with the mean 2 and the unbiased variance 2."""
    layer = nn.BatchNorm2d(1, **settings)
    layer(mg.Tensor([[1.0], [3.0]]))
    return [layer.running_mean.data.item(), layer.running_var.data.item()]


def normalised(**settings):
    """The numbers 1 and 3, with the variance 1, in training; and 1 in evaluation, with the statistics 0 and 1."""
    layer = nn.BatchNorm2d(1, dtype=np.float64, **settings)
    in_evaluation = layer.eval()(mg.Tensor(np.ones((1, 1)))).data.ravel()
    return [*in_evaluation, *layer.train()(mg.Tensor(np.array([[1.0], [3.0]]))).data.ravel()]


def dropped(**settings):
    """The share of zeros to a twentieth (8 standard deviations), the factor of the rest; what evaluation changes."""
    layer, ones = nn.Dropout(rng=0, **settings), mg.Tensor(np.ones(40_000))
    out = layer(ones).data
    return [round(20 * (out == 0).mean()) / 20, *np.unique(out[out != 0]), *np.unique(layer.eval()(ones).data - 1)]


def folded(eps):
    """Return w and b of 2 x + 1 with batch norm: gamma 3, beta 0.5, mean 4, variance 6."""
    layers = nn.Linear(1, 1, rng=0), nn.BatchNorm2d(1, eps=eps)
    state = {"0.weight": [[2.0]], "0.bias": [1.0], "1.weight": [3.0], "1.bias": [0.5]}
    net = nn.Sequential(*layers)
    net.load_state_dict(state | {"1.running_mean": [4.0], "1.running_var": [6.0]})
    (layer,) = nn.fold_batch_norm(net).layers
    return [layer.weight.item(), layer.bias.item()]


def in_context(*models):
    """The mode of two nets within the context, and of the first one's parts afterwards."""
    first, second = nn.Sequential(nn.ReLU()), nn.ReLU()
    first.training = False
    with evaluation(*(net for net, given in zip((first, second), models, strict=True) if given)):
        inside = [first[0].training, second.training]
    return [*inside, first.training, first[0].training, second.training]


def modes(**settings):
    net = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Dropout(rng=0))).eval()
    return [module.training for _, module in net.train(**settings).named_modules()]


ROWS = {
    "he_normal.shape": Row(
        lambda shape: nn.init.he_normal(shape, rng=0),
        ((3, 2), normal((3, 2), 3)),
        ((2, 3, 4, 5), normal((2, 3, 4, 5), 24)),
    ),
    "he_uniform.shape": Row(
        lambda shape: nn.init.he_uniform(shape, rng=0),
        ((3, 2), uniform((3, 2), 3)),
        ((2, 3, 4, 5), uniform((2, 3, 4, 5), 24)),
    ),
    "glorot_uniform.shape": Row(
        lambda shape: nn.init.glorot_uniform(shape, rng=0),
        ((3, 2), uniform((3, 2), 3 + 2)),
        ((2, 3, 4, 5), uniform((2, 3, 4, 5), 24 + 30)),
    ),
    "Linear.c_in": Row(lambda c_in: linear(c_in).weight.data, (3, normal((3, 2), 3)), (5, normal((5, 2), 5))),
    "Linear.c_out": Row(
        lambda c_out: [linear(c_out=c_out).weight.data, linear(c_out=c_out).bias.data],
        (2, [normal((3, 2), 3), np.zeros(2)]),
        (4, [normal((3, 4), 3), np.zeros(4)]),
    ),
    "Linear.bias": Row(lambda **s: list(linear(**s).state_dict()), (True, ["weight", "bias"]), (False, ["weight"])),
    "Linear.rng": Row(lambda rng: linear(rng=rng).weight.data, (0, normal((3, 2), 3)), (SEED, normal((3, 2), 3, SEED))),
    "Linear.dtype": Row(
        lambda **s: dtypes(linear(**s)),
        (np.float32, {"weight": "float32", "bias": "float32"}),
        (np.float64, {"weight": "float64", "bias": "float64"}),
    ),
    "Conv2d.c_in": Row(
        lambda c_in: conv(c_in).weight.data, (4, normal((3, 3, 4, 6), 36)), (2, normal((3, 3, 2, 6), 18))
    ),
    "Conv2d.c_out": Row(
        lambda c_out: [conv(c_out=c_out).weight.data, conv(c_out=c_out).bias.data],
        (6, [normal((3, 3, 4, 6), 36), np.zeros(6)]),
        (2, [normal((3, 3, 4, 2), 36), np.zeros(2)]),
    ),
    "Conv2d.kernel": Row(
        sums,
        (2, np.array([[10.0, 14, 18], [26, 30, 34], [42, 46, 50]])),
        ((1, 2), np.array([[1.0, 3, 5], [9, 11, 13], [17, 19, 21], [25, 27, 29]])),
        ((2, 1), np.array([[4.0, 6, 8, 10], [12, 14, 16, 18], [20, 22, 24, 26]])),
    ),
    "Conv2d.stride": Row(
        sums,
        (1, np.array([[10.0, 14, 18], [26, 30, 34], [42, 46, 50]])),
        ((2, 1), np.array([[10.0, 14, 18], [42, 46, 50]])),
        ((1, 2), np.array([[10.0, 18], [26, 34], [42, 50]])),
    ),
    "Conv2d.padding": Row(
        sums,
        (0, np.array([[10.0, 14, 18], [26, 30, 34], [42, 46, 50]])),
        ((1, 0), np.array([[1.0, 3, 5], [10, 14, 18], [26, 30, 34], [42, 46, 50], [25, 27, 29]])),
        ((0, 1), np.array([[4.0, 10, 14, 18, 10], [12, 26, 30, 34, 18], [20, 42, 46, 50, 26]])),
    ),
    "Conv2d.dilation": Row(
        sums,
        (1, np.array([[10.0, 14, 18], [26, 30, 34], [42, 46, 50]])),
        (2, np.array([[20.0, 24], [36, 40]])),
        ((2, 1), np.array([[18.0, 22, 26], [34, 38, 42]])),
        ((1, 2), np.array([[12.0, 16], [28, 32], [44, 48]])),
    ),
    "Conv2d.groups": Row(
        lambda **s: [conv(**s).weight.data, conv(**s)(mg.Tensor(np.zeros((1, 3, 3, 4), np.float32))).shape],
        (1, [normal((3, 3, 4, 6), 36), (1, 1, 1, 6)]),
        (2, [normal((3, 3, 2, 6), 18), (1, 1, 1, 6)]),
    ),
    "Conv2d.bias": Row(lambda **s: list(conv(**s).state_dict()), (True, ["weight", "bias"]), (False, ["weight"])),
    "Conv2d.rng": Row(
        lambda rng: conv(rng=rng).weight.data, (0, normal((3, 3, 4, 6), 36)), (SEED, normal((3, 3, 4, 6), 36, SEED))
    ),
    "Conv2d.dtype": Row(
        lambda **s: dtypes(conv(**s)),
        (np.float32, {"weight": "float32", "bias": "float32"}),
        (np.float64, {"weight": "float64", "bias": "float64"}),
    ),
    "BatchNorm2d.c": Row(
        lambda c: {name: array.tolist() for name, array in nn.BatchNorm2d(c).state_dict().items()},
        (1, {"weight": [1.0], "bias": [0.0], "running_mean": [0.0], "running_var": [1.0]}),
        (2, {"weight": [1.0, 1], "bias": [0.0, 0], "running_mean": [0.0, 0], "running_var": [1.0, 1]}),
    ),
    "BatchNorm2d.momentum": Row(statistics, (0.1, [0.2, 1.1]), (0.5, [1.0, 1.5]), (1.0, [2.0, 2.0])),
    "BatchNorm2d.eps": Row(normalised, (1e-5, [0.999995, -0.999995, 0.999995]), (3.0, [0.5, -0.5, 0.5]), rtol=1e-9),
    "BatchNorm2d.dtype": Row(
        lambda **s: set(dtypes(nn.BatchNorm2d(2, **s)).values()), (np.float32, {"float32"}), (np.float64, {"float64"})
    ),
    "LeakyReLU.negative_slope": Row(
        lambda **s: nn.LeakyReLU(**s)(mg.Tensor([-2.0, 3.0])).data,
        (0.01, np.array([-0.02, 3.0])),
        (0.5, np.array([-1.0, 3.0])),
        (0.0, np.array([0.0, 3.0])),
    ),
    # the numbers 1 and 3, and 5 and 11
    "LayerNorm.normalized_shape": Row(
        lambda normalized_shape: normalised_by(nn.LayerNorm(normalized_shape, dtype=np.float64)),
        (2, [[-1.0, 1.0], [-1.0, 1.0]]),
        ([2], [[-1.0, 1.0], [-1.0, 1.0]]),
        ((2, 2), (np.array([[-4.0, -2], [0, 6]]) / 14**0.5).tolist()),
        rtol=1e-4,
    ),
    "LayerNorm.eps": Row(
        lambda **s: normalised_by(nn.LayerNorm(2, dtype=np.float64, **s))[0],
        (1e-5, [-0.999995, 0.999995]),
        (3.0, [-0.5, 0.5]),
        rtol=1e-9,
    ),
    "LayerNorm.dtype": Row(
        lambda **s: dtypes(nn.LayerNorm(2, **s)),
        (np.float32, {"weight": "float32", "bias": "float32"}),
        (np.float64, {"weight": "float64", "bias": "float64"}),
    ),
    "GroupNorm.num_groups": Row(
        lambda num_groups: normalised_by(nn.GroupNorm(num_groups, 2, dtype=np.float64)),
        (1, [[-1.0, 1.0], [-1.0, 1.0]]),
        (2, [[0.0, 0.0], [0.0, 0.0]]),
        rtol=1e-4,
    ),
    "GroupNorm.num_channels": Row(
        lambda num_channels: [a.tolist() for a in nn.GroupNorm(1, num_channels).state_dict().values()],
        (1, [[1.0], [0.0]]),
        (2, [[1.0, 1.0], [0.0, 0.0]]),
    ),
    "GroupNorm.eps": Row(
        lambda **s: normalised_by(nn.GroupNorm(1, 2, dtype=np.float64, **s))[0],
        (1e-5, [-0.999995, 0.999995]),
        (3.0, [-0.5, 0.5]),
        rtol=1e-9,
    ),
    "GroupNorm.dtype": Row(
        lambda **s: dtypes(nn.GroupNorm(1, 2, **s)),
        (np.float32, {"weight": "float32", "bias": "float32"}),
        (np.float64, {"weight": "float64", "bias": "float64"}),
    ),
    "Embedding.num_embeddings": Row(
        lambda num_embeddings: nn.Embedding(num_embeddings, 2, rng=0).weight.data,
        (3, np.random.default_rng(0).standard_normal((3, 2))),
        (5, np.random.default_rng(0).standard_normal((5, 2))),
    ),
    "Embedding.embedding_dim": Row(
        lambda embedding_dim: nn.Embedding(3, embedding_dim, rng=0).weight.data,
        (2, np.random.default_rng(0).standard_normal((3, 2))),
        (4, np.random.default_rng(0).standard_normal((3, 4))),
    ),
    "Embedding.rng": Row(
        lambda rng: nn.Embedding(3, 2, rng=rng).weight.data,
        (0, np.random.default_rng(0).standard_normal((3, 2))),
        (SEED, np.random.default_rng(SEED).standard_normal((3, 2))),
    ),
    "Embedding.dtype": Row(
        lambda **s: dtypes(nn.Embedding(3, 2, rng=0, **s)),
        (np.float32, {"weight": "float32"}),
        (np.float64, {"weight": "float64"}),
    ),
    "ConvTranspose2d.c_in": Row(
        lambda c_in: upward(c_in).weight.data, (4, normal((2, 2, 4, 3), 16)), (2, normal((2, 2, 2, 3), 8))
    ),
    "ConvTranspose2d.c_out": Row(
        lambda c_out: [upward(c_out=c_out).weight.data, upward(c_out=c_out).bias.data],
        (3, [normal((2, 2, 4, 3), 16), np.zeros(3)]),
        (2, [normal((2, 2, 4, 2), 16), np.zeros(2)]),
    ),
    "ConvTranspose2d.kernel": Row(
        spread,
        (1, [[1.0, 2.0], [3.0, 4.0]]),
        ((1, 2), [[1.0, 3.0, 2.0], [3.0, 7.0, 4.0]]),
        ((2, 1), [[1.0, 2.0], [4.0, 6.0], [3.0, 4.0]]),
    ),
    "ConvTranspose2d.stride": Row(
        spread,
        (1, [[1.0, 2.0], [3.0, 4.0]]),
        ((1, 2), [[1.0, 0, 2.0], [3.0, 0, 4.0]]),
        ((2, 1), [[1.0, 2.0], [0.0, 0.0], [3.0, 4.0]]),
    ),
    "ConvTranspose2d.padding": Row(
        lambda **s: spread(3, **s),
        (0, [[1.0, 3, 3, 2], [4.0, 10, 10, 6], [4.0, 10, 10, 6], [3.0, 7, 7, 4]]),
        (1, [[10.0, 10], [10.0, 10]]),
        ((1, 0), [[4.0, 10, 10, 6], [4.0, 10, 10, 6]]),
    ),
    "ConvTranspose2d.output_padding": Row(
        lambda **s: spread(stride=2, **s),
        (0, [[1.0, 0, 2], [0.0, 0, 0], [3.0, 0, 4]]),
        ((0, 1), [[1.0, 0, 2, 0], [0.0, 0, 0, 0], [3.0, 0, 4, 0]]),
        ((1, 0), [[1.0, 0, 2], [0.0, 0, 0], [3.0, 0, 4], [0.0, 0, 0]]),
    ),
    "ConvTranspose2d.bias": Row(
        lambda **s: list(upward(**s).state_dict()), (True, ["weight", "bias"]), (False, ["weight"])
    ),
    "ConvTranspose2d.rng": Row(
        lambda rng: upward(rng=rng).weight.data, (0, normal((2, 2, 4, 3), 16)), (SEED, normal((2, 2, 4, 3), 16, SEED))
    ),
    "ConvTranspose2d.dtype": Row(
        lambda **s: dtypes(upward(**s)),
        (np.float32, {"weight": "float32", "bias": "float32"}),
        (np.float64, {"weight": "float64", "bias": "float64"}),
    ),
    "MaxPool2d.kernel": Row(
        largest,
        (2, np.array([[5.0, 7], [13, 15]])),
        ((1, 2), np.array([[1.0, 3], [5, 7], [9, 11], [13, 15]])),
        ((2, 1), np.array([[4.0, 5, 6, 7], [12, 13, 14, 15]])),
    ),
    "MaxPool2d.stride": Row(
        largest,
        (None, np.array([[5.0, 7], [13, 15]])),
        (1, np.array([[5.0, 6, 7], [9, 10, 11], [13, 14, 15]])),
        ((2, 1), np.array([[5.0, 6, 7], [13, 14, 15]])),
    ),
    "MaxPool2d.padding": Row(
        largest,
        (0, np.array([[5.0, 7], [13, 15]])),
        (1, np.array([[0.0, 2, 3], [8, 10, 11], [12, 14, 15]])),
        ((1, 0), np.array([[1.0, 3], [9, 11], [13, 15]])),
    ),
    "AvgPool2d.kernel": Row(
        averages,
        (2, np.array([[2.5, 4.5], [10.5, 12.5]])),
        ((1, 2), np.array([[0.5, 2.5], [4.5, 6.5], [8.5, 10.5], [12.5, 14.5]])),
        ((2, 1), np.array([[2.0, 3, 4, 5], [10, 11, 12, 13]])),
    ),
    "AvgPool2d.stride": Row(
        averages,
        (None, np.array([[2.5, 4.5], [10.5, 12.5]])),
        (1, np.array([[2.5, 3.5, 4.5], [6.5, 7.5, 8.5], [10.5, 11.5, 12.5]])),
        ((2, 1), np.array([[2.5, 3.5, 4.5], [10.5, 11.5, 12.5]])),
    ),
    "AvgPool2d.padding": Row(
        averages,
        (0, np.array([[2.5, 4.5], [10.5, 12.5]])),
        (1, np.array([[0.0, 3, 3], [12, 30, 18], [12, 27, 15]]) / 4),
        ((1, 0), np.array([[1.0, 5], [26, 34], [25, 29]]) / 4),
    ),
    "Dropout.p": Row(
        dropped, (0.5, [0.5, 2.0, 0]), (0.25, [0.25, 4 / 3, 0]), (0.9, [0.9, 10.0, 0]), (0.0, [0.0, 1.0, 0])
    ),
    "Dropout.rng": Row(
        lambda rng: nn.Dropout(rng=rng).rng.random(),
        (0, np.random.default_rng(0).random()),
        (SEED, np.random.default_rng(SEED).random()),
    ),
    "Sequential.layers": Row(
        lambda layers: nn.Sequential(*layers)(mg.Tensor([-1.0, 2.0])).data,
        ([nn.ReLU()], np.array([0.0, 2.0])),
        ([nn.ReLU(), lambda x: x + 1.0], np.array([1.0, 3.0])),
        ([], np.array([-1.0, 2.0])),
    ),
    "Parameter.data": Row(
        lambda data: [nn.Parameter(data).data, nn.Parameter(data).dtype.name, nn.Parameter(data).requires_grad],
        ([1.0, 2.0], [np.array([1.0, 2.0]), "float32", True]),
        (np.array([3.0]), [np.array([3.0]), "float64", True]),
    ),
    "Buffer.data": Row(lambda data: nn.Buffer(data).data.tolist(), (np.ones(2), [1.0, 1.0]), (np.ones(1, int), [1])),
    "Module.train.training": Row(modes, (True, [True] * 4), (False, [False] * 4)),
    "Module.load_state_dict.strict": Row(
        lambda **s: list(nn.Linear(1, 1, rng=0).load_state_dict({"weight": [[1.0]]}, **s)),
        (True, Refused(ValueError, "missing: bias")),
        (False, [["bias"], []]),
    ),
    "Unmatched.missing_keys": Row(
        lambda missing_keys: nn.Unmatched(missing_keys, []), (["a"], (["a"], [])), ([], ([], []))
    ),
    "Unmatched.unexpected_keys": Row(
        lambda unexpected_keys: nn.Unmatched([], unexpected_keys), (["a"], ([], ["a"])), ([], ([], []))
    ),
    "evaluation.models": Row(
        lambda models: in_context(*models),
        ((True, False), [False, True, False, True, True]),
        ((True, True), [False, False, False, True, True]),
    ),
    # scales of 3 / sqrt(6 + 3) and 3 / sqrt(6 + 19)
    "fold_batch_norm.model": Row(lambda model: folded(model), (3.0, [2.0, -2.5]), (19.0, [1.2, -1.3])),
}
#: The three rules take a seed and a dtype alike; the factor of the draws is tested above.
RULES = {"he_normal": (nn.init.he_normal, normal), "he_uniform": (nn.init.he_uniform, uniform)}
RULES["glorot_uniform"] = nn.init.glorot_uniform, lambda shape, fan_in, seed: uniform(shape, sum(shape), seed)
for name, (rule, draws) in RULES.items():
    ROWS[f"{name}.rng"] = Row(
        lambda rng, rule=rule: rule((3, 2), rng=rng), (0, draws((3, 2), 3, 0)), (SEED, draws((3, 2), 3, SEED))
    )
    ROWS[f"{name}.dtype"] = Row(
        lambda rule=rule, **s: rule((3, 2), rng=0, **s).dtype.name, (np.float32, "float32"), (np.float64, "float64")
    )


def test_every_setting_has_a_row():
    assert missing(nn, ROWS) == []


@pytest.mark.parametrize("name", ROWS)
def test_a_setting_has_its_effect(name):
    check(nn, name, ROWS[name])


@pytest.mark.parametrize("dtype", ["float16", ">f2", "int32", "complex64", bool, None, "no"])
@pytest.mark.parametrize("name", [name for name in ROWS if name.endswith(".dtype")])
def test_weights_have_at_least_the_digits_of_float32(name, dtype):
    message = rf"^{name.partition('.')[0]}: expected dtype to be .* at least float32, got "
    observe(name, ROWS[name], {"dtype": dtype}, Refused(TypeError, message))


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: nn.init.he_normal((3, 2), rng=rng),
        lambda rng: nn.init.he_uniform((3, 2), rng=rng),
        lambda rng: nn.init.glorot_uniform((3, 2), rng=rng),
        lambda rng: linear(rng=rng).weight.data,
        lambda rng: conv(rng=rng).weight.data,
        lambda rng: upward(rng=rng).weight.data,
        lambda rng: nn.Embedding(3, 2, rng=rng).weight.data,
        lambda rng: nn.Dropout(rng=rng)(mg.Tensor(np.ones(20))).data,
    ],
)
def test_a_generator_is_used_itself(draw):
    """Wherever its state came from: a second call goes on, and another user of the Generator goes on from there."""
    rng, same, other = (np.random.Generator(np.random.MT19937(seed)) for seed in (3, 3, 4))
    first, second = draw(rng), draw(rng)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal([draw(same), draw(same)], [first, second])
    assert not np.array_equal(draw(other), first)
    assert rng.random() == same.random()


PAIRS = {
    "Conv2d": lambda second: nn.Conv2d(2 if second else 4, 2, (2, 3), rng=0, **(
        {"stride": (1, 2), "padding": (2, 1), "dilation": (2, 1), "groups": 1} if second else {"stride": 2, "groups": 2}
    )),
    "ConvTranspose2d": lambda second: nn.ConvTranspose2d(2, 4, (2, 3), rng=0, **(
        {"stride": (3, 2), "padding": (1, 0), "output_padding": (2, 1)} if second else {}
    )),
    "MaxPool2d": lambda second: nn.MaxPool2d((3, 2), stride=(1, 2), padding=(2, 1)) if second else nn.MaxPool2d(2),
    "AvgPool2d": lambda second: nn.AvgPool2d((3, 2), stride=(1, 2), padding=(2, 1)) if second else nn.AvgPool2d(2),
    "Dropout": lambda second: nn.Dropout(0.25 if second else 0.5, rng=0),
    "BatchNorm2d": lambda second: nn.BatchNorm2d(2, momentum=0.5, eps=0.25) if second else nn.BatchNorm2d(2),
    "LayerNorm": lambda second: nn.LayerNorm(2, eps=0.25) if second else nn.LayerNorm(2),
    "GroupNorm": lambda second: nn.GroupNorm(2, 2, eps=0.25) if second else nn.GroupNorm(1, 2),
    "LeakyReLU": lambda second: nn.LeakyReLU(0.25 if second else 0.5),
}  # fmt: skip


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("kind", PAIRS)
def test_a_setting_may_be_changed_later(kind, used):
    """Before or after the first call, in training and in evaluation, a layer does what its attributes say."""
    x = mg.Tensor(np.random.default_rng(0).standard_normal((2, 6, 8, 2), "float32"))
    layer, other = PAIRS[kind](False), PAIRS[kind](True)
    if used:
        layer(mg.Tensor(np.ones((2, 6, 8, 4), "float32")) if kind == "Conv2d" else x)
    for name, value in vars(other).items():
        if not name.startswith("_"):
            setattr(layer, name, copy.deepcopy(value))
    for training in (True, False):
        results = [each.train(training)(x).data for each in (layer, other)]
        np.testing.assert_array_equal(*results, strict=True)
    for a, b in zip(layer.state_dict().values(), other.state_dict().values(), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("pool", [nn.MaxPool2d, nn.AvgPool2d])
@pytest.mark.parametrize("kernel", list(itertools.product([1, 2, 3], repeat=2)))
def test_a_padding_must_be_smaller_than_the_kernel_along_each_axis(kernel, pool):
    """Otherwise a window would cover no pixel."""
    for padding in itertools.product(range(4), repeat=2):
        if padding[0] < kernel[0] and padding[1] < kernel[1]:
            assert np.isfinite(pool(kernel, padding=padding)(SQUARE).data).all()
            continue
        with pytest.raises(ValueError, match=rf"^{pool.__name__}: expected a padding smaller than the kernel"):
            pool(kernel, padding=padding)
