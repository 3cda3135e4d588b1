"""`rt.linalg`: solutions, factorisations, norms and functions of matrices, for batches of them."""

from __future__ import annotations

import math
from collections import namedtuple
from typing import Any

import numpy as np

from retape.ir.errors import InvalidOperands, ShapeError

from .arranging import tril, triu
from .creation import eye
from .numeric import where
from .products import cross, matmul, vecdot
from .statistics import norm as p_norm
from .tensor import Tensor
from .vocabulary import axis_of, composed, floating, primitive, refuse, tensor_of

QR = namedtuple("QR", ["Q", "R"])
SVD = namedtuple("SVD", ["U", "S", "Vh"])
Eigh = namedtuple("Eigh", ["eigenvalues", "eigenvectors"])
SlogDet = namedtuple("SlogDet", ["sign", "logabsdet"])
LeastSquares = namedtuple("LeastSquares", ["solution", "residuals", "rank", "singular_values"])


def _rows(x: Tensor, start: int, stop: int) -> Tensor:
    """Rows of packed results."""
    every = tuple(slice(0, extent, 1) for extent in x.shape[:-2])
    return primitive("slice", x, index=(*every, slice(start, stop, 1)))


def _row(x: Tensor, at: int) -> Tensor:
    every = tuple(slice(0, extent, 1) for extent in x.shape[:-2])
    return primitive("slice", x, index=(*every, at))


# ---- systems of equations


@composed(space="linalg")
def solve(A: Any, B: Any, *, left: bool = True) -> Tensor:
    """The X of A @ X = B (or of X @ A = B); a vector, or a batch of vectors, is solved for as columns."""
    a, b = floating(A), floating(B)
    vector = b.ndim == 1 or (b.ndim == a.ndim - 1 and b.shape == a.shape[:-1])
    if not left:
        return solve(a.mT, b if vector else b.mT) if vector else solve(a.mT, b.mT).mT
    out = primitive("solve", a, b.unsqueeze(-1) if vector else b, structure="general")
    return out.squeeze(-1) if vector else out


@composed(space="linalg")
def solve_triangular(A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """The X of A @ X = B with a triangular A; its other triangle (and with `unitriangular` its diagonal) isn't read."""
    a, b = floating(A), floating(B)
    if not left:
        return solve_triangular(a.mT, b.mT, upper=not upper, unitriangular=unitriangular).mT
    if unitriangular:
        a = (triu(a, 1) if upper else tril(a, -1)) + eye(a.shape[-1], dtype=a.dtype)
    return primitive("solve", a, b, structure="upper" if upper else "lower")


@composed(space="linalg")
def inv(A: Any) -> Tensor:
    """The inverse of square matrices."""
    a = floating(A)
    refuse(a.ndim < 2, f"`inv` of shape {a.shape}", "it takes square matrices", "reshape the operand", ShapeError)
    return primitive("solve", a, eye(a.shape[-1], dtype=a.dtype), structure="general")


@composed(space="linalg")
def lstsq(A: Any, B: Any, rcond: float | None = None) -> Any:
    """The X of smallest norm that makes ||A @ X - B|| smallest, with residuals, rank and singular values of A."""
    a, b = floating(A), floating(B)
    m, n = a.shape[-2:]
    vector = b.ndim == 1 or (b.ndim == a.ndim - 1 and b.shape == a.shape[:-1])
    columns = b.unsqueeze(-1) if vector else b
    limit = float(np.finfo(a._data.dtype).eps) * max(m, n) if rcond is None else rcond
    x = matmul(primitive("pinv", a, rcond=limit), columns)
    s = svdvals(a.detach())
    rank = (s > s.amax(-1, True) * limit).sum(-1)
    left = matmul(a, x) - columns
    residuals = (left * left).sum(-2)
    return LeastSquares(x.squeeze(-1) if vector else x, residuals, rank, s)


# ---- determinants


@composed(space="linalg")
def slogdet(A: Any) -> Any:
    """Sign and logarithm of the absolute value of the determinant."""
    packed = primitive("slogdet", floating(A))
    return SlogDet(packed[..., 0].detach(), packed[..., 1])


@composed(space="linalg")
def det(A: Any) -> Tensor:
    """The determinant. Its derivative at singular matrices is an error."""
    sign, logarithm = slogdet(A)
    out: Tensor = sign * primitive("exp", logarithm)
    return out


# ---- factorisations


@composed(space="linalg")
def cholesky(A: Any, *, upper: bool = False) -> Tensor:
    """The triangle L of a symmetric positive definite A = L @ L.T (or its transpose)."""
    out = primitive("cholesky", floating(A))
    return out.mT if upper else out


@composed(space="linalg")
def qr(A: Any, mode: str = "reduced") -> Any:
    """Orthonormal columns Q and an upper triangle R with A = Q @ R; mode "reduced" or "r"."""
    a = floating(A)
    refuse(mode not in ("reduced", "r"), f"`qr` in mode {mode!r}", "the complete Q isn't computed",
           "use mode='reduced'", InvalidOperands)
    packed, m = primitive("qr", a), a.shape[-2]
    q, r = _rows(packed, 0, m), _rows(packed, m, packed.shape[-2]).mT
    return QR(q if mode == "reduced" else q[..., :0, :0], r)


@composed(space="linalg")
def svd(A: Any, full_matrices: bool = False) -> Any:
    """U, S, Vh of A = U @ diag(S) @ Vh, with as many columns as there are singular values."""
    a = floating(A)
    m, n = a.shape[-2:]
    refuse(full_matrices and m != n, "`svd` with `full_matrices`",
           "the columns beyond the singular values are arbitrary", "use full_matrices=False", InvalidOperands)
    packed = primitive("svd", a)
    return SVD(_rows(packed, 0, m), _row(packed, m), _rows(packed, m + 1, m + 1 + n).mT)


@composed(space="linalg")
def svdvals(A: Any) -> Tensor:
    """Singular values, the largest first."""
    return svd(A).S  # type: ignore[no-any-return]


@composed(space="linalg")
def eigh(A: Any, UPLO: str = "L") -> Any:
    """Eigenvalues, the smallest first, and eigenvectors of symmetric matrices, of which one triangle is read."""
    a = floating(A)
    packed = primitive("eigh", a if UPLO == "L" else a.mT)
    return Eigh(_row(packed, 0), _rows(packed, 1, packed.shape[-2]))


@composed(space="linalg")
def eigvalsh(A: Any, UPLO: str = "L") -> Tensor:
    """Eigenvalues of symmetric matrices, the smallest first."""
    return eigh(A, UPLO).eigenvalues  # type: ignore[no-any-return]


# ---- norms


@composed(space="linalg")
def vector_norm(x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The norm of vectors over dims, of all elements by default."""
    return p_norm(floating(x), ord, dim, keepdim)


@composed(space="linalg")
def matrix_norm(A: Any, ord: Any = "fro", dim: tuple[int, int] = (-2, -1), keepdim: bool = False) -> Tensor:
    """The norm of matrices: "fro", "nuc", 2 and -2 by singular values, 1, -1, inf and -inf by sums."""
    a = floating(A)
    row, column = (axis_of(d, a) for d in dim)
    if ord == "fro":
        return p_norm(a, 2, (row, column), keepdim)
    if ord in ("nuc", 2, -2):
        rest = [d for d in range(a.ndim) if d not in (row, column)]
        s = svdvals(primitive("permute", a, axes=(*rest, row, column)))
        out = s.sum(-1) if ord == "nuc" else s.amax(-1) if ord == 2 else s.amin(-1)
        return out.unsqueeze(min(row, column)).unsqueeze(max(row, column)) if keepdim else out
    refuse(ord not in (1, -1, math.inf, -math.inf), f"a matrix norm of order {ord!r}",
           "it is 'fro', 'nuc', 1, 2, inf or one of these negated", "use one of these", InvalidOperands)
    first, second = (row, column) if abs(ord) == 1 else (column, row)
    totals = abs(a).sum(first, True)
    out = primitive("amax" if ord > 0 else "amin", totals, axis=(second,), keepdims=True)
    return out if keepdim else out.squeeze((row, column))


@composed(space="linalg")
def norm(A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False) -> Tensor:
    """`vector_norm`, or `matrix_norm` for two dims with an order."""
    a = floating(A)
    if ord is None:
        return vector_norm(a, 2, dim, keepdim)
    if isinstance(ord, str) or (dim is None and a.ndim == 2) or (isinstance(dim, (tuple, list)) and len(dim) == 2):
        return matrix_norm(a, ord, (-2, -1) if dim is None else dim, keepdim)
    return vector_norm(a, ord, dim, keepdim)


@composed(space="linalg")
def cond(A: Any, p: Any = None) -> Tensor:
    """The norm of a matrix times that of its inverse; the ratio of singular values by default."""
    a = floating(A)
    if p is None or p in (2, -2):
        s = svdvals(a)
        ratio = s[..., 0] / s[..., -1]
        return 1.0 / ratio if p == -2 else ratio
    return matrix_norm(a, p) * matrix_norm(inv(a), p)


@composed(space="linalg")
def matrix_rank(A: Any, *, rtol: float | None = None) -> Tensor:
    """How many singular values are more than `rtol` times the largest."""
    a = floating(A).detach()
    s = svdvals(a)
    limit = float(np.finfo(a._data.dtype).eps) * max(a.shape[-2:]) if rtol is None else rtol
    return (s > s.amax(-1, True) * limit).sum(-1)


# ---- functions of matrices


@composed(space="linalg")
def pinv(A: Any, rcond: float | None = None, *, rtol: float | None = None) -> Tensor:
    """The Moore-Penrose inverse."""
    a = floating(A)
    limit = rcond if rtol is None else rtol
    if limit is None:
        limit = float(np.finfo(a._data.dtype).eps) * max(a.shape[-2:])
    return primitive("pinv", a, rcond=limit)


@composed(space="linalg")
def matrix_exp(A: Any) -> Tensor:
    """The exponential of square matrices."""
    return primitive("matrix_exp", floating(A))


@composed(space="linalg")
def matrix_power(A: Any, n: int) -> Tensor:
    """The product of `n` equal matrices, of the inverse for negative `n`."""
    a = tensor_of(A)
    if n < 0:
        return matrix_power(inv(a), -n)
    if n == 0:
        return eye(a.shape[-1], dtype=a.dtype).expand(*a.shape)
    out = None
    while n:
        if n & 1:
            out = a if out is None else primitive("matmul", out, a)
        n >>= 1
        a = primitive("matmul", a, a) if n else a
    assert out is not None
    return out


@composed(space="linalg")
def cholesky_solve(B: Any, L: Any, upper: bool = False) -> Tensor:
    """The X of A @ X = B, given the triangle of A's Cholesky factorisation."""
    low = floating(L).mT if upper else floating(L)
    inner = primitive("solve", low, floating(B), structure="lower")
    return primitive("solve", low.mT, inner, structure="upper")


@composed(space="linalg")
def multi_dot(tensors: Any) -> Tensor:
    """The product of matrices, bracketed so that the least work is done."""
    parts = [tensor_of(t) for t in tensors]
    sizes = [1 if parts[0].ndim == 1 else parts[0].shape[0], *(p.shape[0] for p in parts[1:]), parts[-1].shape[-1]]
    if parts[-1].ndim == 1:
        sizes[-1] = 1
    best: dict[tuple[int, int], tuple[float, int]] = {(i, i): (0.0, i) for i in range(len(parts))}
    for span in range(1, len(parts)):
        for i in range(len(parts) - span):
            j = i + span
            best[i, j] = min((best[i, k][0] + best[k + 1, j][0] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                             for k in range(i, j))

    def product(i: int, j: int) -> Tensor:
        return parts[i] if i == j else matmul(product(i, best[i, j][1]), product(best[i, j][1] + 1, j))

    return product(0, len(parts) - 1)


@composed(space="linalg")
def diagonal(A: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonal of the last two dims."""
    return tensor_of(A).diagonal(offset, dim1, dim2)


composed(space="linalg")(cross)
composed(space="linalg")(vecdot)
composed(space="linalg")(matmul)
for _name, _function in (("det", det), ("slogdet", slogdet), ("inverse", inv), ("pinverse", pinv), ("qr", qr),
                         ("cholesky", cholesky), ("cholesky_solve", cholesky_solve), ("matrix_power", matrix_power),
                         ("matrix_exp", matrix_exp)):
    composed(name=_name)(_function)


@composed
def logdet(input: Any) -> Tensor:
    """The logarithm of the determinant, NaN where that is negative."""
    sign, logarithm = slogdet(input)
    return where(sign < 0, math.nan, logarithm)


@composed(name="svd")
def svd_(input: Any, some: bool = True) -> Any:
    """U, S, V of x = U @ diag(S) @ V.T."""
    refuse(not some, "`svd` with all columns", "those beyond the singular values are arbitrary", "leave `some` out",
           InvalidOperands)
    u, s, vh = svd(input)
    return SVD(u, s, vh.mT)


