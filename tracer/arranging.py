"""Arrangements made of views and joins: rolls, tiles, stacks, triangles, diagonals, padding, grids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations as subsets
from itertools import combinations_with_replacement
from typing import Any

import numpy as np

from retape.ir.errors import InvalidOperands, ShapeError
from retape.ir.types import i64

from .creation import arange, full, tensor
from .numeric import to, where
from .places import extent_of
from .shaping import cat, expand, flip, movedim, narrow, permute, repeat, reshape, stack, transpose, unsqueeze
from .special import expanded, together
from .statistics import any_
from .tensor import Tensor
from .vocabulary import axis_of, composed, dims_of, primitive, refuse, tensor_of

# ---- order along dims


@composed
def roll(input: Any, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Tensor:
    """Elements moved along dims; what leaves at the end comes in at the beginning."""
    x = tensor_of(input)
    if dims is None:
        return roll(x.reshape(-1), shifts, 0).reshape(x.shape)
    pairs = zip([shifts] if isinstance(shifts, int) else shifts, [dims] if isinstance(dims, int) else dims, strict=True)
    for shift, dim in pairs:
        at = axis_of(dim, x)
        extent = x.shape[at] if x.ndim else 0
        cut = -shift % extent if extent else 0
        if cut:
            x = cat([narrow(x, at, cut, extent - cut), narrow(x, at, 0, cut)], at)
    return x


@composed
def fliplr(input: Any) -> Tensor:
    """Columns in reversed order."""
    return flip(input, 1)


@composed
def flipud(input: Any) -> Tensor:
    """Rows in reversed order."""
    return flip(input, 0)


@composed
def rot90(input: Any, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Turned by `k` quarters from the first dim to the second."""
    x, (a, b) = tensor_of(input), dims
    turns = k % 4
    if turns == 0:
        return x.clone()
    if turns == 2:
        return flip(x, a, b)
    return transpose(flip(x, b), a, b) if turns == 1 else flip(transpose(x, a, b), b)


@composed
def tile(input: Any, *dims: Any) -> Tensor:
    """Copies side by side, as many along each of the last dims."""
    x, counts = tensor_of(input), dims_of(dims)
    return repeat(x, (1,) * (x.ndim - len(counts)) + counts)


@composed
def repeat_interleave(input: Any, repeats: Any, dim: int | None = None) -> Tensor:
    """Each slice along a dim several times, one after the other."""
    x = tensor_of(input)
    x, at = (x.reshape(-1), 0) if dim is None else (x, axis_of(dim, x))
    if isinstance(repeats, int):
        wide = unsqueeze(x, at + 1).expand(*x.shape[: at + 1], repeats, *x.shape[at + 1 :])
        return wide.reshape(*x.shape[:at], x.shape[at] * repeats, *x.shape[at + 1 :])
    if not isinstance(repeats, (Tensor, np.ndarray)):
        given = np.repeat(np.arange(x.shape[at]), list(repeats))
        return primitive("take", x, tensor(given.tolist(), dtype=i64), axis=at)
    counts = expanded(to(tensor_of(repeats), i64), (x.shape[at],))
    total = primitive("sum", counts, axis=(0,), keepdims=False)
    wrong = any_(primitive("lt", counts, 0))
    count = extent_of(where(wrong, -1, total))
    refuse(count < 0, "`repeat_interleave` by a negative number", "a slice can't stand there less than never",
           "check `repeats`", InvalidOperands)
    line = primitive("arange", start=0, stop=count, step=1, dtype=i64)
    index = primitive("searchsorted", primitive("cumsum", counts, axis=0), line, right=True)
    return primitive("take", x, index, axis=at)


# ---- stacks


@composed
def atleast_1d(input: Any) -> Tensor:
    """A tensor of rank 1 or more."""
    x = tensor_of(input)
    return x if x.ndim else x.reshape(1)


@composed
def atleast_2d(input: Any) -> Tensor:
    """A tensor of rank 2 or more; vectors are rows."""
    x = atleast_1d(input)
    return x if x.ndim > 1 else unsqueeze(x, 0)


@composed
def atleast_3d(input: Any) -> Tensor:
    """A tensor of rank 3 or more; matrices get a last dim."""
    x = atleast_2d(input)
    return x if x.ndim > 2 else unsqueeze(x, -1)


@composed(method=False)
def hstack(tensors: Sequence[Any]) -> Tensor:
    """Tensors joined along the second dim, vectors along their only one."""
    parts = [atleast_1d(t) for t in tensors]
    return cat(parts, 0 if parts[0].ndim == 1 else 1)


@composed(method=False)
def vstack(tensors: Sequence[Any]) -> Tensor:
    """Tensors joined along the first dim, vectors as rows."""
    return cat([atleast_2d(t) for t in tensors], 0)


@composed(method=False)
def dstack(tensors: Sequence[Any]) -> Tensor:
    """Tensors joined along the third dim."""
    return cat([atleast_3d(t) for t in tensors], 2)


@composed(method=False)
def column_stack(tensors: Sequence[Any]) -> Tensor:
    """Tensors joined along the second dim, vectors as columns."""
    return cat([t if t.ndim > 1 else t.reshape(-1, 1) for t in map(tensor_of, tensors)], 1)


@composed(method=False)
def block_diag(*tensors: Any) -> Tensor:
    """Matrices along the diagonal of a larger one, zeros elsewhere."""
    blocks = [atleast_2d(t) for t in tensors]
    shape = (sum(t.shape[0] for t in blocks), sum(t.shape[1] for t in blocks))
    rows = []
    column = 0
    for block in blocks:
        n, m = block.shape
        place = (slice(0, n, 1), slice(column, column + m, 1))
        rows.append(primitive("embed", block, shape=(n, shape[1]), index=place))
        column += m
    return cat(rows, 0)


# ---- triangles and diagonals


def _triangle(x: Tensor, diagonal: int, lower: bool) -> Tensor:
    refuse(x.ndim < 2, f"the triangle of shape {x.shape}", "it takes matrices over the last two dims",
           "reshape the tensor", ShapeError)
    rows, columns = arange(x.shape[-2]).reshape(-1, 1), arange(x.shape[-1])
    kept = columns <= rows + diagonal if lower else columns >= rows + diagonal
    return where(kept, x, False if x._data.dtype.kind == "b" else 0)


@composed(in_place=True)
def tril(input: Any, diagonal: int = 0) -> Tensor:
    """The lower triangle of matrices, zeros above."""
    return _triangle(tensor_of(input), diagonal, True)


@composed(in_place=True)
def triu(input: Any, diagonal: int = 0) -> Tensor:
    """The upper triangle of matrices, zeros below."""
    return _triangle(tensor_of(input), diagonal, False)


@composed(method=False)
def tril_indices(row: int, col: int, offset: int = 0) -> Tensor:
    """Rows and columns of the lower triangle's elements."""
    return tensor(np.array(np.tril_indices(int(row), int(offset), int(col))).tolist(), dtype=i64).reshape(2, -1)


@composed(method=False)
def triu_indices(row: int, col: int, offset: int = 0) -> Tensor:
    """Rows and columns of the upper triangle's elements."""
    return tensor(np.array(np.triu_indices(int(row), int(offset), int(col))).tolist(), dtype=i64).reshape(2, -1)


@composed
def diag_embed(input: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices with the elements of the last dim on a diagonal, zeros elsewhere."""
    x = tensor_of(input)
    *lead, count = x.shape
    n = count + abs(offset)
    start = offset if offset >= 0 else -offset * n
    every = tuple(slice(0, extent, 1) for extent in lead)
    line = slice(start, start + max(count - 1, 0) * (n + 1) + min(count, 1), n + 1)
    flat = primitive("embed", x, shape=(*lead, n * n), index=(*every, line))
    return movedim(flat.reshape(*lead, n, n), (-2, -1), (dim1, dim2))


@composed
def diag(input: Any, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix, or a matrix with a vector on its diagonal."""
    x = tensor_of(input)
    return diag_embed(x, diagonal) if x.ndim == 1 else x.diagonal(diagonal)


@composed
def trace(input: Any) -> Tensor:
    """The sum of a matrix's diagonal."""
    return tensor_of(input).diagonal().sum()


# ---- grids


@composed(method=False)
def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Vectors expanded over the grid that they span; "xy" exchanges the first two dims."""
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors
    lines = [atleast_1d(t) for t in given]
    shape = tuple(line.numel() for line in lines)
    grids = [expand(reshape(line, tuple(-1 if i == d else 1 for i in range(len(lines)))), *shape)
             for d, line in enumerate(lines)]
    return tuple(transpose(g, 0, 1) for g in grids) if indexing == "xy" and len(grids) > 1 else tuple(grids)


@composed(method=False)
def cartesian_prod(*tensors: Any) -> Tensor:
    """All combinations of vectors' elements, one a row."""
    grids = meshgrid(*tensors)
    return stack([g.reshape(-1) for g in grids], 1) if len(grids) > 1 else grids[0]


@composed
def combinations(input: Any, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of `r` elements of a vector, one a row."""
    x = tensor_of(input)
    choose: Any = combinations_with_replacement if with_replacement else subsets
    rows = list(choose(range(x.shape[0]), r))
    return primitive("take", x, tensor(rows, dtype=i64).reshape(len(rows), r), axis=0)


@composed(method=False)
def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """Tensors expanded to their common shape."""
    return together("broadcast_tensors", *map(tensor_of, tensors))


@composed(method=False)
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Tensor:  # noqa: N803
    """Powers of a vector's elements, one a column, from the highest down."""
    values = tensor_of(x)
    n = values.shape[-1] if N is None else N
    powers = [values**k for k in range(n)]
    return stack(powers if increasing else powers[::-1], -1)


# ---- padding


@composed(method=False, space="nn")
def pad(input: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Wider by `pad` elements (before, after) in the last dim, the next pair in the one before it, and so on."""
    x = tensor_of(input)
    refuse(len(pad) % 2 or len(pad) > 2 * x.ndim, f"`pad` by {tuple(pad)} of shape {x.shape}",
           "it is one pair a dim, from the last one on", "give two numbers a dim", ShapeError)
    pairs = [(0, 0)] * (x.ndim - len(pad) // 2) + [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]
    if mode != "constant":
        return _padded_from_within(x, pairs, mode)
    return padded(x, pairs, 0 if value is None else value)


def padded(x: Tensor, pairs: Sequence[tuple[int, int]], value: Any = 0) -> Tensor:
    """`x` with `value` around it, or cut where a number is negative; one pair for each dim."""
    inner = tuple(slice(max(-a, 0), e - max(-b, 0), 1) for (a, b), e in zip(pairs, x.shape, strict=True))
    if any(a < 0 or b < 0 for a, b in pairs):
        x = primitive("slice", x, index=inner)
    if not any(a > 0 or b > 0 for a, b in pairs):
        return x
    shape = tuple(e + max(a, 0) + max(b, 0) for (a, b), e in zip(pairs, x.shape, strict=True))
    index = tuple(slice(max(a, 0), max(a, 0) + e, 1) for (a, _), e in zip(pairs, x.shape, strict=True))
    if value == 0:
        return primitive("embed", x, shape=shape, index=index)
    return primitive("slice_scatter", full(shape, value, dtype=x.dtype), x, index=index)


def _padded_from_within(x: Tensor, pairs: Sequence[tuple[int, int]], mode: str) -> Tensor:
    for dim, (before, after) in enumerate(pairs):
        if not (before or after):
            continue
        extent = x.shape[dim]
        limit = {"reflect": extent - 1, "circular": extent, "replicate": math.inf}.get(mode, -1)
        refuse(limit < 0, f"padding mode {mode!r}", "it is 'constant', 'reflect', 'replicate' or 'circular'",
               "use one of these", InvalidOperands)
        refuse(max(before, after) > limit, f"`pad` by {(before, after)} in dim {dim} of extent {extent}",
               f"{mode} padding has no more elements to take", "pad by less", ShapeError)
        places = np.arange(-before, extent + after)
        if mode == "reflect":
            places = (extent - 1) - np.abs((extent - 1) - np.abs(places))
        elif mode == "circular":
            places = places % extent
        x = primitive("take", x, tensor(np.clip(places, 0, extent - 1).tolist(), dtype=i64), axis=dim)
    return x


@composed(method=False)
def pixel_shuffle(input: Any, upscale_factor: int) -> Tensor:
    """Channels (C r^2, H, W) as space (C, H r, W r)."""
    x, r = tensor_of(input), upscale_factor
    *lead, c, h, w = x.shape
    n = len(lead)
    x = permute(x.reshape(*lead, c // r**2, r, r, h, w), *range(n), n, n + 3, n + 1, n + 4, n + 2)
    return x.reshape(*lead, c // r**2, h * r, w * r)


@composed(method=False)
def pixel_unshuffle(input: Any, downscale_factor: int) -> Tensor:
    """Space (C, H r, W r) as channels (C r^2, H, W)."""
    x, r = tensor_of(input), downscale_factor
    *lead, c, h, w = x.shape
    n = len(lead)
    x = permute(x.reshape(*lead, c, h // r, r, w // r, r), *range(n), n, n + 2, n + 4, n + 1, n + 3)
    return x.reshape(*lead, c * r**2, h // r, w // r)


@composed(method=False)
def one_hot(tensor: Any, num_classes: int = -1) -> Tensor:
    """1 at each class index, 0 elsewhere, as int64."""
    classes = tensor_of(tensor)
    count = num_classes if num_classes > 0 else extent_of(to(classes, i64).max() + 1)
    return to(primitive("reshape", classes, shape=(*classes.shape, 1)) == arange(count), "int64")
