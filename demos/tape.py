"""The tape of a small expression, its replay step by step, and numerical checks of its gradient.

Backpropagation is bookkeeping. Each operator that runs adds an entry to the tape: the origin of its arguments, and the
arrays that its rule will need. To differentiate, take the entries from the newest to the oldest, pass to each the
gradient g of its result, and add the gradients that its rule returns to the gradients of its arguments. `replay` below
does this in a dozen lines, and its result equals that of minigrad.autograd.backward to the bit. The expression,

    h = w x,   t = tanh(h),   p = h t,   y = sum(p),

contains a diamond: y depends on h along two paths, and the gradient of h is the sum of two contributions. It is
complete when h's entry is taken, because every entry that used h is newer. And the number w was broadcast over the
vector x: so its gradient is summed over the elements of x.

How can one check a gradient? By a derivative that does not use the tape. With a step s,

    one-sided difference   (f(x + s v) - f(x)) / s             error: s from the formula, 1e-16 / s from rounding,
    central difference     (f(x + s v) - f(x - s v)) / (2 s)   error: s ** 2, and 1e-16 / s,
    complex step           imag(f(x + i s v)) / s              error: s ** 2, and no rounding: nothing is subtracted.

So a difference has a best step. On ten seeds the smallest error of the one-sided difference was 1e-8 to 3e-8, at a step
of about 1e-8; that of the central difference was 2e-11 to 4e-11, at 2e-6; and the error of the complex step was at most
5e-16 at EVERY step below 2e-9. The complex step needs an analytic f that accepts complex numbers. Most operators here
fulfil this; relu does not, and is checked by the central difference. (The paper takes all this for granted.)
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from demos import lab, style
from minigrad import inspect
from minigrad.autograd.broadcasting import sum_to
from minigrad.autograd.tape import Entry
from minigrad.train.checkpoint import atomic


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Print the tape, its replay and its graph; compare three numerical derivatives; draw graph and errors."""
    options = lab.parser("tape", __doc__).parse_args(arguments)
    rng = np.random.default_rng(options.seed)
    tensors = forward(rng.uniform(0.5, 1.5), rng.uniform(0.5, 1.5, 2) * [1, -1])
    graph = inspect.draw_graph(tensors["y"], tensors)
    gradients = replay(tensors)
    checked = mg.grad(tensors["y"], [tensors[name] for name in gradients], retain_graph=True)
    equal = all(np.array_equal(mine, g.data) for mine, g in zip(gradients.values(), checked, strict=True))
    print(f"equal to mg.grad, bit by bit: {'yes' if equal else 'NO'}\n\nthe graph\n{graph.dot}\n")

    steps = 10.0 ** np.arange(-20, 0.25, 0.25)
    errors = compare(steps, 20 if options.quick else 2000 if options.full else 200, rng)
    for method, curve in errors.items():
        best = int(np.argmin(curve))
        print(f"{method:<13} smallest error {curve[best]:.0e}, at step {steps[best]:.0e}")
    values = {name: tensor.data for name, tensor in tensors.items()}
    result = {"values": values, "gradients": gradients, "equal": equal, "steps": steps, "errors": errors}
    figure, (left, right) = style.panels(2, width=10.0, height=4.6)
    draw_graph(left, graph, values, gradients)
    draw_errors(right, steps, errors)
    style.save(figure, result, options.out, "tape")
    with atomic(Path(options.out) / "tape.svg") as temporary:
        temporary.write_text(graph.svg)
    return result


def forward(w: Any, x: Any) -> dict[str, mg.Tensor]:
    """Compute the expression; return its arguments and all results by name."""
    w, x = (mg.Tensor(np.asarray(value), requires_grad=True) for value in (w, x))
    h = w * x
    t = mg.tanh(h)
    p = h * t
    return {"w": w, "x": x, "h": h, "t": t, "p": p, "y": p.sum()}


def replay(tensors: dict[str, mg.Tensor]) -> dict[str, Any]:
    """Print the tape of y, replay it, newest entry first, print every step; return the gradients by name."""
    names: dict[Any, str] = {tensor._node: name for name, tensor in tensors.items()}
    entries: list[Any] = sorted((node for node in names if isinstance(node, Entry)), key=lambda entry: entry.order)
    calls = {e: f"{names[e]} = {e.operator.name}({', '.join(names[edge] for edge in e.edges)})" for e in entries}
    print("the tape, in the order of execution")
    for entry in entries:
        rule = str(entry.operator.forward.__doc__).splitlines()[0].rpartition(".   ")[2]
        stored = zip(entry.plan.names, entry.stored, strict=True)
        kept = ", ".join(f"{name} = {show(value)}" for name, value in stored)
        print(f"  {calls[entry]:<15} rule: {rule:<26} keeps {kept}")
    print("\nbackward, the newest entry first")
    totals: dict[Any, Any] = {entries[-1]: np.ones(())}
    for entry in reversed(entries):
        g, said = totals[entry], []  # complete: every entry that used this result is newer
        gradients = entry.operator.pull(g, entry.plan.need, entry.plan, entry.stored)
        for edge, gradient in zip(entry.edges, gradients, strict=True):
            gradient = sum_to(gradient, edge.shape)  # if the argument was broadcast
            said.append(f"d{names[edge]} {'+=' if edge in totals else '='} {show(gradient)}")
            totals[edge] = totals[edge] + gradient if edge in totals else gradient
        print(f"  {calls[entry]:<15} g = {show(g):<15} {',  '.join(said)}")
    return {names[node]: np.array(total) for node, total in totals.items()}


def show(value: Any) -> str:
    """Format an array with two decimals."""
    return np.array2string(value, precision=2, floatmode="fixed") if isinstance(value, np.ndarray) else str(value)


def compare(steps: Any, points: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return each method's error at each step, relative to the gradient, over random points and directions."""
    w, x, dw, dx = (rng.standard_normal((points, *shape)) for shape in ((), (2,), (), (2,)))  # (points,), (points, 2)
    tensors = [forward(*at) for at in zip(w, x, strict=True)]
    gradients = [mg.grad(t["y"], [t["w"], t["x"]]) for t in tensors]
    exact = np.array([g.data * v + h.data @ u for (g, h), v, u in zip(gradients, dw, dx, strict=True)])  # (points,)

    def f(s: Any) -> Any:
        return np.array([forward(*at)["y"].item() for at in zip(w + s * dw, x + s * dx, strict=True)])

    found = {
        "one-sided": [(f(s) - f(0)) / s for s in steps],
        "central": [(f(s) - f(-s)) / (2 * s) for s in steps],
        "complex step": [np.imag(f(1j * s)) / s for s in steps],
    }  # (steps, points)
    return {m: np.linalg.norm(np.array(rows) - exact, axis=1) / np.linalg.norm(exact) for m, rows in found.items()}


def draw_graph(panel: Any, graph: inspect.Graph, values: dict[str, Any], gradients: dict[str, Any]) -> None:
    """Draw the graph with values and gradients."""
    places, routes = graph.layout()
    for (column, row), (next_column, next_row) in (step for route in routes for step in pairwise(route)):
        panel.plot((column, next_column), (-row, -next_row), color="0.5", linewidth=1.2, zorder=1)
        middle = (column + next_column) / 2, -(row + next_row) / 2
        panel.annotate("", middle, (column, -row), arrowprops={"arrowstyle": "-|>", "color": "0.5"})
    for node, (column, row) in zip(graph.nodes, places, strict=True):
        name = node.label.split(" = ")[0]
        text = f"{node.label}\n{show(values[name])}\ngradient {show(gradients[name])}"
        box = {"boxstyle": "round", "facecolor": "0.88" if node.leaf else "white", "edgecolor": "0.4"}
        panel.text(column, -row, text, ha="center", va="center", fontsize="small", bbox=box)
    panel.set(xlim=(-0.5, 1.5), ylim=(-max(row for _, row in places) - 0.4, 0.4))
    panel.set_title("every result: its value, and its gradient", loc="left")
    panel.set_axis_off()


def draw_errors(panel: Any, steps: Any, errors: dict[str, Any]) -> None:
    """Draw the errors against the step."""
    for i, (method, curve) in enumerate(errors.items()):
        look = {"color": style.shade(i, 3), "linewidth": 1.4 + 0.6 * i, "linestyle": "-" if i < 2 else (0, (4, 2))}
        panel.loglog(steps, np.maximum(curve, 1e-17), label=method, **look)
    for text, at in {"1 / s": (3e-13, 1e-1), "s": (3e-5, 4e-4), "s²": (3e-3, 1e-7)}.items():
        panel.text(*at, text, style="italic", ha="center")
    panel.set(xlabel="step s", ylabel="error relative to the gradient", ylim=(1e-17, 1e2), xlim=(1e-20, 2))
    panel.set_title("derivatives that know nothing of the tape", loc="left")
    panel.legend(frameon=False, loc="lower right")


if __name__ == "__main__":
    main()
