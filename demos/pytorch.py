"""The program of demos.gradient_flow in PyTorch, with the same weights: equal layer by layer.

The Chinese reading of "Deep Residual Learning" has its program twice: with gradients by hand in NumPy, and with
PyTorch's autograd. Each draws its own random numbers, so the two programs print different results. Here the PyTorch
program gets the weights and the inputs of the other one. Then the values and the gradients of each layer are equal, up
to rounding. The figure is that of the reading, from both programs.

Three things differ on the way:

- PyTorch takes rows: the input has the shape (1, 16) here, and (16, 1) there. Weights are (outputs, inputs) in both.
- By hand, ``dx_residual + dout`` is written out. Autograd adds the two gradients because ``out + x`` used x twice.
- By hand, a gradient is the attribute ``dW`` of a layer. PyTorch adds it to ``weight.grad``.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from torch import nn

from demos import gradient_flow, style
from minigrad.typing import Array


class PlainLayer(nn.Module):
    """A fully connected layer with ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, dtype=torch.float64)

    def forward(self, x: Any) -> Any:
        """Compute relu(x W' + b), and keep it."""
        self.a = torch.relu(self.linear(x))
        return self.a


class ResidualBlock(nn.Module):
    """The program's residual block: x plus two layers."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.layer1 = PlainLayer(size, size)
        self.layer2 = PlainLayer(size, size)

    def forward(self, x: Any) -> Any:
        """Compute F(x) + x."""
        return self.layer2(self.layer1(x)) + x


class PlainNetwork(nn.Sequential):
    """Layers without shortcuts."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int) -> None:
        sizes = [input_size, *[hidden_size] * (num_layers - 1), input_size]
        super().__init__(*map(PlainLayer, sizes, sizes[1:]))


class ResidualNetwork(nn.Sequential):
    """A layer to the hidden size, residual blocks, and a layer back."""

    def __init__(self, input_size: int, hidden_size: int, num_blocks: int) -> None:
        blocks = [ResidualBlock(hidden_size) for _ in range(num_blocks)]
        super().__init__(PlainLayer(input_size, hidden_size), *blocks, PlainLayer(hidden_size, input_size))


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run both programs with the same weights, compare them layer by layer, draw both; return the differences."""
    parser = argparse.ArgumentParser(prog="python -m demos.pytorch", description="One program, by hand and in PyTorch.")
    parser.add_argument("--seed", type=int, default=42, help="seed of the weights and inputs (42)")
    parser.add_argument("--out", default="runs/pytorch", help="folder for the figure and its data (runs/pytorch)")
    options = parser.parse_args(arguments)
    size, depth = gradient_flow.SIZE, gradient_flow.DEPTH
    twins = {"plain": PlainNetwork(size, size, depth), "residual": ResidualNetwork(size, size, depth)}
    result: dict[str, Any] = {}
    print("largest difference, relative to the largest number of the array\n")
    print(f"{'layer':<14}{'output':>10}{'dW':>10}{'db':>10}")
    for (name, twin), (net, x) in zip(twins.items(), gradient_flow.toy(options.seed), strict=True):
        copy(net, twin)
        ours, (theirs, outputs) = gradient_flow.by_hand(net, x), by_autograd(twin, x)
        rows = np.array(
            [
                [apart(layer.a, a), apart(layer.dW, dW), apart(layer.db, db)]
                for layer, a, dW, db in zip(net.layers, outputs, theirs.dW, theirs.db, strict=True)
            ]
        )  # (layers, 3)
        for i, row in enumerate(rows):
            print(f"{f'{name} {i + 1}':<14}" + "".join(f"{difference:>10.0e}" for difference in row))
        dx = apart(ours.dx, theirs.dx)
        print(f"{f'{name}, dx':<14}{dx:>10.0e}\n")
        ratios = [gradient_flow.first_to_last(gradients) for gradients in (ours, theirs)]
        print(f"{name}: first/last {ratios[0]:.2f} by hand, {ratios[1]:.2f} in PyTorch\n")
        norms = [gradient_flow.of_parts(net, gradients) for gradients in (ours, theirs)]
        result[name] = {"layers": rows, "dx": dx, "norms": norms}
    style.save(draw(result), result, options.out, "pytorch")
    return result


def copy(net: gradient_flow.Network, twin: nn.Module) -> None:
    """Copy our weights and biases to PyTorch's net."""
    with torch.no_grad():
        for layer, theirs in zip(net.layers, layers_of(twin), strict=True):
            theirs.linear.weight.copy_(torch.from_numpy(layer.W))
            theirs.linear.bias.copy_(torch.from_numpy(layer.b[:, 0]))


def layers_of(twin: nn.Module) -> list[Any]:
    """List the layers of PyTorch's net, from the first to the last."""
    return [module for module in twin.modules() if isinstance(module, PlainLayer)]


def by_autograd(twin: nn.Module, x: Array) -> tuple[gradient_flow.Gradients, list[Array]]:
    """Return the gradients of the sum of the output, as columns and in the order of the layers, and their outputs."""
    row = torch.from_numpy(x.T.copy()).requires_grad_()  # (1, 16)
    twin.zero_grad()
    output = twin(row)
    output.backward(torch.ones_like(output))
    layers = [layer.linear for layer in layers_of(twin)]
    dW, db = [layer.weight.grad.numpy() for layer in layers], [layer.bias.grad.numpy()[:, None] for layer in layers]
    assert row.grad is not None
    outputs = [layer.a.detach().numpy().T for layer in layers_of(twin)]
    return gradient_flow.Gradients(dW, db, row.grad.numpy().T), outputs


def apart(ours: Array, theirs: Array) -> float:
    """Return the largest difference, relative to the largest number."""
    if ours.shape != theirs.shape:
        raise ValueError(f"expected equal shapes, got {ours.shape} and {theirs.shape}")
    return float(abs(ours - theirs).max() / abs(ours).max())


def draw(result: dict[str, Any]) -> Any:
    """Draw the gradient norms of both programs: curves by hand, crosses from PyTorch."""
    figure, panel = style.panels(width=8, height=4)
    for name, look in (("plain", style.PLAIN), ("residual", style.RESIDUAL)):
        by_hand, in_torch = result[name]["norms"]
        panel.semilogy(by_hand, **look, linewidth=2, label=f"{name}, by hand")
        panel.semilogy(in_torch, "x", color="black", markersize=7, label=f"{name}, PyTorch")
    panel.set(xlabel="layer, or residual block", ylabel="gradient norm")
    panel.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
