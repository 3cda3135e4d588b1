"""Log-likelihood of a Gaussian mixture with a Wishart prior: the objective of ADBench, and its gradient.

Shows a vectorised model with batched triangular factors, logsumexp and 1650 parameters, differentiated by eager and by
compiled code, and checks both against reference values. Data: microsoft/ADBench (MIT), a copy is under tests/data/gmm.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import retape as rt

DATA = Path(__file__).resolve().parent.parent / "tests" / "data" / "gmm"


class Mixture(NamedTuple):
    """A problem: parameters alpha (K,), means (K, D), factors (K, D + D(D-1)/2), the places of a triangle's entries,
    points (N, D), and the prior's gamma and m."""

    alpha: np.ndarray
    means: np.ndarray
    factors: np.ndarray
    places: np.ndarray
    points: np.ndarray
    gamma: float
    m: int


def load(path: Path) -> Mixture:
    """Read ADBench's text format."""
    numbers = iter(path.read_text(encoding="utf-8").split())
    d, k, n = (int(next(numbers)) for _ in range(3))

    def array(*shape: int) -> np.ndarray:
        return np.array([float(next(numbers)) for _ in range(math.prod(shape))]).reshape(shape)

    return Mixture(array(k), array(k, d), array(k, d * (d + 1) // 2), triangle(d), array(n, d), float(next(numbers)),
                   int(next(numbers)))


def triangle(d: int) -> np.ndarray:
    """Where in (exp q, l, 0) each entry of a row-major lower triangle stands; l is stored column by column."""
    index = np.full((d, d), d * (d + 1) // 2)
    np.fill_diagonal(index, np.arange(d))
    columns, rows = np.triu_indices(d, 1)  # row by row of the transpose: column by column
    index[rows, columns] = d + np.arange(len(rows))
    return index.ravel()


def prior_constant(d: int, gamma: float, m: int) -> float:
    """The normalisation of the Wishart prior of one component."""
    nu = d + m + 1
    log_gamma = d * (d - 1) / 4 * math.log(math.pi) + sum(math.lgamma((nu + 1 - j) / 2) for j in range(1, d + 1))
    return nu * d * (math.log(gamma) - 0.5 * math.log(2)) - log_gamma


def objective(
    alpha: Any, means: Any, factors: Any, places: Any, points: Any, gamma: float, m: int, sign: int
) -> Any:
    """Log-likelihood plus `sign` times log-prior."""
    (n, d), k = points.shape, alpha.shape[0]
    q, lower = factors[:, :d], factors[:, d:]
    diagonal, trace = rt.exp(q), q.sum(1)
    entries = rt.cat([diagonal, lower, rt.zeros(k, 1, dtype="float64")], 1)
    q_full = entries[:, places].reshape(k, d, d)
    # Q (x - mu) for all points and components at once: one matrix product, then a row to take away
    mapped = points @ q_full.reshape(k * d, d).T - (q_full @ means.reshape(k, d, 1)).reshape(k * d)
    squares = (mapped.reshape(n, k, d) ** 2).sum(-1)
    likelihood = (rt.logsumexp(alpha + trace - 0.5 * squares, 1).sum()
                  - n * (d / 2 * math.log(2 * math.pi) + rt.logsumexp(alpha, 0)))
    spread = (diagonal**2).sum() + (lower**2).sum()
    prior = k * prior_constant(d, gamma, m) - 0.5 * gamma**2 * spread + m * trace.sum()
    return likelihood + sign * prior


def rho(x: float, y: float) -> float:
    """Relative distance for large numbers, absolute distance for small ones."""
    return abs(x - y) / max(1.0, abs(x) + abs(y))


def check(name: str = "1k_gmm_d10_K25.txt") -> dict[str, float]:
    """The largest distance from the reference values, eager and compiled, and milliseconds a gradient."""
    problem = load(DATA / name)
    expected = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))[name]
    eager = rt.func.value_and_grad(objective, argnums=(0, 1, 2))
    found: dict[str, float] = {}
    for label, gradient in (("eager", eager), ("compiled", rt.compile(eager))):
        worst = 0.0
        for suffix, sign in (("adbench", -1), ("gradbench", 1)):
            gradient(*problem, sign)  # recorded, and next time compiled
            value, parts = gradient(*problem, sign)
            # in file order: all alpha, all means, all factors
            packed = np.concatenate([part.ravel() for part in parts])
            along = float(packed @ np.cos(np.arange(len(packed))))
            worst = max(worst, rho(float(value), expected[f"F_{suffix}"]), rho(along, expected[f"dir_{suffix}"]))
        spent = []
        for _ in range(7):
            begin = time.perf_counter()
            gradient(*problem, 1)
            spent.append(time.perf_counter() - begin)
        found[f"{label} distance"], found[f"{label} ms"] = worst, float(np.median(spent)) * 1e3
    return found


def main() -> dict[str, float]:
    found = check()
    for key, value in found.items():
        print(f"{key:18} {value:.3g}")
    return found


if __name__ == "__main__":
    main()
