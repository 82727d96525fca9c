"""Fit sin(x) by a small net with tanh, in the loop that everyone writes first."""

import numpy as np

import minigrad as mg
from minigrad import nn, optim


def test_an_mlp_with_tanh_learns_the_sine():
    x = mg.Tensor(np.linspace(-np.pi, np.pi, 128, dtype=np.float32)[:, None])
    y = mg.sin(x)
    net = nn.Sequential(
        nn.Linear(1, 32, rng=0),
        nn.Tanh(),
        nn.Linear(32, 32, rng=1),
        nn.Tanh(),
        nn.Linear(32, 1, rng=2),
    )
    adam = optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(400):
        loss = mg.mse_loss(net(x), y)
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert loss.item() < 1e-3

    with mg.no_grad():
        prediction = net(mg.Tensor(np.array([[0.5 * np.pi], [0.0]], dtype=np.float32)))
    np.testing.assert_allclose(prediction.numpy(), [[1.0], [0.0]], atol=0.1)
