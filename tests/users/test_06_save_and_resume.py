"""Save a net, load a part of it under another head, and resume a run to the same bits."""

import numpy as np

import minigrad as mg
from minigrad import data, nn, optim, train


class Net(nn.Module):
    """A body and a head."""

    def __init__(self, classes, rng):
        super().__init__()
        rng = np.random.default_rng(rng)
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1, rng=rng), nn.BatchNorm2d(8), nn.ReLU(), nn.GlobalAvgPool2d()
        )
        self.head = nn.Linear(8, classes, rng=rng)

    def forward(self, x):
        return self.head(self.body(x))


def same_bits(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(np.array_equal(np.asarray(a[name]), np.asarray(b[name])) for name in a)


def test_save_and_load(tmp_path):
    net, other = Net(10, rng=0), Net(10, rng=1)
    assert not same_bits(net, other)
    mg.save(tmp_path / "net.safetensors", net.state_dict())
    other.load_state_dict(mg.load(tmp_path / "net.safetensors"))
    assert same_bits(net, other)


def test_load_under_another_head(tmp_path):
    net, other = Net(10, rng=0), Net(5, rng=1)
    mg.save(tmp_path / "net.safetensors", net.state_dict())
    state = mg.load(tmp_path / "net.safetensors")
    state = {name: value for name, value in state.items() if not name.startswith("head.")}
    missing, unexpected = other.load_state_dict(state, strict=False)
    assert missing == ["head.weight", "head.bias"]
    assert unexpected == []
    assert same_bits(net.body, other.body)
    assert other(mg.Tensor(np.zeros((2, 8, 8, 1), dtype=np.float32))).shape == (2, 5)


def steps(net, optimizer, batches):
    for images, labels in batches:
        loss = mg.cross_entropy(net(mg.Tensor(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_resume_a_loop_of_ones_own(tmp_path):
    batches = list(data.DataLoader(data.Digits(train=True), 64, rng=0))[:10]
    whole = Net(10, rng=0)
    steps(whole, optim.AdamW(whole.parameters(), lr=1e-2), batches)

    net = Net(10, rng=0)
    adamw = optim.AdamW(net.parameters(), lr=1e-2)
    steps(net, adamw, batches[:5])
    path = tmp_path / "checkpoint.safetensors"
    mg.save(path, {"net": net.state_dict(), "optimizer": adamw.state_dict(), "step": 5})

    net = Net(10, rng=7)
    adamw = optim.AdamW(net.parameters(), lr=0.5)
    checkpoint = mg.load(path)
    net.load_state_dict(checkpoint["net"])
    adamw.load_state_dict(checkpoint["optimizer"])
    steps(net, adamw, batches[checkpoint["step"] :])
    assert same_bits(whole, net)


def test_resume_fit(tmp_path):
    def run(iterations, checkpoint=None):
        net = Net(10, rng=0)
        adam = optim.Adam(net.parameters(), lr=1e-2)
        batches = data.DataLoader(data.Digits(train=True), 64, rng=0)
        train.fit(net, batches, optimizer=adam, iterations=iterations, checkpoint=checkpoint)
        return net

    path = tmp_path / "run.safetensors"
    run(12, checkpoint=train.Checkpoint(path, every=0))
    resumed = run(40, checkpoint=train.Checkpoint(path, every=0, resume=True))
    assert same_bits(run(40), resumed)
