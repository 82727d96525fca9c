"""What must hold on every device: one suite, run on the strict double, on dpnp, and on a GPU.

:class:`OnDevice` has the tests, and gathers none itself. Each library has a class of its own that takes them over:
test_strict.py, test_dpnp.py, ../gpu/test_cupy.py. What is right is what NumPy gives, from the same code.
"""

from __future__ import annotations

import copy
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import minigrad as mg
from minigrad import train
from minigrad.device import namespace
from minigrad.inspect import summary
from models import cifar_plain, cifar_resnet, residual_net
from models.predict import predict
from models.pretrained import load_torch, to_torch
from models.resnet import Bottleneck
from tests.records import every_sample

NETS = {
    "plain": partial(cifar_plain, 8),
    "residual, option A": partial(cifar_resnet, 8),
    "residual, option B": partial(cifar_resnet, 8, shortcut="B"),
    "bottleneck": partial(residual_net, "cifar", Bottleneck, (1, 1), (8, 16, 32), num_classes=10),
}


def batch(n: int = 6, dtype: str = "float64") -> tuple[Any, Any]:
    """Draw images and labels."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, 8, 8, 3)).astype(dtype), rng.integers(10, size=n)


def trained(net: Any, images: mg.Tensor, labels: Any, steps: int, rebuild: bool = False) -> tuple[Any, list[mg.Tensor]]:
    """Train a net for some steps; return the optimizer and the losses, which nobody has read yet."""
    sgd = mg.optim.SGD(net.parameters(), 0.05, momentum=0.9, weight_decay=1e-4)
    losses = []
    for _ in range(steps):
        loss = mg.cross_entropy(mg.recompute(net, images) if rebuild else net(images), labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        losses.append(loss)
    return sgd, losses


def close(away: dict[str, Any], here: dict[str, Any], tolerance: float) -> None:
    """Compare two states, in proportion to the largest element of each array."""
    assert away.keys() == here.keys()
    for name, value in here.items():
        scale = max(1.0, float(np.abs(value).max()))
        assert_allclose(away[name] / scale, value / scale, rtol=0, atol=tolerance, err_msg=name, strict=True)


class OnDevice:
    """The suite of a library.

    Attributes
    ----------
    xp : module
        The library.
    tolerance : float
        How far its float64 may be from NumPy's, relative to 1 or the largest element.
    """

    xp: Any
    tolerance = 1e-10

    def to(self, thing: Any) -> Any:
        """Move a Tensor or a net to the device."""
        return thing.to("cuda")

    def waits(self, count: int) -> Any:
        """Check, where that is possible, that the host waits for the device exactly so many times inside."""
        return nullcontext()

    def is_away(self, *tensors: mg.Tensor) -> bool:
        """Say whether all of them are arrays of the library."""
        return all(type(t.data) is self.xp.ndarray for t in tensors)

    # Operators -------------------------------------------------------------------------------

    @pytest.mark.parametrize(("name", "sample"), every_sample())
    def test_operator(self, name: str, sample: Any) -> None:
        """Value, gradients, and gradients of gradients: rules and twins, too, run on the device."""
        results = []
        for away in (False, True):
            leaves = [mg.Tensor(x.copy(), requires_grad=True) for x in sample.inputs]
            leaves = [self.to(x) for x in leaves] if away else leaves
            with self.waits(0) if away else nullcontext():
                out = sample.function(name)(*leaves)
                g = mg.Tensor(np.random.default_rng(0).standard_normal(out.shape))
                g = self.to(g) if away else g
                first = mg.grad(out, leaves, g, create_graph=True)
                plain = mg.grad(out, leaves, g.data, retain_graph=True)  # the fast rules of fused operators
                energy = (out * out).sum()
                for d in first:
                    energy = energy + (d * d).sum()
                second = mg.grad(energy, leaves)
            results.append([out, *first, *plain, *second])
            for recorded, d in zip(first, plain, strict=True):
                self.same(recorded, d, "recorded and plain gradients")
        assert self.is_away(*results[1])
        for theirs, ours in zip(results[1], results[0], strict=True):
            self.same(theirs, ours, "device and host")

    def same(self, a: mg.Tensor, b: mg.Tensor, what: str) -> None:
        """Compare two Tensors, in proportion to the largest element of the second, or to 1."""
        assert (a.shape, a.dtype) == (b.shape, b.dtype), what
        there, here = a.numpy(), b.numpy()
        scale = max(1.0, float(np.abs(here).max(initial=0.0)))
        exact = {"equal_nan": False, "strict": True}
        assert_allclose(there / scale, here / scale, rtol=0, atol=self.tolerance, err_msg=what, **exact)

    # Training --------------------------------------------------------------------------------

    @pytest.mark.parametrize("net", NETS)
    @pytest.mark.parametrize("rebuild", [False, True], ids=["kept", "recomputed"])
    def test_training_steps(self, net: str, rebuild: bool) -> None:
        """Three steps, without the host waiting for the device once."""
        images, labels = batch()
        here, away = NETS[net](dtype=np.float64), self.to(NETS[net](dtype=np.float64))
        _, losses = trained(here, mg.Tensor(images), labels, 3)
        moved = self.to(mg.Tensor(images))
        with self.waits(0):
            _, lost = trained(away, moved, labels, 3, rebuild)
        with self.waits(3):
            values = [loss.item() for loss in lost]
        assert_allclose(values, [loss.item() for loss in losses], rtol=10 * self.tolerance)
        assert self.is_away(*lost, *away.parameters(), *(p.grad for p in away.parameters()))
        close(away.state_dict(), here.state_dict(), 100 * self.tolerance)

    def test_a_residual_net_for_20_steps(self) -> None:
        """In float32, as nets are trained."""
        images, labels = batch(16, "float32")
        here, away = cifar_resnet(8), self.to(cifar_resnet(8))
        _, losses = trained(here, mg.Tensor(images), labels, 20)
        _, lost = trained(away, self.to(mg.Tensor(images)), labels, 20)
        assert_allclose([t.item() for t in lost], [t.item() for t in losses], rtol=0, atol=1e-5)

    def test_the_momentum_follows_the_net(self) -> None:
        """A net that is moved between two steps goes on as if it had not been."""
        images, labels = batch()
        ends = []
        for move in (False, True):
            net, x = cifar_resnet(8, dtype=np.float64), mg.Tensor(images)
            sgd, _ = trained(net, x, labels, 2)
            for there in (True, False):
                net, x = (self.to(net), self.to(x)) if move and there else (net.to("cpu"), x.to("cpu"))
                sgd.zero_grad()
                mg.cross_entropy(net(x), labels).backward()
                sgd.step()
            ends.append(net.state_dict())
        close(ends[1], ends[0], 100 * self.tolerance)

    def test_checkpoint(self, tmp_path: Path) -> None:
        """What is saved on a device is what is saved on the host, and training goes on from it on either."""
        images, labels = batch()
        moved = self.to(mg.Tensor(images))
        net = self.to(NETS["bottleneck"](dtype=np.float64))
        sgd, _ = trained(net, moved, labels, 2)
        state = {"model": net.state_dict(), "optimizer": sgd.state_dict(), "images": moved, "raw": [moved.data]}
        mg.save(tmp_path / "run.safetensors", state)
        tree = mg.load(tmp_path / "run.safetensors")
        np.testing.assert_array_equal(tree["images"], images)
        np.testing.assert_array_equal(tree["raw"][0], images)
        ends = []
        for x in (moved, mg.Tensor(images)):
            other = NETS["bottleneck"](rng=9, dtype=np.float64)
            other = self.to(other) if x is moved else other
            other.load_state_dict(tree["model"])
            again = mg.optim.SGD(other.parameters(), 0.5)
            again.load_state_dict(tree["optimizer"])
            mg.cross_entropy(other(x), labels).backward()
            again.step()
            ends.append(other.state_dict())
        close(ends[0], ends[1], 100 * self.tolerance)

    def test_state_of_another_device_is_loaded(self) -> None:
        net, away = cifar_resnet(8, rng=1), self.to(cifar_resnet(8, rng=2))
        away.load_state_dict(net.state_dict())
        back = cifar_resnet(8, rng=3)
        values = dict(away.named_parameters()) | dict(away.named_buffers())
        back.load_state_dict({name: value.data for name, value in values.items()})
        for name, value in net.state_dict().items():
            np.testing.assert_array_equal(back.state_dict()[name], value)
            assert type(away.state_dict()[name]) is np.ndarray

    def test_a_net_is_moved_whole_and_back(self) -> None:
        net = cifar_resnet(8)
        before = net.state_dict()
        assert self.to(net) is net
        assert self.is_away(*net.parameters(), *(mg.Tensor(b.data) for b in net.buffers()))
        for value in [*net.to("cpu").parameters(), *net.buffers()]:
            assert type(value.data) is np.ndarray
        for name, value in net.state_dict().items():
            np.testing.assert_array_equal(value, before[name])

    # Tools -----------------------------------------------------------------------------------

    def test_summary(self) -> None:
        net = cifar_resnet(8)
        assert summary(self.to(copy.deepcopy(net)), (8, 8, 3)).rows == summary(net, (8, 8, 3)).rows

    @pytest.mark.parametrize("max_norm", [0.5, 1e9])
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_gradients_are_clipped(self, dtype: str, max_norm: float) -> None:
        """Of several parameters, one of them without a gradient."""
        g, norms, clipped = batch(2, dtype)[0], [], []
        for away in (False, True):
            leaves = [mg.Tensor(x, requires_grad=True) for x in (g[0], g[1, 0], g[1, 1])]
            leaves = [self.to(x) for x in leaves] if away else leaves
            for x in leaves[:2]:
                (x * x).sum().backward()
            norms.append(mg.optim.clip_grad_norm(leaves, max_norm))
            clipped.append([x.grad for x in leaves])
        assert norms[1] == pytest.approx(norms[0], rel=1e-6)
        assert clipped[1].pop() is clipped[0].pop() is None
        assert self.is_away(*clipped[1])
        for there, here in zip(clipped[1], clipped[0], strict=True):
            assert_allclose(there.numpy(), here.numpy(), rtol=1e-6, strict=True)

    @pytest.mark.parametrize("loaded", ["here", "away"])
    @pytest.mark.parametrize("saved", ["here", "away"])
    def test_pytorchs_states_of_nets_on_the_device(self, saved: str, loaded: str) -> None:
        """What is saved are arrays of the host; a net that loads them stays where it is."""

        def make(seed: int) -> mg.nn.Module:
            conv, norm = mg.nn.Conv2d(2, 4, 3, groups=2, rng=seed), mg.nn.BatchNorm2d(4)
            norm.running_mean.data += seed + 1.0
            up, last = mg.nn.ConvTranspose2d(4, 2, 2, rng=seed), mg.nn.Linear(18, 3, rng=seed)
            return mg.nn.Sequential(conv, norm, up, mg.nn.GroupNorm(1, 2), mg.nn.Flatten(), last, mg.nn.LayerNorm(3))

        first, second = make(0), make(1)
        expected, own = to_torch(first), first.state_dict()
        first, second = (
            (self.to(first) if saved == "away" else first),
            (self.to(second) if loaded == "away" else second),
        )
        state = to_torch(first)
        assert state.keys() == expected.keys()
        for name, array in state.items():
            assert type(array) is np.ndarray
            np.testing.assert_array_equal(array, expected[name], strict=True)
        load_torch(second, state)
        assert loaded == "here" or self.is_away(*second.parameters(), *(mg.Tensor(b.data) for b in second.buffers()))
        for name, array in second.state_dict().items():
            np.testing.assert_array_equal(array, own[name], strict=True)

    def test_batch_norm_is_folded(self) -> None:
        images = mg.Tensor(batch()[0])
        net = cifar_plain(8, dtype=np.float64).eval()
        folded = mg.nn.fold_batch_norm(self.to(copy.deepcopy(net)))
        assert_allclose(folded(self.to(images)).numpy(), net(images).data, rtol=0, atol=1e-8, strict=True)

    def test_the_first_nan_is_named(self) -> None:
        x = self.to(mg.Tensor([1.0, -1.0]))
        with mg.detect_anomaly(), np.errstate(invalid="ignore"), pytest.raises(FloatingPointError, match="log: made"):
            mg.log(x)

    def test_hooks_see_what_is_on_the_device(self) -> None:
        x, seen = self.to(mg.Tensor([1.0, 2.0], requires_grad=True)), []
        x.hook(lambda g: seen.append(g) or g * 2.0)
        (x * x).sum().backward()
        assert self.is_away(*seen)
        assert x.grad.numpy().tolist() == [4.0, 8.0]

    def test_dropout_is_that_of_the_host(self) -> None:
        """Draws are made on the host, so that a seed gives the same net everywhere."""
        x = mg.Tensor(np.ones((40, 5)))
        here, away = (mg.dropout(t, 0.3, rng=np.random.default_rng(3), training=True).numpy() for t in (x, self.to(x)))
        np.testing.assert_array_equal(away, here)

    @pytest.mark.parametrize("index", [np.array([0, 0, 1]), [0, 0, 1], np.array([True, False, True]), (1, [0, 0])])
    def test_index_arrays_of_the_host_are_taken_along(self, index: Any) -> None:
        data = batch(3)[0][..., 0]
        results = []
        for x in (mg.Tensor(data, requires_grad=True), self.to(mg.Tensor(data, requires_grad=True))):
            x[index].sum().backward()
            results.append(x.grad.numpy())
        np.testing.assert_array_equal(results[1], results[0])

    # Between host and device -----------------------------------------------------------------

    def test_numpy_copies_and_asarray_refuses(self) -> None:
        x = self.to(mg.Tensor([1.0, 2.0]))
        with self.waits(1):
            there = x.numpy()
        assert type(there) is np.ndarray
        there[...] = 7
        assert x.numpy().tolist() == [1.0, 2.0]
        for thing in (x, x.data):
            with pytest.raises(TypeError):
                np.asarray(thing)
        assert type(x.to("cpu").data) is np.ndarray
        assert x.to("cpu").numpy().tolist() == [1.0, 2.0]

    def test_a_leaf_stays_a_leaf(self) -> None:
        x = self.to(mg.Tensor([1.0], requires_grad=True))
        assert x.is_leaf
        assert x.requires_grad
        with pytest.raises(RuntimeError, match="move leaves before"):
            self.to(x * 2.0)

    def test_mixed_devices_are_named(self) -> None:
        data = np.ones((2, 2))
        away, here = self.to(mg.Tensor(data, requires_grad=True)), mg.Tensor(data)
        place = away.device
        for f in (
            lambda: away * here,
            lambda: here * away,
            lambda: away * data,
            lambda: data * away,
            lambda: here * away.data,
            lambda: away @ data,
            lambda: mg.where(data > 0, away, 0.0),
            lambda: mg.concatenate([away, here]),
        ):
            with pytest.raises(TypeError, match="on one device") as caught:
                f()
            assert place in str(caught.value)
            assert "cpu" in str(caught.value)
        with pytest.raises(ValueError, match="backward: expected the gradient to start from on .* got cpu"):
            (away * 2.0).backward(data)
        with pytest.raises(ValueError, match="batch_norm: expected running statistics on .*, as x, got cpu"):
            mg.nn.BatchNorm2d(2, dtype=np.float64)(away)
        with pytest.raises(TypeError, match=r"gradcheck: input 0 is on .*use .to\('cpu'\)"):
            mg.gradcheck(lambda x: x, [away])


#: A number for each image, or their mean, of each kind: on the device or on the host.
METRICS = {
    "Tensor": lambda out, y: abs(out - y),
    "mean": lambda out, y: ((out - y) ** 2).mean(),
    "array": lambda out, y: abs(out.data - y),
    "array of one number": lambda out, y: abs(out.data - y).sum() / len(y),
    "host": lambda out, y: abs(out.numpy() - mg.Tensor(y).numpy()),
    "float": lambda out, y: out.sum().item(),
}


class Arrays:
    """A data set of arrays that may be on a device."""

    def __init__(self, images: Any, labels: Any) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> Any:
        images, labels = (a[namespace(a).asarray(index)] for a in (self.images, self.labels))
        return images, labels


class FittedOnDevice(OnDevice):
    """The suite, and the training loop: it moves batches by the name of the device that the parameters are on."""

    def fitted(self, net: Any, tmp_path: Path, iterations: int, shards: int | None, resume: bool = False) -> Any:
        """Train on the digits, with a checkpoint."""
        digits, held_out = mg.data.Digits(), mg.data.Digits(train=False)
        return train.fit(
            net,
            mg.data.DataLoader(digits, 64, rng=0),
            optimizer=mg.optim.SGD(net.parameters(), 0.005),  # small: rounding, too, grows with the steps
            iterations=iterations,
            evaluate_every=2,
            evaluate_on={"test": mg.data.DataLoader(mg.data.Subset(held_out, np.arange(60)), 30)},
            checkpoint=train.Checkpoint(tmp_path / "run.safetensors", resume=resume),
            shards=shards,
        )

    @pytest.mark.parametrize("shards", [None, 4])
    def test_fit_resume_evaluate_and_refresh(self, tmp_path: Path, shards: int | None) -> None:
        make = partial(cifar_resnet, 8, in_channels=1)
        nets = [make(), self.to(make())]
        histories = []
        for i, net in enumerate(nets):
            self.fitted(net, tmp_path / str(i), 2, shards)
            again = self.to(make()) if i else make()  # and its end from the checkpoint
            histories.append(self.fitted(again, tmp_path / str(i), 4, shards, resume=True))
            test = mg.data.DataLoader(mg.data.Digits(train=False), 100)
            train.refresh_statistics(again, test)
            histories[-1].append(dict(zip(("test_loss", "test_error"), train.evaluate(again, test), strict=True)))
            nets[i] = again
        assert self.is_away(*nets[1].parameters())
        for away, here in zip(*histories[::-1], strict=True):
            for name in {"loss", "batch_error", "test_loss", "test_error"} & here.keys():
                assert away[name] == pytest.approx(here[name], rel=1e-4)
        close(nets[1].state_dict(), nets[0].state_dict(), 1e-4)

    @pytest.mark.parametrize("nets", [1, 2])
    def test_predictions_are_averaged(self, nets: int) -> None:
        """Over views of several sizes, and over nets, of which the last is on the host."""
        views = [batch()[0][:, :size] for size in (8, 5)]
        here = [cifar_resnet(8, rng=seed, dtype=np.float64) for seed in range(nets)]
        away = [self.to(copy.deepcopy(net)) for net in here[: max(1, nets - 1)]] + here[max(1, nets - 1) :]
        found = predict(away, views)
        assert type(found) is np.ndarray
        assert_allclose(found, predict(here, views), rtol=0, atol=1e-8, strict=True)

    @pytest.mark.parametrize("metric", METRICS)
    @pytest.mark.parametrize("shards", [None, 2])
    def test_losses_and_metrics_of_floats(self, metric: str, shards: int | None) -> None:
        """Targets of floats are moved, in training and in evaluation; a metric returns a number or any array."""
        x, y = batch(6, "float32")[0][:, 0, 0], batch(6, "float32")[0][:, 1, 1, :1]
        settings = {"loss": mg.mse_loss, "metrics": {"mine": METRICS[metric]}}
        records = []
        for away in (False, True):
            net = mg.nn.Linear(3, 1, rng=0)
            net = self.to(net) if away else net
            batches, test = (mg.data.DataLoader(mg.data.TensorDataset(x, y), 4, prefetch=0) for _ in range(2))
            sgd = mg.optim.SGD(net.parameters(), 0.01)
            given = {"optimizer": sgd, "iterations": 3, "evaluate_on": {"test": test}, "shards": shards, **settings}
            record = train.fit(net, batches, **given)[-1]
            measured = train.evaluate(net, test, **settings)
            names = ("loss", "batch_mine", "test_loss", "test_mine")
            records.append([*measured, *(record[name] for name in names)])
        assert_allclose(records[1], records[0], rtol=1e-5)

    @pytest.mark.parametrize("images", ["here", "away"])
    @pytest.mark.parametrize("labels", ["here", "away"])
    def test_images_and_labels_may_be_given_on_the_device(self, images: str, labels: str) -> None:
        x, y = batch(6, "float32")
        x = x.reshape(6, -1)

        def fitted(net: Any, x: Any, y: Any) -> list[float]:
            batches, test = (mg.data.DataLoader(Arrays(x, y), 4, prefetch=0) for _ in range(2))
            sgd = mg.optim.SGD(net.parameters(), 0.001)
            record = train.fit(net, batches, optimizer=sgd, iterations=3, evaluate_on={"test": test})[-1]
            return [record[name] for name in ("loss", "batch_error", "test_loss", "test_error")]

        expected = fitted(mg.nn.Linear(192, 10, rng=0), x, y)
        net = self.to(mg.nn.Linear(192, 10, rng=0))
        given = [self.xp.asarray(a) if place == "away" else a for a, place in ((x, images), (y, labels))]
        assert_allclose(fitted(net, *given), expected, rtol=1e-4)
