"""save and load: trees of arrays in safetensors files; a crash never leaves a damaged file.

A safetensors file holds named arrays and a text. Here a tree of dicts and lists is stored so that an array's name is
its path, ``model.fc.weight``. The text is the rest of the tree as JSON, with the names in place of the arrays. Nothing
is ever unpickled: a file from a stranger can be wrong, but it cannot run anything.

Beside the text stands a checksum of the text and the arrays, which :func:`load` compares: a file in which a bit was
flipped is refused. Files without one, of other programs and of earlier versions, are read as they are.

A file is written under a temporary name of its own in the same folder, synced to the disk, and only then renamed: a
crash, a kill or a full disk leaves the previous file as it was, and of two processes that write one file at the same
time, the later one wins with a whole file.

Next: :mod:`minigrad.train.report`.
"""

from __future__ import annotations

import glob
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from minigrad.arguments import file
from minigrad.autograd.tensor import Tensor
from minigrad.device import is_array, to_host
from minigrad.typing import Array

#: Dicts and lists of arrays, Tensors, numbers, strings and None. Any, because a static type would have to be recursive,
#: and would then refuse a ``dict[str, Array]`` or a TypedDict.
Tree: TypeAlias = Any

#: The key that stands in the JSON for an array, with the array's name. A tree must not use it.
ARRAY = "$array"

#: The names, in the metadata of the file, of the text and of the checksum.
TEXT, CHECKSUM = "minigrad", "minigrad.sha256"

#: The age in seconds at which a write removes the temporary file of another one: a killed process has left it.
LEFTOVER = 600.0


def save(path: str | Path, tree: Tree) -> None:
    """Write a tree of arrays, numbers and strings to a safetensors file, atomically.

    Parameters
    ----------
    path : str or Path
        By convention ends in ``.safetensors``.
    tree : dict or list
        Dicts with strings as keys, and lists, of arrays, Tensors, and what JSON can hold. Arrays on a device are
        copied to the host; NumPy's scalars become Python's numbers.

    Raises
    ------
    TypeError
        If the tree holds anything else.
    ValueError
        If two arrays get the same name, or one gets a name that the format reserves.
    OSError
        If the file cannot be written; a previous file is left as it was.

    Examples
    --------
    >>> import tempfile
    >>> import minigrad as mg
    >>> net = mg.nn.Linear(2, 1, rng=0)
    >>> path = Path(tempfile.mkdtemp()) / "net.safetensors"
    >>> mg.save(path, {"model": net.state_dict(), "iteration": 64000})
    >>> tree = mg.load(path)
    >>> tree["iteration"], tree["model"]["weight"].shape
    (64000, (2, 1))
    >>> net.load_state_dict(tree["model"])
    Unmatched(missing_keys=[], unexpected_keys=[])
    """
    import safetensors.numpy

    path = file("save", path)
    arrays: dict[str, Array] = {}
    text = json.dumps(_extract_arrays(tree, "", arrays))
    content = safetensors.numpy.save(arrays, metadata={TEXT: text, CHECKSUM: _checksum(text, arrays)})
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def load(path: str | Path) -> Tree:
    """Read a tree from a safetensors file.

    Parameters
    ----------
    path : str or Path
        A file of :func:`save`, or of any other program: then the tree is a dict of arrays by name.

    Returns
    -------
    dict or list
        The tree, with NumPy arrays.

    Raises
    ------
    ValueError
        If the file is truncated or damaged, no safetensors file, or holds numbers of a type that NumPy lacks.
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

    with file("load", path).open("rb"):  # a missing file raises OSError, not an error of the format
        pass
    try:
        with safetensors.safe_open(str(path), framework="np") as opened:
            arrays = {name: np.array(opened.get_tensor(name)) for name in opened.keys()}  # noqa: SIM118  not a dict
            notes = opened.metadata() or {}
        text = notes.get(TEXT)
        checked = CHECKSUM in notes or (TEXT in notes and len(notes) > 1)  # earlier versions wrote the text alone
        if checked and notes.get(CHECKSUM) != _checksum(text, arrays):
            raise ValueError("it is damaged: its checksum is not that of what it holds")
        return arrays if text is None else _insert_arrays(json.loads(text), arrays)
    except (safetensors.SafetensorError, TypeError, KeyError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"load: {path} ({os.path.getsize(path):,} bytes) is not a whole safetensors file of numbers that NumPy "
            f"has: {error}"
        ) from error


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield the path of a temporary file to write; at the end, sync it to the disk and rename it to `path`.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "log.txt"
    >>> with atomic(path) as temporary:
    ...     _ = temporary.write_text("whole or not at all")
    >>> path.read_text()
    'whole or not at all'
    """
    path = Path(os.path.realpath(path))  # a link is followed, not replaced
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.part")
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 16}.part"):
        with suppress(OSError):  # another process may remove it first
            if time.time() - leftover.stat().st_mtime > LEFTOVER:
                leftover.unlink()
    mode = path.stat().st_mode & 0o7777 if path.exists() else None
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if mode is None else 0o600))
    try:
        yield temporary
        _sync(temporary)
        if mode is not None:  # only now: it may forbid to write
            temporary.chmod(mode)
        os.replace(temporary, path)
        if os.name == "posix":
            _sync(path.parent)  # so that the new name is on the disk
    finally:
        temporary.unlink(missing_ok=True)


def _checksum(text: str | None, arrays: Mapping[str, Array]) -> str:
    """Return the SHA-256 of a text and of arrays with their names, dtypes and shapes, as hexadecimal digits."""
    import hashlib

    little = {name: a.astype(a.dtype.newbyteorder("<"), copy=False) for name, a in sorted(arrays.items())}
    facts = [text, [(name, a.dtype.str, a.shape) for name, a in little.items()]]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for array in little.values():
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _extract_arrays(tree: Tree, path: str, arrays: dict[str, Array]) -> Tree:
    """Move the arrays of a tree into `arrays`, by path, and return the rest for the JSON."""
    if isinstance(tree, dict):
        if any(not isinstance(key, str) or key == ARRAY for key in tree):
            raise TypeError(f"save: expected strings for keys (and not {ARRAY!r}), got {list(tree)!r:.80} in {path!r}")
        return {key: _extract_arrays(value, f"{path}.{key}" if path else key, arrays) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_extract_arrays(value, f"{path}.{i}" if path else str(i), arrays) for i, value in enumerate(tree)]
    value = tree.data if isinstance(tree, Tensor) else tree.item() if isinstance(tree, np.generic) else tree
    if is_array(value):
        array = np.asarray(to_host(value), order="C")  # contiguous, as the format requires
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise TypeError(f"save: expected real numbers of at most 8 bytes, got {array.dtype} in {path!r}")
        if path in arrays or path == "__metadata__":
            raise ValueError(f"save: the name {path!r} is taken, by another array or by the format; rename a key")
        arrays[path] = array
        return {ARRAY: path}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"save: expected arrays, Tensors, numbers, strings, dicts and lists, got {type(tree)} in {path!r}")


def _insert_arrays(tree: Tree, arrays: dict[str, Array]) -> Tree:
    """Return the tree that JSON gave, with its arrays in their places."""
    if isinstance(tree, list):
        return [_insert_arrays(value, arrays) for value in tree]
    if not isinstance(tree, dict):
        return tree
    return arrays[tree[ARRAY]] if ARRAY in tree else {k: _insert_arrays(v, arrays) for k, v in tree.items()}


def _sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    handle = os.open(
        path, os.O_RDONLY if path.is_dir() else os.O_RDWR
    )  # Windows syncs only files that are open for writing
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
