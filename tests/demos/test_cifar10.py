"""The CIFAR-10 demo: the paper's recipe to the letter, and from the official files to the last figure in seconds."""

import hashlib
import json
import os
import re
import signal

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import minigrad as mg
from demos import cifar10
from demos.lab import Segments
from minigrad.train.report import read_log
from models import cifar_plain, cifar_resnet
from tests.demos.conftest import TEST, TRAIN


@pytest.fixture
def run(root, tmp_path, monkeypatch):
    """Return a function that runs the command on the small files."""
    monkeypatch.setattr(mg.data.CIFAR10, "train_files", TRAIN)
    monkeypatch.setattr(mg.data.CIFAR10, "test_files", TEST)
    return lambda *options, out=tmp_path: cifar10.main(
        ["--depth", "8", "--root", str(root), "--out", str(out), *map(str, options)]
    )


@pytest.fixture
def figures(monkeypatch):
    from matplotlib.figure import Figure

    drawn, savefig = {}, Figure.savefig

    def keep(self, path, **settings):
        drawn[path.name.strip(".").split(".")[0]] = self
        savefig(self, path, **settings)

    monkeypatch.setattr(Figure, "savefig", keep)
    return drawn


@pytest.fixture
def unwritten(monkeypatch):
    """Leave the files of figures empty: each takes half a second to write, and other tests write them."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, path, **settings: path.touch())


def test_from_the_files_to_the_figures(run, tmp_path, capsys, figures, monkeypatch):
    monkeypatch.setattr(cifar10, "STEPS", 1)
    settings = ["--iterations", 4, "--seeds", 2, "--seed", 3, "--split", "--subset", 130, "--minutes", 0]
    summary = run(*settings)
    runs = [f"resnet-8-seed{seed}" for seed in (3, 4)]
    kinds = (".jsonl", ".png", ".safetensors", "-weights.safetensors", "-sittings.json")
    assert set(os.listdir(tmp_path)) == {f"{name}{kind}" for name in runs for kind in kinds} | {
        "curves.png",
        "confusion.png",
        "mistakes.png",
        "summary.json",
    }
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    logs = [read_log(tmp_path / f"{name}.jsonl") for name in runs]
    assert summary["test_errors"] == [log[-1]["test_error"] for log in logs]
    assert (summary["mean"], summary["best"]) == (np.mean(summary["test_errors"]), min(summary["test_errors"]))
    assert summary["deviation"] == pytest.approx(abs(np.subtract(*summary["test_errors"])) / 2**0.5)
    assert (summary["net"], summary["recipe"], summary["iterations"], summary["subset"]) == (
        "resnet-8",
        "paper",
        4,
        130,
    )
    for log in logs:
        assert [record["iteration"] for record in log] == [2, 4]  # 130 images of the 135 that the split left
        assert {"val_error", "test_error", "batch_error"} <= log[0].keys()
    printed, progress = capsys.readouterr()
    for seed, error in zip((3, 4), summary["test_errors"], strict=True):
        assert f"resnet-8, seed {seed}: test error {error:.2%} after 4 iterations" in printed
        estimate = (
            rf"resnet-8, seed {seed}: 0:00:\d\d left on this machine, at \d+\.\d\d s for each of the first 1 steps"
        )
        assert re.search(estimate, progress)
    assert f"best {summary['best']:.2%}, mean {summary['mean']:.2%} ± {summary['deviation']:.2%}" in printed
    assert [line.get_label() for line in figures["curves"].axes[1].lines] == [
        f"resnet-8 seed {seed} {name}" for seed in (3, 4) for name in ("batch", "val", "test")
    ]


@pytest.mark.usefixtures("unwritten")
@pytest.mark.parametrize("kind", ["resnet", "plain"])
def test_the_weights_can_be_used_without_the_run(run, root, tmp_path, capsys, kind):
    options = ["--net", kind, "--iterations", 3, "--recipe", "quick", "--refresh", "--subset", 140, "--shards", 2]
    (error,) = run(*options)["test_errors"]
    path = tmp_path / f"{kind}-8-seed0-weights.safetensors"
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert f"weights: {path}, {len(content):,} bytes, SHA-256 {digest}\n" in capsys.readouterr().out
    saved = mg.load(path)
    net = {"resnet": cifar_resnet, "plain": cifar_plain}[kind](8, rng=5).eval()
    net.load_state_dict(saved["model"])
    images, labels = mg.data.CIFAR10(root, train=False)[:]
    assert float((net(mg.Tensor(images - saved["mean"])).numpy().argmax(1) != labels).mean()) == error
    assert saved["classes"] == list(mg.data.CIFAR10.classes)
    assert saved["card"] == {
        "net": f"{kind}-8",
        "data": "CIFAR-10",
        "recipe": "quick",
        "iterations": 3,
        "subset": 140,
        "split": False,
        "refresh": True,
        "shards": 2,
        "seed": 0,
        "test_error": error,
        "minigrad": mg.__version__,
    }


@pytest.mark.slow
@pytest.mark.usefixtures("unwritten")
def test_stopped_and_resumed_it_ends_with_the_same_weights(run, tmp_path, monkeypatch):
    whole = run("--iterations", 3, out=tmp_path / "whole")
    step, count = mg.optim.SGD.step, iter(range(2))

    def interrupted(self):
        step(self)
        if next(count) == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(mg.optim.SGD, "step", interrupted)
        with pytest.raises(SystemExit):
            run("--iterations", 3, out=tmp_path / "parts")
    assert not (tmp_path / "parts" / "summary.json").exists()
    with pytest.raises(FileExistsError, match="resume it"):
        run("--iterations", 3, out=tmp_path / "parts")
    with pytest.raises(ValueError, match="iterations was 3, is 9; give the same settings"):
        run("--iterations", 9, "--resume", out=tmp_path / "parts")
    assert run("--iterations", 3, "--resume", out=tmp_path / "parts") == whole
    one, other = (mg.load(tmp_path / name / "resnet-8-seed0.safetensors") for name in ("whole", "parts"))
    for name, array in one["model"].items():
        assert_array_equal(other["model"][name], array, strict=True)
    refreshed = run("--iterations", 3, "--resume", "--refresh", out=tmp_path / "parts")  # of a run that is finished
    assert refreshed["refresh"]
    assert run("--iterations", 3, "--resume", "--refresh", out=tmp_path / "parts") == refreshed
    assert {"summary.json", "mistakes.png"} < set(os.listdir(tmp_path / "parts"))
    sittings = json.loads((tmp_path / "parts/resnet-8-seed0-sittings.json").read_text())
    assert [sitting["iteration"] for sitting in sittings] == [0, 2, 3, 3]  # those that fit refused are none


def test_the_sittings_of_a_run_are_listed(tmp_path, monkeypatch):
    path, config = tmp_path / "new/run", {"seed": 3, "subset": None}

    def sittings():
        return json.loads((tmp_path / "new/run-sittings.json").read_text())

    monkeypatch.setattr(cifar10.lab, "processor", lambda: "an abacus")
    monkeypatch.setattr(cifar10.lab, "installed", lambda: {"Python": "3", "docs": "/home", "threads": "2 on 4"})
    cifar10.lab.note_sitting(path, True, config)  # there is nothing to resume yet
    (first,) = sittings()
    assert first.pop("began")
    here = {"minigrad": mg.__version__, "processor": "an abacus", "Python": "3", "threads": "2 on 4"}
    assert first == {"iteration": 0, **here, "config": config}
    mg.save(path.with_suffix(".safetensors"), {"iteration": 7, "config": {"images": 1, **config}})
    cifar10.lab.note_sitting(path, False, config)
    cifar10.lab.note_sitting(path, True, config | {"seed": 4})
    assert len(sittings()) == 1
    mg.save(tmp_path / "new/foreign.safetensors", {"w": np.ones(2)})
    cifar10.lab.note_sitting(tmp_path / "new/foreign", True, config)  # fit will say that this is no run
    assert not (tmp_path / "new/foreign-sittings.json").exists()
    cifar10.lab.note_sitting(path, True, config)
    assert [(sitting["iteration"], sitting["processor"]) for sitting in sittings()] == [
        (0, "an abacus"),
        (7, "an abacus"),
    ]
    os.remove(path.with_suffix(".safetensors"))  # begun anew
    cifar10.lab.note_sitting(path, False, config)
    assert [sitting["iteration"] for sitting in sittings()] == [0]


def test_the_processor_has_a_name(monkeypatch):
    assert cifar10.lab.processor() not in ("", "unknown")
    monkeypatch.setattr("pathlib.Path.read_text", lambda self: "flags : x\nmodel name\t: A: 1\nmodel name\t: B\n")
    assert cifar10.lab.processor() == "A: 1"


@pytest.mark.usefixtures("unwritten")
def test_refreshed_statistics_are_those_of_the_training_images(run, monkeypatch):
    seen = []
    refresh = cifar10.train.refresh_statistics
    monkeypatch.setattr(
        cifar10.train, "refresh_statistics", lambda net, loader: seen.append((refresh(net, loader), net, loader))
    )
    run("--iterations", 1, "--net", "plain", "--refresh", "--recipe", "quick")
    (_, net, loader), images = seen[0], next(iter(seen[0][2]))[0]
    assert len(loader.dataset) == 150
    assert loader.shuffle is False
    modules = [module for _, module in net.named_modules()]
    conv = next(module for module in modules if isinstance(module, mg.nn.Conv2d))
    norm = next(module for module in modules if isinstance(module, mg.nn.BatchNorm2d))
    out = conv(mg.Tensor(images)).data
    assert_allclose(norm.running_mean.data, out.mean((0, 1, 2)), rtol=1e-3, atol=1e-5)


@pytest.fixture
def fitted(root, tmp_path, monkeypatch):
    """Return a function that tells what the command asks of the training loop."""
    monkeypatch.setattr(mg.data.CIFAR10, "train_files", TRAIN)
    monkeypatch.setattr(mg.data.CIFAR10, "test_files", TEST)

    class Asked(Exception):
        pass

    def fit(net, batches, **settings):
        raise Asked(net, batches, settings)

    monkeypatch.setattr(cifar10.train, "fit", fit)
    monkeypatch.chdir(tmp_path)  # a sitting is noted before

    def ask(*options):
        with pytest.raises(Asked) as info:
            cifar10.main(["--root", str(root), *options])
        return info.value.args

    return ask


def rates(schedule, iterations):
    """Return the learning rate of some iterations."""
    found = {}
    for i in range(max(iterations) + 1):
        found[i] = schedule.optimizer.lr
        schedule.step()
    return [found[i] for i in iterations]


def test_the_recipe_of_the_paper_to_the_letter(fitted):
    net, batches, settings = fitted()
    sgd = settings["optimizer"]
    assert settings["iterations"] == 64_000
    assert batches.batch_size == 128
    assert batches.shuffle
    assert [(g["momentum"], g["weight_decay"], g["nesterov"]) for g in sgd.groups] == [(0.9, 1e-4, False)]
    assert len(sgd.groups[0]["params"]) == len(list(net.parameters()))
    assert sum(p.size for p in net.parameters()) == 269_722  # 0.27 million, as in Table 6
    at = [0, 31_999, 32_000, 47_999, 48_000, 63_999]
    assert_allclose(rates(settings["schedule"], at), [0.1, 0.1, 0.01, 0.01, 0.001, 0.001], rtol=1e-12)
    assert list(settings["evaluate_on"]) == ["test"]
    assert settings["evaluate_every"] == len(batches)
    assert "loss" not in settings  # cross-entropy is the default
    assert not any(isinstance(module, mg.nn.Dropout) for _, module in net.named_modules())


def test_the_records_may_be_further_apart_than_an_epoch(fitted):
    assert fitted("--evaluate-every", "1000")[2]["evaluate_every"] == 1000


def facts(net, batches, settings):
    """Return all that the command asks of the training loop, by name; the weights stand for the seed they are from."""
    checkpoint, sgd = settings["checkpoint"], settings["optimizer"]
    make = {"resnet": cifar_resnet, "plain": cifar_plain}[settings["title"].split("-")[0]]
    weights = [seed for seed in range(6) if (make(8, rng=seed).conv1.weight.data == net.conv1.weight.data).all()]
    return {
        "net": settings["title"],
        "layers": repr(net),
        "seeds": (*weights, batches.state_dict()["seed"], checkpoint.config.pop("seed")),
        "images": len(batches.dataset),
        "sets": {name: len(loader.dataset) for name, loader in settings["evaluate_on"].items()},
        "iterations": settings["iterations"],
        "evaluate_every": settings["evaluate_every"],
        "decay": sgd.groups[0]["weight_decay"],
        "shards": settings["shards"],
        "resume": checkpoint.resume,
        "minutes": checkpoint.every,
        "folders": {path.parent.name for path in (checkpoint.path, settings["log"], settings["figure"])},
        "files": {path.name for path in (checkpoint.path, settings["log"], settings["figure"])},
        "config": checkpoint.config,
    }


def files(name):
    return {f"{name}{kind}" for kind in (".jsonl", ".png", ".safetensors")}


#: Options, and what is another thing with each than without it. Of the others, those that come after training are
#: tested there.
CHANGES = {
    "--net plain": {"net": "plain-8", "layers": repr(cifar_plain(8)), "files": files("plain-8-seed0")},
    "--depth 14": {"net": "resnet-14", "layers": repr(cifar_resnet(14)), "files": files("resnet-14-seed0")},
    "--shortcut B": {"net": "resnet-8-B", "layers": repr(cifar_resnet(8, "B")), "files": files("resnet-8-B-seed0")},
    "--recipe quick": {"decay": 1e-3, "iterations": 30 * 391},
    "--iterations 7": {"iterations": 7},
    "--subset 130": {"images": 130, "evaluate_every": 2},  # 150 images make two batches, too
    "--subset 20": {"images": 20, "evaluate_every": 1},
    "--split": {"images": 135, "sets": {"val": 15, "test": 60}},
    "--evaluate-every 9": {"evaluate_every": 9},
    "--seed 3": {"seeds": (3, 3, 3), "files": files("resnet-8-seed3")},
    "--shards 2": {"shards": 2},
    "--resume": {"resume": True},
    "--minutes 3": {"minutes": 3.0},
    "--minutes 0": {"minutes": 0.0},
    "--out elsewhere": {"folders": {"elsewhere"}},
    "--refresh": {},
    "--seeds 2": {},
}


@pytest.mark.parametrize("option", CHANGES)
def test_an_option_changes_what_it_says_and_nothing_else(fitted, option):
    plain, with_option = (facts(*fitted("--depth", "8", *given)) for given in ([], option.split()))
    name, *values = option.removeprefix("--").replace("-", "_").split()
    expected = plain | CHANGES[option]
    if name in plain["config"]:
        value = type(plain["config"][name] or 0)(values[0]) if values else True
        expected["config"] = plain["config"] | {name: value}
        expected["config"]["iterations"] = expected["iterations"]
    if option.startswith(("--net", "--recipe")):
        expected["folders"] = {f"{expected['net']}-{'quick' if 'quick' in option else 'paper'}"}
    if option.startswith(("--depth", "--shortcut")):
        expected["folders"] = {f"{expected['net']}-paper"}
    assert with_option == expected


@pytest.mark.parametrize("kind", ["resnet", "plain"])
def test_each_of_several_seeds_has_weights_an_order_and_a_file_of_its_own(monkeypatch, tmp_path, kind):
    """The second is what it would be alone, as the first."""
    asked = []
    monkeypatch.setattr(cifar10.train, "fit", lambda *args, **settings: asked.append((*args, settings)) or [])
    options = cifar10.parse(["--net", kind, "--depth", "8", "--seeds", "3", "--seed", "2"])
    sets = {"training": mg.data.Digits(), "augment": None, "test": mg.data.DataLoader(mg.data.Digits(False), 100)}
    for seed in (2, 3, 4):
        net, _ = cifar10.run(options, sets, seed, tmp_path)
        assert asked[-1][0] is net
        found = facts(*asked[-1])
        assert (found["seeds"], found["files"]) == ((seed,) * 3, files(f"{kind}-8-seed{seed}"))


@pytest.mark.parametrize("kind", ["resnet", "plain"])
def test_deep_nets_are_recomputed(fitted, kind):
    """The paths of the weights are those of the plain net: a file of either fits the other."""
    make = {"resnet": cifar_resnet, "plain": cifar_plain}[kind]
    for depth, recomputed in ((110, False), (116, True)):
        net = fitted("--depth", str(depth), "--net", kind)[0]
        assert [isinstance(stage, Segments) for stage in net.stages] == [recomputed] * 3
        assert list(net.state_dict()) == list(make(depth).state_dict())


@pytest.mark.parametrize("shards", [None, 4])
def test_it_says_how_long_it_will_take(monkeypatch, capsys, shards):
    """By hand: 20 steps of 2 s; of the 40 that are left, each takes 2 (1 + 192 / 384) s with its part of the tests."""
    clock = iter(np.arange(1000) * 2 / (shards or 1))
    monkeypatch.setattr(cifar10.time, "perf_counter", lambda: next(clock))
    options = cifar10.parse(["--iterations", "100", *([] if shards is None else ["--shards", str(shards)])])
    net = mg.nn.ReLU()
    rates = cifar10.schedule(options, mg.optim.SGD([mg.nn.Parameter([1.0])], 0.1))
    for _ in range(40):  # a run that is resumed
        rates.step()
    cifar10.announce(net, rates, options, 192.0, "mine")
    for forwards in range(21 * (shards or 1)):
        assert capsys.readouterr().err == "", forwards
        net.eval()(mg.Tensor([1.0]))  # an evaluation is no step
        net.train()(mg.Tensor([1.0]))
        if forwards % (shards or 1) == (shards or 1) - 1:
            rates.step()
        if forwards == 20 * (shards or 1):
            break
    expected = "mine: 0:02:00 left on this machine, at 2.00 s for each of the first 20 steps\n"
    assert capsys.readouterr().err == expected
    for _ in range(100):
        net(mg.Tensor([1.0]))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("option", ["", "--subset 20", "--subset 130"])
@pytest.mark.parametrize("split", ["", "--split"])
@pytest.mark.parametrize("every", ["", "--evaluate-every 1", "--evaluate-every 7"])
def test_it_counts_the_images_of_all_tests_in_each_step(fitted, monkeypatch, option, split, every):
    """Whatever sets the time between two tests: they take 60 images, and 15 more where some are held out."""
    told = []
    monkeypatch.setattr(cifar10, "announce", lambda net, rates, options, evaluated, title: told.append(evaluated))
    steps = fitted("--depth", "8", *option.split(), *split.split(), *every.split())[2]["evaluate_every"]
    assert steps == (int(every.split()[1]) if every else 1 if option == "--subset 20" else 2)
    assert told == [(75 if split else 60) / steps]


def test_only_nets_of_110_layers_and_more_begin_slowly():
    options = cifar10.parse([])
    for options.depth in range(8, 1220, 6):
        sgd = mg.optim.SGD([mg.nn.Parameter([1.0])], 0.1)
        cifar10.schedule(options, sgd)
        assert sgd.lr == pytest.approx(0.01 if options.depth >= 110 else 0.1), options.depth


def test_110_layers_begin_slowly(fitted):
    schedule = fitted("--depth", "110")[2]["schedule"]
    assert rates(schedule, [0, 400]) == pytest.approx([0.01, 0.01])
    for _ in range(100):
        schedule.observe(batch_error=0.7)
    assert schedule.optimizer.lr == 0.1


def test_110_layers_that_do_not_learn_still_follow_the_schedule(fitted):
    schedule = fitted("--depth", "110")[2]["schedule"]
    assert rates(schedule, [0, 31_999, 32_000, 47_999, 48_000]) == pytest.approx([0.01] * 4 + [0.001])


def test_the_quick_recipe(fitted):
    net, _, settings = fitted("--recipe", "quick", "--iterations", "100")
    values = rates(settings["schedule"], list(range(100)))
    assert np.argmax(values) in (14, 15)
    assert 0.135 < max(values) < 0.15
    assert values[99] < 1e-3
    weights, others = settings["optimizer"].groups
    assert [(g["momentum"], g["weight_decay"], g["nesterov"]) for g in (weights, others)] == [
        (0.9, 1e-3, True),
        (0.9, 0.0, True),
    ]
    names = {p: path for path, p in net.named_parameters()}
    assert len(weights["params"]) + len(others["params"]) == len(names)
    assert [names[p] for p in others["params"] if "bn" not in names[p]] == ["fc.bias"]
    assert not any("bn" in names[p] or names[p].endswith("bias") for p in weights["params"])
    assert "loss" not in settings
    assert fitted("--recipe", "quick")[2]["iterations"] == 30 * -(-50_000 // 128)


def test_only_training_images_are_augmented_and_make_the_mean(fitted, root):
    _, batches, settings = fitted("--split")
    assert (len(batches.dataset), len(settings["evaluate_on"]["val"].dataset)) == (135, 15)
    training = mg.data.CIFAR10(root)[batches.dataset.indices][0]
    both = np.concatenate([batches.dataset.indices, settings["evaluate_on"]["val"].dataset.indices])
    assert_array_equal(np.sort(both), np.arange(150))
    mean = training.mean(0, dtype=np.float64)
    for name, images in (
        ("test", mg.data.CIFAR10(root, train=False)[:][0]),
        ("val", settings["evaluate_on"]["val"].dataset[:][0]),
    ):
        ((seen, _),) = settings["evaluate_on"][name]
        assert_allclose(seen, images - mean, atol=1e-6)
    raw, _ = batches.dataset[:]
    ((seen, _), _) = batches
    shifted = np.pad(raw - mean, ((0, 0), (4, 4), (4, 4), (0, 0)))
    crops = np.lib.stride_tricks.sliding_window_view(shifted, (32, 32), (1, 2))  # (n, 9, 9, 3, 32, 32)
    crops = np.moveaxis(crops, 3, -1)
    for image in seen[:3]:  # each is a crop of one of them, or of its mirror image
        distances = [abs(crops - view).mean((3, 4, 5)).min() for view in (image, image[:, ::-1])]
        assert min(distances) < 1e-6


@pytest.mark.parametrize("subset", [[], ["--subset", "3"], ["--subset", "1"], ["--subset", "500"]])
@pytest.mark.parametrize("split", [[], ["--split"]])
def test_the_mean_is_that_of_the_images_that_are_trained_on(fitted, root, subset, split):
    _, batches, settings = fitted("--depth", "8", *subset, *split)
    images = batches.dataset[np.arange(len(batches.dataset))][0]
    assert len(images) == min(int(subset[1]) if subset else 500, 135 if split else 150)
    mean = images.mean(0, dtype=np.float64)
    options = cifar10.parse(["--root", str(root), *subset, *split])
    assert_allclose(cifar10.datasets(options)["mean"], mean, rtol=1e-6)
    for name, loader in settings["evaluate_on"].items():
        ((seen, _),) = loader
        assert_allclose(seen, loader.dataset[np.arange(len(seen))][0] - mean, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--depth", "19"], "--depth: 19 is not 6n"),
        (["--depth", "2"], "--depth: 2 is not 6n"),
        (["--iterations", "0"], "must be at least 1"),
        (["--subset", "0"], "must be at least 1"),
        (["--subset", "-5"], "must be at least 1"),
        (["--seeds", "0"], "must be at least 1"),
        (["--evaluate-every", "0"], "must be at least 1"),
        (["--recipe", "slow"], "invalid choice"),
    ],
)
def test_wrong_options_are_explained(options, message, capsys):
    with pytest.raises(SystemExit):
        cifar10.parse(options)
    assert message in capsys.readouterr().err


def test_each_net_and_recipe_has_a_folder_of_its_own():
    folders = [
        cifar10.parse(options.split()).out
        for options in ("", "--recipe quick", "--net plain", "--depth 56", "--shortcut B", "--shortcut C")
    ]
    assert folders[0] == "runs/cifar10/resnet-20-paper"
    assert len(set(folders)) == len(folders)


def test_images_that_are_not_there_are_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"python -m minigrad\.data cifar10"):
        cifar10.main(["--root", str(tmp_path), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


class Images:
    """40 images, four of each class, of one grey each."""

    classes = tuple("abcdefghij")

    def __init__(self):
        self.images = np.linspace(0, 1, 40, dtype=np.float32)[:, None, None, None] * np.ones((32, 32, 3), np.float32)
        self.labels = np.arange(40) % 10

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


def test_confusion_and_mistakes_draw_the_scores(tmp_path, figures):
    loader = mg.data.DataLoader(Images(), 16)
    scores = np.full((40, 10), 0.01)
    scores[np.arange(40), np.arange(40) % 10] = 0.91
    scores[[12, 22, 7], [3, 3, 0]] = [0.95, 0.97, 0.93]  # two of class c were taken for d, one of h for a
    scores[12, 2], scores[22, 2], scores[7, 7] = 0.03, 0.01, 0.02
    cifar10.draw_confusion(scores, loader, tmp_path / "confusion.png")
    panel = figures["confusion"].axes[0]
    drawn = np.zeros((10, 10))
    for text in panel.texts:
        drawn[int(text.get_position()[1]), int(text.get_position()[0])] = float(text.get_text())
    expected = 100 * np.eye(10)
    expected[2, [2, 3]], expected[7, [7, 0]] = 50, (75, 25)
    assert_array_equal(drawn, expected)
    assert_array_equal(drawn.sum(1), np.full(10, 100.0))
    assert panel.get_title() == "92.5 % right"
    assert_array_equal(panel.images[0].get_array() > 0, (expected > 0) & (np.eye(10) == 0))
    assert [label.get_text() for label in panel.get_yticklabels()] == list("abcdefghij")

    cifar10.draw_mistakes(scores, loader, tmp_path / "mistakes.png")
    shown = [panel for panel in figures["mistakes"].axes if panel.images]
    assert [panel.get_title() for panel in shown] == ["c\nd 97%", "h\na 93%", "c\nd 95%"]  # and none that was right
    for panel, i in zip(shown, (22, 7, 12), strict=True):
        assert_array_equal(panel.images[0].get_array(), loader.dataset.images[i])
    assert not any(panel.axison for panel in figures["mistakes"].axes)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 3), (2, 2), (4, 5)])
def test_of_many_mistakes_the_worst_are_drawn(tmp_path, monkeypatch, rows, columns):
    """Of 17 mistakes among 40 images, as many as fit; their order is that of no image, and of no guess."""
    drawn = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, path, **_: (drawn.append(self), path.touch()))
    rng, images = np.random.default_rng(0), Images()
    wrong = rng.choice(40, 17, replace=False)
    scores = rng.uniform(0.0, 0.01, (40, 10))
    scores[np.arange(40), images.labels] = 0.5
    scores[wrong, images.labels[wrong]] = rng.permutation(np.linspace(0.1, 0.3, 17))
    scores[wrong, (images.labels[wrong] + 1) % 10] = rng.permutation(np.linspace(0.5, 0.9, 17))
    cifar10.draw_mistakes(scores, mg.data.DataLoader(images, 16), tmp_path / "a.png", rows, columns)
    shown = [panel for panel in drawn[0].axes if panel.images]
    worst = sorted(wrong, key=lambda i: scores[i, images.labels[i]])[: rows * columns]
    assert [panel.images[0].get_array()[0, 0, 0] for panel in shown] == [images.images[i, 0, 0, 0] for i in worst]
    names = Images.classes
    assert [panel.get_title() for panel in shown] == [
        f"{names[i % 10]}\n{names[(i + 1) % 10]} {scores[i].max():.0%}" for i in worst
    ]


def test_scores_are_in_the_order_of_the_images():
    net = mg.nn.Sequential(mg.nn.GlobalAvgPool2d(), mg.nn.Linear(3, 10, rng=0), mg.nn.Dropout(0.5, rng=0))
    loader = mg.data.DataLoader(Images(), 16)
    scores = cifar10.probabilities(net, loader)
    assert_allclose(scores.sum(1), np.ones(40), rtol=1e-6)
    assert_allclose(scores, mg.softmax(net(mg.Tensor(Images().images))).data, rtol=1e-5)
    assert_array_equal(cifar10.labels_of(loader), Images().labels, strict=True)
