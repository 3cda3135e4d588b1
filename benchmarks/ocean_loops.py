"""Isoneutral mixing as one writes it for numba: cell by cell, no array but the results and four of slopes' parts."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.ocean import RHO


def helpers(njit: Any) -> tuple[Any, Any]:
    """The taper, and the slope; numba compiles everything here at the first call."""
    @njit
    def tap(s):
        return 0.5 * (1.0 + np.tanh((1e-3 - abs(s)) / 1e-3))

    @njit
    def slope(h, v):
        return -h / (min(0.0, v) - 1e-20)

    return tap, slope


def columns_of(njit: Any, prange: Any) -> Any:
    @njit
    def columns(t, s, mask_t, mask_w, dzw, zt):
        """Expansion coefficients of all cells, and differences at their tops."""
        a_t, a_s, t_z, s_z = np.empty_like(t), np.empty_like(t), np.zeros_like(t), np.zeros_like(t)
        nx, ny, nz = t.shape
        for i in prange(nx):
            for j in range(ny):
                for k in range(nz):
                    thermal = 1e-5 * (t[i, j, k] - 9.85) + 1.67e-4 * (1 + 1.1e-8 * 9.81 * abs(zt[k]) * RHO)
                    a_t[i, j, k] = -mask_t[i, j, k] * thermal * RHO
                    a_s[i, j, k] = mask_t[i, j, k] * 0.78e-3 * RHO
                    if k < nz - 1:
                        t_z[i, j, k] = mask_w[i, j, k] * (t[i, j, k + 1] - t[i, j, k]) / dzw[k]
                        s_z[i, j, k] = mask_w[i, j, k] * (s[i, j, k + 1] - s[i, j, k]) / dzw[k]
        return a_t, a_s, t_z, s_z

    return columns


def sides_of(njit: Any, prange: Any) -> Any:
    tap, slope = helpers(njit)

    @njit
    def sides(di, dj, t, s, parts, k_iso, mask, du, scale, dzt, dzw, out):
        """East faces (di = 1) or north faces (dj = 1): writes K into `out`, returns the slopes."""
        a_t, a_s, t_z, s_z = parts
        nx, ny, nz = t.shape
        found = np.zeros((nx, ny, nz, 2, 2))
        for i in prange(2 - di, nx - 2):
            for j in range(2 - dj, ny - 2):
                width = du[i] * scale[j] if di else du[j]
                for k in range(nz):
                    m = mask[i, j, k]
                    dt = m * (t[i + di, j + dj, k] - t[i, j, k]) / width
                    ds = m * (s[i + di, j + dj, k] - s[i, j, k]) / width
                    low = max(k - 1, 0)
                    kappa = 0.25 * (k_iso[i, j, k] + k_iso[i, j, low] + k_iso[i + di, j + dj, k]
                                    + k_iso[i + di, j + dj, low])
                    total = 0.0
                    for kr in range(2):
                        level = k - 1 + kr
                        if level < 0:
                            continue
                        for q in range(2):
                            a, b = i + q * di, j + q * dj
                            sl = slope(a_t[a, b, k] * dt + a_s[a, b, k] * ds,
                                       a_t[a, b, k] * t_z[a, b, level] + a_s[a, b, k] * s_z[a, b, level])
                            taper = tap(sl)
                            found[i, j, k, q, kr] = taper * sl * m
                            total += dzw[level] * m * max(50.0, kappa * taper)
                    out[i, j, k] = total / (4 * dzt[k])
        return found

    return sides


def tops_of(njit: Any, prange: Any) -> Any:
    tap, slope = helpers(njit)

    @njit
    def tops(t, s, parts, k_iso, mask_u, mask_v, mask_w, dxt, dxu, dyt, dyu, cost, cosu, out):
        """The tops of all inner cells."""
        a_t, a_s, t_z, s_z = parts
        nx, ny, nz = t.shape
        along_x, along_y = np.zeros((nx, ny, nz, 2, 2)), np.zeros((nx, ny, nz, 2, 2))
        for i in prange(2, nx - 2):
            for j in range(2, ny - 2):
                out[i, j, nz - 1] = 0.0
                for k in range(nz - 1):
                    m, x, y = mask_w[i, j, k], 0.0, 0.0
                    for kr in range(2):
                        kk = k + kr
                        at, as_ = a_t[i, j, kk], a_s[i, j, kk]
                        v = at * t_z[i, j, k] + as_ * s_z[i, j, k]
                        for q in range(2):
                            a, b = i - 1 + q, j - 1 + q
                            dt, ds = t[a + 1, j, kk] - t[a, j, kk], s[a + 1, j, kk] - s[a, j, kk]
                            sl = slope((at * dt + as_ * ds) * mask_u[a, j, kk] / (dxu[a] * cost[j]), v)
                            part = tap(sl) * sl * m
                            along_x[i, j, k, q, kr] = part
                            x += dxu[a] * k_iso[i, j, k] * part * sl
                            dt, ds = t[i, b + 1, kk] - t[i, b, kk], s[i, b + 1, kk] - s[i, b, kk]
                            sl = slope((at * dt + as_ * ds) * mask_v[i, b, kk] / dyu[b], v)
                            part = tap(sl) * sl * m
                            along_y[i, j, k, q, kr] = part
                            y += cosu[b] * dyu[b] * k_iso[i, j, k] * part * sl
                    out[i, j, k] = x / (4 * dxt[i]) + y / (4 * dyt[j] * cost[j])
        return along_x, along_y

    return tops


def mixing() -> Any:
    """The function of the workload's arguments."""
    columns, sides, tops = (make(*support.numba()) for make in (columns_of, sides_of, tops_of))

    def call(*given: Any) -> Any:
        (t, s, k_iso, mask_t, mask_u, mask_v, mask_w, dxt, dxu, dyt, dyu, dzt, dzw, zt, cost, cosu, *k) = given
        k_11, k_22, k_33 = (part.copy() for part in k)
        parts = columns(t, s, mask_t, mask_w, dzw, zt)
        east = sides(1, 0, t, s, parts, k_iso, mask_u, dxu, cost, dzt, dzw, k_11)
        north = sides(0, 1, t, s, parts, k_iso, mask_v, dyu, cost, dzt, dzw, k_22)
        return k_11, k_22, k_33, east, north, *tops(
            t, s, parts, k_iso, mask_u, mask_v, mask_w, dxt, dxu, dyt, dyu, cost, cosu, k_33)

    return call
