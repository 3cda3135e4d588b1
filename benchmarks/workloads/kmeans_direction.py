"""A Newton direction of k-means (GradBench): gradient over the diagonal of the Hessian, elementwise.

1000 points in R^16, 100 centres. The Hessian is diagonal, so its product with ones is its diagonal: a derivative in one
direction of a gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import Array, Call, assert_close, expected
from benchmarks.workloads import kmeans
from benchmarks.workloads.kmeans import objective


def inputs() -> tuple[Array, Array]:
    return kmeans.inputs(100, 1000, 16)


def tiny() -> tuple[Array, Array]:
    return kmeans.inputs(10, 1000, 8)


def check(answer: Any) -> None:
    wanted = expected("gradbench", "kmeans/k10_n1000_d8" if answer.size == 80 else "kmeans/k100_n1000_d16")
    if wanted is not None:
        assert_close("sum of the direction", answer.sum(), wanted["dir_sum"])
        assert_close("sum of its squares", (answer**2).sum(), wanted["dir_sumsq"])


def retape_direction(c: Any, p: Any) -> Any:
    import retape as rt

    cost = objective(lambda x: x.amin(1))
    gradient, curvature = rt.func.jvp(lambda c: rt.func.grad(cost)(c, p), (c,), (rt.ones_like(c),))
    return gradient / curvature


def retape(given: Any) -> Call:
    return support.retape_forward(retape_direction, given)


def retape_eager(given: Any) -> Call:
    return support.retape_eager_forward(retape_direction, given)


def jax(given: Any) -> Call:
    import jax as library

    cost = objective(lambda x: x.min(axis=1))

    def direction(c: Any, p: Any) -> Any:
        gradient, curvature = library.jvp(lambda c: library.grad(cost)(c, p), (c,), (library.numpy.ones_like(c),))
        return gradient / curvature

    return support.jax_forward(direction, given)


def torch(given: Any) -> Call:
    import torch as library

    cost = objective(lambda x: x.min(1).values)
    c, p = map(library.tensor, given)

    def forward(c: Any, p: Any) -> Any:
        return library.func.jvp(lambda c: library.func.grad(cost)(c, p), (c,), (library.ones_like(c),))

    def twice(c: Any, p: Any) -> Any:
        return library.autograd.functional.jvp(lambda c: library.func.grad(cost)(c, p), c, library.ones_like(c))

    both = support.torch_function(forward, eager=twice)

    def call() -> Any:
        gradient, curvature = both(c, p)
        return (gradient / curvature).numpy()

    return call


def numpy(given: Any) -> Call:
    """Each centre less the mean of its points."""
    c, p = given

    def call() -> Any:
        nearest = ((c * c).sum(1) - 2 * (p @ c.T)).argmin(1)
        counts = np.bincount(nearest, minlength=len(c))
        return c - np.stack([np.bincount(nearest, p[:, i], len(c)) for i in range(p.shape[1])], 1) / counts[:, None]

    return call
