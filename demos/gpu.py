"""The same code on a GPU: train a residual net on the digits on the CPU, and on "cuda" if there is a GPU.

Only one line differs from training on the CPU: ``.to(device)`` moves the net. The training loop copies each batch to
the device of the net. Random numbers are drawn on the host, so both runs begin with the same weights and see the same
batches. Their results differ only because of rounding, whose effect grows during training.

    pip install -e ".[gpu]" && python -m demos.gpu

A net of this size cannot keep a GPU busy; try a wider and deeper one, --width 128 --depth 56.
"""

from __future__ import annotations

import argparse
from typing import Any

import minigrad as mg
from minigrad import train
from models import cifar_resnet


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Train on each device, print a line for each, and return the last record of each run."""
    parser = argparse.ArgumentParser(
        prog="python -m demos.gpu", description="Train a residual net on the CPU and a GPU."
    )
    parser.add_argument("--depth", type=int, default=20, help="6n + 2 layers (20)")
    parser.add_argument("--width", type=int, default=16, help="filters of the first stage (16)")
    parser.add_argument("--epochs", type=int, default=4, help="number of epochs (4)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    devices = ["cpu"]
    try:
        devices.append(mg.Tensor([0.0]).to("cuda").device)
    except RuntimeError as error:
        print(f"There is no GPU to train on, so the CPU does it alone.\n{error}\n")

    print(f"{'device':<8}{'loss':>10}{'test error':>13}{'images/s':>11}", flush=True)
    records = []
    for device in devices:
        record = run(device, options)
        print(
            f"{device:<8}{record['loss']:>10.4f}{record['test_error']:>12.1%}{record['images_per_second']:>12,.0f}",
            flush=True,
        )
        records.append(record)
    return records


def run(device: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train the net on a device; return the last record."""
    net = cifar_resnet(options.depth, width=options.width, in_channels=1, rng=options.seed).to(device)
    batches = mg.data.DataLoader(mg.data.Digits(), 128, rng=options.seed)
    history = train.fit(
        net,
        batches,
        optimizer=mg.optim.SGD(net.parameters(), 0.05, momentum=0.9, weight_decay=1e-4),
        iterations=options.epochs * len(batches),
        evaluate_on={"test": mg.data.DataLoader(mg.data.Digits(train=False), 512)},
        title=device,
    )
    return history[-1]


if __name__ == "__main__":
    main()
