"""save and load: trees come back as they were, and no crash, kill, full disk or stranger's file does harm."""

import errno
import os
import pickle
import signal
import subprocess
import sys
import time
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
    norm = ("gamma", "beta", "running_mean", "running_var")
    faults = [f"missing: 2.{n}" for n in norm] + [f"unexpected: 1.{n}" for n in norm]
    for fault in [*faults, "unexpected: 0.b", "0.w: expected shape (4, 2), got (3, 2)"]:
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


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_device_raises(path):
    save(path, {"w": np.ones(3)})
    path.with_name(f".{path.name}.part").symlink_to("/dev/full")
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
    monkeypatch.setattr(
        os, "fsync", lambda handle: (calls.append(os.readlink(f"/proc/self/fd/{handle}")), fsync(handle))
    )
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("rename"), replace(a, b)))
    save(path, {"w": np.ones(3)})
    assert calls == [str(path.with_name(".net.safetensors.part")), "rename", str(path.parent)]


@pytest.mark.parametrize(
    "moment",
    [
        "pathlib.Path.write_bytes = lambda self, content: (open(self, 'wb', 0).write(content[:-5]), die())",
        "os.fsync = lambda handle: die()",
        "os.replace = lambda a, b: die()",
    ],
)
def test_a_kill_leaves_the_previous_file_and_the_next_write_removes_the_rest(path, moment):
    save(path, {"w": np.ones(3)})
    code = f"""
import os, pathlib, signal, sys, numpy, minigrad as mg
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
{moment}
mg.save(sys.argv[1], {{"w": numpy.zeros(3)}})
"""
    assert python(code, path).returncode == -signal.SIGKILL
    assert_same(load(path), {"w": np.ones(3)})
    assert sorted(os.listdir(path.parent)) == [f".{path.name}.part", path.name]
    save(path, {"w": np.full(3, 2.0)})
    assert_same(load(path), {"w": np.full(3, 2.0)})
    assert os.listdir(path.parent) == [path.name]


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


def test_folders_are_made_and_names_need_no_suffix(tmp_path, monkeypatch):
    save(str(tmp_path / "a" / "b" / "net"), [1])
    assert load(str(tmp_path / "a" / "b" / "net")) == [1]
    monkeypatch.chdir(tmp_path)
    save("here.safetensors", [2])
    assert load("here.safetensors") == [2]
    with pytest.raises(IsADirectoryError):
        save(tmp_path / "a", [3])
    assert sorted(os.listdir(tmp_path)) == ["a", "here.safetensors"]
