"""The structure: imports run downwards, and what is slow or optional is imported where it is used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: From the ground up: a file may import from those before it.
ORDER = [
    "device",
    "parallel",
    "tensor",
    "recording",
    "tape",
    "backward",
    "recompute",
    "ops.elementwise",
    "ops.shape",
    "ops.reduction",
    "ops.matmul",
    "ops.pixels",
    "ops.columns",
    "ops.conv",
    "ops.pool",
    "ops.norm",
    "ops.loss",
    "ops",
    "checks.differences",
    "checks.identities",
    "checks.operators",
    "checks",
    "nn.init",
    "nn.module",
    "nn.layers",
    "nn.fold",
    "nn",
    "optim",
    "data.digits",
    "data.transforms",
    "data.loader",
    "data.subset",
    "data.fetch",
    "data.cifar",
    "data.mnist",
    "data",
    "data.__main__",
    "inspect",
    "checkpoint",
    "report",
    "train",
]


def imports(path):
    """Yield (module, whether at the top of the file) for every import of minigrad's own."""
    tree = ast.parse(path.read_text())
    top = set(tree.body)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("minigrad", "models"):
            below = node.module.removeprefix("minigrad").removeprefix(".")
            names = [f"{below}.{alias.name}".strip(".") for alias in node.names]
            for name in names:
                yield (name if name in ORDER else below), node in top
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "minigrad":
                    yield alias.name, node in top


def files():
    return sorted((ROOT / "minigrad").rglob("*.py"))


def module_of(path):
    parts = path.relative_to(ROOT / "minigrad").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@pytest.mark.parametrize("path", files(), ids=module_of)
def test_imports_run_downwards(path):
    module = module_of(path)
    if not module:
        return
    assert module in ORDER, f"{module} has no place in the reading order"
    for imported, at_top in imports(path):
        assert at_top, f"{module} imports {imported} inside a function"
        assert imported in ORDER, f"{module} imports {imported}"
        assert ORDER.index(imported) < ORDER.index(module), f"{module} imports {imported}, which stands above it"


def test_importing_minigrad_is_light():
    heavy = ["scipy", "matplotlib", "cupy", "torch", "tqdm", "threadpoolctl", "safetensors", "pooch", "requests"]
    code = f"import minigrad, models, sys; print([m for m in sys.modules if m.split('.')[0] in {heavy}])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"


def test_a_file_is_a_sitting():
    """About 250 lines of code; docstrings, comments and blank lines are not counted."""
    for path in [*files(), *(ROOT / "models").glob("*.py"), *(ROOT / "demos").glob("*.py")]:
        tree = ast.parse(path.read_text())
        prose = set()
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                prose.update(range(node.lineno, node.end_lineno + 1))
        lines = [
            line
            for number, line in enumerate(path.read_text().splitlines(), 1)
            if number not in prose and line.strip() and not line.strip().startswith("#")
        ]
        assert len(lines) <= 260, f"{path.name}: {len(lines)} lines of code"
