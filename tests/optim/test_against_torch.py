"""PyTorch as an independent oracle: SGD with its settings and groups, and MultiStepLR."""

import pytest
from numpy.testing import assert_allclose

import minigrad as mg
from tests.tools.torch_oracle import assert_close, random, torch

F = torch.nn.functional


def train_both(sgd, their_sgd, p, q, steps, after=lambda: None):
    """Take steps down a bowl that is not symmetric: loss = mean((A w - y) ** 2) + mean(w ** 4)."""
    a, y = random((7, p.shape[0]), 10), random((7, p.shape[1]), 11)
    for step in range(steps):
        loss = mg.mse_loss(mg.Tensor(a) @ p, mg.Tensor(y)) + (p**4).mean()
        sgd.zero_grad()
        loss.backward()
        their_loss = F.mse_loss(torch.tensor(a) @ q, torch.tensor(y)) + (q**4).mean()
        their_sgd.zero_grad()
        their_loss.backward()
        assert_close(loss, their_loss, f"loss, step {step}")
        sgd.step()
        their_sgd.step()
        assert_close(p, q, f"parameter after step {step}")
        after()


@pytest.mark.parametrize(
    ("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True), (0.5, True)], ids=lambda v: str(v)
)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_sgd_steps_as_torch_does(momentum, nesterov, weight_decay):
    p = mg.nn.Parameter(random((4, 2), 0))
    q = torch.tensor(p.data.copy(), requires_grad=True)
    settings = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
    train_both(mg.optim.SGD([p], 0.05, **settings), torch.optim.SGD([q], 0.05, **settings), p, q, steps=8)


def test_sgd_with_groups_steps_as_torch_does():
    arrays = [random((2, 3), i) for i in range(3)]
    p = [mg.nn.Parameter(a.copy()) for a in arrays]
    q = [torch.tensor(a, requires_grad=True) for a in arrays]
    sgds = [
        make(
            [{"params": w[:2], "weight_decay": 0.0}, {"params": w[2:], "momentum": 0.5}],
            lr=0.1,
            momentum=0.9,
            weight_decay=0.2,
        )
        for make, w in ((mg.optim.SGD, p), (torch.optim.SGD, q))
    ]
    for step in range(5):
        for i, (a, b) in enumerate(zip(p, q, strict=True)):
            g = random((2, 3), 100 * step + i)
            a.grad = None if step == i == 1 else mg.Tensor(g)  # once, one has no gradient: it stays where it is
            b.grad = None if step == i == 1 else torch.tensor(g)
        for sgd in sgds:
            sgd.step()
        for i, (a, b) in enumerate(zip(p, q, strict=True)):
            assert_close(a, b, f"parameter {i} after step {step}")


@pytest.mark.parametrize("milestones", [[3, 6], [1], [5, 5, 6]])
def test_multi_step_lr_is_that_of_torch(milestones):
    p = mg.nn.Parameter(random((4, 2), 0))
    q = torch.tensor(p.data.copy(), requires_grad=True)
    sgd, their_sgd = mg.optim.SGD([p], 0.05, momentum=0.9), torch.optim.SGD([q], 0.05, momentum=0.9)
    schedule = mg.optim.MultiStepLR(sgd, milestones, gamma=0.3)
    their_schedule = torch.optim.lr_scheduler.MultiStepLR(their_sgd, milestones, gamma=0.3)
    rates = []

    def after():
        schedule.step()
        their_schedule.step()
        rates.append((sgd.lr, their_schedule.get_last_lr()[0]))

    train_both(sgd, their_sgd, p, q, 9, after)
    assert_allclose(*zip(*rates, strict=True), rtol=1e-13)


OPTIMIZERS = {
    "SGD": {"momentum": 0.9, "weight_decay": 0.1},
    "Adam": {},
    "Adam, L2": {"betas": (0.8, 0.99), "weight_decay": 0.1},
    "AdamW": {"eps": 1e-3},
    "AdamW, decay": {"betas": (0.5, 0.9), "weight_decay": 0.5},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_200_steps_with_groups_and_a_schedule_are_those_of_torch(name):
    """A group has a rate and a decay of its own, a parameter has no gradient in every third step, the rate drops."""
    kind, settings = name.partition(",")[0], {"lr": 0.03} | OPTIMIZERS[name]
    a, y = random((7, 4), 10), random((7, 2), 11)
    p = [mg.nn.Parameter(random(shape, i)) for i, shape in enumerate([(4, 3), (3,), (3, 2)])]
    q = [torch.tensor(w.data.copy(), requires_grad=True) for w in p]
    own = {"lr": 0.01, "weight_decay": 0.02}
    ours, theirs = (
        getattr(optim, kind)([{"params": w[:2]}, {"params": w[2:]} | own], **settings)
        for optim, w in ((mg.optim, p), (torch.optim, q))
    )
    drop, their_drop = mg.optim.MultiStepLR(ours, [120]), torch.optim.lr_scheduler.MultiStepLR(theirs, [120])
    for step in range(200):
        for optimizer in (ours, theirs):
            optimizer.zero_grad()
        mg.mse_loss(mg.tanh(mg.Tensor(a) @ p[0] + p[1]) @ p[2], mg.Tensor(y)).backward()
        F.mse_loss(((torch.tensor(a) @ q[0]) + q[1]).tanh() @ q[2], torch.tensor(y)).backward()
        if step % 3 == 1:
            p[1].grad = q[1].grad = None
        for each in (ours, theirs, drop, their_drop):
            each.step()
        for i, (w, v) in enumerate(zip(p, q, strict=True)):
            assert_close(w, v, f"parameter {i} after step {step}", 1e-12)
    assert_allclose([g["lr"] for g in ours.groups], [g["lr"] for g in theirs.param_groups], rtol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("max_norm", [0.1, 7.3, 1e3])
def test_clipping_is_that_of_torch(max_norm, dtype):
    p = [mg.nn.Parameter(random(shape, 0).astype(dtype)) for shape in [(4, 3), (3,), ()]]
    q = [torch.tensor(w.data.copy(), requires_grad=True) for w in p]
    for i, (w, v) in enumerate(zip(p[:2], q, strict=False)):
        w.grad = mg.Tensor(5.0 * random(w.shape, i).astype(dtype))
        v.grad = torch.tensor(w.grad.data.copy())
    rtol = 1e-14 if dtype == "float64" else 1e-6
    norm = mg.optim.clip_grad_norm(p, max_norm)
    assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(q, max_norm).item(), rel=rtol)
    for w, v in zip(p[:2], q, strict=False):
        assert_allclose(w.grad.data, v.grad.numpy(), rtol=rtol, strict=True)
