"""Saliency: which pixels move the score of a class, by the gradient of the score with respect to the image."""

import numpy as np

import minigrad as mg
from minigrad import data, nn, optim, train


def test_the_saliency_map_is_the_slope_of_the_score():
    digits = data.Digits(train=True)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding="same", rng=0), nn.SiLU(), nn.Flatten(), nn.Linear(8 * 64, 10, rng=1)
    )
    train.fit(net, data.DataLoader(digits, 64, rng=0), optimizer=optim.Adam(net.parameters(), lr=3e-3), epochs=2)
    net.eval()
    for p in net.parameters():
        p.requires_grad = False

    image, label = digits[5]
    x = mg.Tensor(image[None], requires_grad=True)
    score = net(x)[0, label]
    score.backward()
    saliency = x.grad.abs().squeeze(axis=(0, 3)).numpy()
    assert saliency.shape == (8, 8)
    assert all(p.grad is None for p in net.parameters())

    row, column = np.unravel_index(saliency.argmax(), saliency.shape)
    step = np.zeros_like(image[None])
    step[0, row, column, 0] = 0.05
    slope = (net(mg.Tensor(image[None] + step)) - net(mg.Tensor(image[None] - step)))[0, label].item() / 0.1
    np.testing.assert_allclose(slope, x.grad[0, row, column, 0].item(), rtol=0.05)


def test_smoothed_saliency_averages_over_noise():
    rng = np.random.default_rng(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16, rng=0), nn.Tanh(), nn.Linear(16, 10, rng=1))
    image = data.Digits(train=True)[0][0]
    noisy = image + 0.1 * rng.standard_normal((20, *image.shape))
    x = mg.Tensor(noisy.astype(np.float32), requires_grad=True)
    net(x)[:, 3].sum().backward()
    smooth = x.grad.mean(axis=0).squeeze(axis=-1)
    assert smooth.shape == (8, 8)
    np.testing.assert_allclose(smooth.numpy(), x.grad.numpy().mean(axis=0)[..., 0], rtol=1e-4, atol=1e-6)
