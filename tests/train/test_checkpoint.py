"""save and load: trees come back as they were, and no crash, kill, full disk or stranger's file does harm."""

import errno
import itertools
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import minigrad as mg
from minigrad.train.checkpoint import atomic, load, save


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


def assert_same(got, expected):
    """Compare two trees: arrays to the bit, with dtype and shape; everything else with its type."""
    assert type(got) is type(expected)
    if isinstance(expected, dict):
        assert list(got) == list(expected)
        for key in expected:
            assert_same(got[key], expected[key])
    elif isinstance(expected, list):
        assert len(got) == len(expected)
        for a, b in zip(got, expected, strict=True):
            assert_same(a, b)
    elif isinstance(expected, np.ndarray):
        assert (got.dtype, got.shape) == (expected.dtype.newbyteorder("="), expected.shape)
        assert got.tobytes() == expected.astype(got.dtype).tobytes()
    else:
        assert got == expected or (got != got and expected != expected)


# What comes back -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3).T,
        np.arange(12, dtype=np.float32)[::-2],
        np.broadcast_to(np.float32(3.0), (4, 2)),
        np.zeros((0, 3), np.float16),
        np.array(7, np.int8),
        np.array([1.5, np.nan, -0.0, np.inf, 65504], np.float16),
        np.arange(5, dtype=">f8"),
        np.arange(5, dtype=">i2"),
        np.array([True, False]),
        np.array([2**64 - 1], np.uint64),
        np.ones((2, 2))[:, :, None, None],
    ],
    ids=lambda a: f"{a.dtype.str}{a.shape}",
)
def test_arrays_are_loaded_bit_for_bit(path, array):
    before = array.copy()
    save(path, {"a": array})
    assert_same(load(path), {"a": array})
    assert_array_equal(array, before, strict=True)
    assert load(path)["a"].flags.writeable


def test_trees_are_loaded_as_they_were_saved(path):
    tree = {
        "a.b": {"c": np.ones(2)},
        "a": {"x": 1, "b": 2},
        "": [],
        "none": None,
        "list": [np.zeros(1), {"deep": [np.ones(1), True]}, "text"],
        "big": np.random.default_rng(0).bit_generator.state,
        "numbers": [2**200, -1, 0.1, 1e-320, float("inf"), float("nan"), True],
        "naïve \ud800 \n\0 key": "\ud800",
    }
    save(path, tree)
    assert_same(load(path), tree)


def test_a_single_array_can_be_saved(path):
    save(path, np.arange(3))
    assert_same(load(path), np.arange(3))


def test_tensors_become_arrays_and_numpy_scalars_become_numbers(path):
    """A scalar becomes a number, so that a rate of np.float64 comes back as something JSON can hold."""
    w = mg.nn.Parameter(np.arange(3.0))
    save(path, {"w": w, "y": w * 2, "lr": np.float64(0.1), "n": np.int64(3), "yes": np.bool_(True), "t": (1, 2)})
    y = np.array([0.0, 2.0, 4.0])
    assert_same(load(path), {"w": np.arange(3.0), "y": y, "lr": 0.1, "n": 3, "yes": True, "t": [1, 2]})


@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.PCG64DXSM, np.random.Philox, np.random.SFC64])
def test_generators_continue_from_a_saved_state(path, bits):
    rng = np.random.Generator(bits(5))
    rng.integers(10, size=3, dtype=np.int32)  # half a word is kept back
    save(path, rng.bit_generator.state)
    expected = rng.random(100)
    rng.bit_generator.state = load(path)
    assert_array_equal(rng.random(100), expected, strict=True)


ARRAYS = st.builds(
    lambda dtype, shape, seed: np.random.default_rng(seed).integers(0, 100, shape).astype(dtype),
    st.sampled_from(["f2", ">f4", "f8", "i1", ">u2", "?", "i8"]),
    st.lists(st.integers(0, 3), max_size=3).map(tuple),
    st.integers(0, 9),
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | ARRAYS
KEYS = st.text(min_size=1, max_size=5).filter(lambda key: "." not in key and key not in ("$array", "__metadata__"))
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=40)  # each is synced to the disk
@given(TREES)
def test_random_trees_are_loaded_as_they_were_saved(tmp_path_factory, tree):
    path = tmp_path_factory.getbasetemp() / "tree.safetensors"
    save(path, tree)
    assert_same(load(path), tree)


def test_the_file_is_a_plain_safetensors_file(path):
    save(path, {"model": {"fc.w": np.ones(2, np.float32)}, "iteration": 3})
    (name, array), *others = safetensors.numpy.load_file(path).items()
    assert (name, others) == ("model.fc.w", [])
    assert_array_equal(array, np.ones(2, np.float32), strict=True)


def test_a_file_of_another_program_is_a_dict_of_arrays(path):
    safetensors.numpy.save_file({"a.w": np.ones(2)}, path, metadata={"format": "pt"})
    assert_same(load(path), {"a.w": np.ones(2)})


# What is refused -----------------------------------------------------------------------------

LOOP: list = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("tree", "error", "message"),
    [
        ({"a": [{"w": np.ones(1, complex)}]}, TypeError, "complex128 in 'a.0.w'"),
        ({"a": np.array([None])}, TypeError, "object in 'a'"),
        ({"a": np.array(["x"])}, TypeError, "<U1 in 'a'"),
        ({"a": np.zeros(1, [("x", "f4")])}, TypeError, "in 'a'"),
        ({"a": np.array(["2020"], "M8[D]")}, TypeError, "datetime64"),
        ({"a": np.longdouble(1)}, TypeError, "in 'a'"),
        ({"a": 1j}, TypeError, "complex"),
        ({"a": {1, 2}}, TypeError, "'set'"),
        ({"a": b"bytes"}, TypeError, "'bytes'"),
        ({"a": {"b": len}}, TypeError, "in 'a.b'"),
        ({"a": {3: 1}}, TypeError, "strings for keys.* in 'a'"),
        ({"$array": "w"}, TypeError, "strings for keys"),
        ({"a.b": np.ones(1), "a": {"b": np.ones(1)}}, ValueError, "'a.b' is taken"),
        ({"__metadata__": np.ones(1)}, ValueError, "'__metadata__' is taken"),
    ],
)
def test_save_refuses_what_it_cannot_load(path, tree, error, message):
    save(path, {"precious": np.ones(3)})
    with pytest.raises(error, match=f"^save: .*{message}"):
        save(path, tree)
    assert_same(load(path), {"precious": np.ones(3)})
    assert os.listdir(path.parent) == [path.name]


def hostile(text):
    return safetensors.numpy.save({"w": np.ones(2)}, metadata={"minigrad": text})


def header(text):
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        pickle.dumps({"w": np.ones(3)}),
        b"\xff" * 100,
        (2**62).to_bytes(8, "little") + b"{}",
        header(b"{" * 1000),
        header(b'{"w":{"dtype":"F64","shape":[2],"data_offsets":[0,16]}}'),
        header(b'{"w":{"dtype":"F64","shape":[4611686018427387904,4],"data_offsets":[0,0]}}'),
        header(b'{"w":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}') + b"ab",
        hostile("")[:-1],
        hostile("not JSON"),
        hostile('{"$array": "missing"}'),
        hostile('{"$array": ["w"]}'),
        hostile('{"$array": {"w": 1}}'),
        hostile('{"a": ' * 100_000 + "1" + "}" * 100_000),
        hostile("[" * 100_000 + "]" * 100_000),
        hostile("9" * 10_000),
    ],
    ids=range(17),
)
def test_load_refuses_files_that_are_malformed(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^load: .*net.safetensors \([\d,]+ bytes\) is not a whole safetensors file"):
        load(path)


def test_a_truncated_file_is_refused_at_every_length(path):
    save(path, {"model": {"w": np.arange(4.0), "b": np.ones(1)}, "iteration": 7})
    whole = path.read_bytes()
    for size in range(0, len(whole), 3):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="^load: "):
            load(path)


def test_a_missing_file_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.safetensors")
    with pytest.raises(IsADirectoryError):
        load(tmp_path)


def test_another_net_is_refused_with_a_list_of_all_differences(path):
    save(path, {"model": mg.nn.Sequential(mg.nn.Linear(3, 2, rng=0), mg.nn.BatchNorm2d(2)).state_dict()})
    net = mg.nn.Sequential(mg.nn.Linear(4, 2, bias=False, rng=0), mg.nn.ReLU(), mg.nn.BatchNorm2d(2))
    before = net.state_dict()
    with pytest.raises(ValueError, match="load_state_dict") as info:
        net.load_state_dict(load(path)["model"])
    norm = ("weight", "bias", "running_mean", "running_var")
    faults = [f"missing: 2.{n}" for n in norm] + [f"unexpected: 1.{n}" for n in norm]
    for fault in [*faults, "unexpected: 0.bias", "0.weight: expected shape (4, 2), got (3, 2)"]:
        assert fault in str(info.value)
    assert_same(net.state_dict(), before)


# A write that fails --------------------------------------------------------------------------


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def half(self, content):
    with open(self, "wb") as file:
        file.write(content[: len(content) // 2])
    full()


@pytest.mark.parametrize(
    ("where", "name", "fault"), [(Path, "write_bytes", half), (os, "fsync", full), (os, "replace", full)]
)
def test_a_full_disk_leaves_the_previous_file(path, monkeypatch, where, name, fault):
    save(path, {"w": np.ones(3)})
    with monkeypatch.context() as patch:
        patch.setattr(where, name, fault)
        with pytest.raises(OSError, match="No space left"):
            save(path, {"w": np.zeros(3)})
    assert_same(load(path), {"w": np.ones(3)})
    assert os.listdir(path.parent) == [path.name]


def python(code, *arguments, **options):
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, **options)


def test_a_file_size_limit_leaves_the_previous_file(path):
    pytest.importorskip("resource")
    save(path, {"w": np.ones(3)})
    code = """
import resource, sys, numpy, minigrad as mg
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
mg.save(sys.argv[1], {"w": numpy.zeros(10_000)})
"""
    result = python(code, path)
    assert result.returncode == 1
    assert "OSError: [Errno 27]" in result.stderr
    assert_same(load(path), {"w": np.ones(3)})
    assert os.listdir(path.parent) == [path.name]


def test_the_file_is_synced_before_it_is_renamed(path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "urandom", lambda n: b"\1" * n)
    monkeypatch.setattr(
        os, "fsync", lambda handle: (calls.append(os.readlink(f"/proc/self/fd/{handle}")), fsync(handle))
    )
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("rename"), replace(a, b)))
    save(path, {"w": np.ones(3)})
    assert calls == [str(path.with_name(f".net.safetensors.{'01' * 8}.part")), "rename", str(path.parent)]


@pytest.mark.parametrize(
    "moment",
    [
        "pathlib.Path.write_bytes = lambda self, content: (open(self, 'wb', 0).write(content[:-5]), die())",
        "os.fsync = lambda handle: die()",
        "os.replace = lambda a, b: die()",
    ],
)
def test_a_kill_leaves_the_previous_file_and_a_later_write_removes_the_rest(path, moment):
    """Later by ten minutes: until then the rest may be what another process is writing."""
    save(path, {"w": np.ones(3)})
    code = f"""
import os, pathlib, signal, sys, numpy, minigrad as mg
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
{moment}
mg.save(sys.argv[1], {{"w": numpy.zeros(3)}})
"""
    assert python(code, path).returncode == -signal.SIGKILL
    assert_same(load(path), {"w": np.ones(3)})
    rest, name = sorted(os.listdir(path.parent))
    assert (rest[:17], rest[-5:], name) == (f".{path.name}.", ".part", path.name)
    for age, left in ((550, [rest, name]), (650, [name])):
        os.utime(path.with_name(rest), (time.time() - age,) * 2)
        path.with_name(f".other.{'0' * 16}.part").touch()
        os.utime(path.with_name(f".other.{'0' * 16}.part"), (0, 0))  # of another file
        save(path, {"w": np.full(3, 2.0)})
        assert_same(load(path), {"w": np.full(3, 2.0)})
        assert sorted(os.listdir(path.parent)) == sorted([*left, f".other.{'0' * 16}.part"])


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("run[1]", "run1"),
        ("[!r]un", "sun"),
        ("run?", "run1"),
        ("r*", "run"),
        ("run[a-c][0-9]", "runb7"),
        ("{a,b}", "a"),
        ("run [final] (2)", "run f (2)"),
        ("~run", "run"),
        ("$HOME", "HOME"),
        ("a.b", "a-b"),
        ("[", "]"),
        ("**", "x"),
        ("läuft", "lauft"),
    ],
)
def test_a_write_removes_the_rest_of_its_own_file_only_whatever_its_name(tmp_path, name, other):
    """Also of names that mean others to a shell; what only looks like a rest stays."""
    zeros = "0" * 16
    rest = tmp_path / f".{name}.{zeros}.part"
    others = [tmp_path / text for text in (f".{other}.{zeros}.part", f".{name}.{zeros[1:]}.part", f".{name}.{zeros}",
              f".{name}.{'g' * 16}.part", f"{name}.{zeros}.part", f".x{name}.{zeros}.part")]  # fmt: skip
    for path in (rest, *others):
        path.touch()
        os.utime(path, (0, 0))
    save(tmp_path / name, [1])
    assert load(tmp_path / name) == [1]
    assert {path.name for path in tmp_path.iterdir()} == {name, *(path.name for path in others)}


def test_after_a_kill_at_any_moment_the_file_is_whole(path):
    code = """
import itertools, sys, numpy, minigrad as mg
for i in itertools.count():
    mg.save(sys.argv[1], {"i": i, "w": numpy.full(300_000, i)})
"""
    seen = []
    for pause in (0.0, 0.003, 0.01, 0.03):
        path.unlink(missing_ok=True)
        process = subprocess.Popen([sys.executable, "-c", code, str(path)])
        while not path.exists():
            assert process.poll() is None
            time.sleep(0.001)
        time.sleep(pause)
        process.kill()
        process.wait()
        tree = load(path)
        assert (tree["w"] == tree["i"]).all()
        seen.append(tree["i"])
    assert len(seen) == 4


def test_an_error_while_writing_leaves_no_file(tmp_path):
    def interrupted():
        with atomic(tmp_path / "new" / "log.txt") as temporary:
            temporary.write_text("half of i")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path / "new") == []


# Several writers, links and modes -----------------------------------------------------------------


def test_two_processes_that_write_one_file_leave_a_whole_one(path):
    """Under one temporary name, a third of the writes failed, and a reader saw half a file."""
    code = """
import sys, numpy, minigrad as mg
for i in range(30):
    mg.save(sys.argv[1], {"i": i, "w": numpy.full(300_000, i)})
"""
    save(path, {"i": 0, "w": np.zeros(1)})
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path)], stderr=subprocess.PIPE) for _ in range(2)]
    while any(writer.poll() is None for writer in writers):
        tree = load(path)
        assert (tree["w"] == tree["i"]).all()
    assert [writer.communicate()[1] for writer in writers] == [b"", b""]
    assert os.listdir(path.parent) == [path.name]


def test_threads_may_write_one_file(path):
    trees = [{"i": i, "w": np.full(1000, i)} for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda tree: [save(path, tree) for _ in range(5)], trees))
    tree = load(path)
    assert_same(tree, trees[tree["i"]])
    assert os.listdir(path.parent) == [path.name]


def test_a_planted_link_is_not_followed(path, monkeypatch):
    """Whoever can guess the temporary name could choose which file is overwritten."""
    victim = path.with_name("victim")
    victim.write_text("precious")
    monkeypatch.setattr(os, "urandom", lambda n: bytes(n))
    for name in (f".{path.name}.part", f".{path.name}.{'00' * 8}.part"):
        path.with_name(name).symlink_to(victim)
    with pytest.raises(FileExistsError):
        save(path, {"w": np.zeros(3)})
    monkeypatch.undo()
    save(path, {"w": np.zeros(3)})
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_a_link(tmp_path, exists):
    (tmp_path / "store").mkdir()
    target, link = tmp_path / "store" / "7.safetensors", tmp_path / "latest.safetensors"
    if exists:
        save(target, [1])
    link.symlink_to(os.path.join("store", "7.safetensors"))
    save(link, [2])
    assert link.is_symlink()
    assert (load(target), load(link)) == ([2], [2])
    assert os.listdir(tmp_path / "store") == ["7.safetensors"]


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_of_links_in_a_row_each_stays_a_link(tmp_path, n, absolute):
    """Each leads to the next, from folder to folder, and the last one to the file."""
    places = [tmp_path / str(i) / "latest" for i in range(n)] + [tmp_path / "store" / "7.safetensors"]
    for place in places:
        place.parent.mkdir()
    for link, leads_to in itertools.pairwise(places):
        link.symlink_to(leads_to if absolute else os.path.relpath(leads_to, link.parent))
    for i, path in enumerate(places):
        save(path, [i])
        assert [place.is_symlink() for place in places] == [True] * n + [False]
        assert load(places[-1]) == load(places[0]) == [i]
    assert os.listdir(tmp_path / "store") == ["7.safetensors"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444, 0o666])
def test_the_mode_of_a_file_is_kept(path, mode):
    save(path, [1])
    path.chmod(mode)
    save(path, [2])
    assert path.stat().st_mode & 0o7777 == mode
    assert load(path) == [2]


def test_a_new_file_has_the_usual_mode(path):
    before = os.umask(0o027)
    try:
        save(path, [1])
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o7777 == 0o640


def test_nobody_else_reads_a_private_file_while_it_is_written(path):
    save(path, [1])
    path.chmod(0o600)
    with atomic(path) as temporary:
        assert temporary.stat().st_mode & 0o7777 == 0o600
        temporary.write_text("private")


# Damage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_every_flipped_bit_is_noticed(path, step):
    """Also in the names of the text and of the checksum, and in what makes the header a header."""
    save(path, {"model": {"w": np.arange(3.0), "on": np.array([True])}, "iteration": 7, "name": "é"})
    whole = path.read_bytes()
    for place in range(0, 8 * len(whole), step):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"^load: .* is not a whole safetensors file"):
            load(path)


def test_other_arrays_under_the_same_text_are_refused(path):
    save(path, {"a": np.zeros(2), "b": np.ones(2)})
    with safetensors.safe_open(path, "np") as file:
        notes = file.metadata()
    good = {"a": np.zeros(2), "b": np.ones(2)}
    for wrong in ({"a": good["b"], "b": good["a"]}, good | {"c": np.ones(1)}, good | {"a": np.zeros((2, 1))}):
        safetensors.numpy.save_file(wrong, path, metadata=notes)
        with pytest.raises(ValueError, match="it is damaged: its checksum"):
            load(path)
    safetensors.numpy.save_file(good, path, metadata=notes | {"format": "pt"})  # written anew, by another program
    assert_same(load(path), good)


@pytest.mark.parametrize("kinds", [["f8", "i8", "u8"], ["f4", "i4", "u4"], ["f2", "i2", "u2"], ["i1", "u1", "?"]])
def test_the_same_bytes_of_another_dtype_or_shape_are_refused(path, kinds):
    zeros, ones = np.zeros((2, 3), kinds[0]), np.ones((2, 3), kinds[0])
    for array in (zeros, ones):
        save(path, {"a": {"w": array}})
        with safetensors.safe_open(path, "np") as file:
            notes = file.metadata()
        views = [array.view(kind) for kind in kinds[1:]]
        views += [array.reshape(shape) for shape in ((3, 2), (6,), (1, 2, 3))] + [array.ravel().view("u1")]
        for view in views:
            if (view.dtype, view.shape) != (array.dtype, array.shape):
                safetensors.numpy.save_file({"a.w": view.copy()}, path, metadata=notes)
                with pytest.raises(ValueError, match="it is damaged: its checksum"):
                    load(path)


def test_files_without_a_checksum_are_loaded(path):
    """Those of other programs, and those of earlier versions."""
    arrays = {"a.w": np.arange(3.0)}
    theirs = {
        "format": "pt",
        "author": "somebody",
        "sha256": "0" * 64,
        "Minigrad": "1",
        "minigrad.version": "2",
        "": "",
    }
    for notes in (None, {}, theirs, *({name: text} for name, text in theirs.items())):
        safetensors.numpy.save_file(arrays, path, metadata=notes)
        assert_same(load(path), arrays)
    safetensors.numpy.save_file(arrays, path, metadata={"minigrad": '{"a": {"w": {"$array": "a.w"}}}'})
    assert_same(load(path), {"a": {"w": np.arange(3.0)}})


def test_folders_are_made_and_names_need_no_suffix(tmp_path, monkeypatch):
    save(str(tmp_path / "a" / "b" / "net"), [1])
    assert load(str(tmp_path / "a" / "b" / "net")) == [1]
    monkeypatch.chdir(tmp_path)
    save("here.safetensors", [2])
    assert load("here.safetensors") == [2]
    with pytest.raises(IsADirectoryError):
        save(tmp_path / "a", [3])
    assert sorted(os.listdir(tmp_path)) == ["a", "here.safetensors"]
