"""Linear algebra through LAPACK. The last two dims are matrices, the others a batch.

A factorisation has several results and an operation one, so that the parts lie packed in one array; the functions in
`tracer/linalg.py` take them apart. The rules are those of M. Giles, "Collected matrix derivative results for forward
and reverse mode algorithmic differentiation" (2008), and for pinv of Golub and Pereyra (1973).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import InvalidOperands, ShapeError
from ..shapes import broadcast_shapes
from ..types import COMPLEX, FLOAT, TensorType, i64
from .op import OperandType, fail_dtype, register
from .products import transposed

DOMAIN = ((-3.0, 3.0),)


def _matrix(name: str, x: OperandType, square: bool, complex: bool) -> TensorType:
    assert isinstance(x, TensorType)
    if x.dtype.category < FLOAT or (x.dtype.category == COMPLEX and not complex):
        raise fail_dtype(name, x.dtype, "float32 or float64")
    if x.ndim < 2 or (square and x.shape[-1] != x.shape[-2]):
        raise ShapeError(f"`{name}` of shape {x.shape}",
                         ("why", f"it takes {'square ' if square else ''}matrices over the last two dims"),
                         fix="reshape the operand, or use `lstsq` or `pinv` for rectangular ones")
    return x


def _infer(name: str, shape: Callable[..., tuple[int, ...]], square: bool = True, complex: bool = False) \
        -> Callable[..., TensorType]:
    def infer(x: OperandType, *_: Any) -> TensorType:
        x = _matrix(name, x, square, complex)
        return TensorType(x.dtype, (*x.shape[:-2], *shape(*x.shape[-2:])))

    return infer


def _t(b: Any, x: Any, type: TensorType) -> Any:
    return transposed(b, x, type.ndim)


def part(b: Any, x: Any, lead: tuple[int, ...], rows: slice | int, columns: slice | None = None) -> Any:
    """Rows and columns of packed results."""
    every = tuple(slice(0, extent, 1) for extent in lead)
    return b.slice(x, index=(*every, rows) if columns is None else (*every, rows, columns))


def mask(b: Any, n: int, dtype: Any, lower: bool, diagonal: float) -> Any:
    """An n x n matrix of ones below (or above) the diagonal, `diagonal` on it, zeros elsewhere."""
    order = b.arange(start=0, stop=n, step=1, dtype=dtype)
    column = b.reshape(order, shape=(n, 1))
    strict = b.cast(b.gt(column, order) if lower else b.lt(column, order), dtype=dtype)
    return b.add(strict, b.mul(b.cast(b.eq(column, order), dtype=dtype), diagonal))


# ---- systems of equations


def _infer_solve(a: OperandType, c: OperandType, structure: str) -> TensorType:
    a = _matrix("solve", a, True, True)
    assert isinstance(c, TensorType)
    if c.ndim < 2 or c.shape[-2] != a.shape[-1]:
        raise ShapeError(f"`solve` of a system of shape {a.shape} for a right side of shape {c.shape}",
                         ("why", f"the right side needs {a.shape[-1]} rows"), fix="reshape or transpose it")
    return TensorType(a.dtype, (*broadcast_shapes("solve", [a.shape[:-2], c.shape[:-2]]), *c.shape[-2:]))


def _solve(a: Any, c: Any, structure: str) -> Any:
    try:
        return np.linalg.solve(a, c) if structure == "general" else _solve_triangle(a, c, structure == "lower")
    except np.linalg.LinAlgError:
        raise InvalidOperands("the matrix is singular", ("why", "the system has no solution, or many"),
                              fix="use `lstsq` or `pinv`, or add a multiple of the identity") from None


def _solve_triangle(a: Any, c: Any, lower: bool) -> Any:
    from scipy.linalg import lapack

    lead = np.broadcast_shapes(a.shape[:-2], c.shape[:-2])
    result = np.empty((*lead, *c.shape[-2:]), c.dtype)
    if not result.size:
        return result
    trtrs = lapack.strtrs if c.dtype == np.float32 else lapack.dtrtrs
    left, right = np.broadcast_to(a, (*lead, *a.shape[-2:])), np.broadcast_to(c, result.shape)
    for place in np.ndindex(lead):  # LAPACK takes columns that follow one another: those of the transpose
        result[place], info = trtrs(left[place].T, right[place], lower=not lower, trans=1)
        if info:
            raise np.linalg.LinAlgError(f"0 on the diagonal at {info - 1}")
    return result


def _solve_left(b: Any, ct: Any, a: Any, out: Any, types: Any, type: Any, structure: str) -> Any:
    right = _solve_right(b, ct, a, types, structure)
    full = b.neg(b.matmul(right, _t(b, out, type)))
    if structure == "general":
        return full
    return b.mul(full, mask(b, types[0].shape[-1], types[0].dtype, structure == "lower", 1.0))


def _solve_right(b: Any, ct: Any, a: Any, types: Any, structure: str) -> Any:
    turned = {"general": "general", "lower": "upper", "upper": "lower"}[structure]
    return b.solve(_t(b, a, types[0]), ct, structure=turned)


register("solve", "a c", "library", infer=_infer_solve, eager=_solve, vjp=(_solve_left, _solve_right),
         attributes={"structure": "general"}, domain=DOMAIN * 2, promotion="same", cost=20.0, ulp=512.0,
         doc="The x of a @ x = c; `structure` says that `a` is \"lower\" or \"upper\" triangular.")


def _identity(b: Any, n: int, dtype: Any) -> Any:
    return b.mul(mask(b, n, dtype, True, 1.0), mask(b, n, dtype, False, 1.0))


def _slogdet(x: Any) -> Any:
    return np.stack(np.linalg.slogdet(x), axis=-1)


def _slogdet_rule(b: Any, ct: Any, x: Any, types: Any) -> Any:
    *lead, n, _ = types[0].shape
    logarithm = b.reshape(part(b, ct, tuple(lead), 1), shape=(*lead, 1, 1))
    inverse = b.solve(_t(b, x, types[0]), _identity(b, n, types[0].dtype), structure="general")
    return b.mul(logarithm, inverse)


register("slogdet", "x", "library", infer=lambda x: TensorType(_matrix("slogdet", x, True, False).dtype,
                                                               (*x.shape[:-2], 2)),
         eager=_slogdet, vjp=(_slogdet_rule,), domain=DOMAIN, promotion="float", cost=20.0, ulp=512.0,
         doc="Sign and logarithm of the absolute value of the determinant, packed as two elements.")


# ---- factorisations


def _cholesky_rule(b: Any, ct: Any, out: Any, types: Any) -> Any:
    """With P the lower triangle and half the diagonal of L^T ct: L^-T P L^-1, made symmetric."""
    type = types[0]
    n, dtype = type.shape[-1], type.dtype
    phi = b.mul(b.matmul(_t(b, out, type), ct), mask(b, n, dtype, True, 0.5))
    upper = _t(b, out, type)
    inner = b.solve(upper, phi, structure="upper")  # L^-T P
    whole = _t(b, b.solve(upper, _t(b, inner, type), structure="upper"), type)
    return b.mul(b.add(whole, _t(b, whole, type)), 0.5)


register("cholesky", "x", "library", infer=_infer("cholesky", lambda m, n: (m, n)), eager=np.linalg.cholesky,
         vjp=(_cholesky_rule,), domain=DOMAIN, promotion="float", cost=20.0, ulp=512.0,
         doc="The lower triangle L of a symmetric positive definite L @ L.T; the upper half of `x` isn't read.")


def _eigh(x: Any) -> Any:
    values, vectors = np.linalg.eigh(x)
    return np.concatenate([values[..., None, :], vectors], axis=-2)


def _gaps(b: Any, values: Any, n: int, dtype: Any, lead: tuple[int, ...]) -> Any:
    """1 / (w_j - w_i), and 0 on the diagonal."""
    row, column = b.reshape(values, shape=(*lead, 1, n)), b.reshape(values, shape=(*lead, n, 1))
    diagonal = _identity(b, n, dtype)
    return b.div(b.sub(1.0, diagonal), b.add(b.sub(row, column), diagonal))


def _eigh_rule(b: Any, ct: Any, out: Any, types: Any) -> Any:
    type = types[0]
    *lead, n, _ = type.shape
    lead = tuple(lead)
    values, vectors = part(b, out, lead, 0), part(b, out, lead, slice(1, n + 1, 1))
    d_values, d_vectors = part(b, ct, lead, slice(0, 1, 1)), part(b, ct, lead, slice(1, n + 1, 1))
    inner = b.mul(b.matmul(_t(b, vectors, type), d_vectors), _gaps(b, values, n, type.dtype, lead))
    inner = b.add(inner, b.mul(_identity(b, n, type.dtype), d_values))
    whole = b.matmul(b.matmul(vectors, inner), _t(b, vectors, type))
    return b.mul(b.add(whole, _t(b, whole, type)), 0.5)


register("eigh", "x", "library", infer=_infer("eigh", lambda m, n: (n + 1, n)), eager=_eigh, vjp=(_eigh_rule,),
         domain=DOMAIN, promotion="float", cost=60.0, ulp=4096.0,
         doc="Eigenvalues of symmetric matrices (first row) and eigenvectors (the columns below).")


def _qr(x: Any) -> Any:
    q, r = np.linalg.qr(x)
    return np.concatenate([q, np.swapaxes(r, -1, -2)], axis=-2)


def _qr_rule(b: Any, ct: Any, out: Any, types: Any) -> Any:
    type = types[0]
    *lead, m, n = type.shape
    lead, k = tuple(lead), min(m, n)
    square = TensorType(type.dtype, (*lead, k, k))
    q, qt = part(b, out, lead, slice(0, m, 1)), part(b, ct, lead, slice(0, m, 1))
    r = part(b, out, lead, slice(m, m + k, 1))  # transposed
    rt = b.mul(part(b, ct, lead, slice(m, m + k, 1)), mask(b, k, type.dtype, True, 1.0))
    if n > m:  # the columns beyond the square follow from Q: Y = Q^T x_beyond
        beyond = part(b, out, lead, slice(m + k, m + n, 1))
        d_beyond = part(b, ct, lead, slice(m + k, m + n, 1))
        full = TensorType(type.dtype, (*lead, n - k, k))
        qt = b.add(qt, b.matmul(q, b.matmul(_t(b, beyond, full), d_beyond)))
    # M = R ct_R^T - ct_Q^T Q; gradient (ct_Q + Q copyltu(M)) R^-T
    tall = TensorType(type.dtype, (*lead, m, k))
    inner = b.sub(b.matmul(_t(b, r, square), rt), b.matmul(_t(b, qt, tall), q))
    low = b.mul(inner, mask(b, k, type.dtype, True, 0.5))
    inner = b.add(low, _t(b, low, square))
    outer = b.add(qt, b.matmul(q, inner))
    turned = b.solve(_t(b, r, square), _t(b, outer, tall), structure="upper")
    first = _t(b, turned, TensorType(type.dtype, (*lead, k, m)))
    if n == k:
        return first
    return b.cat(first, b.matmul(q, _t(b, d_beyond, TensorType(type.dtype, (*lead, n - k, k)))), axis=len(lead) + 1)


register("qr", "x", "library", infer=_infer("qr", lambda m, n: (m + n, min(m, n)), False), eager=_qr, vjp=(_qr_rule,),
         domain=DOMAIN, promotion="float", cost=40.0, ulp=4096.0,
         doc="Orthonormal columns Q, and below them the transpose of R, of x = Q @ R.")


def _svd(x: Any) -> Any:
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    return np.concatenate([u, s[..., None, :], np.swapaxes(vh, -1, -2)], axis=-2)


def _svd_rule(b: Any, ct: Any, out: Any, types: Any) -> Any:
    type = types[0]
    *lead, m, n = type.shape
    lead, k, dtype = tuple(lead), min(m, n), type.dtype
    rows = (slice(0, m, 1), slice(m, m + 1, 1), slice(m + 1, m + 1 + n, 1))
    u, s, v = (part(b, out, lead, r) for r in rows)
    du, ds, dv = (part(b, ct, lead, r) for r in rows)
    gaps = _gaps(b, b.mul(s, s), k, dtype, lead)
    square = TensorType(dtype, (*lead, k, k))

    def turn(vectors: Any, change: Any) -> tuple[Any, Any]:
        """The rotation of the vectors among themselves, and what leaves their span, divided by s."""
        inner = b.matmul(_t(b, vectors, square), change)
        turned = b.mul(gaps, inner)
        away = b.div(b.sub(change, b.matmul(vectors, inner)), s)
        return b.add(turned, _t(b, turned, square)), away

    (j, u_away), (k_, v_away) = turn(u, du), turn(v, dv)
    scale = b.reshape(s, shape=(*lead, k, 1))
    core = b.add(b.add(b.mul(j, s), b.mul(k_, scale)), b.mul(_identity(b, k, dtype), ds))
    vt = _t(b, v, square)
    whole = b.matmul(b.matmul(u, core), vt)
    if m > k:
        whole = b.add(whole, b.matmul(u_away, vt))
    if n > k:
        whole = b.add(whole, b.matmul(u, _t(b, v_away, square)))
    return whole


register("svd", "x", "library", infer=_infer("svd", lambda m, n: (m + n + 1, min(m, n)), False), eager=_svd,
         vjp=(_svd_rule,), domain=DOMAIN, promotion="float", cost=80.0, ulp=4096.0,
         doc="U, below it a row of singular values, below that V, of x = U @ diag(s) @ V.T.")


# ---- the factors of elimination


def _lu(x: Any) -> Any:
    """L and U in one matrix, and two columns more: which row of x each row is, and LAPACK's exchanges (from 1 on)."""
    from scipy.linalg import lapack

    lead, (m, n) = x.shape[:-2], x.shape[-2:]
    getrf = lapack.sgetrf if x.dtype == np.float32 else lapack.dgetrf
    out = np.zeros((*lead, m, n + 2), x.dtype)
    for place in np.ndindex(lead) if m and n else ():
        out[place][:, :n], pivots, _ = getrf(x[place])
        out[place][: len(pivots), n + 1] = pivots + 1
        order = list(range(m))
        for row, other in enumerate(pivots):
            order[row], order[other] = order[other], order[row]
        out[place][:, n] = order
    return out


def _lu_rule(b: Any, ct: Any, out: Any, types: Any) -> Any:
    """With D = L^T ct_L below and ct_U U^T on and above the diagonal: P L^-T D U^-T.

    Of rectangular matrices the rows (or columns) beyond the square follow from the square's factors, and add to D.
    """
    type = types[0]
    *lead, m, n = type.shape
    lead, k, dtype = tuple(lead), min(m, n), type.dtype
    square = TensorType(dtype, (*lead, k, k))

    def cut(x: Any, rows: tuple[int, int], columns: tuple[int, int]) -> Any:
        return part(b, x, lead, slice(*rows, 1), slice(*columns, 1))

    core, d_core = cut(out, (0, k), (0, k)), cut(ct, (0, k), (0, k))
    low = b.add(b.mul(core, mask(b, k, dtype, True, 0.0)), _identity(b, k, dtype))
    high = b.mul(core, mask(b, k, dtype, False, 1.0))
    low_t, high_t = _t(b, low, square), _t(b, high, square)
    d_low, d_high = b.mul(d_core, mask(b, k, dtype, True, 0.0)), b.mul(d_core, mask(b, k, dtype, False, 1.0))
    inner = b.add(b.mul(b.matmul(low_t, d_low), mask(b, k, dtype, True, 0.0)),
                  b.mul(b.matmul(d_high, high_t), mask(b, k, dtype, False, 1.0)))
    beyond = None
    if m > k:  # L_beyond = x_beyond U^-1
        tall = TensorType(dtype, (*lead, m - k, k))
        rest, d_rest = cut(out, (k, m), (0, k)), cut(ct, (k, m), (0, k))
        inner = b.sub(inner, b.mul(b.matmul(_t(b, rest, tall), d_rest), mask(b, k, dtype, False, 1.0)))
        beyond = _t(b, b.solve(high, _t(b, d_rest, tall), structure="upper"), TensorType(dtype, (*lead, k, m - k)))
    if n > k:  # U_beyond = L^-1 x_beyond
        wide = TensorType(dtype, (*lead, k, n - k))
        rest, d_rest = cut(out, (0, k), (k, n)), cut(ct, (0, k), (k, n))
        inner = b.sub(inner, b.mul(b.matmul(d_rest, _t(b, rest, wide)), mask(b, k, dtype, True, 0.0)))
        beyond = b.solve(low_t, d_rest, structure="upper")
    left = b.solve(low_t, inner, structure="upper")
    turned = b.solve(high, _t(b, left, square), structure="upper")
    whole = _t(b, turned, square)
    if beyond is not None:
        whole = b.cat(whole, beyond, axis=len(lead) + (m == k))
    order = b.cast(part(b, out, lead, slice(0, m, 1), slice(n, n + 1, 1)), dtype=i64)
    return b.scatter_add(whole, b.expand(order, shape=type.shape), shape=type.shape, axis=len(lead))


register("lu", "x", "library", infer=_infer("lu", lambda m, n: (m, n + 2), False), eager=_lu, vjp=(_lu_rule,),
         domain=DOMAIN, promotion="float", cost=20.0, ulp=512.0,
         doc="The factors of x = P @ L @ U in one matrix, and columns of the rows' order and exchanges.")


# ---- functions of matrices


def _pinv_rule(b: Any, ct: Any, x: Any, out: Any, types: Any, type: Any) -> Any:
    ct_t, p_t = _t(b, ct, type), _t(b, out, type)
    inner = b.neg(b.matmul(b.matmul(p_t, ct), p_t))
    wide = b.matmul(b.matmul(ct_t, out), p_t)  # G^T P P^T
    rows = b.sub(wide, b.matmul(x, b.matmul(out, wide)))
    tall = b.matmul(p_t, b.matmul(out, ct_t))  # P^T P G^T
    columns = b.sub(tall, b.matmul(b.matmul(tall, out), x))
    return b.add(inner, b.add(rows, columns))


register("pinv", "x", "library", infer=_infer("pinv", lambda m, n: (n, m), False),
         eager=lambda x, rcond: np.linalg.pinv(x, rcond=rcond), vjp=(_pinv_rule,), attributes={"rcond": 1e-15},
         domain=DOMAIN, promotion="float", cost=80.0, ulp=4096.0,
         doc="The Moore-Penrose inverse; singular values up to `rcond` times the largest count as 0.")


def _matrix_exp(x: Any) -> Any:
    from scipy.linalg import expm

    return expm(x).astype(x.dtype) if x.size else np.array(x)


def _matrix_exp_rule(b: Any, ct: Any, x: Any, types: Any) -> Any:
    """The upper right block of exp([[x^T, ct], [0, x^T]]): the Frechet derivative in the direction of ct."""
    type = types[0]
    *lead, n, _ = type.shape
    rows, columns = len(lead), len(lead) + 1
    turned = _t(b, x, type)
    zeros = b.full(shape=type.shape, value=0, dtype=type.dtype)
    block = b.cat(b.cat(turned, ct, axis=columns), b.cat(zeros, turned, axis=columns), axis=rows)
    return part(b, b.matrix_exp(block), tuple(lead), slice(0, n, 1), slice(n, 2 * n, 1))


register("matrix_exp", "x", "library", infer=_infer("matrix_exp", lambda m, n: (m, n), complex=True),
         eager=_matrix_exp, vjp=(_matrix_exp_rule,), domain=((-1.0, 1.0),), promotion="float", cost=80.0, ulp=4096.0,
         doc="The exponential of square matrices.")
