"""Bundle adjustment (ADBench): half the sum of squared residuals, and its gradient for 49 cameras and 7776 points.

31 843 observations gather a camera and a point each, so the gradient adds rows up where they came from. ADBench's file
gives one camera and one point, which are repeated; here each copy is moved by a random thousandth.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import Array, Call

# ADBench's ba1 (microsoft/ADBench, MIT): rotation, centre, focal length, principal point, distortion; point; weight;
# feature.
CAMERA = (-0.758453, -1.109613, -0.845551, 34.556073, 39.676747, 53.881673, 419.194514, 5.864426, -8.51887, 0.087812,
          0.002739)
POINT, WEIGHT, FEATURE = (7.203245, 0.001144, 3.023326), 0.417022, (271.760969, 834.209256)


def inputs(cameras: int = 49, points: int = 7776, observations: int = 31_843, noise: float = 1e-3) -> tuple[Array, ...]:
    """Cameras, points, weights, features, and which camera and point each observation has."""
    rng = np.random.default_rng(0)
    c = np.array(CAMERA) + noise * rng.standard_normal((cameras, 11))
    x = np.array(POINT) + noise * rng.standard_normal((points, 3))
    i = np.arange(observations)
    return c, x, np.full(observations, WEIGHT), np.tile(FEATURE, (observations, 1)), i % cameras, i % points


def tiny() -> tuple[Array, ...]:
    return inputs(3, 5, 12)


def residuals(library: Any) -> Any:
    """The two components of every observation's error, from its own camera and point."""
    def call(c: Any, x: Any, w: Any, m: Any) -> Any:
        r0, r1, r2, c0, c1, c2, f, u, v, k1, k2 = (c[:, i] for i in range(11))
        y0, y1, y2 = x[:, 0] - c0, x[:, 1] - c1, x[:, 2] - c2
        square = r0 * r0 + r1 * r1 + r2 * r2
        still = square == 0
        theta = library.sqrt(library.where(still, 1.0, square))
        a0, a1, a2 = r0 / theta, r1 / theta, r2 / theta
        cos, sin = library.cos(theta), library.sin(theta)
        along = (a0 * y0 + a1 * y1 + a2 * y2) * (1 - cos)

        def turned(y: Any, cross: Any, a: Any, plain: Any) -> Any:
            return library.where(still, y + plain, y * cos + cross * sin + a * along)

        z0 = turned(y0, a1 * y2 - a2 * y1, a0, r1 * y2 - r2 * y1)
        z1 = turned(y1, a2 * y0 - a0 * y2, a1, r2 * y0 - r0 * y2)
        z2 = turned(y2, a0 * y1 - a1 * y0, a2, r0 * y1 - r1 * y0)
        p0, p1 = z0 / z2, z1 / z2
        rho = p0 * p0 + p1 * p1
        scale = f * (1 + k1 * rho + k2 * rho * rho)
        return w * (p0 * scale + u - m[:, 0]), w * (p1 * scale + v - m[:, 1])

    return call


def objective(library: Any) -> Any:
    errors = residuals(library)

    def call(cameras: Any, points: Any, w: Any, m: Any, ci: Any, xi: Any) -> Any:
        e0, e1 = errors(cameras[ci], points[xi], w, m)
        g = 1 - w * w
        return 0.5 * ((e0 * e0).sum() + (e1 * e1).sum() + (g * g).sum())

    return call


def retape(given: Any) -> Call:
    import retape as rt

    return support.retape(objective(rt), given, (0, 1))


def retape_eager(given: Any) -> Call:
    import retape as rt

    return support.retape_eager(objective(rt), given, (0, 1))


def jax(given: Any) -> Call:
    import jax.numpy as jnp

    return support.jax(objective(jnp), given, (0, 1))


def torch(given: Any) -> Call:
    import torch as library

    return support.torch(objective(library), given, (0, 1))
