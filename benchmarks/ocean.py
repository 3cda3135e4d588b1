"""The formulas of isoneutral mixing (Redi's tensor with tapered slopes, as in pyhpc-benchmarks), for any library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

RHO = 1024.0


def mixing(library: Any, cat: Callable[..., Any], zeros: Callable[..., Any], write: Callable[..., Any]) -> Any:
    """`cat(parts)` joins along the last axis, `write(a, (index, value), ...)` gives a changed copy of a."""
    def tap(s: Any) -> Any:
        return 0.5 * (1 + library.tanh((1e-3 - abs(s)) / 1e-3))

    def slope(h: Any, v: Any) -> Any:
        return -h / (library.where(v < 0, v, 0.0) - 1e-20)

    def below(x: Any) -> Any:
        return cat([x[..., :1] * 0, x[..., :-1]])

    def call(*given: Any) -> Any:
        (t, s, k_iso, mask_t, mask_u, mask_v, mask_w, dxt, dxu, dyt, dyu, dzt, dzw, zt, cost, cosu, *k) = given
        n, top = slice(2, -2), slice(None, -1)
        e, shape = slice(1, -2), (*t.shape, 2, 2)
        a_t = mask_t * -((1e-5 * (t - 9.85) + 1.67e-4 * (1 + 1.1e-8 * 9.81 * RHO * abs(zt))) * RHO)
        a_s = mask_t * (0.78e-3 * RHO)
        dx, dy = (dxu[:, None] * cost)[:, :, None], dyu[:, None]

        def along(f: Any) -> Any:
            """Differences at the east faces [1:-2, 2:-2], the north faces [2:-2, 1:-2], and the tops of all cells."""
            return (mask_u[e, n] * (f[2:-1, n] - f[e, n]) / dx[e, n], mask_v[n, e] * (f[n, 2:-1] - f[n, e]) / dy[e],
                    cat([mask_w[..., :-1] * (f[..., 1:] - f[..., :-1]) / dzw[:-1], f[..., :1] * 0]))

        (t_x, t_y, t_z), (s_x, s_y, s_z) = along(t), along(s)
        # the level of the top face of a cell (kr = 1) and of the one below (kr = 0)
        levels = ((below(t_z), below(s_z), below(dzw)), (t_z, s_z, dzw))
        twice = k_iso + cat([k_iso[..., :1], k_iso[..., :-1]])

        def faces(t_h: Any, s_h: Any, mask: Any, cells: Any) -> Any:
            """Of east or north faces: the diffusivity, and what is to be written where."""
            kappa, total, found = 0.25 * (twice[cells[0]] + twice[cells[1]]), 0.0, []
            for kr, (low_t, low_s, thick) in enumerate(levels):
                for q, a in enumerate(cells):
                    sl = slope(a_t[a] * t_h + a_s[a] * s_h, a_t[a] * low_t[a] + a_s[a] * low_s[a])
                    taper = tap(sl)
                    found.append(((*cells[0], slice(None), q, kr), taper * sl * mask))
                    flow = kappa * taper
                    total = total + thick * mask * library.where(flow > 50, flow, 50.0)
            return total / (4 * dzt), found

        east, north = ((e, n), (slice(2, -1), n)), ((n, e), (n, slice(2, -1)))
        k_11, ez = faces(t_x, s_x, mask_u[e, n], east)
        k_22, nz = faces(t_y, s_y, mask_v[n, e], north)
        m, k_i, x_total, y_total, bx, by = mask_w[n, n, top], k_iso[n, n, top], 0.0, 0.0, [], []
        length = cosu * dyu
        for kr in (0, 1):
            kk = (slice(None), slice(None), slice(kr, t.shape[2] - 1 + kr))
            at, as_ = a_t[n, n][kk], a_s[n, n][kk]
            v = at * t_z[n, n, top] + as_ * s_z[n, n, top]
            for q in (0, 1):
                i = slice(q, t.shape[0] - 4 + q)
                sl = slope(at * t_x[i][kk] + as_ * s_x[i][kk], v)
                part = tap(sl) * sl * m
                bx.append(((n, n, top, q, kr), part))
                x_total = x_total + dxu[e][i][:, None, None] * k_i * part * sl
                sl = slope(at * t_y[:, i][kk] + as_ * s_y[:, i][kk], v)
                part = tap(sl) * sl * m
                by.append(((n, n, top, q, kr), part))
                y_total = y_total + length[e][i][:, None] * k_i * part * sl
        k_33 = x_total / (4 * dxt[n][:, None, None]) + y_total / (4 * (dyt * cost)[n][:, None])
        k_33 = cat([k_33, k_33[..., :1] * 0])
        return (write(k[0], ((e, n), k_11)), write(k[1], ((n, e), k_22)), write(k[2], ((n, n), k_33)),
                *(write(zeros(shape), *found) for found in (ez, nz, bx, by)))

    return call
