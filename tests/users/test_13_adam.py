"""Adam and AdamW, step by step those of PyTorch; and an optimizer of one's own that resumes to the same bits."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import data, nn, optim, train


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_200_steps_equal_those_of_pytorch(name):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    a, b, start = rng.standard_normal((12, 5)), rng.standard_normal((12, 3)), rng.standard_normal((5, 3))

    ours = mg.Tensor(start.copy(), requires_grad=True)
    theirs = torch.tensor(start.copy(), requires_grad=True)
    options = {"lr": 0.05, "betas": (0.8, 0.99), "eps": 1e-7, "weight_decay": 0.1}
    our_adam = getattr(optim, name)([ours], **options)
    their_adam = getattr(torch.optim, name)([theirs], **options)
    for _ in range(200):
        our_adam.zero_grad()
        ((mg.Tensor(a) @ ours - mg.Tensor(b)) ** 2).mean().backward()
        our_adam.step()
        their_adam.zero_grad()
        ((torch.tensor(a) @ theirs - torch.tensor(b)) ** 2).mean().backward()
        their_adam.step()
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=0, atol=1e-12)


class Lion(optim.Optimizer):
    """The sign of a moving average (Chen et al., 2023)."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.99)):
        super().__init__(params, lr, betas=betas)

    def update(self, w, g, average, *, lr, betas):
        w -= lr * np.sign(betas[0] * average + (1 - betas[0]) * g)
        average *= betas[1]
        average += (1 - betas[1]) * g


def test_an_optimizer_of_ones_own_resumes_in_fit(tmp_path):
    def run(iterations, checkpoint=None):
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32, rng=0), nn.ReLU(), nn.Linear(32, 10, rng=1))
        lion = Lion(net.parameters(), lr=3e-3)
        batches = data.DataLoader(data.Digits(train=True), 64, rng=0)
        history = train.fit(net, batches, optimizer=lion, iterations=iterations, checkpoint=checkpoint)
        return net, history

    path = tmp_path / "lion.safetensors"
    whole, history = run(60)
    assert history[-1]["loss"] < 1.0
    run(25, train.Checkpoint(path, every=0))
    resumed, _ = run(60, train.Checkpoint(path, every=0, resume=True))
    for (name, p), (_, q) in zip(whole.named_parameters(), resumed.named_parameters(), strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy(), err_msg=name)
