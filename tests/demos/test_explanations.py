"""The claims of demos/explanations.py: paths add up to the gradient, deep plain nets have shattered gradients."""

import json
from itertools import product

import numpy as np
import pytest

import minigrad as mg
from demos import explanations, lab
from demos.explanations import along, by_length, cosine, direction, fall, make, middle, share, turning


@pytest.fixture(scope="module")
def batch():
    return next(iter(lab.digits(True, 16, rng=4001)))


def through(net, images, labels, path):
    """Return the gradient in the first block's input that comes through one path: all other branches are constants."""
    with mg.no_grad():
        start = net.stem(mg.Tensor(images))
    x = start = mg.Tensor(start.data, requires_grad=True)
    for inside, block in zip(path, (block for stage in net.stages for block in stage), strict=True):
        f, way = explanations.residual(block, x), block.downsample(x)
        x = mg.relu(f + way.detach() if inside else f.detach() + way)
    (g,) = mg.grad(mg.cross_entropy(net.fc(net.avgpool(x)), labels), start)
    return g.data


def test_terms_are_sums_over_all_paths_of_a_length(batch):
    net = make("residual", 8, 4001)
    expected = np.zeros((4, 16, 8, 8, 8), "float32")
    for path in product((0, 1), repeat=3):
        expected[sum(path)] += through(net, *batch, path)
    np.testing.assert_allclose(by_length(net, *batch), expected, rtol=0, atol=1e-5 * abs(expected).max())
    assert all(np.abs(term).max() > 0 for term in expected)


def test_the_terms_add_up_to_the_gradient(batch):
    net = make("residual", 26, 4001)
    with mg.no_grad():
        start = net.stem(mg.Tensor(batch[0]))
    x = start = mg.Tensor(start.data, requires_grad=True)
    for stage in net.stages:
        x = stage(x)
    (g,) = mg.grad(mg.cross_entropy(net.fc(net.avgpool(x)), batch[1]), start)
    terms = by_length(net, *batch)
    assert len(terms) == 13
    np.testing.assert_allclose(sum(terms), g.data, rtol=0, atol=1e-4 * abs(g.data).max())
    assert share(terms).sum() == pytest.approx(1, abs=1e-4)


def test_shares_and_their_middle():
    np.testing.assert_allclose(share([np.array([1.0, 0]), np.array([2.0, 3])]), [1 / 6, 5 / 6])
    assert middle(np.array([0.01, 0.02, 0.9, 0.05, 0.02])) == (1, 3)
    assert middle(np.array([0.0, 1.0, 0.0])) == (1, 1)


def test_the_cosine_of_equal_inputs_is_one(batch):
    net = make("residual", 8, 4001)
    assert cosine(net, batch[0], 0.0) == pytest.approx(1, abs=1e-5)
    assert cosine(net, batch[0], 0.01) > cosine(net, batch[0], 0.3)


def test_a_short_step_falls_as_far_as_the_gradient_says(batch):
    net = make("plain", 8, 4001)
    before = [p.data for p in net.parameters()]
    shares = fall(net, *batch)
    assert shares[1] == pytest.approx(1, abs=0.02)
    assert shares[-1] < shares[1]
    for p, data in zip(net.parameters(), before, strict=True):
        assert p.data is data or np.array_equal(p.data, data)


def test_a_direction_has_filters_of_the_nets_size():
    net = make("plain", 8, 4001)
    for p, d in zip(net.parameters(), direction(net, 4001), strict=True):
        assert d.shape == p.shape
        if p.ndim == 1:
            assert not d.any()
        else:
            sizes = [np.linalg.norm(a.reshape(-1, a.shape[-1]), axis=0) for a in (d, p.data)]
            np.testing.assert_allclose(*sizes, rtol=1e-4)
            assert not np.allclose(d, p.data)


def test_along_a_direction(batch):
    net = make("plain", 8, 4001)
    arrays = direction(net, 4001)
    losses = along(net, *batch, arrays, [0.0, 0.1])
    assert losses[0] == mg.cross_entropy(net(mg.Tensor(batch[0])), batch[1]).item()
    for p, d in zip(net.parameters(), arrays, strict=True):
        p.data = p.data + np.float32(0.1) * d
    assert losses[1] == mg.cross_entropy(net(mg.Tensor(batch[0])), batch[1]).item()


def test_turning():
    assert turning(np.array([1.0, 2, 3, 4])) == 0
    assert turning(np.array([1.0, 2, 1, 2])) == 1
    assert turning(np.array([1.0, 2, 1, 0])) == 0.5
    assert turning(np.random.default_rng(4001).random(10_000)) == pytest.approx(2 / 3, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [4001, 4002])
def test_the_quick_run(tmp_path, capsys, seed):
    result = explanations.main(["--quick", "--seed", str(seed), "--out", str(tmp_path)])
    paths, lengths = result["paths"], np.arange(28)
    assert lengths @ paths["count"] == pytest.approx(13.5)
    for when in ("before", "after"):
        assert paths[when].sum() == pytest.approx(1, abs=1e-3)
        assert lengths @ paths[when] < 11
    cosines, losses = result["cosines"], result["losses"]
    assert abs(cosines["plain-56"][6]) < 0.2 < 0.5 < cosines["residual-56"][6]  # at a distance of 1 %
    assert abs(losses["plain-56"]["falls"][0]) < 0.3 < 0.95 < losses["residual-56"]["falls"][0]
    assert losses["plain-56"]["turns"] > 0.4 > 0.2 > losses["residual-56"]["turns"]
    printed = capsys.readouterr().out
    assert "27 blocks, 2^27 paths" in printed
    saved = json.loads((tmp_path / "explanations.json").read_text())
    np.testing.assert_array_equal(saved["cosines"]["plain-8"], cosines["plain-8"])


def test_the_figure_shows_the_numbers():
    names = ["plain-8", "plain-56", "residual-8", "residual-56"]
    shares = {name: np.arange(28) / 378 for name in ("count", "before", "after")}
    curve = np.linspace(0, 1, 13)
    result = {
        "paths": {"depth": 56} | shares,
        "cosines": {name: curve * i for i, name in enumerate(names)},
        "losses": {name: {"slice": explanations.AWAY**2 + i} for i, name in enumerate(names)},
    }
    paths, gradients, losses = explanations.draw(result).axes
    assert [line.get_label() for line in gradients.lines] == names
    np.testing.assert_array_equal(gradients.lines[3].get_ydata(), 3 * curve)
    np.testing.assert_allclose(paths.lines[1].get_ydata(), 100 * shares["before"])
    assert [line.get_label() for line in losses.lines] == ["plain-56", "residual-56"]
    np.testing.assert_allclose(losses.lines[0].get_ydata(), 4 * explanations.AWAY**2, atol=1e-12)
