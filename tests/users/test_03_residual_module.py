"""A residual Module of one's own, its blocks in lists of lists, trained on the digits."""

import numpy as np

import minigrad as mg
from minigrad import data, nn, optim


class ResidualMLP(nn.Module):
    """Blocks of two linear layers, each added to its input."""

    def __init__(self, width, depth, rng):
        super().__init__()
        self.stem = nn.Linear(64, width, rng=rng)
        self.blocks = [[nn.Linear(width, width, rng=rng), nn.Linear(width, width, rng=rng)] for _ in range(depth)]
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10, rng=rng)

    def forward(self, x):
        x = self.stem(x.flatten(1))
        for first, second in self.blocks:
            x = x + second(mg.relu(first(x)))
        return self.head(self.norm(x))


def test_a_residual_module_with_nested_lists_learns_the_digits():
    net = ResidualMLP(width=48, depth=3, rng=np.random.default_rng(0))
    names = [name for name, _ in net.named_parameters()]
    assert "blocks.2.1.weight" in names
    assert len(names) == 2 + 3 * 4 + 2 + 2

    sgd = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    net.train()
    for _ in range(5):
        for images, labels in data.DataLoader(data.Digits(train=True), 64, rng=0):
            loss = mg.cross_entropy(net(mg.Tensor(images)), labels)
            sgd.zero_grad()
            loss.backward()
            sgd.step()

    net.eval()
    correct = total = 0
    with mg.no_grad():
        for images, labels in data.DataLoader(data.Digits(train=False), 100):
            correct += (net(mg.Tensor(images)).argmax(axis=1) == labels).sum()
            total += len(labels)
    assert correct / total > 0.9
