"""A confusion matrix and the curves of a run, drawn with matplotlib."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import data, nn, optim, train


def test_confusion_matrix_and_curves(tmp_path):
    digits, held_out = data.Digits(train=True), data.Digits(train=False)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64, rng=0), nn.GELU(), nn.Linear(64, 10, rng=1))
    history = train.fit(
        net,
        data.DataLoader(digits, 64, rng=0),
        optimizer=optim.Adam(net.parameters(), lr=3e-3),
        epochs=6,
        evaluate_on={"train": data.DataLoader(digits, 500), "test": data.DataLoader(held_out, 500)},
    )
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]

    net.eval()
    with mg.no_grad():
        logits = net(mg.Tensor(held_out.images))
    predicted = logits.argmax(axis=-1)
    matrix = np.zeros((10, 10), dtype=int)
    np.add.at(matrix, (held_out.labels, predicted), 1)
    assert matrix.sum() == len(held_out)
    assert 1 - np.trace(matrix) / matrix.sum() == pytest.approx(history[-1]["test_error"])
    assert np.trace(matrix) / matrix.sum() > 0.9

    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2)
    left.plot([r["iteration"] for r in history], [r["train_error"] for r in history], label="train")
    left.plot([r["iteration"] for r in history], [r["test_error"] for r in history], label="test")
    right.imshow(matrix)
    figure.savefig(tmp_path / "run.png")
    plt.close(figure)
    assert (tmp_path / "run.png").stat().st_size > 1000


def test_the_confusion_matrix_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    labels = np.array([0, 1, 2, 2, 1, 0])
    predicted = mg.Tensor(np.eye(3)[[0, 2, 2, 2, 1, 1]]).argmax(axis=1)
    matrix = metrics.confusion_matrix(labels, predicted)
    np.testing.assert_array_equal(matrix, [[1, 1, 0], [0, 1, 1], [0, 0, 2]])
