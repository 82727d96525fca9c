"""Solutions of chapter 3: broadcasting and its rule."""


def unbroadcast(g, shape):
    """Sum over the added axes and drop them, then sum over the axes stretched from 1 and keep them."""
    if g.shape == shape:
        return g
    made = g.ndim - len(shape)
    g = g.sum(axis=tuple(range(made)))
    stretched = tuple(axis for axis, size in enumerate(shape) if size == 1 < g.shape[axis])
    return g.sum(axis=stretched, keepdims=True)


def pairwise_rule(g, a, b):
    """Sum the gradient of a - b, which is 2 g (a - b) of shape (i, j, k), over the index that the argument lacks."""
    difference = a[:, None, :] - b[None, :, :]  # (i, j, k)
    change = 2 * g[:, :, None] * difference  # (i, j, k)
    return change.sum(axis=1), -change.sum(axis=0)


def centre_rule(g, x):
    """Add two paths: the direct path gives g, the path through the mean -1/c times the sum of g over the row.

    The map is its own transpose, so the rule is the same as the operator.
    """
    return g - g.mean(axis=1, keepdims=True)
