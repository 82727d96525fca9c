"""Learning-rate schedules, counted in iterations.

Schedules are counted in iterations, as in the paper, not in epochs. Two of them depend on what training measures:
:class:`WarmupUntil` on the training error, :class:`ReduceOnPlateau` on the error on held-out data.

Next: :mod:`minigrad.data.dataset`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar

from minigrad.arguments import expect, flag, integer, number, with_keys
from minigrad.checked import named
from minigrad.optim.optimizer import Optimizer

_count = partial(integer, least=0)
_any = partial(number, least=-math.inf, most=math.inf)


def _text(caller: str, name: str, value: object) -> object:
    """Return a string, and refuse anything else."""
    expect(isinstance(value, str), caller, f"{name} to be a str", repr(value), error=TypeError)
    return value


def _iterations(caller: str, name: str, value: Any) -> list[int]:
    """Return iterations in order."""
    is_iterable = isinstance(value, Iterable)
    expect(is_iterable, caller, f"{name} to be a sequence of iterations", repr(value), error=TypeError)
    return sorted(_count(caller, f"each of {name}", iteration) for iteration in value)


class Schedule:
    """The parent class of schedules: the learning rate is its initial value times a factor for each iteration.

    Call :meth:`step` after each step of the optimizer. A schedule of your own defines :meth:`factor`.

    Attributes
    ----------
    checks : dict of functions
        By name, what checks a setting or count: :func:`minigrad.arguments.number`, for example. Each is called with the
        name of the class, the name and the value, and returns the value.

    Examples
    --------
    >>> import minigrad as mg
    >>> class Halving(Schedule):
    ...     def factor(self, iteration):
    ...         return 0.5**iteration
    >>> sgd = mg.optim.SGD([mg.nn.Parameter([1.0])], lr=1.0)
    >>> schedule = Halving(sgd)
    >>> schedule.step()
    >>> sgd.lr
    0.5
    """

    checks: ClassVar[dict[str, Callable[[str, str, Any], object]]] = {"base": number, "iteration": _count}

    @named
    def __init__(self, optimizer: Optimizer) -> None:
        is_optimizer = isinstance(optimizer, Optimizer)
        expect(is_optimizer, type(self).__name__, "an optimizer", type(optimizer).__name__, error=TypeError)
        self.optimizer = optimizer
        self.base = optimizer.lr
        self.iteration = 0
        self.check()
        self.apply()

    def factor(self, iteration: int) -> float:
        """Return the factor by which an iteration multiplies the first learning rate; every schedule defines it."""
        raise NotImplementedError

    def check(self) -> None:
        """Refuse settings and counts that are out of range, whether a caller or a state gave them."""
        for name, check in self.checks.items():
            setattr(self, name, check(type(self).__name__, name, getattr(self, name)))

    def step(self) -> None:
        """Set the learning rate of the next iteration."""
        self.iteration += 1
        self.apply()

    def observe(self, **figures: float) -> None:
        """Take note of measurements: `batch_error` after each iteration, and every record of the training loop."""

    def apply(self) -> None:
        """Set the learning rate of the current iteration."""
        self.optimizer.lr = float(self.base * self.factor(self.iteration))

    def state_dict(self) -> dict[str, object]:
        """Return what a later run needs to continue, with the state of a schedule within this one."""
        return {
            name: value.state_dict() if isinstance(value, Schedule) else copy.deepcopy(value)
            for name, value in vars(self).items()
            if name != "optimizer"
        }

    def check_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raise what :meth:`load_state_dict` would raise, and change nothing."""
        with_keys(type(self).__name__, "a state", state, self.state_dict(), "is it that of another schedule?")
        trial = copy.copy(self)
        for name, value in state.items():
            mine = getattr(self, name)
            if isinstance(mine, Schedule):
                mine.check_state_dict(value)
            else:
                setattr(trial, name, value)
        trial.check()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state, with its settings: milestones, for example, are those of the saved run.

        Raises
        ------
        ValueError, TypeError
            If the state is that of another schedule, or a value is out of range; nothing is loaded then.
        """
        self.check_state_dict(state)
        for name, value in state.items():
            mine = getattr(self, name)
            if isinstance(mine, Schedule):
                mine.load_state_dict(value)
            else:
                setattr(self, name, copy.deepcopy(value))
        self.check()
        self.apply()


class MultiStepLR(Schedule):
    """Multiply the learning rate by `gamma` at each milestone.

    Parameters
    ----------
    optimizer : Optimizer
    milestones : sequence of ints
        Iterations. The paper's, on CIFAR-10: 32,000 and 48,000.
    gamma : float
        At least 0.

    Examples
    --------
    >>> import minigrad as mg
    >>> sgd = mg.optim.SGD([mg.nn.Parameter([1.0])], lr=1.0)
    >>> schedule = MultiStepLR(sgd, [2])
    >>> for _ in range(3):
    ...     print(sgd.lr)
    ...     schedule.step()
    1.0
    1.0
    0.1
    """

    checks = Schedule.checks | {"milestones": _iterations, "gamma": number}

    @named
    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1) -> None:
        self.milestones, self.gamma = milestones, gamma
        super().__init__(optimizer)

    def factor(self, iteration: int) -> float:
        """Return gamma to the power of the number of milestones passed."""
        return float(self.gamma ** sum(milestone <= iteration for milestone in self.milestones))


class CosineLR(Schedule):
    """Decrease the learning rate to 0 along half a period of the cosine: (1 + cos(pi t / T)) / 2.

    I. Loshchilov, F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, equation (5), without its
    restarts.

    Parameters
    ----------
    optimizer : Optimizer
    iterations : int
        T, at least 1; from then on the learning rate is 0.

    Examples
    --------
    >>> import minigrad as mg
    >>> sgd = mg.optim.SGD([mg.nn.Parameter([1.0])], lr=1.0)
    >>> schedule = CosineLR(sgd, 2)
    >>> for _ in range(3):
    ...     print(round(sgd.lr, 3))
    ...     schedule.step()
    1.0
    0.5
    0.0
    """

    checks = Schedule.checks | {"iterations": partial(integer, least=1)}

    @named
    def __init__(self, optimizer: Optimizer, iterations: int) -> None:
        self.iterations = iterations
        super().__init__(optimizer)

    def factor(self, iteration: int) -> float:
        """Return (1 + cos(pi t / T)) / 2."""
        return 0.5 + 0.5 * math.cos(math.pi * min(iteration / self.iterations, 1.0))


class ReduceOnPlateau(Schedule):
    """Multiply the learning rate by `gamma` when an error stops falling: the paper's rule on ImageNet.

    Parameters
    ----------
    optimizer : Optimizer
    figure : str
        The name of the error in the records of the training loop, all of which must have it.
    patience : int
        The number of evaluations without a new minimum after which the learning rate drops. An evaluation with a new
        minimum never drops it, so 0 means the same as 1.
    gamma : float
        At least 0.

    Examples
    --------
    >>> import minigrad as mg
    >>> sgd = mg.optim.SGD([mg.nn.Parameter([1.0])], lr=1.0)
    >>> schedule = ReduceOnPlateau(sgd, "test_error", patience=2)
    >>> for error in (0.5, 0.4, 0.4, 0.45, 0.39):
    ...     schedule.observe(test_error=error)
    ...     print(sgd.lr)
    1.0
    1.0
    1.0
    0.1
    0.1
    """

    checks = Schedule.checks | {"figure": _text, "gamma": number, "best": _any}
    checks |= dict.fromkeys(("patience", "waited", "drops"), _count)

    @named
    def __init__(self, optimizer: Optimizer, figure: str = "test_error", patience: int = 5, gamma: float = 0.1) -> None:
        self.figure, self.patience, self.gamma = figure, patience, gamma
        self.best, self.waited, self.drops = math.inf, 0, 0
        super().__init__(optimizer)

    def factor(self, iteration: int) -> float:
        """Return gamma to the power of the number of plateaus so far."""
        return float(self.gamma**self.drops)

    def observe(self, **figures: float) -> None:
        """Count the evaluations since the minimum."""
        if all(name.startswith("batch_") for name in figures):  # of a single batch
            return
        expect(self.figure in figures, "ReduceOnPlateau", f"{self.figure!r} to be measured", list(figures))
        if figures[self.figure] < self.best:
            self.best, self.waited = figures[self.figure], 0
        elif self.waited + 1 >= self.patience:
            self.drops, self.waited = self.drops + 1, 0
        else:
            self.waited += 1
        self.apply()


class Warmup(Schedule):
    """Increase the learning rate linearly over the first iterations, then follow another schedule.

    Parameters
    ----------
    schedule : Schedule
        The schedule that is followed.
    iterations : int
        The length of the warm-up. The first iteration has 1 / iterations of the learning rate; 0 means no warm-up.

    Examples
    --------
    >>> import minigrad as mg
    >>> sgd = mg.optim.SGD([mg.nn.Parameter([1.0])], lr=1.0)
    >>> schedule = Warmup(MultiStepLR(sgd, [100]), 4)
    >>> for _ in range(5):
    ...     print(sgd.lr)
    ...     schedule.step()
    0.25
    0.5
    0.75
    1.0
    1.0
    """

    checks = Schedule.checks | {"iterations": _count}

    @named
    def __init__(self, schedule: Schedule, iterations: int) -> None:
        self.schedule, self.iterations = schedule, iterations
        super().__init__(_optimizer("Warmup", schedule))
        self.base = schedule.base
        self.apply()

    def factor(self, iteration: int) -> float:
        """Return the share of the warm-up that is done, times the factor of the other schedule."""
        return min(1.0, (iteration + 1) / max(self.iterations, 1)) * self.schedule.factor(iteration)

    def observe(self, **figures: float) -> None:
        """Pass the measurements on."""
        self.schedule.observe(**figures)
        self.apply()


class WarmupUntil(Schedule):
    """Keep the learning rate low until the training error has fallen, then follow another schedule.

    The paper's rule for 110 layers (section 4.2): a tenth of the learning rate until the training error is below 80 %,
    which is after about 400 iterations.

    Parameters
    ----------
    schedule : Schedule
        The schedule that is followed; its iterations count from the beginning. If the error never falls, it still
        lowers the rate.
    error : float
        The training error to fall below, averaged over about the last 50 batches.
    gamma : float
        The factor during the warm-up.

    Examples
    --------
    >>> import minigrad as mg
    >>> sgd = mg.optim.SGD([mg.nn.Parameter([1.0])], lr=1.0)
    >>> schedule = WarmupUntil(MultiStepLR(sgd, [100]))
    >>> sgd.lr
    0.1
    >>> for _ in range(50):
    ...     schedule.observe(batch_error=0.5)
    ...     schedule.step()
    >>> sgd.lr
    1.0
    """

    checks = Schedule.checks | {"error": number, "gamma": number, "average": number, "done": flag}

    @named
    def __init__(self, schedule: Schedule, error: float = 0.8, gamma: float = 0.1) -> None:
        self.schedule, self.error, self.gamma = schedule, error, gamma
        self.average, self.done = 1.0, False
        super().__init__(_optimizer("WarmupUntil", schedule))
        self.base = schedule.base
        self.apply()

    def factor(self, iteration: int) -> float:
        """Return the factor of the other schedule; during the warm-up, at most gamma."""
        factor = self.schedule.factor(iteration)
        return factor if self.done else min(factor, self.gamma)

    def observe(self, **figures: float) -> None:
        """Average the error of the batches, and end the warm-up once the average is below `error`."""
        if "iteration" not in figures:  # a record's is the mean of batches seen before
            expect("batch_error" in figures, "WarmupUntil", "'batch_error' to be measured", [*figures])
            self.average += (figures["batch_error"] - self.average) / 50
            self.done = self.done or self.average < self.error
        self.schedule.observe(**figures)
        self.apply()


def _optimizer(caller: str, schedule: Schedule) -> Optimizer:
    """Return the optimizer of the schedule that another one follows."""
    expect(isinstance(schedule, Schedule), caller, "a schedule to follow", type(schedule).__name__, error=TypeError)
    return schedule.optimizer
