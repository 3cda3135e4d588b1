"""The equation of state of sea water (pyhpc-benchmarks): the derivative of the dynamic enthalpy, written by hand.

Dynamic enthalpy H(SA, CT, p) is 1e4 times the integral over pressure of a cubic over a quadratic polynomial, whose
coefficients are polynomials in temperature CT and salinity SA; the answer is dH/dCT in 81 x 81 x 11 cells, one large
elementwise expression of about 250 operations. `eos_gradient` gets the same by differentiation of H.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import Array, Call, assert_close, expected

# The 48-term fit of IOC et al. (2010) and McDougall et al., as in pyhpc-benchmarks (Unlicense).
V = (
    0.0,
    999.8420897506056, 2.839940833161907, -0.03147759265588511, 0.001181805545074306, -6.698001071123802,
    -0.02986498947203215, 0.0002327859407479162, -0.0398882237896849, 0.00050954225738805, -1.426984671633621e-05,
    1.645039373682922e-07, -0.02233269627352527, -0.000343609007985188, 3.726050720345733e-06, -0.0001806789763745328,
    6.876837219536232e-07, -3.087032500374211e-07, -1.988366587925593e-08, -1.061519070296458e-11,
    1.55093272922008e-10, 1.0, 0.002775927747785646, -2.349607444135925e-05, 1.119513357486743e-06,
    6.743689325042773e-10, -0.007521448093615448, -2.764306979894411e-05, 1.262937315098546e-07,
    9.527875081696435e-10, -1.811147201949891e-11, -3.303308871386421e-05, 3.801564588876298e-07,
    -7.672876869259043e-09, -4.634182341116144e-11, 2.681097235569143e-12, 5.41932655114874e-06,
    -2.742185394906099e-05, -3.212746477974189e-07, 3.191413910561627e-09, -1.931012931541776e-12,
    -1.105097577149576e-07, 6.211426728363857e-10, -1.11901159287511e-10, -1.941660213148725e-11,
    -1.8648264253656e-14, 1.119522344879478e-14, -1.200507748551599e-15, 6.057902487546866e-17,
)


def inputs(size: int = 65536) -> tuple[Array, Array, Array]:
    """Salinity, temperature, pressure."""
    c = size ** (1 / 3)
    nx, nz = math.ceil(2 * c), math.ceil(0.25 * c)
    np.random.seed(17)
    return (np.random.uniform(1e-2, 10, (nx, nx, nz)), np.random.uniform(-12, 20, (nx, nx, nz)),
            np.random.uniform(0, 1000, (1, 1, nz)))


def tiny() -> tuple[Array, Array, Array]:
    return inputs(64)


def check(answer: Any) -> None:
    wanted = expected("pyhpc", "equation_of_state/65536") if answer.size == 81 * 81 * 11 else None
    if wanted is not None:
        assert_close("sum", answer.sum(), wanted["sum"])
        assert_close("sum of squares", (answer**2).sum(), wanted["sumsq"])
        for i, number in enumerate(wanted["first"]):
            assert_close(f"cell {i}", answer.ravel()[i], number)


def polynomials(sa: Any, t: Any, s: Any) -> tuple[Any, ...]:
    """Of the denominator c + 2 b p + a p^2 and the numerator d0 + d1 p + d2 p^2 + d3 p^3; s is sqrt(sa)."""
    v = V
    c = (v[1] + t * (v[2] + t * (v[3] + v[4] * t))
         + sa * (v[5] + t * (v[6] + v[7] * t) + s * (v[8] + t * (v[9] + t * (v[10] + v[11] * t)))))
    b = 0.5 * (v[12] + t * (v[13] + v[14] * t) + sa * (v[15] + v[16] * t))
    a = v[17] + t * (v[18] + v[19] * t) + v[20] * sa
    d0 = (v[21] + t * (v[22] + t * (v[23] + t * (v[24] + v[25] * t)))
          + sa * (v[26] + t * (v[27] + t * (v[28] + t * (v[29] + v[30] * t))) + v[36] * sa
                  + s * (v[31] + t * (v[32] + t * (v[33] + t * (v[34] + v[35] * t))))))
    d1 = v[37] + t * (v[38] + t * (v[39] + v[40] * t)) + sa * (v[41] + v[42] * t)
    d2 = v[43] + t * (v[44] + v[45] * t + v[46] * sa)
    return a, b, c, d0, d1, d2, v[47] + v[48] * t


def derivatives(sa: Any, t: Any, s: Any) -> tuple[Any, ...]:
    """Those of `polynomials` with respect to t."""
    v = V
    c = (v[2] + t * (2 * v[3] + 3 * v[4] * t)
         + sa * (v[6] + 2 * v[7] * t + s * (v[9] + t * (2 * v[10] + 3 * v[11] * t))))
    b = 0.5 * (v[13] + 2 * v[14] * t + v[16] * sa)
    d0 = (v[22] + t * (2 * v[23] + t * (3 * v[24] + 4 * v[25] * t))
          + sa * (v[27] + t * (2 * v[28] + t * (3 * v[29] + 4 * v[30] * t))
                  + s * (v[32] + t * (2 * v[33] + t * (3 * v[34] + 4 * v[35] * t)))))
    d1 = v[38] + t * (2 * v[39] + 3 * v[40] * t) + v[42] * sa
    return v[18] + 2 * v[19] * t, b, c, d0, d1, v[44] + 2 * v[45] * t + v[46] * sa, v[48]


def derivative(library: Any, polynomials: Any = polynomials, derivatives: Any = derivatives) -> Any:
    """dH/dCT; a name with `_t` is the derivative of the name without."""
    def call(sa: Any, t: Any, p: Any) -> Any:
        s = library.sqrt(sa)
        a, b, c, d0, d1, d2, d3 = polynomials(sa, t, s)
        a_t, b_t, c_t, d0_t, d1_t, d2_t, d3_t = derivatives(sa, t, s)
        f3 = d3 / a
        f3_t = (d3_t - f3 * a_t) / a
        f2 = (d2 - 2 * b * f3) / a
        f2_t = (d2_t - 2 * (b_t * f3 + b * f3_t) - f2 * a_t) / a
        f1 = (d1 - c * f3 - 2 * b * f2) / (2 * a)
        f1_t = (0.5 * (d1_t - c_t * f3 - c * f3_t) - b_t * f2 - b * f2_t - f1 * a_t) / a
        r = library.sqrt(b * b - a * c)
        r_t = (b * b_t - 0.5 * (a_t * c + a * c_t)) / r
        f0 = (0.5 * (d0 - c * f2) - f1 * b) / r
        f0_t = (0.5 * (d0_t - c_t * f2 - c * f2_t) - f1_t * b - f1 * b_t - f0 * r_t) / r
        n, n_t = c + p * (2 * b + a * p), c_t + p * (2 * b_t + a_t * p)
        low, low_t, high, high_t = b - r, b_t - r_t, b + r + a * p, b_t + r_t + a_t * p
        w, w_t = low * high, low_t * high + low * high_t
        q, q_t = w + 2 * p * a * r, w_t + 2 * p * (a_t * r + a * r_t)
        return 1e4 * (p * (0.5 * f3_t * p + f2_t) + f1_t * library.log(n / c) + f1 * (n_t / n - c_t / c)
                      + f0_t * library.log(q / w) + f0 * (q_t / q - w_t / w))

    return call


def retape(given: Any) -> Call:
    import retape as rt

    return support.retape_forward(derivative(rt), given)


def retape_eager(given: Any) -> Call:
    import retape as rt

    return support.retape_eager_forward(derivative(rt), given)


def jax(given: Any) -> Call:
    import jax.numpy as jnp

    return support.jax_forward(derivative(jnp), given)


def torch(given: Any) -> Call:
    import torch as library

    return support.torch_forward(derivative(library), given)


def numpy(given: Any) -> Call:
    call = derivative(np)
    return lambda: call(*given)


def numba(given: Any) -> Call:
    """Cell by cell."""
    njit, prange = support.numba()
    cell = njit(derivative(math, njit(polynomials), njit(derivatives)))

    @njit
    def run(sa, t, p):
        out = np.empty_like(sa)
        for i in prange(sa.shape[0]):
            for j in range(sa.shape[1]):
                for k in range(sa.shape[2]):
                    out[i, j, k] = cell(sa[i, j, k], t[i, j, k], p[0, 0, k])
        return out

    return lambda: run(*given)
