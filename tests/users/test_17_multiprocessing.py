"""Runs of several seeds side by side, a process each, give the bits that one process gives."""

import multiprocessing

import numpy as np

import minigrad as mg
from minigrad import data, nn, optim


def make_net(seed):
    rng = np.random.default_rng(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32, rng=rng), nn.ReLU(), nn.Linear(32, 10, rng=rng))


def run(seed):
    """Train one net of this seed; give its last loss and its weights."""
    mg.set_num_threads(1)
    net = make_net(seed)
    adam = optim.Adam(net.parameters(), lr=1e-2)
    for images, labels in data.DataLoader(data.Digits(train=True), 64, rng=seed):
        loss = mg.cross_entropy(net(mg.Tensor(images)), labels)
        adam.zero_grad()
        loss.backward()
        adam.step()
    return loss.item(), net.state_dict()


def predict(net, images):
    """Send a whole net to another process."""
    with mg.no_grad():
        return net.eval()(mg.Tensor(images))


def test_seeds_side_by_side():
    images = data.Digits(train=False).images[:8]
    net = make_net(3)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        apart = pool.map(run, [0, 1])
        logits = pool.apply(predict, (net, images))
    together = [run(0), run(1)]
    for (loss, state), (expected_loss, expected_state) in zip(apart, together, strict=True):
        assert loss == expected_loss
        assert state.keys() == expected_state.keys()
        for name in state:
            np.testing.assert_array_equal(np.asarray(state[name]), np.asarray(expected_state[name]))
    assert apart[0][0] != apart[1][0]
    np.testing.assert_array_equal(logits.numpy(), predict(net, images).numpy())
