"""Solutions of chapter 18, GPUs by dispatch."""

import minigrad as mg
from minigrad.device import namespace


def softplus(x):
    """Let the exponential see only what is not positive."""
    xp = namespace(x)
    return mg.relu(x) + xp.log1p(xp.exp(-xp.abs(x)))


def mean_of_losses(losses):
    """Add on the device, and look once."""
    return sum(loss.data for loss in losses).item() / len(losses)


def clip_gradients(gradients, largest):
    """Divide by how many times too large the norm is, and by 1 if it is not."""
    norm = sum((g * g).sum() for g in gradients) ** 0.5
    excess = (norm / largest).clip(1)
    for g in gradients:
        g /= excess
