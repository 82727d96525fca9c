"""Initial weights and batch norm: signal and gradient through 20 layers, and which nets learn at all.

A layer multiplies the size of the signal by some factor; 20 layers multiply it by the 20th power of this factor. ReLU
halves the mean square, so weights of variance v keep it constant if v = 2 / fan_in (He). Glorot's v = 1 / fan_in, meant
for layers without ReLU, loses a factor of sqrt(2) in each layer; a deviation of 0.01, once the usual choice, loses far
more. In the backward pass the gradient meets the same factors: where the signal shrinks, the gradient shrinks too.
Batch norm after each layer makes the scale of the weights irrelevant. So the paper can say of its plain nets that
neither signal nor gradient vanishes (section 4.1), and look for another reason why the deep nets train badly.

Here 20 fully connected layers of 64 units with ReLU learn the digits for 10 epochs, at four learning rates.
(Convolutions would work too, but on maps of 8x8 the zeros of the padding change the factors, so they are harder to
see.) Observed on ten seeds:

- Without batch norm the signal of the last layer is less than 0.01 of the first layer's with Glorot, and less than
  1e-20 with 0.01; with He it is 0.3 to 2 times the first layer's. Only He learns: its error falls to 6 to 37 % at a
  rate of 0.01, but at a rate of 0.1 it stays above 60 %. With Glorot the error stays above 78 %, and with 0.01 at the
  89 % of guessing, at every rate.
- With batch norm all three learn: the error falls to 6 to 14 % at the best rate. He and Glorot learn at three rates,
  0.01 at all four. The smaller the weights, the smaller the best rate: a step changes the direction of a short vector
  more than that of a long one.
- Batch norm does not remove the problem of depth. Its gradient does not vanish but GROWS, 1.2 times with each layer
  towards the first, 30 to 50 times in all. (With shortcuts it does not: see demos.gradient_flow.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
from demos import lab, style
from minigrad import nn
from minigrad.inspect import statistics
from minigrad.typing import Array

DEPTH, WIDTH = 20, 64
INITS: dict[str, Callable[[tuple[int, ...], np.random.Generator], Array]] = {
    "He": lambda shape, rng: nn.init.he_normal(shape, rng=rng),
    "Glorot": lambda shape, rng: nn.init.glorot_uniform(shape, rng=rng),
    "0.01": lambda shape, rng: (0.01 * rng.standard_normal(shape)).astype("float32"),
}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run each net forward and backward on a batch, train it at several learning rates, draw."""
    options = lab.parser("initialisation", __doc__).parse_args(arguments)
    epochs, rates = (4, [0.01, 0.1]) if options.quick else (40 if options.full else 10, [0.001, 0.01, 0.1, 1.0])
    images, labels = next(iter(lab.digits(True, 512)))
    nets = []
    print(f"{f'{DEPTH} layers':<13}{'signal:':>14}{'gradient:':>14}   training error after {epochs} epochs at rate")
    print(f"{'':<13}{'last / first':>14}{'first / last':>14}   {''.join(f'{rate:>9}' for rate in rates)}")
    for norm in (False, True):
        for init in INITS:
            name = f"{init}{' + BN' if norm else ''}"
            layers = measure(build(init, norm, options.seed), images, labels)
            errors = [train(build(init, norm, options.seed), rate, epochs, options.seed) for rate in rates]
            nets.append({"name": name, "init": init, "norm": norm, "errors": errors, **layers})
            said = "".join(f"{100 * error:>7.1f} %" for error in errors)
            print(f"{name:<13}{layers['signal'][-1]:>14.0e}{layers['gradient'][0]:>14.0e}   {said}", flush=True)
    result = {"depth": DEPTH, "epochs": epochs, "rates": rates, "nets": nets}
    style.save(draw(result), result, options.out, "initialisation")
    return result


def build(init: str, norm: bool, seed: int) -> nn.Module:
    """Stack fully connected layers with ReLU, and a last layer for the classes."""
    rng = np.random.default_rng(seed)
    layers: list[nn.Module] = [nn.Flatten()]
    for _ in range(DEPTH):
        linear = nn.Linear(WIDTH, WIDTH, rng=rng)
        linear.weight.data = INITS[init]((WIDTH, WIDTH), rng)
        layers += [linear, nn.BatchNorm2d(WIDTH), nn.ReLU()] if norm else [linear, nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10, rng=rng))


def measure(net: nn.Module, images: Any, labels: Any) -> dict[str, Any]:
    """Return the norm of each layer's signal, relative to the first, and of its gradient, relative to the last."""
    with statistics(net) as responses:
        mg.cross_entropy(net(mg.Tensor(images)), labels).backward()
    layers = [r for r in responses if r.kind == "ReLU"]
    signal = np.array([r.output.norm for r in layers])
    gradient = np.array([r.gradient.norm for r in layers if r.gradient])
    return {"signal": signal / signal[0], "gradient": gradient / gradient[-1]}


def train(net: nn.Module, rate: float, epochs: int, seed: int) -> float:
    """Train; return the final training error, or that of guessing, 90 %, if numbers overflow."""
    try:
        with np.errstate(all="ignore"):
            return float(lab.fit(net, epochs=epochs, lr=rate, warmup=0, seed=seed)[-1]["train_error"])
    except FloatingPointError:
        return 0.9


def draw(result: dict[str, Any]) -> Any:
    """Draw signal and gradient against depth, and error against learning rate."""
    figure, (signals, gradients, errors) = style.panels(3, width=11.0, height=3.6)
    for i, net in enumerate(result["nets"]):
        look = {"color": style.shade(i % 3, 3), "linestyle": "-" if net["norm"] else "--", "label": net["name"]}
        look["linewidth"] = 3.5 - i % 3 if net["norm"] else 1.5  # the solid curves lie on top of one another
        depths = np.arange(1, len(net["signal"]) + 1)
        signals.semilogy(depths, net["signal"], **look)
        gradients.semilogy(depths, net["gradient"], **look)
        errors.semilogx(result["rates"], 100 * np.array(net["errors"]), marker="o", markersize=4, **look)
    for panel, title in ((signals, "signal, first layer = 1"), (gradients, "gradient, last layer = 1")):
        panel.set(xlabel="layer", xlim=(1, result["depth"]), ylim=(1e-9, 1e3))
        panel.set_title(title, loc="left")
    errors.set(xlabel="learning rate", ylim=(0, 100))
    errors.set_title(f"training error (%), {result['epochs']} epochs", loc="left")
    signals.legend(frameon=False, ncols=2, fontsize="small", loc="upper left")
    return figure


if __name__ == "__main__":
    main()
