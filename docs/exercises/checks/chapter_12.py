"""Checks of chapter 12: SGD with momentum."""

import math

import numpy as np

from minigrad import Tensor, nn, optim


def check_largest_stable_rate(work):
    """Along each eigenvector of H, the loss is a bowl of one curvature, and the chapter has the largest stable rate of
    a bowl. All directions must be stable at the same rate.
    """
    rng = np.random.default_rng(0)
    for momentum in (0.0, 0.5, 0.9):
        for curvatures in ([0.5, 3.0], [1.0, 2.0, 7.0, 7.5]):
            axes, _ = np.linalg.qr(rng.standard_normal((len(curvatures), len(curvatures))))
            hessian = axes @ np.diag(curvatures) @ axes.T
            rate = work.largest_stable_rate((hessian + hessian.T) / 2, momentum)
            case = f"curvatures {curvatures} in rotated axes, momentum {momentum}, your rate {rate:.4g}"
            assert _descend(hessian, 0.98 * rate, momentum) < 1, f"{case}: too high, w grows at 98 % of it"
            assert _descend(hessian, 1.02 * rate, momentum) > 1, f"{case}: too low, w still shrinks at 102 % of it"


def check_best_settings(work):
    """If all curvatures are multiplied by a number, the best learning rate is divided by it, and the best momentum is
    unchanged. The chapter computes the best settings from kappa, the ratio of the two curvatures.
    """
    for smallest, largest in ((1.0, 4.0), (0.1, 10.0), (2.0, 2000.0)):
        lr, momentum = work.best_settings(smallest, largest)
        assert 0 <= momentum < 1, f"expected a momentum of at least 0 and below 1, got {momentum:.3g}"
        reached = max(_factor(lr * c, momentum) for c in (smallest, largest))
        root = math.sqrt(largest / smallest)
        best = (root - 1) / (root + 1)
        case = f"curvatures {smallest:g} to {largest:g}, lr {lr:.4g}, momentum {momentum:.4g}"
        assert reached < best + 1e-5, (
            f"{case}: the slower direction has the factor {reached:.4f} per step, but {best:.4f} is possible"
        )


def check_restart_factor(work):
    """First find the period that contains the iteration, and how far the iteration is into it. The lengths are period,
    2 period, 4 period, ...
    """
    for period in (1, 4, 10):
        expected, length = [], period
        for _ in range(4):
            expected += [(1 + math.cos(math.pi * t / length)) / 2 for t in range(length)]
            length *= 2
        order = np.random.default_rng(0).permutation(len(expected))  # the order of the calls must not matter
        got = {int(i): work.restart_factor(int(i), period) for i in order}
        for i, right in enumerate(expected):
            assert math.isclose(got[i], right, abs_tol=1e-9), (
                f"period {period}, iteration {i}: expected {right:.4f}, got {got[i]:.4f}"
            )


def _factor(eta_lambda, momentum):
    """Return the factor by which one step multiplies a direction."""
    return max(abs(np.linalg.eigvals([[momentum, eta_lambda], [-momentum, 1 - eta_lambda]])))


def _descend(hessian, lr, momentum):
    """Return the length of w after many steps; at the start it is 1."""
    w = nn.Parameter(np.full(len(hessian), 1 / math.sqrt(len(hessian))))
    sgd = optim.SGD([w], lr, momentum=momentum)
    with np.errstate(all="ignore"):  # far above the largest stable rate, w becomes infinite
        for _ in range(1500):
            w.grad = Tensor(hessian @ w.data)
            sgd.step()
    return np.linalg.norm(w.data)
