"""Names of parameters in files of earlier versions.

There a net was a tree of lists: ``stages.layers.0.layers.2.residual.layers.3.w`` is ``layer1.2.conv2.weight`` today.
``load_state_dict``, and so ``train.fit`` with a checkpoint, accept both; users need not call anything.

Next: :mod:`minigrad.models`.
"""

from __future__ import annotations

import re


def todays_path(path: str) -> str:
    """Return the present path of a parameter or buffer of the paper's nets, given its earlier path.

    Parameters
    ----------
    path : str
        The earlier path, with the names of lists (``layers.``) removed.

    Examples
    --------
    >>> for path in ("stem.0.w", "stages.1.2.residual.4.gamma", "stages.1.2.shortcut.0.w", "stages.1.16.beta"):
    ...     print(todays_path(path))
    conv1.w
    layer2.2.bn2.gamma
    layer2.2.downsample.0.w
    layer2.2.bn2.beta
    """
    path = re.sub(r"stages\.(\d)", lambda m: f"layer{int(m[1]) + 1}", path).replace("shortcut", "downsample")
    path = re.sub(r"(stem|residual)\.(\d)", lambda m: _layer(int(m[2])), path)
    # In plain nets a stage was one list: six of its entries are one block today.
    return re.sub(
        r"(layer\d)\.(\d+)\.(\w+)$", lambda m: f"{m[1]}.{int(m[2]) // 6}.{_layer(int(m[2]) % 6)}.{m[3]}", path
    )


def _layer(i: int) -> str:
    """Return the name of entry i in a list of convolution, batch norm, ReLU, convolution, ..."""
    return f"{('conv', 'bn', 'relu')[i % 3]}{i // 3 + 1}"
