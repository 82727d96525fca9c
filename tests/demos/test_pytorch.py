"""The reading's program in PyTorch equals the one by hand, layer by layer, with the same weights."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from demos import gradient_flow, pytorch
from tests.demos.test_gradient_flow import with_biases

BOUND = 1e-12  # of the largest number of an array, in float64; 22 layers differ by 1e-15


@pytest.mark.parametrize("seed", [42, 4001, 4002])
def test_the_programs_agree_layer_by_layer(seed):
    """Values and all gradients, also where the biases are not zero."""
    twins = [pytorch.PlainNetwork(16, 16, 10), pytorch.ResidualNetwork(16, 16, 10)]
    for (net, x), twin in zip(with_biases(seed), twins, strict=True):
        pytorch.copy(net, twin)
        ours, (theirs, outputs) = gradient_flow.by_hand(net, x), pytorch.by_autograd(twin, x)
        values = [layer.a for layer in net.layers]
        for a, b in zip([*values, *ours.arrays()], [*outputs, *theirs.arrays()], strict=True):
            assert abs(a).max() > 0
            np.testing.assert_allclose(b, a, rtol=0, atol=BOUND * abs(a).max(), strict=True)


def test_a_difference_in_one_weight_is_seen():
    (net, x), _ = gradient_flow.toy(42)
    twin = pytorch.PlainNetwork(16, 16, 10)
    pytorch.copy(net, twin)
    net.layers[4].W[:, 0] *= 1.001
    ours, (theirs, outputs) = gradient_flow.by_hand(net, x), pytorch.by_autograd(twin, x)
    differences = [pytorch.apart(layer.a, a) for layer, a in zip(net.layers, outputs, strict=True)]
    assert max(differences[:4]) < BOUND < 1e-6 < min(differences[4:])
    assert min(map(pytorch.apart, ours.dW[:4], theirs.dW[:4])) > 1e-6
    with pytest.raises(ValueError, match="expected equal shapes"):
        pytorch.apart(ours.dx, theirs.dx.T)


def test_the_command_prints_and_draws_both(tmp_path, capsys):
    result = pytorch.main(["--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "plain: first/last 1.81 by hand, 1.81 in PyTorch" in printed
    assert "residual: first/last 0.90 by hand, 0.90 in PyTorch" in printed
    for name, layers, parts in (("plain", 10, 10), ("residual", 22, 12)):
        assert result[name]["layers"].shape == (layers, 3)
        assert result[name]["layers"].max() < BOUND
        assert result[name]["dx"] < BOUND
        assert [len(norms) for norms in result[name]["norms"]] == [parts, parts]
        assert f"\n{name} {layers} " in printed
    (panel,) = pytorch.draw(result).axes
    assert [line.get_ydata().tolist() for line in panel.lines] == [
        norms for name in ("plain", "residual") for norms in result[name]["norms"]
    ]
    assert json.loads((tmp_path / "pytorch.json").read_text())["plain"]["dx"] == result["plain"]["dx"]
