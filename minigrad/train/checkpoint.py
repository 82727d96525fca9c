"""save and load: trees of arrays in safetensors files, written so that a crash loses nothing.

A file holds arrays by name, and a JSON text. A tree, dicts and lists of arrays, numbers and strings, is laid out so
that the name of an array is its path, ``model.fc.w``; the rest of the tree, with the names where the arrays were, is
the JSON. Nothing is ever unpickled: a file from a stranger can be wrong, but it cannot run anything.

A file is written whole under another name in the same folder, synced to the disk, and only then renamed to its own: a
crash, a kill or a full disk leaves the previous file as it was.

Next: :mod:`minigrad.train.report`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.autograd.tensor import Tensor
from minigrad.device import is_array, to_host
from minigrad.typing import Array

#: Stands in the JSON for an array of this name; not to be used as a key.
ARRAY = "$array"


def save(path: str | Path, tree: Any) -> None:
    """Write a tree of arrays, numbers and strings to a safetensors file, atomically.

    Parameters
    ----------
    path : str or Path
        By custom ends in ``.safetensors``.
    tree : dict or list
        Dicts with strings for keys, and lists, of arrays or Tensors, and of what JSON can hold. Arrays on a device are
        copied to the host; NumPy's scalars become Python's numbers.

    Raises
    ------
    TypeError
        If the tree holds something else.
    ValueError
        If two arrays get the same name, or one gets a name that the format keeps for itself.
    OSError
        If the file cannot be written; one that was there before is left as it was.

    Examples
    --------
    >>> import tempfile
    >>> import minigrad as mg
    >>> net = mg.nn.Linear(2, 1, rng=0)
    >>> path = Path(tempfile.mkdtemp()) / "net.safetensors"
    >>> mg.save(path, {"model": net.state_dict(), "iteration": 64000})
    >>> tree = mg.load(path)
    >>> tree["iteration"], tree["model"]["w"].shape
    (64000, (2, 1))
    >>> net.load_state_dict(tree["model"])
    """
    import safetensors.numpy

    arrays: dict[str, Array] = {}
    text = json.dumps(_take(tree, "", arrays))
    with atomic(path) as temporary:
        temporary.write_bytes(safetensors.numpy.save(arrays, metadata={"minigrad": text}))


def load(path: str | Path) -> Any:
    """Read a tree from a safetensors file.

    Parameters
    ----------
    path : str or Path
        Written by :func:`save`, or by any other program: then it is a dict of arrays by name.

    Returns
    -------
    dict or list
        The tree, with NumPy arrays.

    Raises
    ------
    ValueError
        If the file is truncated, or not a safetensors file, or holds numbers that NumPy has not.
    OSError
        If there is no such file.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "tree.safetensors"
    >>> save(path, {"losses": [0.5, 0.25], "w": np.ones(2)})
    >>> load(path)
    {'losses': [0.5, 0.25], 'w': array([1., 1.])}
    """
    import safetensors

    with open(path, "rb"):  # an error of the system, and not of the format, if it is not there
        pass
    try:
        with safetensors.safe_open(str(path), framework="np") as file:
            arrays = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118  not a dict
            text = (file.metadata() or {}).get("minigrad")
        return arrays if text is None else _put_back(json.loads(text), arrays)
    except (safetensors.SafetensorError, TypeError, KeyError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"load: {path} ({os.path.getsize(path):,} bytes) is not a whole safetensors file of numbers that NumPy "
            f"has: {error}"
        ) from error


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Give a temporary file to write, and rename it to `path` at the end, when it is safe on the disk.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "log.txt"
    >>> with atomic(path) as temporary:
    ...     _ = temporary.write_text("whole or not at all")
    >>> path.read_text()
    'whole or not at all'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")  # always the same: what a kill leaves, the next write takes away
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        if os.name == "posix":
            _sync(path.parent)  # the new name, too, is on the disk
    finally:
        temporary.unlink(missing_ok=True)


def _take(tree: Any, path: str, arrays: dict[str, Array]) -> Any:
    """Move the arrays of a tree into `arrays`, and return what is left for the JSON."""
    if isinstance(tree, dict):
        if any(not isinstance(key, str) or key == ARRAY for key in tree):
            raise TypeError(f"save: expected strings for keys (and not {ARRAY!r}), got {list(tree)!r:.80} in {path!r}")
        return {key: _take(value, f"{path}.{key}" if path else key, arrays) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_take(value, f"{path}.{i}" if path else str(i), arrays) for i, value in enumerate(tree)]
    value = tree.data if isinstance(tree, Tensor) else tree.item() if isinstance(tree, np.generic) else tree
    if is_array(value):
        array = np.asarray(to_host(value), order="C")  # contiguous, which the format takes for granted
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise TypeError(f"save: expected real numbers of at most 8 bytes, got {array.dtype} in {path!r}")
        if path in arrays or path == "__metadata__":
            raise ValueError(f"save: the name {path!r} is taken, by another array or by the format; rename a key")
        arrays[path] = array
        return {ARRAY: path}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"save: expected arrays, Tensors, numbers, strings, dicts and lists, got {type(tree)} in {path!r}")


def _put_back(tree: Any, arrays: dict[str, Array]) -> Any:
    """Return the tree with its arrays in their places."""
    if isinstance(tree, dict):
        return arrays[tree[ARRAY]] if ARRAY in tree else {key: _put_back(value, arrays) for key, value in tree.items()}
    return [_put_back(value, arrays) for value in tree] if isinstance(tree, list) else tree


def _sync(path: Path) -> None:
    """Have the disk hold a file, or the entries of a folder, before going on."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)  # Windows syncs only what it may write
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
