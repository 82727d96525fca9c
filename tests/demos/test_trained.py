"""The claims of demos/trained.py: a lesion leaves exactly the shortcut, and the net is afterwards what it was."""

import json

import numpy as np
import pytest

import minigrad as mg
from demos import trained
from models import cifar_resnet
from tests.demos.conftest import TEST


@pytest.fixture
def net():
    """Return a small net with six blocks, with statistics of some images, which gives all its labels."""
    net, images = cifar_resnet(14, width=4, rng=4001), np.random.default_rng(0).normal(size=(40, 32, 32, 3))
    with mg.no_grad():
        for _ in range(30):
            net.train()(mg.Tensor(images.astype("f")))
        net.eval().fc.bias.data -= net(mg.Tensor(images.astype("f"))).data.mean(0)
    return net


@pytest.fixture
def images():
    return np.random.default_rng(1).normal(size=(60, 32, 32, 3)).astype("f")


def answers(net, images, without=None):
    """Classify by hand, leaving out F(x) of a block."""
    x = net.stem(mg.Tensor(images))
    for block in (block for stage in net.stages for block in stage):
        f = block.bn2(block.conv2(mg.relu(block.bn1(block.conv1(x)))))
        shortcut = block.downsample(x)
        x = mg.relu(shortcut if block is without else f + shortcut)
    return net.fc(mg.global_avg_pool2d(x)).data.argmax(1)


def test_each_block_in_turn_is_left_out(net, images):
    whole = answers(net, images)
    before = {path: array.copy() for path, array in net.state_dict().items()}
    found = trained.lesions(net, images, whole)
    blocks = dict(net.named_modules())
    assert list(found) == [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1)]
    expected = {path: np.mean(answers(net, images, blocks[path]) != whole) for path in found}
    assert found == pytest.approx(expected)
    assert max(expected.values()) > 0.1
    assert all(np.array_equal(array, before[path]) for path, array in net.state_dict().items())
    assert trained.error(net, images, whole) == 0


def test_the_error_is_over_all_batches(net):
    images = np.random.default_rng(2).normal(size=(1001, 32, 32, 3)).astype("f")
    labels = answers(net, images)
    labels[[0, 499, 500, 1000]] += 1
    assert trained.error(net, images, labels) == pytest.approx(4 / 1001)


def test_responses_are_the_deviations_after_batch_norm(net, images):
    found = trained.responses(net, images)
    assert len(found) == 13
    with mg.no_grad():
        first = net.bn1(net.conv1(mg.Tensor(images))).data
    assert found["bn1"] == pytest.approx(first.std(), rel=1e-4)


def test_the_run_on_the_net_that_comes_with_minigrad(root, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(mg.data.CIFAR10, "test_files", TEST)
    result = trained.main(["--quick", "--root", str(root), "--out", str(tmp_path)])
    assert result["images"] == 60
    assert len(result["responses"]) == 19
    assert len(result["lesions"]) == 9
    printed = capsys.readouterr().out
    assert f"On 60 test images, {100 * result['error']:.2f} % are wrong." in printed
    assert f"layer3.2{100 * result['lesions']['layer3.2']:>8.1f} %" in printed
    assert json.loads((tmp_path / "trained.json").read_text()) == result
    assert (tmp_path / "trained.png").stat().st_size > 10_000
