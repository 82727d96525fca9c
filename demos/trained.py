"""Inside a trained net: the responses of its layers, and what is lost without each block.

The net is the ResNet-20 that comes with minigrad (:func:`models.pretrained.cifar_resnet`), trained on CIFAR-10 by the
paper's recipe. It is measured on the test images, which it never saw.

1. Responses ("Deep Residual Learning", section 4.2 and Fig. 7): the standard deviation of each 3x3 layer's output,
   after batch norm, before addition or ReLU. demos.layer_responses compares nets that were trained for a minute; this
   net was trained to its end.
2. Removed blocks (A. Veit, M. Wilber, S. Belongie, "Residual Networks Behave Like Ensembles of Relatively Shallow
   Networks", arXiv 1605.06431, Fig. 3): each block in turn loses its F(x), so that only its shortcut is left. A plain
   net without one of its layers only guesses. A residual net still has all the paths around the block.

--quick takes the first 1,000 of the 10,000 test images.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg
from demos import lab, style
from minigrad import data, nn
from minigrad.inspect import statistics
from minigrad.typing import Array
from models import pretrained
from models.predict import predict


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure the responses and the lesions; print, draw and return the numbers."""
    parser = lab.parser("trained", __doc__)
    parser.add_argument("--root", help="the folder of the images (where minigrad.data put them)")
    options = parser.parse_args(arguments)
    net, _, preprocess = pretrained.cifar_resnet(20)
    test = data.CIFAR10(options.root, train=False)
    images, labels = test[np.arange(len(test))[: 1000 if options.quick else None]]
    images = preprocess(255 * images)
    result = {
        "images": len(images),
        "responses": responses(net, images[:1000]),
        "error": error(net, images, labels),
        "lesions": lesions(net, images, labels),
    }
    report(result)
    style.save(draw(result), result, options.out, "trained")
    return result


def responses(net: nn.Module, images: Array) -> dict[str, float]:
    """Return the deviation of each 3x3 layer's response, by the layer's path."""
    with mg.no_grad(), statistics(net) as rows:
        net(mg.Tensor(images))
    return {row.name: row.output.std for row in rows if row.kind == "BatchNorm2d"}


def error(net: nn.Module, images: Array, labels: Array) -> float:
    """Return the share of the images that the net classifies wrongly."""
    batches = np.array_split(images, -(-len(images) // 500))
    scores = np.concatenate([predict(net, batch) for batch in batches])
    return float((scores.argmax(1) != labels).mean())


def lesions(net: nn.Module, images: Array, labels: Array) -> dict[str, float]:
    """Return the error without each block's F(x), by the block's path.

    F(x) ends with batch norm: without its scale and shift it is 0.
    """
    errors = {}
    block: Any  # a BasicBlock, whose layers are found by their names
    for path, block in net.named_modules():
        if hasattr(block, "downsample"):
            last = block.bn2
            kept = last.weight.data, last.bias.data
            last.weight.data, last.bias.data = (np.zeros_like(array) for array in kept)
            errors[path] = error(net, images, labels)
            last.weight.data, last.bias.data = kept
    return errors


def report(result: dict[str, Any]) -> None:
    """Print both tables."""
    means = list(result["responses"].values())
    print(f"Responses of {len(means)} layers: mean {np.mean(means):.3f}, from {min(means):.3f} to {max(means):.3f}\n")
    print(f"On {result['images']:,} test images, {100 * result['error']:.2f} % are wrong. Without F(x) of one block:")
    for path, wrong in result["lesions"].items():
        print(f"{path:>12}{100 * wrong:>8.1f} %")


def draw(result: dict[str, Any]) -> Any:
    """Draw the responses by layer, and the error without each block."""
    figure, (layers, blocks) = style.panels(2, width=9.0, height=3.4)
    values = list(result["responses"].values())
    layers.plot(np.arange(1, len(values) + 1), values, **style.RESIDUAL, marker="o", markersize=3)
    layers.set(xlabel="layer", ylim=(0, None), xticks=range(1, len(values) + 1, 2))
    layers.set_title("deviation of the response", loc="left")
    wrong = [100 * each for each in result["lesions"].values()]
    blocks.bar(range(len(wrong)), wrong, color=style.RESIDUAL["color"], width=0.6)
    blocks.axhline(100 * result["error"], color="black", linewidth=0.8, linestyle=":")
    blocks.set_xticks(range(len(wrong)), [path.removeprefix("layer") for path in result["lesions"]])
    blocks.set(xlabel="block that is removed (dotted: none)", ylabel="test error [%]")
    blocks.set_title("without one block", loc="left")
    return figure


if __name__ == "__main__":
    main()
