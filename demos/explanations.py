"""Why do residual nets train? Three explanations, each measured on the paper's nets.

docs/why_residual.md explains them, and three more. This demo measures what can be measured in a minute, on nets with
half the paper's filters and on 8x8 digits.

1. Short paths (A. Veit et al., arXiv 1605.06431). A net of D blocks is a sum over 2^D paths: in each block, a path goes
   through F or through the shortcut. We compute exactly how much of the gradient comes through all paths of a length.
   In ResNet-110, 95 % of the paths pass through 20 to 34 of the 54 blocks. Before training, 95 % of the gradient comes
   through 5 to 16 blocks; after training, through 1 to 8 (with the kernels of BLAS for AVX-512 and for AVX2).
2. Shattered gradients (D. Balduzzi et al., arXiv 1702.08591). We move an image by 1 % of the way to another image. In
   plain-8 and ResNet-56 the new gradient has a cosine of 0.92 and 0.77 with the old one, in plain-56 of 0.
3. The loss surface (H. Li et al., arXiv 1712.09913). We take a step against the gradient, of a hundred-thousandth of
   the length of the weights. In ResNet-56 the loss falls as far as the gradient predicts; in plain-56 by 2 % of this.
   Along a random direction, the loss of plain-56 turns as often as random numbers do, the loss of ResNet-56 seldom.

2 and 3 are measured before training: plain-56 cannot be trained in a minute.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import minigrad as mg
from demos import lab, style
from minigrad.typing import Array
from models import cifar_plain, cifar_resnet
from models.plain import Net
from models.resnet import BasicBlock

NETS = {"plain": cifar_plain, "residual": cifar_resnet}
LOOKS = {"plain": style.PLAIN, "residual": style.RESIDUAL}
DISTANCES = np.geomspace(1e-4, 1, 13)  # between two inputs, as a share of the way from an image to another
STEPS = [1e-5, 1e-4, 1e-3, 1e-2]  # the length of a step, relative to that of all weights
AWAY = np.linspace(-0.5, 0.5, 41)  # along a random direction as long as the weights


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure paths, gradients and losses; print, draw and return the numbers."""
    options = lab.parser("explanations", __doc__).parse_args(arguments)
    deepest, depths, count, epochs, warmup = 110, [8, 20, 56], 20 if options.full else 3, 12, lab.WARMUP
    if options.quick:
        deepest, depths, count, epochs, warmup = 56, [8, 56], 2, 4, 12
    images, labels = next(iter(lab.digits(True, 64, rng=options.seed)))
    seeds = range(options.seed, options.seed + count)
    nets = {f"{kind}-{depth}": [make(kind, depth, seed) for seed in seeds] for kind in NETS for depth in depths}
    result = {
        "paths": lengths(deepest, images[:16], labels[:16], options.seed, epochs, warmup),
        "cosines": similarities(nets, images),
        "losses": landscapes(nets, images, labels),
    }
    print(f"(means of {count} nets, before training)\n")
    style.save(draw(result), result, options.out, "explanations")
    return result


def make(kind: str, depth: int, seed: int) -> Net:
    """Build a net with half the paper's filters."""
    return NETS[kind](depth, in_channels=1, width=8, rng=seed)


# Veit et al., 2016: paths --------------------------------------------------------------------


def lengths(depth: int, images: Array, labels: Array, seed: int, epochs: int, warmup: int) -> dict[str, Any]:
    """Return which share of the gradient comes from the paths of each length, before and after training."""
    net, count = make("residual", depth, seed), (depth - 2) // 2
    shares = {"before": share(by_length(net, images, labels))}
    settings: dict[str, Any] = {"warmup": warmup, "seed": seed, "title": f"residual-{depth}"}
    lab.fit(net, epochs=epochs, **settings, evaluate_every=12 * epochs)
    shares["after"] = share(by_length(net.train(), images, labels))
    shares["count"] = np.array([math.comb(count, k) / 2**count for k in range(count + 1)])
    print(f"residual-{depth}: {count} blocks, 2^{count} paths")
    names = {"count": "95 % of the paths", "before": "95 % of the gradient, before training", "after": "after training"}
    for name, text in names.items():
        low, high = middle(shares[name])
        print(f"{text:>37}: through {low} to {high} blocks, {2 * low} to {2 * high} layers")
    return {"depth": depth} | shares


def by_length(net: Net, images: Array, labels: Array) -> list[Array]:
    """Return the gradient of the loss in the first block's input, split by the length of paths.

    Term k is the sum over all paths that pass through F in k blocks, and through the shortcut in all others. The terms
    of a block's input follow from those of its output: a path through the shortcut keeps its length, a path through F
    becomes one block longer. So a net of D blocks needs about D^2 backward passes of one block, not 2^D.
    """
    with mg.no_grad():
        x = net.stem(mg.Tensor(images))
    blocks = []
    for block in (block for _, block in net.named_modules() if isinstance(block, BasicBlock)):
        x = mg.Tensor(x.data, requires_grad=True)
        f, shortcut = residual(block, x), block.downsample(x) * 1.0
        out = mg.relu(f + shortcut).detach()
        blocks.append((x, f, shortcut, out.data > 0))
        x = out
    x = mg.Tensor(x.data, requires_grad=True)
    terms = [g.data for g in mg.grad(mg.cross_entropy(net.fc(net.avgpool(x)), labels), x)]
    nothing = np.zeros((), images.dtype)
    for x, f, shortcut, positive in reversed(blocks):
        terms = [g * positive for g in terms]  # the ReLU after the addition
        around, through = ([backward(y, x, g) for g in terms] for y in (shortcut, f))
        terms = [a + t for a, t in zip([*around, nothing], [nothing, *through], strict=True)]
    return terms


def residual(block: BasicBlock, x: mg.Tensor) -> mg.Tensor:
    """Return F(x)."""
    return block.bn2(block.conv2(block.relu(block.bn1(block.conv1(x)))))


def backward(y: mg.Tensor, x: mg.Tensor, g: Array) -> Array:
    """Return the gradient in x, given that in y."""
    (dx,) = mg.grad(y, x, mg.Tensor(g), retain_graph=True)
    return dx.data


def share(terms: list[Array]) -> Array:
    """Return the share of each term in their sum g: its component along g, by the norm of g. The shares add up to 1."""
    g = np.sum(terms, axis=0)
    return np.array([np.vdot(term, g) / np.vdot(g, g) for term in terms])


def middle(shares: Array) -> tuple[int, int]:
    """Return the first and the last length, without the 2.5 % of the whole that are shorter, and that are longer."""
    total = np.cumsum(shares)
    return int(np.argmax(total > 0.025)), int(np.argmax(total > 0.975))


# Balduzzi et al., 2017: shattered gradients --------------------------------------------------


def similarities(nets: dict[str, list[Net]], images: Array) -> dict[str, Array]:
    """Return the cosine between the gradients at two inputs, by net and distance; print it for some distances."""
    shown = [3, 6, 9]
    print(f"\n{'distance between two inputs':<32}" + "".join(f"{f'{100 * DISTANCES[i]:.2g} %':>9}" for i in shown))
    print("cosine between the gradients")
    found = {}
    for name, group in nets.items():
        found[name] = np.mean([[cosine(net, images, distance) for distance in DISTANCES] for net in group], axis=0)
        print(f"    {name:<28}" + "".join(f"{found[name][i]:9.2f}" for i in shown), flush=True)
    return found


def cosine(net: Net, images: Array, distance: float) -> float:
    """Return the mean cosine between the gradients at images and at the same images moved towards other images.

    The gradients are those of one random direction of the logits, with respect to the pixels.
    """
    here, there = np.split(images, 2)
    x = mg.Tensor(np.concatenate([here, here + np.float32(distance) * (there - here)]), requires_grad=True)
    weights = np.random.default_rng(0).standard_normal((10, 1), dtype="float32")
    (g,) = mg.grad(mg.matmul(net(x), weights).sum(), x)
    a, b = np.split(g.data.reshape(len(images), -1), 2)
    return float(np.mean((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))))


# Li et al., 2018: the loss surface -----------------------------------------------------------


def landscapes(nets: dict[str, list[Net]], images: Array, labels: Array) -> dict[str, dict[str, Array]]:
    """Return how the loss changes along the gradient, and along a random direction; print both."""
    print(f"\n{'step / weights':<32}" + "".join(f"{step:>9g}" for step in STEPS) + f"{'turns of the loss along':>28}")
    print(f"{'fall of the loss / prediction':<32}{'':{9 * len(STEPS)}}{'a random direction':>28}")
    found = {}
    for name, group in nets.items():
        falls = np.mean([fall(net, images, labels) for net in group], axis=0)
        slices = [along(net, images, labels, direction(net, seed), AWAY) for seed, net in enumerate(group)]
        turns = np.mean([turning(losses) for losses in slices])
        found[name] = {"falls": falls, "slice": slices[0], "turns": turns}
        print(f"    {name:<28}" + "".join(f"{x:9.3f}" for x in falls) + f"{turns:>16.0%}", flush=True)
    return found


def fall(net: Net, images: Array, labels: Array) -> Array:
    """Return the share of the predicted fall of the loss that a step against the gradient achieves, for each length."""
    parameters = list(net.parameters())
    loss = mg.cross_entropy(net(mg.Tensor(images)), labels)
    gradients = [g.data for g in mg.grad(loss, parameters)]
    length, size = (math.sqrt(sum(np.vdot(a, a) for a in part)) for part in (gradients, [p.data for p in parameters]))
    rates = [step * size / length for step in STEPS]
    losses = along(net, images, labels, [-g for g in gradients], rates)
    achieved: Array = (loss.item() - losses) / (np.array(rates) * length**2)
    return achieved


def direction(net: Net, seed: int) -> list[Array]:
    """Return a random direction in which each filter is as long as that of the net; gammas and biases stay."""
    rng, arrays = np.random.default_rng(seed), []
    for p in net.parameters():
        d, axes = rng.standard_normal(p.shape, dtype="float32"), tuple(range(p.ndim - 1))
        scale = np.sqrt((p.data**2).sum(axes) / (d**2).sum(axes)) if p.ndim > 1 else 0.0
        arrays.append(d * np.float32(scale))
    return arrays


def along(net: Net, images: Array, labels: Array, arrays: list[Array], distances: Any) -> Array:
    """Return the losses at some distances along a direction; the net is as before in the end."""
    start, losses = [p.data for p in net.parameters()], []
    with mg.no_grad():
        for distance in [*distances, 0.0]:
            for p, a, d in zip(net.parameters(), start, arrays, strict=True):
                p.data = a + np.float32(distance) * d
            losses.append(mg.cross_entropy(net(mg.Tensor(images)), labels).item())
    return np.array(losses[:-1])


def turning(losses: Array) -> float:
    """Return at which share of its inner points a curve turns from rising to falling, or back.

    Of independent random numbers, two thirds are such points: of three numbers, the largest or the smallest is as often
    in the middle as at either end.
    """
    rises = np.diff(losses) > 0
    return float((rises[1:] != rises[:-1]).mean())


def draw(result: dict[str, Any]) -> Any:
    """Draw shares by length, cosines by distance, and losses along a direction."""
    figure, (paths, gradients, losses) = style.panels(3, width=13.5, height=4.0)
    found, depths = result["paths"], sorted({int(name.split("-")[1]) for name in result["cosines"]})
    curves: dict[str, dict[str, Any]] = {
        "count": {"color": "0.6", "ls": "--", "label": "paths"},
        "before": {"color": style.shade(0, 2), "lw": 1.2, "label": "gradient, before training"},
        "after": {"color": style.shade(1, 2), "lw": 2.2, "label": "gradient, after training"},
    }
    for name, look in curves.items():
        paths.plot(np.arange(len(found[name])), 100 * found[name], **look)
    paths.set(xlabel="blocks whose F a path passes through", ylabel="share (%)")
    paths.set_title(f"paths of residual-{found['depth']}")
    for name, cosines in result["cosines"].items():
        kind, depth = name.split("-")
        width = 0.8 + 1.6 * depths.index(int(depth)) / (len(depths) - 1)
        gradients.semilogx(100 * DISTANCES, cosines, **LOOKS[kind], linewidth=width, label=name)
    gradients.set(xlabel="distance between two inputs (%)", ylabel="cosine", title="gradients at the two inputs")
    for kind, look in LOOKS.items():
        name = f"{kind}-{depths[-1]}"
        loss = np.array(result["losses"][name]["slice"])
        losses.plot(AWAY, (loss - loss.min()) / np.ptp(loss), **look, linewidth=1.5, label=name)
    losses.set(xlabel="distance from the weights", ylabel="loss, from its lowest to its highest value")
    losses.set_title("the loss along a random direction")
    for panel in (paths, gradients, losses):
        panel.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
