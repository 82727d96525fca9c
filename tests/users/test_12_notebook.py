"""The same in a Jupyter notebook, executed by nbclient: a Hessian-vector product, a run with its progress, a figure."""

from pathlib import Path

import pytest

import minigrad

CELLS = [
    """
import numpy as np
import matplotlib.pyplot as plt
import minigrad as mg
from minigrad import data, inspect, nn, optim, train
""",
    """
x = mg.Tensor([1.0, 2.0, 3.0], requires_grad=True)
(g,) = mg.grad((x**3).sum(), x, create_graph=True)
(hv,) = mg.grad((g * mg.Tensor([1.0, 0.0, -1.0])).sum(), x)
hv
""",
    """
net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32, rng=0), nn.Tanh(), nn.Linear(32, 10, rng=1))
net
""",
    """
inspect.summary(net, (8, 8, 1))
""",
    """
batches = data.DataLoader(data.Digits(train=True), 64, rng=0)
history = train.fit(net, batches, optimizer=optim.Adam(net.parameters(), lr=1e-2), epochs=2,
                    evaluate_on={"test": data.DataLoader(data.Digits(train=False), 360)})
assert history[-1]["test_error"] < 0.2
""",
    """
plt.plot([r["iteration"] for r in history], [r["test_error"] for r in history]);
""",
]


def text(cell):
    return "".join(
        out.get("text", "") + str(out.get("data", {}).get("text/plain", "")) for out in cell.get("outputs", [])
    )


def test_a_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("PYTHONPATH", str(Path(minigrad.__file__).parents[1]))  # the kernel imports what is tested here
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source.strip()) for source in CELLS])
    nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    _, product, net, summary, run, figure = notebook.cells
    assert "6." in text(product)
    assert "-18." in text(product)
    assert "Linear(64, 32" in text(net)
    assert "2,410" in text(summary)  # (64 + 1) * 32 + (32 + 1) * 10 parameters
    assert "loss" in text(run)
    assert any("image/png" in out.get("data", {}) for out in figure.outputs)
