"""What a user of PyTorch writes first, and the line that does it here.

A name that minigrad lacks is an AttributeError. For the names below, it ends with the line to write instead::

    >>> import minigrad as mg
    >>> mg.cat
    Traceback (most recent call last):
    AttributeError: minigrad has no 'cat'; write mg.concatenate(arrays, axis=1)

Next: :mod:`minigrad.autograd`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

NO_GENERATOR = "rng=0 wherever numbers are drawn (layers, loaders, dropout): there is no global generator"
NO_FLOAT = "the dtype where a net is made, models.resnet18(rng=0, dtype='float64'); of an array, x.astype('float64')"
TO_CUDA = "net.to('cuda'), or x.to('cuda')"
LOOP = "a loop of your own, or train.fit; see minigrad.train"

#: For each place, the names of PyTorch that it lacks, and the line to write instead.
INSTEAD = {
    "minigrad": {
        "tensor": "mg.Tensor([1.0, 2.0])",
        "zeros": "mg.Tensor(np.zeros(shape, 'float32'))",
        "ones": "mg.Tensor(np.ones(shape, 'float32'))",
        "full": "mg.Tensor(np.full(shape, value, 'float32'))",
        "eye": "mg.Tensor(np.eye(n, dtype='float32'))",
        "arange": "mg.Tensor(np.arange(n, dtype='float32'))",
        "linspace": "mg.Tensor(np.linspace(a, b, n, dtype='float32'))",
        "randn": "mg.Tensor(rng.standard_normal(shape, 'float32')), with rng = np.random.default_rng(0)",
        "rand": "mg.Tensor(rng.random(shape, 'float32')), with rng = np.random.default_rng(0)",
        "from_numpy": "mg.Tensor(array)",
        "manual_seed": NO_GENERATOR,
        "float32": "np.float32, or 'float32'",
        "float64": "np.float64, or 'float64'",
        "int64": "np.int64, or 'int64'",
        "cat": "mg.concatenate(arrays, axis=1)",
        "split": "[x[:, i : i + n] for i in range(0, x.shape[1], n)]",
        "chunk": "[x[:, i : i + n] for i in range(0, x.shape[1], n)]",
        "unsqueeze": "mg.expand_dims(x, axis)",
        "permute": "x.transpose(0, 2, 1)",
        "swapaxes": "x.transpose(0, 2, 1), with all axes",
        "clamp": "mg.clip(x, a, b)",
        "amax": "x.max(axis=1)",
        "argmax": "x.argmax(axis=1)",
        "flatten": "x.flatten(1)",
        "view": "x.reshape(shape)",
        "mm": "a @ b",
        "bmm": "a @ b",
        "square": "x**2",
        "relu6": "mg.clip(x, 0.0, 6.0)",
        "cuda": TO_CUDA,
        "enable_grad": "mg.no_grad() around what shall not be recorded; the rest is",
        "inference_mode": "mg.no_grad()",
        "compile": "the net as it is: there is no compiler",
    },
    "minigrad.nn": {
        "functional": "the operators of minigrad itself: mg.relu(x), mg.conv2d(x, w)",
        "ModuleList": "a plain list of layers as an attribute",
        "ModuleDict": "a plain dict of layers as an attribute",
        "ParameterList": "a plain list of nn.Parameter as an attribute",
        "CrossEntropyLoss": "mg.cross_entropy(logits, labels)",
        "NLLLoss": "mg.nll_loss(log_probabilities, labels)",
        "BCEWithLogitsLoss": "mg.binary_cross_entropy(logits, targets)",
        "MSELoss": "mg.mse_loss(x, y)",
        "Softmax": "mg.softmax(x, axis=-1)",
        "LogSoftmax": "mg.log_softmax(x, axis=-1)",
        "Softplus": "mg.softplus(x)",
        "AdaptiveAvgPool2d": "nn.GlobalAvgPool2d(), which also flattens",
        "BatchNorm1d": "nn.BatchNorm2d(c), for (n, c), too",
        "Dropout2d": "nn.Dropout(p, rng=0)",
        "ZeroPad2d": "padding= of the layer that follows, or mg.pad(x, widths)",
        "utils": "optim.clip_grad_norm(parameters, max_norm)",
    },
    "minigrad.optim": {
        "lr_scheduler": "optim.CosineLR(sgd, iterations), optim.MultiStepLR(sgd, [1000]); they count iterations",
        "RMSprop": "optim.Adam(parameters, betas=(0.0, 0.99)), or a class of your own: see optim.Optimizer",
        "NAdam": "optim.Adam(parameters)",
        "Adagrad": "a class of your own: see optim.Optimizer",
        "LBFGS": "scipy.optimize.minimize, with gradients from mg.grad",
    },
    "minigrad.data": {
        "TensorDataset": "an object with __len__ and __getitem__(i), which takes one index or an array of them",
        "Dataset": "class Own: with __len__ and __getitem__(i), which takes one index or an array of them",
        "random_split": "data.split(dataset, n, rng=0)",
        "ImageFolder": "an object with __len__ and __getitem__(i); minigrad.data.images.read_photo reads an image",
    },
    "Tensor": {
        "view": "x.reshape(shape)",
        "permute": "x.transpose(0, 2, 1)",
        "swapaxes": "x.transpose(0, 2, 1), with all axes",
        "unsqueeze": "mg.expand_dims(x, axis)",
        "expand": "mg.broadcast_to(x, shape)",
        "clamp": "x.clip(a, b)",
        "amax": "x.max(axis=1)",
        "pow": "x**2",
        "square": "x**2",
        "matmul": "a @ b",
        "mm": "a @ b",
        "dot": "a @ b",
        "softmax": "mg.softmax(x, axis=-1)",
        "sigmoid": "mg.sigmoid(x)",
        "tanh": "mg.tanh(x)",
        "relu": "mg.relu(x)",
        "norm": "(x * x).sum().sqrt()",
        "chunk": "[x[:, i : i + n] for i in range(0, x.shape[1], n)]",
        "split": "[x[:, i : i + n] for i in range(0, x.shape[1], n)]",
        "clone": "mg.Tensor(x.data.copy())",
        "copy_": "x.data = array",
        "zero_": "x.data = np.zeros_like(x.data); of a gradient, x.grad = None",
        "add_": "x.data = x.data + y",
        "requires_grad_": "x.requires_grad = True",
        "register_hook": "x.hook(f)",
        "contiguous": "x as it is",
        "cpu": "x.to('cpu')",
        "cuda": TO_CUDA,
        "float": "x.astype('float32')",
        "double": "x.astype('float64')",
        "long": "x.astype('int64')",
        "type": "x.astype(dtype)",
        "dim": "x.ndim",
        "numel": "x.size",
        "storage": "x.data",
    },
    "Module": {
        "cuda": TO_CUDA,
        "cpu": "net.to('cpu')",
        "double": NO_FLOAT,
        "float": NO_FLOAT,
        "half": NO_FLOAT,
        "zero_grad": "optimizer.zero_grad()",
        "requires_grad_": "for p in net.parameters(): p.requires_grad = False",
        "modules": "[module for _, module in net.named_modules()]",
        "named_children": "net.children(), which yields names and layers",
        "named_buffers": "net.buffers(), or net.state_dict()",
        "register_forward_hook": "net.hook(f), with f(module, output)",
        "register_buffer": "self.name = nn.Buffer(array)",
        "register_parameter": "self.name = nn.Parameter(array)",
        "add_module": "self.name = layer",
        "fit": LOOP,
        "in_features": "layer.weight.shape[0]",
        "out_features": "layer.weight.shape[1]",
        "kernel_size": "layer.kernel",
    },
    "Optimizer": {
        "param_groups": "optimizer.groups",
        "add_param_group": "all groups when the optimizer is made: optim.SGD([{'params': ...}, ...], lr=0.1)",
    },
}


def advise(place: str) -> Callable[..., NoReturn]:
    """Return a ``__getattr__`` for a module or a class: it says what to write instead of a name that it lacks.

    Parameters
    ----------
    place : str
        A key of `INSTEAD`.
    """

    def of_module(name: str) -> NoReturn:
        line = INSTEAD[place].get(name)
        raise AttributeError(f"{place} has no {name!r}" + (f"; write {line}" if line else ""), name=name)

    def of_object(self: object, name: str) -> NoReturn:
        line = INSTEAD[place].get(name)
        message = f"{type(self).__name__!r} object has no attribute {name!r}" + (f"; write {line}" if line else "")
        raise AttributeError(message, name=name, obj=self)

    return of_module if place.islower() else of_object
