"""Checks of chapter 15, residual learning."""

import numpy as np

import minigrad as mg
from models import cifar_resnet, residual_net
from models.resnet import BasicBlock, Bottleneck


def check_chain_gradient(work):
    """One block is x + a @ x. Its backward pass adds two gradients: of the shortcut, and of the product with a. What
    does a chain do with the gradient in its output, and from which end? Without a block, the gradient in the input
    is g.
    """
    rng = np.random.default_rng(0)
    matrices = [0.5 * rng.standard_normal((4, 4)) for _ in range(5)]
    for n in (0, 1, 2, 5):
        start = x = mg.Tensor(rng.standard_normal(4), requires_grad=True)
        g = rng.standard_normal(4)
        for a in matrices[:n]:
            x = x + mg.matmul(a, x)
        (expected,) = mg.grad(x * 1.0, start, mg.Tensor(g))
        before = g.copy()
        got = work.chain_gradient(matrices[:n], g)
        assert np.array_equal(g, before), "the array g was changed"
        assert np.shape(got) == (4,), f"expected a gradient of shape (4,), got {np.shape(got)}"
        assert np.allclose(got, expected.data, rtol=1e-12), (
            f"with {n} block{'s' * (n != 1)}: expected {expected.data}, got {got}"
        )


def check_shortcut_a(work):
    """A slice with a step takes every stride-th pixel. np.pad can pad the last axis by different numbers before and
    after.
    """
    x = np.arange(1, 1 + 2 * 5 * 4 * 3, dtype="float32").reshape(2, 5, 4, 3)
    for stride, c_out, before in ((1, 3, 0), (2, 6, 1), (2, 7, 2), (3, 4, 0)):
        got = work.shortcut_a(x, stride, c_out)
        case = f"stride {stride}, 3 to {c_out} channels"
        kept = x[:, ::stride, ::stride]
        expected = np.zeros((*kept.shape[:3], c_out), "float32")
        expected[..., before : before + 3] = kept
        assert got.shape == expected.shape, f"{case}: expected shape {expected.shape}, got {got.shape}"
        assert got.dtype == x.dtype, f"{case}: expected {x.dtype}, got {got.dtype}"
        assert np.array_equal(got, expected), (
            f"{case}: expected the channels {expected[0, 0, 0]} for the first pixel, got {got[0, 0, 0]}"
        )


def check_begin_as_shortcuts(work):
    """Batch norm returns gamma * x_hat + beta. Its two parameters are called weight and bias. Statistics and all other
    parameters stay unchanged.
    """
    rng = np.random.default_rng(0)
    images = mg.Tensor(rng.standard_normal((4, 8, 8, 3)).astype("float32"))
    nets = {
        "basic blocks": cifar_resnet(14, width=4),
        "bottlenecks": residual_net("cifar", Bottleneck, (1, 2), (4, 8, 16), num_classes=10),
    }
    for name, net in nets.items():
        for value in (*net.parameters(), *net.buffers()):
            value.data += rng.uniform(0.1, 0.5, value.data.shape)  # as after training: no beta is 0, no gamma is 1
        before = net.state_dict()
        blocks = [module for _, module in net.named_modules() if isinstance(module, BasicBlock | Bottleneck)]
        norms = [block.bn2 if isinstance(block, BasicBlock) else block.bn3 for block in blocks]
        last = {id(p) for norm in norms for p in norm.parameters()}
        work.begin_as_shortcuts(net)
        for path, p in net.named_parameters():
            if id(p) not in last:
                assert np.array_equal(p.data, before[path]), (
                    f"{name}: {path} was changed, which is not in the last batch norm of a block"
                )
        for mode in (False, True):
            x = net.train(mode).stem(images)
            for block in blocks:
                expected, x = mg.relu(block.downsample(x)), block(x)
                worst = np.abs(x.data - expected.data).max()
                assert worst == 0, f"{name}, training={mode}: a block and relu(downsample(x)) differ by {worst:.2g}"
