"""A good deep plain net can be constructed, but training does not find it: the paper's thought experiment.

Section 1 of "Deep Residual Learning for Image Recognition" (He et al., 2015) explains why it is strange that deeper
plain nets train worse. Take a trained shallow net and insert layers that are the identity: the deeper net has the same
training error. So a good solution exists "by construction", but from random weights the optimizer does not find a
solution as good.

This demo carries out the construction. It trains a plain net of 20 layers on the digits and then inserts 36 layers, 12
at the end of each stage. Like all other layers, each consists of a 3x3 convolution, batch norm and ReLU. Three choices
make them the identity:

- the kernel has a 1 in its middle, from each channel to itself, and zeros elsewhere;
- batch norm cancels its own normalisation: gamma and beta are the deviation and the mean of the channel over the
  training set, and the running statistics are the same;
- the input comes from a ReLU, so it is not negative, and another ReLU does not change it.

In evaluation the logits are the same up to rounding. In training they are not quite the same: a batch has its own mean
and deviation, which the first inserted layer of a stage replaces by those of the training set; the other layers change
less. When training continues with a small learning rate, the constructed net keeps its error or lowers it. A plain net
of the same 56 layers that starts from random weights has a much higher error after as many iterations as both stages of
this training together.

A residual net needs no construction. With gamma = 0 at the end of each block, each block begins as its shortcut: all
but the first block of each stage are the identity, in training too, and to the last bit. From there it trains well.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

import minigrad as mg
from demos import lab, style
from minigrad.nn.module import evaluation
from minigrad.typing import Array
from models import cifar_plain, cifar_resnet
from models.plain import Net


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Train, construct, continue training, and compare; return the training errors."""
    options = lab.parser("constructed", __doc__).parse_args(arguments)
    seed, settings = options.seed, {"warmup": lab.WARMUP, "seed": options.seed}
    depth, deeper, width, epochs, more = 20, 110 if options.full else 56, 16, 12, 6
    if options.quick:
        depth, deeper, width, epochs, more = 8, 32, 8, 4, 2
        settings["warmup"] = 12
    sizes = {"in_channels": 1, "rng": seed, "width": width}
    names = [f"plain-{depth}", *(f"plain-{deeper}, {how}" for how in ("constructed", "from scratch"))]
    names += [f"residual-{deeper}, gamma = 0"]

    shallow = cifar_plain(depth, **sizes)
    first = lab.fit(shallow, epochs=epochs, **settings, title=names[0])
    images, labels = (np.concatenate(part) for part in zip(*lab.digits(True), strict=True))
    deep = constructed(shallow, deeper, images)
    before, after = logits(shallow, images), logits(deep, images)  # (1437, 10)
    errors = [float((scores.argmax(1) != labels).mean()) for scores in (before, after)]
    difference = float(abs(after - before).max() / abs(before).max())
    print(f"{names[0]}: {errors[0]:.1%} of the training set wrong")
    print(f"plain-{deeper} by construction: {errors[1]:.1%}; its logits are the same to {difference:.0e}")
    residual = cifar_resnet(deeper, zero_gamma=True, **sizes)
    same = begins_shallow(residual, images)
    print(f"residual-{deeper} with gamma = 0 begins as residual-8{', to the bit' if same else '?'}\n")

    again = lab.fit(deep, epochs=more, lr=0.01, **settings, title=names[1])
    runs = {names[0]: first, names[1]: [{"iteration": 0, "train_error": errors[1]}, *again]}
    for name, net in ((names[2], cifar_plain(deeper, **sizes)), (names[3], residual)):
        runs[name] = lab.fit(net, epochs=epochs + more, **settings, title=name)
    result: dict[str, Any] = {"difference": difference, "errors": errors, "begins shallow": same, "runs": {}}
    for name, history in runs.items():
        shift = first[-1]["iteration"] if name == names[1] else 0
        points = [(record["iteration"] + shift, 100 * record["train_error"]) for record in history]
        result["runs"][name] = np.array(points)
        print(f"{name:<26}{points[-1][1]:>6.1f} % of the training set wrong after {points[-1][0]} iterations")
    print()
    style.save(draw(result["runs"]), result, options.out, "constructed")
    return result


def constructed(shallow: Net, depth: int, images: Array) -> Net:
    """Return a plain net of `depth` layers that computes the same function as a shallower net."""
    filters = shallow.fc.weight.shape[0]
    deep = cifar_plain(depth, in_channels=images.shape[-1], width=filters // 4)
    for name in ("conv1", "bn1", "fc"):
        setattr(deep, name, copy.deepcopy(getattr(shallow, name)))
    with evaluation(shallow), mg.no_grad():
        x = shallow.stem(mg.Tensor(images))
        for stage, longer in zip(shallow.stages, deep.stages, strict=True):
            x = stage(x)  # (1437, h, w, c)
            mean, var = x.data.mean((0, 1, 2)), x.data.var((0, 1, 2))
            n = len(stage)
            longer.layers[:n] = copy.deepcopy(stage.layers)
            new: list[Any] = longer.layers[n:]
            for conv, bn in [(block.conv1, block.bn1) for block in new] + [(block.conv2, block.bn2) for block in new]:
                conv.weight.data[...] = 0
                conv.weight.data[1, 1] = np.eye(len(mean))
                bn.weight.data[...] = np.sqrt(var + bn.eps)
                bn.bias.data[...] = bn.running_mean.data[...] = mean
                bn.running_var.data[...] = var
    return deep


def logits(net: Net, images: Array) -> Array:
    """Return the logits of the images (n, 10), in evaluation."""
    with evaluation(net), mg.no_grad():
        return net(mg.Tensor(images)).numpy()


def begins_shallow(net: Net, images: Array) -> bool:
    """Return whether a residual net computes, in training, the same as with only the first block of each stage."""
    net = copy.deepcopy(net)  # training changes the running statistics
    with mg.no_grad():
        whole = net(mg.Tensor(images)).numpy()
        for stage in net.stages:
            stage.layers = stage.layers[:1]
        return bool(np.array_equal(whole, net(mg.Tensor(images)).numpy()))


def draw(runs: dict[str, Array]) -> Any:
    """Draw training errors against iterations; the constructed net begins where the shallow net ends."""
    figure, panel = style.panels(width=9, height=4)
    looks = [(style.PLAIN, 1.2), (style.PLAIN, 3.0), ({"color": style.PLAIN["color"], "linestyle": ":"}, 3.0)]
    for (name, points), (look, width) in zip(runs.items(), [*looks, (style.RESIDUAL, 2.0)], strict=True):
        panel.plot(*points.T, **look, linewidth=width, zorder=2 + width, label=name)
    at = next(iter(runs.values()))[-1]
    panel.annotate("identity layers inserted", at, (at[0], 30), ha="center", arrowprops={"arrowstyle": "->"})
    panel.set(xlabel="iteration", ylabel="training error (%)", ylim=(-2, 100))
    panel.set_xlim(left=0)
    panel.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


if __name__ == "__main__":
    main()
