"""The replay is the tape's own, and the three derivatives err as their formulas say."""

import json

import numpy as np
import pytest

from demos import tape


@pytest.mark.parametrize("seed", [4001, 4002])
def test_the_claims(tmp_path, capsys, seed):
    result = tape.main(["--quick", "--seed", str(seed), "--out", str(tmp_path)])
    assert result["equal"]
    assert "bit by bit: yes" in capsys.readouterr().out
    w, x, h = (result["values"][name] for name in "wxh")
    dh = np.tanh(h) + h * (1 - np.tanh(h) ** 2)  # both paths of the diamond
    for name, expected in {"h": dh, "x": w * dh, "w": (x * dh).sum()}.items():
        np.testing.assert_allclose(result["gradients"][name], expected, rtol=1e-12)

    steps, errors = result["steps"], result["errors"]
    best = {method: steps[np.argmin(curve)] for method, curve in errors.items()}
    assert 1e-9 < best["one-sided"] < 1e-7
    assert 1e-7 < best["central"] < 1e-4
    assert 1e-9 < errors["one-sided"].min() < 1e-6
    assert 1e-12 < errors["central"].min() < 1e-9
    assert errors["complex step"][steps < 2e-9].max() < 2e-15
    for method, order in {"one-sided": 1, "central": 2, "complex step": 2}.items():
        large = (steps > 1e-4) & (steps < 1e-2)
        slope = np.polyfit(np.log(steps[large]), np.log(errors[method][large]), 1)[0]
        assert slope == pytest.approx(order, abs=0.1)
    for method in ("one-sided", "central"):
        small = (steps > 1e-14) & (steps < 1e-10)
        slope = np.polyfit(np.log(steps[small]), np.log(errors[method][small]), 1)[0]
        assert slope == pytest.approx(-1, abs=0.2)
        assert errors[method][0] == 1.0  # x + s is x: the difference is nothing


def test_the_replay_is_not_blind():
    """A rule that is wrong gives other gradients than the calculus, and a missing sum another shape."""
    tensors = tape.forward(0.7, np.array([1.0, -0.5]))
    entry = tensors["t"]._node
    entry.stored = tuple(0 * array for array in entry.stored)
    gradients = tape.replay(tensors)
    assert gradients["w"].shape == ()
    assert (
        abs(gradients["h"] - np.tanh([0.7, -0.35]) - tensors["h"].data * (1 - np.tanh([0.7, -0.35]) ** 2)).max() > 0.01
    )


def test_figure_and_data_show_the_numbers(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: figures.append(self) or path.touch())
    result = tape.main(["--quick", "--seed", "4003", "--out", str(tmp_path)])
    graph, errors = figures[0].axes
    texts = [text.get_text() for text in graph.texts if text.get_text()]
    assert [text.split("\n")[0] for text in texts] == ["w", "x", "h = mul", "t = tanh", "p = mul", "y = sum"]
    for text, name in zip(texts, "wxhtpy", strict=True):
        assert text.split("\n")[1:] == [
            tape.show(result["values"][name]),
            f"gradient {tape.show(result['gradients'][name])}",
        ]
    for line, (method, curve) in zip(errors.lines, result["errors"].items(), strict=True):
        assert line.get_label() == method
        np.testing.assert_array_equal(line.get_xdata(), result["steps"])
        np.testing.assert_array_equal(line.get_ydata(), np.maximum(curve, 1e-17))
    saved = json.loads((tmp_path / "tape.json").read_text())
    np.testing.assert_array_equal(saved["errors"]["central"], result["errors"]["central"])
    assert (tmp_path / "tape.svg").read_text().startswith("<svg")
