"""Validation, early stopping, a schedule, gradient clipping, no decay on biases and batch norm, own rates per group."""

import math

import minigrad as mg
from minigrad import data, nn, optim, train


def make_net():
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1, bias=False, rng=0),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 24, 3, stride=2, padding=1, bias=False, rng=1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.GlobalAvgPool2d(),
        nn.Linear(24, 10, rng=2),
    )


def make_groups(net):
    head = [net[-1].weight]
    decay = [p for name, p in net.named_parameters() if p.ndim > 1 and name != "7.weight"]
    no_decay = [p for _, p in net.named_parameters() if p.ndim <= 1]
    return [
        {"params": decay, "weight_decay": 5e-4},
        {"params": head, "weight_decay": 5e-4, "lr": 0.2},
        {"params": no_decay, "weight_decay": 0.0},
    ]


class Clipped(optim.SGD):
    """SGD whose step clips the gradients first."""

    def step(self):
        optim.clip_grad_norm(self.parameters(), 1.0)
        super().step()


def test_the_recipe_in_a_loop_of_ones_own():
    net = make_net()
    sgd = optim.SGD(make_groups(net), lr=0.1, momentum=0.9)
    training = data.DataLoader(data.Digits(train=True), 64, rng=0)
    validation = data.DataLoader(data.Digits(train=False), 360)
    scheduler = optim.CosineLR(sgd, 5 * len(training))
    best, patience = math.inf, 0
    for _ in range(5):
        net.train()
        for images, labels in training:
            loss = mg.cross_entropy(net(mg.Tensor(images)), labels, label_smoothing=0.1)
            sgd.zero_grad()
            loss.backward()
            norm = optim.clip_grad_norm(net.parameters(), 1.0)
            assert math.isfinite(float(norm))
            assert math.sqrt(sum(float((p.grad**2).sum()) for p in net.parameters())) < 1.001
            sgd.step()
            scheduler.step()
        net.eval()
        with mg.no_grad():
            wrong = sum(int((net(mg.Tensor(x)).argmax(axis=1) != y).sum()) for x, y in validation)
        error = wrong / 360
        best, patience = (error, 0) if error < best else (best, patience + 1)
        if patience == 2:
            break
    assert best < 0.15
    assert sgd.groups[0]["lr"] < 1e-6
    assert sgd.groups[1]["lr"] < 1e-6


def test_the_recipe_in_fit():
    net = make_net()
    sgd = Clipped(make_groups(net), lr=0.1, momentum=0.9)
    training = data.DataLoader(data.Digits(train=True), 64, rng=0)
    validation = data.DataLoader(data.Digits(train=False), 360)

    def stop_early(records):
        errors = [record["validation_error"] for record in records]
        return len(errors) > 2 and min(errors[-2:]) >= min(errors[:-2])  # no better for two records

    history = train.fit(
        net,
        training,
        optimizer=sgd,
        epochs=12,
        schedule=optim.CosineLR(sgd, 12 * len(training)),
        evaluate_on={"validation": validation},
        on_record=stop_early,
    )
    assert len(history) < 12
    assert min(record["validation_error"] for record in history) < 0.1
