"""The training loop."""

import json

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, train
from minigrad.data import DataLoader, Digits


def setup(lr=0.1):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, rng=0))
    sgd = mg.optim.SGD(net.parameters(), lr)
    return net, sgd, DataLoader(Digits(), 128, rng=0), DataLoader(Digits(train=False), 100)


def test_it_learns_and_logs(tmp_path, capsys):
    net, sgd, batches, held_out = setup()
    log = tmp_path / "log.jsonl"
    schedule = mg.optim.MultiStepLR(sgd, [30])
    history = train.fit(
        net,
        batches,
        optimizer=sgd,
        schedule=schedule,
        epochs=4,
        evaluate_on={"train": batches, "test": held_out},
        log=log,
    )
    assert [json.loads(line) for line in log.read_text().splitlines()] == history
    assert [record["iteration"] for record in history] == [12, 24, 36, 48]
    assert [record["lr"] for record in history] == [0.1, 0.1, pytest.approx(0.01), pytest.approx(0.01)]
    assert history[-1]["test_error"] < 0.12 < history[0]["test_error"] + 0.12
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert history[-1]["seconds"] > history[0]["seconds"] > 0
    printed = capsys.readouterr()
    assert printed.out == printed.err == ""  # quiet when piped


def test_it_is_repeatable():
    runs = []
    for _ in range(2):
        net, sgd, batches, held_out = setup()
        train.fit(net, batches, optimizer=sgd, epochs=2, evaluate_on={"test": held_out})
        runs.append(net.state_dict())
    for name in runs[0]:
        np.testing.assert_array_equal(runs[0][name], runs[1][name])


def test_evaluate_counts_every_image_and_restores_the_mode():
    net, _, _, held_out = setup()
    net.layers[0].training = False
    loss, error = train.evaluate(net, held_out)
    assert [module.training for _, module in net.named_modules()] == [True, False, True]
    digits = Digits(train=False)
    logits = net(mg.Tensor(digits.images))
    assert error == pytest.approx(np.mean(logits.data.argmax(1) != digits.labels))
    assert loss == pytest.approx(mg.cross_entropy(logits, digits.labels).item(), rel=1e-6)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_a_number_stops_it():
    net, sgd, batches, _ = setup(lr=1e38)
    with pytest.raises(FloatingPointError, match=r"the loss became (nan|inf) in iteration \d+ at learning rate 1e\+38"):
        train.fit(net, batches, optimizer=sgd, epochs=3, evaluate_on={})
