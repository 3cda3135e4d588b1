"""Minimax fits: the tool that found the coefficients in this package (needs mpmath; nothing imports it at run time).

`remez` is the second algorithm of Remez (1934) as described in J.-M. Muller, *Elementary Functions* (3rd ed., section
3.6): solve for the polynomial whose weighted error alternates on a set of points, move the points to the extrema of
that error, repeat. The arithmetic has 50 digits, so the result is exact to far below a double's rounding; it is then
rounded coefficient by coefficient, which costs little because every function multiplies its polynomial by something
small.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import mpmath as mp

Real = Callable[[mp.mpf], mp.mpf]


def _extrema(error: Real, low: mp.mpf, high: mp.mpf, zeros: list[mp.mpf]) -> list[mp.mpf]:
    """The place of the largest |error| between each pair of neighbouring zeros, by golden-section search."""
    golden = (mp.sqrt(5) - 1) / 2
    found = []
    for a, b in zip([low, *zeros], [*zeros, high], strict=True):
        left, right = a, b
        for _ in range(40):
            p, q = right - golden * (right - left), left + golden * (right - left)
            if abs(error(p)) > abs(error(q)):
                right = q
            else:
                left = p
        found.append(max((a, b, (left + right) / 2), key=lambda v: abs(error(v))))
    return found


def _zero(error: Real, a: mp.mpf, b: mp.mpf) -> mp.mpf:
    """A zero of `error` between two points where its signs differ, by bisection."""
    sign = mp.sign(error(a))
    for _ in range(60):
        middle = (a + b) / 2
        if mp.sign(error(middle)) == sign:
            a = middle
        else:
            b = middle
    return (a + b) / 2


def _error(target: Real, weight: Real, coefficients: list[mp.mpf]) -> Real:
    return lambda v: weight(v) * (mp.polyval(coefficients[::-1], v) - target(v))


def remez(target: Real, weight: Real, degree: int, low: float, high: float) -> tuple[list[float], float]:
    """Coefficients (constant first) of the polynomial P that minimises max |weight (P - target)|, and that maximum."""
    lo, hi, count = mp.mpf(low), mp.mpf(high), degree + 2
    points = [(lo + hi) / 2 - (hi - lo) / 2 * mp.cos(mp.pi * (2 * i + 1) / (2 * count)) for i in range(count)]
    coefficients: list[mp.mpf] = []
    worst = mp.mpf(0)
    for _ in range(40):
        rows = [[p**j for j in range(degree + 1)] + [(-1) ** i / weight(p)] for i, p in enumerate(points)]
        solution = mp.lu_solve(mp.matrix(rows), mp.matrix([target(p) for p in points]))
        coefficients, level = list(solution)[:-1], abs(solution[degree + 1])
        error = _error(target, weight, coefficients)
        zeros = [_zero(error, a, b) for a, b in pairwise(points)]
        points = _extrema(error, lo, hi, zeros)
        worst = max(abs(error(p)) for p in points)
        if worst < level * mp.mpf("1.01"):
            break
    return [float(c) for c in coefficients], float(worst)
