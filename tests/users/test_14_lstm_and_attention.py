"""An LSTM cell and masked attention, written from their formulas and compared with PyTorch's."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim


class LSTMCell(nn.Module):
    """One step of an LSTM."""

    def __init__(self, inputs, hidden, rng):
        super().__init__()
        self.hidden = hidden
        self.x = nn.Linear(inputs, 4 * hidden, rng=rng)
        self.h = nn.Linear(hidden, 4 * hidden, rng=rng)

    def forward(self, x, state):
        h, c = state
        gates = (self.x(x) + self.h(h)).reshape(len(x), 4, self.hidden)
        i, f, g, o = (gates[:, k] for k in range(4))
        c = mg.sigmoid(f) * c + mg.sigmoid(i) * mg.tanh(g)
        h = mg.sigmoid(o) * mg.tanh(c)
        return h, c


class Remember(nn.Module):
    """Names the first token of a sequence at its end."""

    def __init__(self, rng):
        super().__init__()
        self.embedding = nn.Embedding(4, 8, rng=rng)
        self.cell = LSTMCell(8, 16, rng=rng)
        self.head = nn.Linear(16, 4, rng=rng)

    def forward(self, tokens):
        embedded = self.embedding(tokens)  # (n, time, 8)
        h = c = mg.Tensor(np.zeros((len(tokens), 16), dtype=np.float32))
        for t in range(embedded.shape[1]):
            h, c = self.cell(embedded[:, t], (h, c))
        return self.head(h)


def attention(q, k, v, mask):
    scores = mg.einsum("bqd,bkd->bqk", q, k) / np.sqrt(q.shape[-1])
    scores = mg.where(mask, scores, -np.inf)
    return mg.softmax(scores, axis=-1) @ v


def test_the_cell_is_that_of_pytorch():
    torch = pytest.importorskip("torch")
    cell, reference = LSTMCell(3, 5, rng=np.random.default_rng(0)), torch.nn.LSTMCell(3, 5)
    with torch.no_grad():
        reference.weight_ih.copy_(torch.from_numpy(cell.x.weight.detach().numpy().T.copy()))
        reference.weight_hh.copy_(torch.from_numpy(cell.h.weight.detach().numpy().T.copy()))
        reference.bias_ih.copy_(torch.from_numpy(cell.x.bias.detach().numpy().copy()))
        reference.bias_hh.copy_(torch.from_numpy(cell.h.bias.detach().numpy().copy()))
    x, h, c = (np.random.default_rng(i).standard_normal((2, n)).astype(np.float32) for i, n in enumerate((3, 5, 5)))
    ours = cell(mg.Tensor(x), (mg.Tensor(h), mg.Tensor(c)))
    theirs = reference(torch.from_numpy(x), (torch.from_numpy(h), torch.from_numpy(c)))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), atol=1e-6)


def test_the_cell_learns_to_remember():
    rng = np.random.default_rng(0)
    net = Remember(rng=np.random.default_rng(1))
    adam = optim.Adam(net.parameters(), lr=0.02)
    for _ in range(100):
        tokens = rng.integers(0, 4, size=(32, 6))
        loss = mg.cross_entropy(net(tokens), tokens[:, 0])
        adam.zero_grad()
        loss.backward()
        optim.clip_grad_norm(net.parameters(), 1.0)
        adam.step()
    assert loss.item() < 0.2


def test_masked_attention_is_that_of_pytorch_and_causal():
    rng = np.random.default_rng(0)
    q, k, v = (mg.Tensor(rng.standard_normal((2, 6, 4)), requires_grad=True) for _ in range(3))
    mask = np.tril(np.ones((6, 6), dtype=bool))
    out = attention(q, k, v, mask)
    out[:, 2].sum().backward()
    assert np.all(v.grad.numpy()[:, 3:] == 0.0)
    assert np.all(k.grad.numpy()[:, 3:] == 0.0)
    assert np.any(v.grad.numpy()[:, :3] != 0.0)

    torch = pytest.importorskip("torch")
    expected = torch.nn.functional.scaled_dot_product_attention(
        *(torch.from_numpy(t.detach().numpy()) for t in (q, k, v)), is_causal=True
    )
    np.testing.assert_allclose(out.detach().numpy(), expected.numpy(), atol=1e-12)
