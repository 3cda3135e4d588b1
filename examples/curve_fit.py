"""Nonlinear least squares with SciPy: `minimize(jac=True)` calls a compiled value and gradient, NumPy in and out.

Shows a small function that is called often. Data and certified answers: Misra1a of NIST's Statistical Reference
Datasets (dental research: volume against pressure), a work of the US government in the public domain.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize

import retape as rt

VOLUME = np.array([10.07, 14.73, 17.94, 23.93, 29.61, 35.18, 40.02, 44.82, 50.76, 55.05, 61.01, 66.40, 75.47, 81.78])
PRESSURE = np.array([77.6, 114.9, 141.1, 190.8, 239.9, 289.0, 332.8, 378.4, 434.8, 477.3, 536.8, 593.1, 689.1, 760.0])
CERTIFIED = np.array([2.3894212918e02, 5.5015643181e-04])
CERTIFIED_SUM = 1.2455138894e-01
SCALE = np.array([100.0, 1e-4])  # brings both unknowns to about the same size


def residual_sum(unknowns: Any) -> Any:
    """The sum of squares of y - b1 (1 - exp(-b2 x)), the unknowns in units of SCALE."""
    b = unknowns * SCALE
    model = b[0] * (1.0 - rt.exp(-b[1] * PRESSURE))
    return ((VOLUME - model) ** 2).sum()


def main() -> dict[str, float]:
    found = {}
    for label, start in (("first start", [5.0, 1.0]), ("second start", [2.5, 5.0])):
        objective = rt.compile(rt.func.value_and_grad(residual_sum))
        result = minimize(objective, np.array(start), jac=True, method="BFGS", options={"gtol": 1e-7})
        b = result.x * SCALE
        found[label] = float(np.max(np.abs(b / CERTIFIED - 1)))
        print(f"{label:13} b1 {b[0]:.5f}, b2 {b[1]:.8e}, sum of squares {result.fun:.8f}, "
              f"{result.nfev} calls, {objective.traces} trace(s)")
    return found


if __name__ == "__main__":
    main()
