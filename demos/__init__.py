"""Demos: each file is one experiment, run with ``python -m demos.degradation``; ``python -m demos`` lists all.

Shared code is in :mod:`demos.style` (the look of the figures) and :mod:`demos.lab` (the command line, and training on
the digits).
"""

#: The demos, in the order of a lecture: how nets are computed, why deep nets fail, the solution, its results.
ORDER = [
    "tape",
    "im2col",
    "initialisation",
    "gradient_flow",
    "pytorch",
    "degradation",
    "constructed",
    "layer_responses",
    "corrections",
    "explanations",
    "shortcuts",
    "bottleneck",
    "ensemble",
    "imagenet_nets",
    "thousand_layers",
    "preactivation",
    "classify_photo",
    "cifar10",
    "trained",
    "gpu",
]

#: The demos that do not run everywhere, and why. They have options of their own.
APART = {
    "pytorch": "it needs PyTorch",
    "classify_photo": "it needs the weights of a trained net, which are fetched first",
    "cifar10": "it needs CIFAR-10, which is fetched first",
    "trained": "it needs CIFAR-10, which is fetched first",
    "gpu": "it needs a GPU",
}
