"""Records of the convolutions: minigrad/ops/conv.py."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn
from tests.records import offsets, windows
from tests.records.draw import F, by_winograd, channels_first, channels_last, ones, randn, signal, t, torch
from tests.records.large import LARGE
from tests.records.many import MANY, conv2d_gradients, conv_transpose2d_gradients
from tests.records.record import OperatorRecord, Refusal, Sample, Special, sample, type_error


def _pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def borders(w: Any, padding: Any, dilation: Any) -> list[tuple[int, int]]:
    """List the zeros before and after, of height and of width; "same" adds the larger half after."""
    if padding != "same":
        return [(p, p) for p in _pair(padding)]
    spans = [d * (k - 1) for d, k in zip(_pair(dilation), w.shape[:2], strict=True)]
    return [(span // 2, span - span // 2) for span in spans]


def conv2d_by_loops(
    x: Any, w: Any, b: Any = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Convolve pixel by pixel, as one would explain it on a blackboard."""
    (sh, sw), (dh, dw) = map(_pair, (stride, dilation))
    x = np.pad(x, [(0, 0), *borders(w, padding, dilation), (0, 0)])
    n, h, wd, _ = x.shape
    kh, kw, c, o = w.shape
    ho, wo = (h - dh * (kh - 1) - 1) // sh + 1, (wd - dw * (kw - 1) - 1) // sw + 1
    out = np.zeros((n, ho, wo, o), np.result_type(x, w))
    for y, z, group in np.ndindex(ho, wo, groups):
        ins, outs = slice(group * c, (group + 1) * c), slice(group * (o // groups), (group + 1) * (o // groups))
        window = x[:, y * sh :, z * sw :][:, : dh * kh : dh, : dw * kw : dw, ins]
        out[:, y, z, outs] = np.tensordot(window, w[..., outs], axes=3)
    return out if b is None else out + b


def conv_transpose2d_by_loops(
    x: Any, w: Any, b: Any = None, *, stride: Any = 1, padding: Any = 0, output_padding: Any = 0
) -> Any:
    """Spread each pixel over its window, pixel by pixel."""
    (sh, sw), (ph, pw), (more_h, more_w) = _pair(stride), _pair(padding), _pair(output_padding)
    (n, h, wd, _), (kh, kw, _, o) = x.shape, w.shape
    out = np.zeros((n, sh * (h - 1) + kh + more_h, sw * (wd - 1) + kw + more_w, o), x.dtype)
    for y in range(h):
        for z in range(wd):
            for i in range(kh):
                for j in range(kw):
                    out[:, y * sh + i, z * sw + j] += x[:, y, z] @ w[i, j]
    out = out[:, ph : out.shape[1] - ph, pw : out.shape[2] - pw]
    return out if b is None else out + b


def correlate(x: Any, w: Any, mode: str) -> Any:
    """Correlate images (n, h, w, c) with (kh, kw, c, o) by SciPy, channel by channel."""
    out = [
        [
            sum(signal.correlate(image[..., c], w[..., c, o], mode, method="direct") for c in range(w.shape[2]))
            for o in range(w.shape[3])
        ]
        for image in x
    ]
    return np.stack([np.stack(image, axis=-1) for image in out])


def _conv2d_by_scipy(
    x: Any, w: Any, b: Any = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Correlate with a kernel that has zeros between its taps, group by group, and keep one pixel per stride."""
    (sh, sw), (dh, dw), (kh, kw, c, o) = *map(_pair, (stride, dilation)), w.shape
    if not len(x):
        return conv2d_by_loops(x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups)
    spread = np.zeros((dh * (kh - 1) + 1, dw * (kw - 1) + 1, c, o))
    spread[::dh, ::dw] = w
    x = np.pad(x, [(0, 0), *borders(w, padding, dilation), (0, 0)])
    parts = [
        correlate(x[..., i * c : (i + 1) * c], spread[..., i * (o // groups) : (i + 1) * (o // groups)], "valid")
        for i in range(groups)
    ]
    out = np.concatenate(parts, axis=3)[:, ::sh, ::sw]
    return out if b is None else out + b


def _kernel(w: Any, *axes: int) -> Any:
    """Copy a kernel: PyTorch's backward refuses a weight whose strides are permuted."""
    return w.permute(axes).clone(memory_format=torch.contiguous_format)


def _conv2d_by_torch(x: Any, w: Any, b: Any = None, **settings: Any) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using padding='same' with even kernel", UserWarning)  # it may copy the image
        return channels_last(F.conv2d(channels_first(x), _kernel(w, 3, 2, 0, 1), b, **settings))


def _conv_transpose2d_by_torch(x: Any, w: Any, b: Any = None, **settings: Any) -> Any:
    return channels_last(F.conv_transpose2d(channels_first(x), _kernel(w, 2, 3, 0, 1), b, **settings))


def _convolution(x: Any, w: Any, bias: bool = False, call: Any = None, **settings: Any) -> Sample:
    inputs = (randn(*x), randn(*w, seed=1)) + ((randn(w[3], seed=2),) if bias else ())
    return Sample(inputs, settings, call, affine=bias, mixes=call is by_winograd)


def _conv(x: Any, w: Any, *rest: Any, **settings: Any) -> Any:
    return lambda: mg.conv2d(x, w, *rest, **settings)


def _transposed(x: Any, w: Any, *rest: Any, **settings: Any) -> Any:
    return lambda: mg.conv_transpose2d(x, w, *rest, **settings)


X, W = t(2, 6, 5, 3), t(3, 3, 3, 4)
IMAGES = ones(2, 4, 5, 2)

RECORDS = {
    "conv2d": OperatorRecord(
        drawn=windows.any_convolution,
        offset=offsets.Offset(
            sample(offsets.near(2, 6, 7, 3), offsets.around_0(3, 3, 3, 4), offsets.near(4), padding=1), 84, 84
        ),
        special=Special(border="Its zeros are multiplied as pixels are"),
        definition=conv2d_by_loops,
        samples={
            "padding1": _convolution((1, 4, 5, 2), (3, 3, 2, 2), padding=1),
            "padding1-bias": _convolution((2, 4, 3, 1), (3, 3, 1, 2), bias=True, padding=1),
            "stride2": _convolution((1, 5, 4, 2), (3, 3, 2, 1), stride=2, padding=1),
            "stride2-bias": _convolution((1, 6, 5, 1), (3, 2, 1, 2), bias=True, stride=2),
            "stride-of-width": _convolution((1, 5, 6, 1), (2, 3, 1, 1), stride=(1, 2), padding=(0, 1)),
            "1x3": _convolution((1, 4, 5, 1), (1, 3, 1, 2), padding=(0, 1)),
            "3x1-stride3": _convolution((1, 6, 3, 1), (3, 1, 1, 1), stride=3, padding=(1, 0)),
            "pixels-nobody-sees": _convolution((1, 5, 5, 1), (2, 2, 1, 1), stride=3),
            "1x1-bias": _convolution((2, 3, 2, 3), (1, 1, 3, 2), bias=True),
            "1x1-stride2": _convolution((1, 5, 4, 2), (1, 1, 2, 2), stride=2),
            "1x1-padding": _convolution((1, 2, 3, 1), (1, 1, 1, 1), padding=1),
            "padding-beyond-the-kernel": _convolution((1, 3, 3, 1), (2, 2, 1, 1), padding=2),
            "dilation2": _convolution((1, 6, 7, 1), (3, 3, 1, 1), dilation=2, padding=1),
            "dilation-of-height": _convolution((1, 6, 7, 1), (2, 3, 1, 1), dilation=(2, 1), stride=2, padding=1),
            "groups2-bias": _convolution((1, 3, 4, 4), (3, 3, 2, 4), bias=True, padding=1, groups=2),
            "depthwise-stride2": _convolution((1, 4, 3, 2), (2, 2, 1, 2), groups=2, stride=2),
            "same": _convolution((1, 4, 3, 2), (3, 3, 2, 1), padding="same"),
            "same-even-bias": _convolution((1, 3, 4, 1), (2, 4, 1, 2), bias=True, padding="same"),
            "same-even-height": _convolution((1, 3, 3, 2), (4, 3, 1, 2), padding="same", groups=2),
            "same-dilation": _convolution((1, 5, 4, 1), (2, 2, 1, 1), padding="same", dilation=(3, 2)),
            "no-images": _convolution((0, 3, 3, 1), (3, 3, 1, 1), padding=1),
            "winograd": _convolution((1, 6, 5, 2), (3, 3, 2, 1), True, by_winograd, padding=1),
            "winograd-one-tile": _convolution((2, 4, 3, 1), (3, 3, 1, 2), False, by_winograd, padding=1),
            "winograd-padding0": _convolution((1, 7, 3, 1), (3, 3, 1, 2), True, by_winograd),
            "winograd-padding2": _convolution((1, 3, 4, 2), (3, 3, 2, 1), False, by_winograd, padding=(2, 0)),
            "winograd-groups2": _convolution((1, 2, 5, 2), (3, 3, 1, 2), True, by_winograd, padding=1, groups=2),
        },
        analytic=True,
        linear="each",
        fused=True,
        torch=_conv2d_by_torch,
        scipy=_conv2d_by_scipy,
        many=MANY["conv2d"],
        large=LARGE["conv2d"],
        gradients=conv2d_gradients,
        accepts={
            "kernel-of-the-image": _conv(IMAGES, ones(4, 5, 2, 1)),
            "kernel-of-the-dilated-image": _conv(IMAGES, ones(2, 3, 2, 1), dilation=(3, 2)),
            "kernel-of-the-padded-image": _conv(IMAGES, ones(6, 7, 2, 1), padding=1),
            "stride-list": _conv(IMAGES, ones(3, 3, 2, 1), stride=[1, 2]),
        },
        refuses={
            "list": type_error(_conv([1.0], W), "expected x to be a Tensor or an array, got list"),
            "list-of-b": type_error(_conv(X, W, [0.0] * 4), "expected b to be a Tensor or an array or None, got list"),
            "one-image": Refusal(_conv(t(6, 5, 3), W), r"expected x \(n, h, w, c_in\).*got x \(6, 5, 3\)"),
            "one-array": Refusal(_conv(IMAGES[0], ones(3, 3, 2, 4)), "expected x"),
            "w-axes": Refusal(_conv(IMAGES, ones(3, 2, 4)), "expected x"),
            "channels": Refusal(_conv(X, t(3, 3, 16, 4)), r"x has 3 channels \(shape .*\) but w expects 16"),
            "fewer-channels": Refusal(_conv(IMAGES, ones(3, 3, 1, 3)), "w expects 1"),
            "channels-of-groups": Refusal(_conv(IMAGES, ones(3, 3, 2, 4), groups=2), "w expects 4"),
            "channels-of-a-layer": Refusal(lambda: nn.Conv2d(4, 8, 3, rng=0)(X), "x has 3 channels .* but w expects 4"),
            "no-channels-in": Refusal(_conv(ones(2, 4, 5, 0), ones(3, 3, 0, 4)), "at least one channel"),
            "no-channels-out": Refusal(_conv(IMAGES, ones(3, 3, 2, 0)), "at least one channel"),
            "height": Refusal(_conv(X, t(7, 7, 3, 4)), "the kernel spans 7 pixels of height, but .* has 6"),
            "width": Refusal(_conv(X, t(3, 6, 3, 4)), "the kernel spans 6 pixels of width, but .* has 5"),
            "height-by-one": Refusal(_conv(IMAGES, ones(5, 3, 2, 4)), "5 pixels of height, but the padded image has 4"),
            "width-by-one": Refusal(_conv(IMAGES, ones(3, 6, 2, 4)), "6 pixels of width, but the padded image has 5"),
            "height-padded": Refusal(_conv(IMAGES, ones(7, 3, 2, 4), padding=1), "7 pixels of height, but .* has 6"),
            "height-padded-otherwise": Refusal(
                _conv(IMAGES, ones(9, 3, 2, 4), padding=(1, 2)), "9 pixels of height, but .* has 6"
            ),
            "width-padded-otherwise": Refusal(
                _conv(IMAGES, ones(3, 10, 2, 4), padding=(1, 2)), "10 pixels of width, but .* has 9"
            ),
            "height-dilated": Refusal(_conv(IMAGES, ones(3, 3, 2, 4), dilation=2), "5 pixels of height, but .* has 4"),
            "dilation3": Refusal(_conv(X, W, dilation=3), "the kernel spans 7 pixels"),
            "kernel-of-none": Refusal(_conv(IMAGES, ones(0, 3, 2, 4)), "of height"),
            "b": Refusal(_conv(X, W, t(3)), r"expected b of shape \(4,\).*got \(3,\)"),
            "b-array": Refusal(_conv(IMAGES, ones(3, 3, 2, 4), ones(3)), "expected b"),
            "stride0": Refusal(_conv(X, W, stride=0), "expected stride .*at least 1.*got 0"),
            "stride0-of-width": Refusal(_conv(X, W, stride=(1, 0)), "expected stride to be an int of at least"),
            "stride-float": Refusal(_conv(X, W, stride=1.5), "expected stride .*got 1.5"),
            "stride-triple": Refusal(_conv(X, W, stride=(1, 2, 3)), r"expected stride .*or a pair.*got \(1, 2, 3\)"),
            "stride-bool": Refusal(_conv(X, W, stride=True), "expected stride to be an int"),
            "stride-bool-of-width": Refusal(_conv(X, W, stride=(1, True)), "expected stride to be an int"),
            "stride-bool-of-height": Refusal(_conv(X, W, stride=(True, 1)), "expected stride to be an int"),
            "stride-numpy-bool": Refusal(_conv(X, W, stride=np.True_), "expected stride to be an int"),
            "padding-text": Refusal(_conv(X, W, padding="valid"), "padding to be .* or \"same\", got 'valid'"),
            "same-with-a-stride": Refusal(
                _conv(X, W, padding="same", stride=(1, 2)), r"expected stride 1 .*got \(1, 2\)"
            ),
            "same-of-one-image": Refusal(
                _conv(t(6, 5, 3), t(2, 2, 3, 4), padding="same"), r"expected x \(n, h, w, c_in\)"
            ),
            "padding-negative": Refusal(_conv(X, W, padding=-1), "expected padding .*at least 0.*got -1"),
            "padding-negative-width": Refusal(
                _conv(X, W, padding=(0, -1)), "expected padding to be an int of at least"
            ),
            "dilation0": Refusal(_conv(X, W, dilation=0), "expected dilation to be an int of at least"),
            "dilation0-of-width": Refusal(_conv(X, W, dilation=(1, 0)), "expected dilation to be an int of at least"),
            "groups": Refusal(_conv(X, t(3, 3, 1, 4), groups=2), "groups=2 must divide c_in = 3 and c_out = 4"),
            "groups-in": Refusal(_conv(IMAGES, ones(3, 3, 1, 3), groups=3), "groups=3"),
            "groups-out": Refusal(_conv(IMAGES, ones(3, 3, 1, 3), groups=2), "groups=2"),
            "groups0": Refusal(_conv(X, W, groups=0), "groups to be an int of at least 1, got 0"),
            "groups-float": Refusal(
                _conv(IMAGES, ones(3, 3, 2, 4), groups=1.0), r"groups to be an int of at least 1, got 1\.0"
            ),
            "dtypes-of-integers": type_error(
                _conv(X, mg.Tensor(np.ones((3, 3, 3, 4), int))), "x of float32 and w of int64$"
            ),
            "dtypes": type_error(
                _conv(X, t(3, 3, 3, 4, dtype="float64")), "x of float32 and w of float64; convert x with .*float64'"
            ),
            "dtypes-swapped": type_error(
                _conv(IMAGES, ones(3, 3, 2, 4, dtype="float32")),
                "x of float64 and w of float32; convert x with .*float32'",
            ),
            "dtypes-of-arrays": type_error(_conv(X.data, ones(3, 3, 3, 4)), "expected one dtype"),
            "integers": type_error(
                _conv(ones(1, 4, 4, 1, dtype="int64"), ones(1, 1, 1, 1, dtype="int64")),
                "floating-point.*got x of int64 and w of int64",
            ),
        },
    ),
    "conv_transpose2d": OperatorRecord(
        drawn=windows.conv_transpose2d,
        offset=offsets.Offset(sample(offsets.near(2, 6, 7, 3), offsets.around_0(3, 3, 3, 4), offsets.near(4)), 84, 84),
        special=Special(
            border="in the gradients, zeros stand for what is cut off, and are multiplied",
        ),
        definition=conv_transpose2d_by_loops,
        samples={
            "padding1": _convolution((1, 3, 2, 2), (3, 3, 2, 1), padding=1),
            "stride2-bias": _convolution((2, 2, 3, 1), (3, 2, 1, 2), bias=True, stride=2, padding=(1, 0)),
            "gaps": _convolution((1, 2, 2, 2), (2, 2, 2, 2), stride=(3, 1)),
            "1x1-bias": _convolution((1, 2, 3, 2), (1, 1, 2, 1), bias=True),
            "output-padding": _convolution((1, 2, 3, 2), (3, 3, 2, 1), stride=2, padding=1, output_padding=1),
            "output-padding-beyond-the-kernel": _convolution(
                (1, 2, 2, 1), (1, 2, 1, 2), bias=True, stride=(3, 2), output_padding=(2, 0)
            ),
        },
        analytic=True,
        linear="each",
        torch=_conv_transpose2d_by_torch,
        many=MANY["conv_transpose2d"],
        large=LARGE["conv_transpose2d"],
        gradients=conv_transpose2d_gradients,
        accepts={"all-but-one-pixel-cut": _transposed(IMAGES, ones(2, 3, 2, 1), padding=(2, 3))},
        refuses={
            "list-of-b": type_error(
                _transposed(X, t(3, 3, 3, 2), [1.0]), "expected b to be a Tensor or an array or None, got list"
            ),
            "one-image": Refusal(_transposed(IMAGES[0], ones(3, 3, 2, 4)), "expected x"),
            "w-axes": Refusal(_transposed(IMAGES, ones(3, 3, 2)), "expected x"),
            "channels": Refusal(_transposed(X, t(3, 3, 4, 2)), r"expected x .*got x \(2, 6, 5, 3\)"),
            "channels-of-arrays": Refusal(_transposed(IMAGES, ones(3, 3, 3, 4)), "expected"),
            "b": Refusal(_transposed(X, t(3, 3, 3, 2), t(3)), r"expected b of shape \(2,\)"),
            "b-array": Refusal(_transposed(IMAGES, ones(3, 3, 2, 4), ones(2)), "expected b of shape"),
            "stride0": Refusal(_transposed(IMAGES, ones(3, 3, 2, 4), stride=0), "expected stride"),
            "padding-negative": Refusal(_transposed(IMAGES, ones(3, 3, 2, 4), padding=-1), "expected padding"),
            "output-padding": Refusal(
                _transposed(X, t(3, 3, 3, 2), stride=(2, 1), output_padding=(1, 1)),
                r"output_padding smaller than the stride \(2, 1\), got \(1, 1\)",
            ),
            "output-padding-of-rows": Refusal(
                _transposed(X, t(3, 3, 3, 2), stride=2, output_padding=(2, 1)),
                r"output_padding smaller than the stride \(2, 2\), got \(2, 1\)",
            ),
            "output-padding-of-columns": Refusal(
                _transposed(X, t(3, 3, 3, 2), stride=2, output_padding=(1, 2)),
                r"output_padding smaller than the stride \(2, 2\), got \(1, 2\)",
            ),
            "output-padding-negative": Refusal(
                _transposed(X, t(3, 3, 3, 2), stride=2, output_padding=-1), "expected output_padding to be an int"
            ),
            "all-cut": Refusal(_transposed(t(1, 1, 1, 3), t(2, 2, 3, 2), padding=1), "everything"),
            "height-cut": Refusal(
                _transposed(IMAGES, ones(3, 3, 2, 4), padding=(3, 0)), "cuts everything off a result of 6 x 7"
            ),
            "width-cut": Refusal(
                _transposed(IMAGES, ones(3, 4, 2, 4), padding=(0, 4)), "cuts everything off a result of 6 x 8"
            ),
        },
    ),
}
