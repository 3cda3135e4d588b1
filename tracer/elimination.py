"""`rt.linalg`: factors by elimination, systems of tensors, and matrices that are made of vectors."""

from __future__ import annotations

import math
from collections import namedtuple
from typing import Any

from retape.ir.errors import InvalidOperands, ShapeError

from .arranging import tril, triu
from .creation import arange, eye
from .linalg import inv, multi_dot, solve, solve_triangular
from .numeric import to, where
from .selecting import gather
from .shaping import movedim, narrow
from .special import expanded
from .tensor import Tensor
from .vocabulary import axis_of, composed, floating, primitive, refuse, tensor_of

LU = namedtuple("LU", ["P", "L", "U"])
LUFactors = namedtuple("LUFactors", ["LU", "pivots"])


def _factored(A: Any) -> tuple[Tensor, Tensor, Tensor]:  # noqa: N803
    """L and U in one matrix, the rows' order, and LAPACK's exchanges."""
    a = floating(A)
    packed = primitive("lu", a)
    m, n = a.shape[-2:]
    order, exchanges = packed[..., n].detach(), packed[..., : min(m, n), n + 1].detach()
    return narrow(packed, a.ndim - 1, 0, n), to(order, "int64"), to(exchanges, "int32")


def _triangles(packed: Tensor) -> tuple[Tensor, Tensor]:
    k = min(packed.shape[-2:])
    low = tril(narrow(packed, packed.ndim - 1, 0, k), -1)
    return low + eye(packed.shape[-2], k, dtype=packed.dtype), triu(narrow(packed, packed.ndim - 2, 0, k))


def _permutation(order: Tensor, dtype: Any) -> Tensor:
    """The P with x = P @ x[order]."""
    rows = arange(order.shape[-1]).reshape(-1, 1)
    return to(primitive("eq", rows, order.unsqueeze(-2)), dtype)


def _order(pivots: Tensor, rows: int) -> Tensor:
    """The rows' order after LAPACK's exchanges, which are carried out one after the other."""
    exchanges = to(pivots, "int64") - 1
    lead, count = exchanges.shape[:-1], exchanges.shape[-1]
    places = arange(rows)
    order = expanded(places, (*lead, rows))
    for row in range(count):
        other = exchanges[..., row : row + 1]
        mine, theirs = order[..., row : row + 1], gather(order, -1, other)
        order = where(primitive("eq", places, row), theirs, where(primitive("eq", places, other), mine, order))
    return order


@composed(space="linalg")
def lu(A: Any, *, pivot: bool = True) -> Any:  # noqa: N803
    """P, L, U of A = P @ L @ U: a permutation, a lower triangle with ones on its diagonal, an upper triangle."""
    refuse(not pivot, "`lu` without pivoting", "LAPACK exchanges rows", "leave `pivot` out", InvalidOperands)
    packed, order, _ = _factored(A)
    return LU(_permutation(order, packed.dtype), *_triangles(packed))


@composed(space="linalg")
def lu_factor(A: Any, *, pivot: bool = True) -> Any:  # noqa: N803
    """L and U in one matrix, and the rows that each row was exchanged with, counted from 1: for `lu_solve`."""
    refuse(not pivot, "`lu_factor` without pivoting", "LAPACK exchanges rows", "leave `pivot` out", InvalidOperands)
    packed, _, exchanges = _factored(A)
    return LUFactors(packed, exchanges)


@composed(space="linalg")
def lu_solve(LU: Any, pivots: Any, B: Any, *, left: bool = True, adjoint: bool = False) -> Tensor:  # noqa: N803
    """The X of A @ X = B (or X @ A = B), given what `lu_factor` makes of A; `adjoint` stands for A's transpose."""
    packed, b = floating(LU), floating(B)
    if not left:
        return lu_solve(packed, pivots, b.mT, adjoint=not adjoint).mT
    order = _order(tensor_of(pivots), packed.shape[-1])
    turn = _permutation(order, packed.dtype)
    if adjoint:  # (P L U)^T X = B
        inner = primitive("solve", triu(packed).mT, b, structure="lower")
        low = tril(packed, -1) + eye(packed.shape[-1], dtype=packed.dtype)
        return primitive("matmul", turn, primitive("solve", low.mT, inner, structure="upper"))
    inner = solve_triangular(packed, primitive("matmul", turn.mT, b), upper=False, unitriangular=True)
    return solve_triangular(packed, inner, upper=True)


@composed(name="lu_unpack")
def lu_unpack(LU_data: Any, LU_pivots: Any) -> Any:  # noqa: N803
    """P, L, U of what `lu_factor` made."""
    packed = floating(LU_data)
    return LU(_permutation(_order(tensor_of(LU_pivots), packed.shape[-2]), packed.dtype), *_triangles(packed))


@composed(name="cholesky_inverse")
def cholesky_inverse(L: Any, upper: bool = False) -> Tensor:  # noqa: N803
    """The inverse of L @ L.T."""
    low = floating(L).mT if upper else floating(L)
    inner = solve_triangular(low, eye(low.shape[-1], dtype=low.dtype), upper=False)
    return primitive("matmul", inner.mT, inner)


@composed(space="linalg")
def tensorsolve(A: Any, B: Any, dims: Any = None) -> Tensor:  # noqa: N803
    """The X of tensordot(A, X, X.ndim) = B; `dims` of A are moved to its end first."""
    a, b = floating(A), floating(B)
    if dims is not None:
        a = movedim(a, tuple(dims), tuple(range(a.ndim - len(dims), a.ndim)))
    shape, count = a.shape[b.ndim :], math.prod(b.shape)
    refuse(math.prod(shape) != count, f"`tensorsolve` of shape {a.shape} for {b.shape}",
           "there are as many equations as unknowns", "check both shapes", ShapeError)
    return solve(a.reshape(count, count), b.reshape(-1)).reshape(shape)


@composed(space="linalg")
def tensorinv(A: Any, ind: int = 2) -> Tensor:  # noqa: N803
    """The inverse of what A does in `tensordot`: its first `ind` dims are the rows."""
    a = floating(A)
    rows, columns = a.shape[:ind], a.shape[ind:]
    refuse(ind < 1 or math.prod(rows) != math.prod(columns), f"`tensorinv` of shape {a.shape}, {ind} dims of it rows",
           "there are as many rows as columns", "check `ind`", ShapeError)
    return inv(a.reshape(math.prod(rows), -1)).reshape(*columns, *rows)


@composed(space="linalg")
def vander(x: Any, N: int | None = None) -> Tensor:  # noqa: N803
    """The powers 0, 1, ..., N - 1 of the elements, along a new last dim."""
    base = tensor_of(x)
    powers = arange(base.shape[axis_of(-1, base)] if N is None else N)
    return primitive("pow", base.unsqueeze(-1), to(powers, base.dtype))


@composed(name="lu_solve")
def lu_solved(input: Any, LU_data: Any, LU_pivots: Any) -> Tensor:  # noqa: N803
    """The X of A @ X = input, given what `lu_factor` makes of A."""
    return lu_solve(LU_data, LU_pivots, input)


composed(name="multi_dot", method=False)(multi_dot)
