"""Calls that type checkers must refuse: an unneeded ignore is an error, so each line proves a refusal."""

import numpy as np

import minigrad as mg
from minigrad import nn

x = mg.Tensor([[1.0, 2.0]], requires_grad=True)

mg.relu("hello", 3, foo=4)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
mg.relu("hello")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
mg.add(x)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
mg.sum(x, axis="rows")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
mg.sum(x, dim=0)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
mg.mean("hello")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
mg.conv2d(x, x, stride="two")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
mg.concatenate(3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
x + "hello"  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue, reportUnusedExpression]
x.sum("rows")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
mg.grad(x.sum(), "x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
mg.Tensor(np.ones(2), requires_gradient=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
nn.Conv2d(3, 4, "three", stride="two", rng=0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
