"""Tensors among NumPy, pandas and matplotlib, without a conversion more than needed."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import data, nn, optim, train


def test_numpy():
    array = np.arange(6.0).reshape(2, 3)
    x = mg.Tensor(array, requires_grad=True)
    assert isinstance(array + x, mg.Tensor)
    assert isinstance(np.float64(2.0) * x, mg.Tensor)
    np.testing.assert_allclose(x.numpy(), array)
    np.testing.assert_allclose((array.T @ x).detach().numpy(), array.T @ array)
    ((array * x).sum()).backward()
    np.testing.assert_array_equal(x.grad.numpy(), array)
    assert x.detach().tolist() == array.tolist()
    assert x.argmax().item() == 5
    assert x.argmin(axis=1).tolist() == [0, 0]
    np.testing.assert_allclose(x.std().item(), array.std())
    np.testing.assert_allclose(x.clip(1.0, 3.0).detach().numpy(), array.clip(1.0, 3.0))
    np.testing.assert_allclose(mg.cumsum(x, axis=1).detach().numpy(), array.cumsum(axis=1))
    assert x.astype(np.float32).dtype == np.float32
    assert f"{x.sum():.2f}" == "15.00"
    assert float(x.mean()) == 2.5
    assert int(x.max()) == 5
    np.testing.assert_allclose(x.exp().log().sqrt().detach().numpy(), np.sqrt(array), rtol=1e-12)


def test_pandas():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.standard_normal((200, 2)), columns=["a", "b"])
    frame["y"] = 2.0 * frame["a"] - frame["b"] + 0.5
    x, y = mg.Tensor(frame[["a", "b"]].to_numpy()), mg.Tensor(frame[["y"]].to_numpy())
    net = nn.Linear(2, 1, dtype=np.float64, rng=0)
    sgd = optim.SGD(net.parameters(), lr=0.1)
    for _ in range(200):
        loss = ((net(x) - y) ** 2).mean()
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    frame["prediction"] = net(x).detach().numpy().squeeze()
    assert frame["prediction"].sub(frame["y"]).abs().max() < 1e-3
    weights = pd.Series(net.weight.flatten().tolist(), index=["a", "b"])
    assert weights["a"] == pytest.approx(2.0, abs=1e-3)
    straight = mg.Tensor(frame[["a", "b"]])
    np.testing.assert_allclose(straight.numpy(), x.numpy(), rtol=1e-6)


def test_the_history_is_a_frame():
    pd = pytest.importorskip("pandas")
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, rng=0))
    history = train.fit(
        net,
        data.DataLoader(data.Digits(train=True), 64, rng=0),
        optimizer=optim.SGD(net.parameters(), lr=0.05, momentum=0.9),
        epochs=3,
        evaluate_on={"test": data.DataLoader(data.Digits(train=False), 360)},
    )
    frame = pd.DataFrame(history).set_index("epoch")
    assert frame["loss"].iloc[-1] < frame["loss"].iloc[0]
    assert frame["test_error"].iloc[-1] < 0.2


def test_matplotlib():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    x = mg.Tensor(np.linspace(-3.0, 3.0, 50))
    figure, (left, right) = plt.subplots(1, 2)
    (line,) = left.plot(x.numpy(), mg.tanh(x).numpy())
    np.testing.assert_allclose(line.get_ydata(), np.tanh(np.linspace(-3.0, 3.0, 50)))
    right.imshow(mg.Tensor(np.eye(4)).numpy())
    plt.close(figure)
