"""Log-likelihood plus log-prior of a Gaussian mixture (ADBench, GradBench), 1000 points in R^10, 25 components.

Value and gradient with respect to 1650 parameters. The data is ADBench's file (a copy is under tests/data/gmm).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import ROOT, SEED, Array, Call, along, assert_close, expected

NAME = "1k_gmm_d10_K25.txt"


def read(path: Path) -> tuple[Array, ...]:
    """alpha (K,), means (K, D), factors (K, D + D(D-1)/2), points (N, D), and the places of a triangle's entries."""
    numbers = np.array(path.read_text(encoding="utf-8").split(), np.float64)
    d, k, n = map(int, numbers[:3])
    assert numbers[-2:].tolist() == [1.0, 0.0], "gamma and m"
    alpha, means, factors, points = np.split(numbers[3:-2], np.cumsum([k, k * d, k * d * (d + 1) // 2]))
    return alpha, means.reshape(k, d), factors.reshape(k, -1), points.reshape(n, d), triangle(d)


def drawn(d: int, k: int, n: int) -> tuple[Array, ...]:
    """GradBench's data."""
    rng = np.random.default_rng(SEED)
    points, alpha, means = rng.standard_normal((n, d)), rng.standard_normal(k), rng.random((k, d))
    q, lower = rng.standard_normal((k, d)), rng.standard_normal((k, d * (d - 1) // 2))
    return alpha, means, np.concatenate([q, lower], 1), points, triangle(d)


def triangle(d: int) -> Array:
    """Where in (exp q, l, 0) each entry of a row-major lower triangle stands; l is stored column by column."""
    index = np.full((d, d), d * (d + 1) // 2)
    np.fill_diagonal(index, np.arange(d))
    columns, rows = np.triu_indices(d, 1)
    index[rows, columns] = d + np.arange(len(rows))
    return index.ravel()


def inputs() -> tuple[Array, ...]:
    return read(ROOT / "tests" / "data" / "gmm" / NAME)


def tiny() -> tuple[Array, ...]:
    return drawn(3, 4, 20)


def check(answer: Any, name: str = NAME) -> None:
    value, parts = answer
    wanted = expected("adbench", f"gmm/{name}")
    if wanted is not None and sum(part.size for part in parts) == wanted["params"]:
        assert_close("value", value, wanted["F_gradbench"])
        assert_close("the gradient along cos(i)", along(*parts), wanted["dir_gradbench"])


def prior_constant(d: int) -> float:
    """The normalisation of the Wishart prior of one component, with gamma = 1 and m = 0."""
    log_gamma = d * (d - 1) / 4 * math.log(math.pi) + sum(math.lgamma((d + 2 - j) / 2) for j in range(1, d + 1))
    return -0.5 * (d + 1) * d * math.log(2) - log_gamma


def objective(library: Any, zeros: Any) -> Any:
    """`zeros` makes a column of zeros. One matrix product maps all points by all factors."""
    concatenate = getattr(library, "concatenate", None) or library.cat

    def logsumexp(x: Any) -> Any:
        return library.logsumexp(x, -1) if hasattr(library, "logsumexp") else library.scipy.special.logsumexp(x, -1)

    def call(alpha: Any, means: Any, factors: Any, points: Any, places: Any) -> Any:
        (n, d), k = points.shape, alpha.shape[0]
        q, lower = factors[:, :d], factors[:, d:]
        diagonal, trace = library.exp(q), q.sum(1)
        entries = concatenate([diagonal, lower, zeros(k)], 1)
        q_full = entries[:, places].reshape(k, d, d)
        mapped = points @ q_full.reshape(k * d, d).T - (q_full @ means.reshape(k, d, 1)).reshape(k * d)
        squares = (mapped.reshape(n, k, d) ** 2).sum(-1)
        likelihood = (logsumexp(alpha + trace - 0.5 * squares).sum()
                      - n * (d / 2 * math.log(2 * math.pi) + logsumexp(alpha)))
        return likelihood + k * prior_constant(d) - 0.5 * ((diagonal**2).sum() + (lower**2).sum())

    return call


def retape(given: Any) -> Call:
    import retape as rt

    return support.retape(objective(rt, lambda k: rt.zeros(k, 1, dtype="float64")), given, (0, 1, 2))


def retape_eager(given: Any) -> Call:
    import retape as rt

    return support.retape_eager(objective(rt, lambda k: rt.zeros(k, 1, dtype="float64")), given, (0, 1, 2))


def jax(given: Any) -> Call:
    """The places are constants, so that the adjoint of the indexing is known to be a gather."""
    import jax.numpy as jnp
    from jax.scipy.special import logsumexp

    d = given[3].shape[1]
    columns, rows = np.triu_indices(d, 1)

    def call(alpha: Any, means: Any, factors: Any, points: Any) -> Any:
        n, k = points.shape[0], alpha.shape[0]
        q, lower = factors[:, :d], factors[:, d:]
        diagonal, trace = jnp.exp(q), q.sum(1)
        q_full = jnp.zeros((k, d, d)).at[:, np.arange(d), np.arange(d)].set(diagonal, unique_indices=True)
        q_full = q_full.at[:, rows, columns].set(lower, unique_indices=True)
        mapped = points @ q_full.reshape(k * d, d).T - (q_full @ means[:, :, None]).reshape(k * d)
        squares = (mapped.reshape(n, k, d) ** 2).sum(-1)
        likelihood = (logsumexp(alpha + trace - 0.5 * squares, axis=1).sum()
                      - n * (d / 2 * math.log(2 * math.pi) + logsumexp(alpha)))
        return likelihood + k * prior_constant(d) - 0.5 * ((diagonal**2).sum() + (lower**2).sum())

    return support.jax(call, given[:4], (0, 1, 2))


def torch(given: Any) -> Call:
    import torch as library

    return support.torch(objective(library, lambda k: library.zeros(k, 1, dtype=library.float64)), given, (0, 1, 2))
