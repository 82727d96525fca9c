"""CIFAR-10 by the recipe of "Deep Residual Learning", section 4.2, or by a recipe of 30 epochs.

The paper's recipe: batches of 128, SGD with momentum 0.9 and weight decay 1e-4, He initialisation, no dropout. The
learning rate is 0.1, divided by 10 at 32,000 and 48,000 iterations; training ends at 64,000. (With 110 layers and more
the rate is 0.01 until the training error is below 80 %.) The mean image is subtracted, 4 pixels of padding are added on
each side, and the net sees a 32x32 crop of the result or of its mirror image. The test images are neither padded nor
cropped, and each is evaluated once. The paper's test errors: 8.75 % with 20 layers, 6.97 % with 56, 6.61 % with 110.

    python -m demos.cifar10 --net resnet --depth 20 --resume

After twenty steps the command says how long the run will take on this machine. Stop it at any time, and continue with
--resume. In nets of more than 110 layers only the input of every tenth block is stored, and the rest is computed again
(:func:`minigrad.recompute`); the result is the same to the last bit. docs/logs/cifar10/resnet-20-paper.jsonl is the log
of this command: 8.16 % at the end. docs/logs/cifar10/plain-20-paper has a run of the plain net that is not finished:
its log, its sittings and its checkpoint, and README.txt, which says how to continue it.

Some points are not in the paper, or depend on the program that trains:

- Batch norm takes its statistics from all 128 images. The paper trained on two GPUs, with 64 images each. --shards 2
  gives just that: statistics of 64 images, and the mean of the gradients of both halves.
- The images make 390 batches of 128 and a last one of 80. An epoch is 391 iterations.
- The learning rate multiplies the velocity: v = m v + g and w -= lr v. In Caffe, in which the authors trained the nets
  that they released, it multiplies the gradient: v = m v + lr g and w -= v. After a change of the rate the two differ,
  for some twenty iterations.
- Weight decay acts on all parameters, also on those of batch norm and on the bias of the last layer.
- If the training error of a net of 110 layers never falls below 80 %, the rate still follows the schedule: it is 0.01
  until 48,000 iterations, then 0.001.

--recipe quick trains for 30 epochs, with methods that were published after the paper:

- The learning rate rises to 0.15 over the first 15 % of the run, then follows a cosine to 0. A single cycle with a high
  rate needs fewer iterations: L. N. Smith, N. Topin, "Super-Convergence", arXiv 1708.07120. The cosine: I. Loshchilov,
  F. Hutter, "SGDR", arXiv 1608.03983. The weights are not averaged: near a rate of 0 they hardly change.
- Nesterov momentum: S. Zagoruyko, N. Komodakis, "Wide Residual Networks", arXiv 1605.07146.
  The weight decay is 1e-3, more than the paper's: a short run applies it fewer times.
- No weight decay on batch norm and biases: T. He et al., "Bag of Tricks for Image Classification with Convolutional
  Neural Networks", arXiv 1812.01187. Label smoothing, also from there, is left out: a net this small does not overfit
  in 30 epochs, and its error was higher with label smoothing.

Rate, decay and the rest were chosen with PyTorch on a GPU, by the error on 5,000 training images that were held out,
never by that on test images.

    python -m demos.cifar10 --net resnet --depth 20 --recipe quick

docs/logs/cifar10/resnet-20-quick-0.jsonl, -1 and -2 are the logs of three seeds. resnet-20.jsonl and plain-20.jsonl
there are of an earlier quick recipe of 22 epochs: 8,602 iterations, a rate of 0.2, weight decay of 5e-4 on all
parameters, no Nesterov momentum.

Under `mpiexec -n N python -m demos.cifar10`, the processes divide the shards of each batch (--shards), or else the
seeds (--seeds), among themselves.

`python -m minigrad.data cifar10` downloads the images. For each seed the command writes a log, a checkpoint, a live
figure, a list of its sittings (when the run was begun and resumed, on which processor, with which libraries and
settings), and at the end the weights; then curves.png, confusion.png, mistakes.png and summary.json. The file of
weights has everything that is needed to use the net, and a card that says how it was trained::

    saved = mg.load("runs/cifar10/resnet-20-quick/resnet-20-seed0-weights.safetensors")
    net = cifar_resnet(20).eval()
    net.load_state_dict(saved["model"])
    scores = mg.softmax(net(mg.Tensor(images - saved["mean"])))  # of images (n, 32, 32, 3) from 0 to 1
    print(saved["classes"][scores.numpy()[0].argmax()], saved["card"])
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
from tqdm import tqdm

import minigrad as mg
from demos import lab
from minigrad import distributed, nn, train
from minigrad.data import transforms
from minigrad.optim import SGD, CosineLR, MultiStepLR, Schedule, Warmup, WarmupUntil
from minigrad.train.checkpoint import atomic
from minigrad.train.loop import wrong
from minigrad.train.report import clock, curves
from minigrad.typing import Array
from models import cifar_plain, cifar_resnet

BATCH = 128
STEPS = 20  # by which the length of a run is estimated
#: Iterations, learning rate, and what else the recipes differ in.
RECIPES: dict[str, dict[str, Any]] = {
    "paper": {"iterations": 64_000, "lr": 0.1, "weight_decay": 1e-4, "nesterov": False},
    "quick": {"iterations": 30 * 391, "lr": 0.15, "weight_decay": 1e-3, "nesterov": True},
}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Train the net from each seed, print its errors, save the figures; return the contents of summary.json."""
    options = parse(arguments)
    out = Path(options.out)
    sets = datasets(options)
    seeds = range(options.seed, options.seed + options.seeds)
    if options.shards is None:  # each process of MPI trains from some of the seeds
        own = seeds[distributed.rank() :: distributed.size()]
        with distributed.alone():
            results = [trained(options, sets, seed, out) for seed in own]
        if distributed.size() > 1:
            os.environ["MINIGRAD_WAIT"] = "inf"  # another process may have a seed more, which takes hours
        gathered = dict(result for part in distributed.gather(results) for result in part)
    else:  # all processes train from each seed
        gathered = dict(trained(options, sets, seed, out) for seed in seeds)
    errors = [gathered[seed][0] for seed in seeds]
    histories = {f"{name(options)} seed {seed}": gathered[seed][1] for seed in seeds}
    summary = {key: getattr(options, key) for key in ("recipe", "iterations", "subset", "split", "refresh", "seed")}
    summary = {"net": name(options)} | summary | {"test_errors": errors, "mean": float(np.mean(errors))}
    summary |= {"best": min(errors), "deviation": float(np.std(errors, ddof=1)) if len(errors) > 1 else None}
    if distributed.rank() > 0:
        return summary
    curves(histories, out / "curves.png")
    with atomic(out / "summary.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=2) + "\n")
    if len(errors) > 1:
        print(f"best {min(errors):.2%}, mean {np.mean(errors):.2%} ± {np.std(errors, ddof=1):.2%}")
    print(f"figures and logs: {out}")
    return summary


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m demos.cifar10", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--net", choices=("resnet", "plain"), default="resnet")
    parser.add_argument("--depth", type=int, default=20, help="6n + 2: 20, 32, 44, 56, 110 in the paper (20)")
    parser.add_argument("--shortcut", choices=("A", "B", "C"), default="A", help="of the residual net (A)")
    parser.add_argument("--recipe", choices=tuple(RECIPES), default="paper")
    parser.add_argument("--iterations", type=int, help="another length; the schedule is scaled to it")
    parser.add_argument("--subset", type=int, metavar="N", help="train on N images only")
    parser.add_argument(
        "--split", action="store_true", help="hold out 5,000 training images, and evaluate on them as well"
    )
    parser.add_argument("--evaluate-every", type=int, metavar="N", help="iterations between two records (an epoch)")
    parser.add_argument("--refresh", action="store_true", help="recompute batch norm's statistics before the last test")
    parser.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="train N times; report mean and deviation (1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="the first seed: of weights, order and augmentation (0)")
    lab.add_shards(parser)
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint, if there is one")
    parser.add_argument("--minutes", type=float, default=10.0, help="minutes between checkpoints (10)")
    parser.add_argument("--root", type=Path, help="the folder of the images (where minigrad.data put them)")
    parser.add_argument("--out", help="folder for logs, checkpoints and figures (runs/cifar10/NET-DEPTH-RECIPE)")
    options = parser.parse_args(arguments)
    options.iterations = RECIPES[options.recipe]["iterations"] if options.iterations is None else options.iterations
    options.out = options.out or f"runs/cifar10/{name(options)}-{options.recipe}"
    if (options.depth - 2) % 6 or options.depth < 8:
        parser.error(f"--depth: {options.depth} is not 6n + 2 (8, 14, 20, 26, 32, 44, 56, 110, ...)")
    counts = {key: getattr(options, key) for key in ("iterations", "seeds", "subset", "evaluate_every")}
    if min(count for count in counts.values() if count is not None) < 1:
        parser.error("--iterations, --seeds, --subset and --evaluate-every must be at least 1")
    return options


def name(options: argparse.Namespace) -> str:
    """Return the name of the net."""
    option = f"-{options.shortcut}" if options.net == "resnet" and options.shortcut != "A" else ""
    return f"{options.net}-{options.depth}{option}"


def datasets(options: argparse.Namespace) -> dict[str, Any]:
    """Return the training set, and the loaders that are the same for all seeds."""
    training: Any = mg.data.CIFAR10(options.root, train=True)
    plain: dict[str, Any] = {"test": mg.data.CIFAR10(options.root, train=False)}
    if options.split:
        training, plain["val"] = mg.data.split(training, len(training) // 10, rng=0)
    if options.subset:
        training = mg.data.Subset(training, np.arange(min(options.subset, len(training))))
    plain["plain"] = training
    normalize = transforms.Normalize.per_pixel(training)
    sets = {key: mg.data.DataLoader(images, 500, transform=normalize) for key, images in plain.items()}
    augment = transforms.Compose([normalize, transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()])
    return sets | {"training": training, "augment": augment, "mean": normalize.mean.astype("float32")}


def trained(
    options: argparse.Namespace, sets: dict[str, Any], seed: int, out: Path
) -> tuple[int, tuple[float, list[Any]]]:
    """Train a net from a seed, and say how well it does; return the seed, the test error, and the history."""
    net, history = run(options, sets, seed, out)
    if options.refresh:
        train.refresh_statistics(net, sets["plain"])
    scores = probabilities(net, sets["test"])
    error = float((scores.argmax(1) != labels_of(sets["test"])).mean())
    if distributed.rank() == 0:
        print(f"{name(options)}, seed {seed}: test error {error:.2%} after {history[-1]['iteration']:,} iterations")
        export(net, options, sets, seed, error, out / f"{name(options)}-seed{seed}-weights.safetensors")
        if seed == options.seed:
            draw_confusion(scores, sets["test"], out / "confusion.png")
            draw_mistakes(scores, sets["test"], out / "mistakes.png")
    return seed, (error, history)


def run(options: argparse.Namespace, sets: dict[str, Any], seed: int, out: Path) -> tuple[nn.Module, list[Any]]:
    """Train one net, or continue its training."""
    if options.net == "plain":
        net = cifar_plain(options.depth, rng=seed)
    else:
        net = cifar_resnet(options.depth, options.shortcut, rng=seed)
    if options.depth > 110:  # 1202 layers would store maps of 10.9 GiB
        net = lab.recomputed(net)
    sgd = optimizer(options, net)
    rates = schedule(options, sgd)
    batches = mg.data.DataLoader(sets["training"], BATCH, rng=seed, transform=sets["augment"])
    evaluate_on: dict[str, Any] = {key: sets[key] for key in ("val", "test") if key in sets}
    evaluate_every = options.evaluate_every or len(batches)
    evaluated = sum(len(loader.dataset) for loader in evaluate_on.values()) / evaluate_every
    announce(net, rates, options, evaluated, f"{name(options)}, seed {seed}")
    config = {
        key: getattr(options, key) for key in ("net", "depth", "shortcut", "recipe", "iterations", "subset", "split")
    }
    path = out / f"{name(options)}-seed{seed}"
    if distributed.rank() == 0:
        lab.note_sitting(path, options.resume, config | {"seed": seed})
    history = train.fit(
        net,
        batches,
        optimizer=sgd,
        schedule=rates,
        iterations=options.iterations,
        metrics={"error": wrong},
        evaluate_on=evaluate_on,
        evaluate_every=evaluate_every,
        log=path.with_suffix(".jsonl"),
        figure=path.with_suffix(".png"),
        checkpoint=train.Checkpoint(
            path.with_suffix(".safetensors"),
            every=options.minutes,
            resume=options.resume,
            config=config | {"seed": seed},
        ),
        shards=options.shards,
        title=name(options),
    )
    return net, history


def optimizer(options: argparse.Namespace, net: nn.Module) -> SGD:
    """Return the optimizer of the recipe; the quick one decays weights only, not batch norm nor biases."""
    recipe, groups = RECIPES[options.recipe], list[Any](net.parameters())
    if options.recipe == "quick":
        weights, others = ([p for p in groups if (p.ndim > 1) == kind] for kind in (True, False))
        groups = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
    return SGD(groups, recipe["lr"], momentum=0.9, weight_decay=recipe["weight_decay"], nesterov=recipe["nesterov"])


def schedule(options: argparse.Namespace, sgd: SGD) -> Schedule:
    """Return the learning-rate schedule of the recipe."""
    if options.recipe == "quick":
        return Warmup(CosineLR(sgd, options.iterations), options.iterations * 15 // 100)
    drops = MultiStepLR(sgd, [options.iterations // 2, options.iterations * 3 // 4])
    return WarmupUntil(drops) if options.depth >= 110 else drops


def announce(net: nn.Module, rates: Schedule, options: argparse.Namespace, evaluated: float, title: str) -> None:
    """Once the net has taken a few steps, print how long the run will take; `evaluated` images are tested in a step."""
    forwards = 1 if options.shards is None else len(distributed.owned(options.shards))  # in each step
    ends: list[float] = []

    def look(net: nn.Module, _: mg.Tensor) -> None:
        if net.training:
            ends.append(time.perf_counter())
        if len(ends) > STEPS * forwards:
            remove()
            step = (ends[-1] - ends[0]) / STEPS
            whole = step * (1 + evaluated / (3 * BATCH))  # a forward pass is about a third of a step
            if distributed.rank() == 0:
                left = clock(whole * (options.iterations - rates.iteration))
                said = f"{title}: {left} left on this machine, at {step:.2f} s for each of the first {STEPS} steps"
                tqdm.write(said, file=sys.stderr)  # where the progress is shown

    remove = net.hook(look)


def probabilities(net: nn.Module, loader: mg.data.DataLoader) -> Array:
    """Return the softmax scores of every image (n, classes)."""
    net.eval()
    with mg.no_grad():
        return np.concatenate([mg.softmax(net(mg.Tensor(images))).numpy() for images, _ in loader])


def labels_of(loader: mg.data.DataLoader) -> Array:
    """Return the labels of every image (n,)."""
    return cast(mg.data.CIFAR10, loader.dataset).labels


def export(
    net: nn.Module, options: argparse.Namespace, sets: dict[str, Any], seed: int, error: float, path: Path
) -> None:
    """Write the trained net with all that its use takes; print the size and the checksum of the file."""
    card = {key: getattr(options, key) for key in ("recipe", "iterations", "subset", "split", "refresh", "shards")}
    card = {"net": name(options), "data": "CIFAR-10"} | card
    card |= {"seed": seed, "test_error": error, "minigrad": mg.__version__}
    classes = list(sets["test"].dataset.classes)
    mg.save(path, {"card": card, "classes": classes, "mean": sets["mean"], "model": net.state_dict()})
    content = path.read_bytes()
    print(f"weights: {path}, {len(content):,} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}")


def draw_confusion(scores: Array, loader: mg.data.DataLoader, path: Path) -> None:
    """Draw the percentage of the images of each class (rows) that were classified as each class (columns)."""
    from matplotlib.figure import Figure

    labels, classes = labels_of(loader), cast(mg.data.CIFAR10, loader.dataset).classes
    counts = np.zeros((len(classes), len(classes)))
    np.add.at(counts, (labels, scores.argmax(1)), 1)
    percent = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    panel = figure.subplots()
    wrong = percent * (1 - np.eye(len(classes)))  # the large diagonal would hide the errors
    panel.imshow(wrong, cmap="Greys", vmin=0, vmax=max(wrong.max(), 1.0) * 1.3)
    for i, j in np.ndindex(*percent.shape):
        if round(percent[i, j]) > 0:
            colour = "white" if wrong[i, j] > 0.6 * wrong.max() else "black"
            weight = "bold" if i == j else "normal"
            panel.text(j, i, f"{percent[i, j]:.0f}", ha="center", va="center", color=colour, weight=weight)
    panel.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    panel.set_yticks(range(len(classes)), classes)
    panel.set(xlabel="taken for", ylabel="class", title=f"{100 * (labels == scores.argmax(1)).mean():.1f} % right")
    panel.spines[:].set_visible(False)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def draw_mistakes(scores: Array, loader: mg.data.DataLoader, path: Path, rows: int = 4, columns: int = 8) -> None:
    """Draw the mistakes with the lowest probability of the right class, the worst first."""
    from matplotlib.figure import Figure

    labels, classes = labels_of(loader), cast(mg.data.CIFAR10, loader.dataset).classes
    mistakes = np.flatnonzero(scores.argmax(1) != labels)
    worst = mistakes[scores[mistakes, labels[mistakes]].argsort()[: rows * columns]]
    images = loader.dataset[worst][0]
    figure = Figure(figsize=(1.25 * columns, 1.6 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    for panel, image, i in zip(panels.flat, images, worst, strict=False):
        panel.imshow(image, interpolation="nearest")
        guess = scores[i].argmax()
        panel.set_title(f"{classes[labels[i]]}\n{classes[guess]} {scores[i, guess]:.0%}", fontsize=8)
    figure.suptitle("The worst mistakes: class, and what it was taken for")
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # the run has printed how to continue
        raise SystemExit(130) from None
