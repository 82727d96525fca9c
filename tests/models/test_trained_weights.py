"""The ResNet-20 that comes with minigrad: its file, its card, and its error on CIFAR-10's test images."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from models import cifar_resnet, pretrained
from models.predict import predict
from tests.tools.compare import leaf

ROOT = Path(__file__).parents[2]
FILE = ROOT / "models/cifar_resnet20.safetensors"
SHA_256 = "61b269782c9b230e922d37dc35929678012582ba135233119f4733b7a18b255f"
LOG = "docs/logs/cifar10/resnet-20-paper.jsonl"


def card():
    """Return what the file says of its own training."""
    return mg.load(FILE)["card"]


def test_the_file_is_the_one_that_the_run_wrote():
    content = FILE.read_bytes()
    assert hashlib.sha256(content).hexdigest() == SHA_256
    assert len(content) < 1_200_000


def test_the_card_is_that_of_the_log_and_of_the_docstring():
    found = card()
    last = json.loads((ROOT / LOG).read_text().splitlines()[-1])
    assert found["net"] == "resnet-20"
    assert (found["recipe"], found["seed"], found["iterations"]) == ("paper", 0, last["iteration"])
    assert found["test_error"] == pytest.approx(last["test_error"], abs=1e-9)
    said = re.search(r"([\d.]+) % of the test images are wrong", pretrained.cifar_resnet.__doc__)
    assert float(said[1]) == pytest.approx(100 * found["test_error"], abs=0.005)


def test_it_is_a_net_like_any_other_in_evaluation_and_can_be_trained_on():
    net, labels, preprocess = pretrained.cifar_resnet(20)
    assert len(labels) == 10
    assert not net.training
    assert {p.data.dtype for p in net.parameters()} == {np.dtype("float32")}
    assert list(net.state_dict()) == list(cifar_resnet(20).state_dict())
    photo = preprocess(np.full((1, 32, 32, 3), 128.0, "float32"))
    assert predict(net, photo).sum() == pytest.approx(1)
    mg.cross_entropy(net.train()(leaf(np.repeat(photo, 2, 0))), [3, 5]).backward()
    assert all(p.grad is not None for p in net.parameters())


def test_each_call_gives_a_net_of_its_own():
    first, second = (pretrained.cifar_resnet(20).net for _ in range(2))
    first.fc.weight.data[...] = 0
    assert second.fc.weight.data.any()


@pytest.mark.parametrize("depth", [8, 56, "20", None])
def test_other_depths_have_no_weights(depth):
    with pytest.raises((TypeError, ValueError), match=r"cifar_resnet: expected depth"):
        pretrained.cifar_resnet(depth)


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    content = bytearray(FILE.read_bytes())
    content[-5] ^= 1
    (tmp_path / FILE.name).write_bytes(content)
    monkeypatch.setattr(pretrained, "__file__", str(tmp_path / "pretrained.py"))
    with pytest.raises(ValueError, match="checksum"):
        pretrained.cifar_resnet(20)


@pytest.mark.slow
def test_its_error_on_the_test_images_is_that_of_the_card():
    """Where CIFAR-10 was fetched. Another processor rounds otherwise, which may change the word for a few images."""
    try:
        test = mg.data.CIFAR10(train=False)
    except (OSError, ValueError):
        pytest.skip("python -m minigrad.data cifar10")
    net, labels, preprocess = pretrained.cifar_resnet(20)
    assert labels == list(test.classes)
    images, classes = test[np.arange(len(test))]
    scores = np.concatenate([predict(net, preprocess(255 * part)) for part in np.array_split(images, 20)])
    assert (scores.argmax(1) != classes).mean() == pytest.approx(card()["test_error"], abs=5e-4)
