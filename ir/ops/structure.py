"""Operations that move elements without changing them: views, concatenation, indexing, creation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import OutOfBounds, ShapeError
from ..shapes import Shape, broadcast_shapes, canonical_shape, slice_length
from ..types import INTEGER, DType, Literal, TensorType
from .op import REQUIRED, NotDifferentiable, OperandType, fail_dtype, register

REAL = ((-3.0, 3.0),)
Index = tuple[Any, ...]
NO_OPERANDS = NotDifferentiable("it has no operands")


def _retyped(x: OperandType, shape: Shape) -> TensorType:
    assert isinstance(x, TensorType)
    return TensorType(x.dtype, shape)


def _shape(x: OperandType) -> Shape:
    assert isinstance(x, TensorType)
    return x.shape


# ---- views


def _infer_reshape(x: OperandType, shape: Shape) -> TensorType:
    assert isinstance(x, TensorType)
    return TensorType(x.dtype, canonical_shape(shape, x.numel))


register("reshape", "x", "view", infer=_infer_reshape, eager=lambda x, shape: np.reshape(x, shape),
         vjp=(lambda b, ct, types: b.reshape(ct, shape=types[0].shape),), attributes={"shape": REQUIRED}, domain=REAL,
         doc="The same elements in row-major order under another shape.")
register("permute", "x", "view", infer=lambda x, axes: _retyped(x, tuple(_shape(x)[a] for a in axes)),
         eager=lambda x, axes: np.transpose(x, axes),
         vjp=(lambda b, ct, axes: b.permute(ct, axes=tuple(axes.index(i) for i in range(len(axes)))),),
         attributes={"axes": REQUIRED}, domain=REAL, doc="Dimensions in another order.")


def _infer_expand(x: OperandType, shape: Shape) -> TensorType:
    if broadcast_shapes("expand", [_shape(x), shape]) != tuple(shape):
        raise ShapeError(f"shape {_shape(x)} can't be expanded to {tuple(shape)}",
                         ("why", "only extents of 1 grow, and dims are added in front"), fix="use `reshape` first")
    return _retyped(x, tuple(shape))


def _expand(x: Any, shape: Shape) -> Any:
    if x.ndim:
        return np.broadcast_to(x, shape)
    # what `broadcast_to` gives, in a fifth of the time
    result: Any = np.ndarray(shape, x.dtype, x, 0, (0,) * len(shape))
    result.flags.writeable = False
    return result


register("expand", "x", "view", infer=_infer_expand, eager=_expand,
         vjp=(lambda b, ct: ct,), attributes={"shape": REQUIRED}, domain=REAL,
         doc="Extents of 1 repeated without copying.")


def sliced_shape(shape: Shape, index: Index) -> Shape:
    """The shape that a canonical basic index leaves."""
    result, dims = [], iter(shape)
    for entry in index:
        if entry is None:
            result.append(1)
            continue
        extent = next(dims)
        if isinstance(entry, slice):
            result.append(slice_length(entry, extent))
    return (*result, *dims)


register("slice", "x", "view", infer=lambda x, index: _retyped(x, sliced_shape(_shape(x), index)),
         eager=lambda x, index: x[(*index, ...)],  # a view also where nothing but integers is left
         vjp=(lambda b, ct, types, index: b.embed(ct, shape=types[0].shape, index=index),),
         attributes={"index": REQUIRED}, domain=REAL, doc="A basic index: integers, slices, None.")
register("flip", "x", "view", infer=lambda x, axis: _retyped(x, _shape(x)),
         eager=lambda x, axis: np.flip(x, axis), vjp=(lambda b, ct, axis: b.flip(ct, axis=axis),),
         attributes={"axis": REQUIRED}, domain=REAL, doc="Reversed order along axes.")


def _infer_unfold(x: OperandType, axis: int, size: int, step: int) -> TensorType:
    shape = _shape(x)
    if size > shape[axis]:
        raise ShapeError(f"windows of {size} in dim {axis} of extent {shape[axis]}",
                         ("why", "a window is no longer than what it is cut from"), fix="pad the tensor, or shorten it")
    return _retyped(x, (*shape[:axis], (shape[axis] - size) // step + 1, *shape[axis + 1 :], size))


def _unfold(x: Any, axis: int, size: int, step: int) -> Any:
    windows = (x.shape[axis] - size) // step + 1
    if windows <= 0 or size < 0:
        raise ValueError(f"windows of {size} in an extent of {x.shape[axis]}")
    shape = (*x.shape[:axis], windows, *x.shape[axis + 1 :], size)
    strides = (*x.strides[:axis], x.strides[axis] * step, *x.strides[axis + 1 :], x.strides[axis])
    return np.lib.stride_tricks.as_strided(x, shape, strides, writeable=bool(x.flags.writeable))


def _unfold_rule(b: Any, ct: Any, types: Any, type: Any, axis: int, size: int, step: int) -> Any:
    """The windows' elements added at their places, one offset within the windows after the other."""
    count, rank = type.shape[axis], len(types[0].shape)
    lead = tuple(slice(0, extent, 1) for extent in type.shape[:rank])
    before = lead[:axis]
    whole = None
    for offset in range(size):
        place = (*before, slice(offset, offset + (count - 1) * step + 1, step))
        moved = b.embed(b.slice(ct, index=(*lead, offset)), shape=types[0].shape, index=place)
        whole = moved if whole is None else b.add(whole, moved)
    return b.full(shape=types[0].shape, value=0, dtype=types[0].dtype) if whole is None else whole


register("unfold", "x", "view", infer=_infer_unfold, eager=_unfold, vjp=(_unfold_rule,),
         attributes={"axis": REQUIRED, "size": REQUIRED, "step": 1}, domain=REAL,
         doc="All windows of a size along an axis, one every `step` elements; their elements are a new last dim.")


# ---- writes into larger arrays


def _embed(x: Any, shape: Shape, index: Index) -> Any:
    result = np.zeros(shape, x.dtype)
    result[index] = x
    return result


register("embed", "x", "embed", infer=lambda x, shape, index: _retyped(x, tuple(shape)), eager=_embed,
         vjp=(lambda b, ct, index: b.slice(ct, index=index),), attributes={"shape": REQUIRED, "index": REQUIRED},
         domain=REAL, doc="Zeros of a shape, with `x` at a basic index: the transpose of `slice`.")


def _embed_sum(*parts: Any) -> Any:
    *operands, shape, indices = parts
    result = np.zeros(shape, np.result_type(*operands))
    for operand, index in zip(operands, indices, strict=True):
        result[index] += operand
    return result


register("embed_sum", "*parts", "library", infer=lambda *parts: _retyped(parts[0], tuple(parts[-2])), eager=_embed_sum,
         vjp=(lambda b, ct, indices, i: b.slice(ct, index=indices[i]),),
         attributes={"shape": REQUIRED, "indices": REQUIRED}, domain=REAL,
         doc="Zeros of a shape, with each part added at a basic index: a sum of `embed`s.")


def _slice_scatter(x: Any, value: Any, index: Index) -> Any:
    result = np.array(x)
    result[index] = value
    return result


def _infer_slice_scatter(x: OperandType, value: OperandType, index: Index) -> TensorType:
    target = sliced_shape(_shape(x), index)
    if isinstance(value, TensorType) and broadcast_shapes("slice_scatter", [value.shape, target]) != target:
        raise ShapeError(f"a value of shape {value.shape} can't be written to a selection of shape {target}",
                         ("why", "a written value is broadcast to the selection, never the other way"),
                         fix="select as many elements as are written")
    return _retyped(x, _shape(x))


register("slice_scatter", "x value", "library", infer=_infer_slice_scatter, eager=_slice_scatter,
         vjp=(lambda b, ct, index: b.slice_scatter(ct, 0, index=index),
              lambda b, ct, index: b.slice(ct, index=index)),
         attributes={"index": REQUIRED}, domain=REAL * 2, promotion="first",
         doc="`x` with the elements at a basic index replaced.")


def _infer_cat(*tensors: Any) -> TensorType:
    *operands, axis = tensors
    shapes = [_shape(t) for t in operands]
    first = shapes[0]
    for shape in shapes:
        if len(shape) != len(first) or any(
            a != e for i, (a, e) in enumerate(zip(shape, first, strict=True)) if i != axis
        ):
            raise ShapeError(f"`cat` along dim {axis} of shapes {', '.join(map(str, shapes))}",
                             ("why", "the other extents must be equal"), fix="choose another dim or reshape the parts")
    total = sum(shape[axis] for shape in shapes)
    return _retyped(operands[0], (*first[:axis], total, *first[axis + 1 :]))


def _cat_rule(b: Any, ct: Any, types: Any, axis: int, i: int) -> Any:
    start = sum(t.shape[axis] for t in types[:i])
    every = tuple(slice(0, extent, 1) for extent in types[0].shape[:axis])
    return b.slice(ct, index=(*every, slice(start, start + types[i].shape[axis], 1)))


register("cat", "*tensors", "library", infer=_infer_cat, eager=lambda *parts: np.concatenate(parts[:-1], parts[-1]),
         vjp=(_cat_rule,), attributes={"axis": 0}, domain=REAL, promotion="same",
         doc="Tensors joined along an axis.")


# ---- integer indices


def _checked(index: Any, extent: int, dim: int) -> None:
    if index.size and (index.max() >= extent or index.min() < -extent):
        bad = index.max() if index.max() >= extent else index.min()
        raise OutOfBounds(f"index {bad} is out of bounds for dim {dim} of extent {extent}",
                          ("why", f"indices run from {-extent} to {extent - 1}"),
                          fix="clamp the index, or check where it comes from")


def _require_integers(name: str, index: OperandType) -> None:
    if not isinstance(index, TensorType) or index.dtype.category != INTEGER:
        raise fail_dtype(name, index.dtype if isinstance(index, TensorType) else _literal_dtype(index),
                         "int64 (or another integer type) as its index")


def _literal_dtype(value: Literal) -> DType:
    from ..types import dtype_of

    return dtype_of(type(value))


def _infer_take(x: OperandType, index: OperandType, axis: int) -> TensorType:
    _require_integers("take", index)
    shape = _shape(x)
    return _retyped(x, (*shape[:axis], *_shape(index), *shape[axis + 1 :]))


def _take(x: Any, index: Any, axis: int) -> Any:
    _checked(index, x.shape[axis], axis)
    return np.take(x, index, axis=axis)


def _take_add(x: Any, index: Any, shape: Shape, axis: int) -> Any:
    result = np.zeros(shape, x.dtype)
    _checked(index, shape[axis], axis)
    moved = np.moveaxis(x.reshape(*shape[:axis], index.size, *shape[axis + 1 :]), axis, 0)
    np.add.at(np.moveaxis(result, axis, 0), index.reshape(-1), moved)
    return result


register("take", "x index", "gather", infer=_infer_take, eager=_take,
         vjp=(lambda b, ct, index, types, axis: b.take_add(ct, index, shape=types[0].shape, axis=axis),
              lambda b, ct: None),
         attributes={"axis": 0}, domain=REAL * 2,
         doc="`x[..., index, ...]` along one axis; the index has any shape.")
register("take_add", "x index", "scatter", infer=lambda x, index, shape, axis: _retyped(x, tuple(shape)),
         eager=_take_add, vjp=(lambda b, ct, index, axis: b.take(ct, index, axis=axis), lambda b, ct: None),
         attributes={"shape": REQUIRED, "axis": REQUIRED}, domain=REAL * 2,
         doc="Zeros of a shape, with `x` added at indices: the transpose of `take`.")


def _infer_gather(x: OperandType, index: OperandType, axis: int) -> TensorType:
    _require_integers("gather", index)
    a, b = _shape(x), _shape(index)
    if len(a) != len(b) or any(e > d for i, (d, e) in enumerate(zip(a, b, strict=True)) if i != axis):
        raise ShapeError(f"`gather` from shape {a} with an index of shape {b}",
                         ("why", "the index needs the same rank and, off the gathered dim, no larger extents"),
                         fix="unsqueeze or expand the index")
    return _retyped(x, b)


def _along(index: Any, axis: int) -> tuple[Any, ...]:
    grids = list(np.ogrid[tuple(slice(extent) for extent in index.shape)])
    grids[axis] = index
    return tuple(grids)


def _gather(x: Any, index: Any, axis: int) -> Any:
    _checked(index, x.shape[axis], axis)
    return x[_along(index, axis)]


def _scatter_add(x: Any, index: Any, shape: Shape, axis: int) -> Any:
    result = np.zeros(shape, x.dtype)
    _checked(index, shape[axis], axis)
    np.add.at(result, _along(index, axis), x)
    return result


register("gather", "x index", "gather", infer=_infer_gather, eager=_gather,
         vjp=(lambda b, ct, index, types, axis: b.scatter_add(ct, index, shape=types[0].shape, axis=axis),
              lambda b, ct: None),
         attributes={"axis": REQUIRED}, domain=REAL * 2,
         doc="Along one axis, the element that the index names at each place.")
register("scatter_add", "x index", "scatter", infer=lambda x, index, shape, axis: _retyped(x, tuple(shape)),
         eager=_scatter_add, vjp=(lambda b, ct, index, axis: b.gather(ct, index, axis=axis), lambda b, ct: None),
         attributes={"shape": REQUIRED, "axis": REQUIRED}, domain=REAL * 2,
         doc="Zeros of a shape, with `x` added where the index says: the transpose of `gather`.")


def _put(x: Any, index: Any, value: Any, axis: int) -> Any:
    result = np.array(x)
    _checked(index, x.shape[axis], axis)
    result[_along(index, axis)] = value
    return result


def _infer_put(x: OperandType, index: OperandType, value: OperandType, axis: int) -> TensorType:
    target = _infer_gather(x, index, axis).shape
    if isinstance(value, TensorType) and broadcast_shapes("put", [value.shape, target]) != target:
        raise ShapeError(f"a value of shape {value.shape} can't be written to {target} places",
                         ("why", "there is one place for each element of the index"), fix="give as many elements")
    return _retyped(x, _shape(x))


register("put", "x index value", "library", infer=_infer_put, eager=_put,
         vjp=(lambda b, ct, index, axis: b.put(ct, index, 0, axis=axis), lambda b, ct: None,
              lambda b, ct, index, axis: b.gather(ct, index, axis=axis)),
         attributes={"axis": REQUIRED}, domain=REAL * 3,
         doc="`x` with the elements that the index names along one axis replaced; of several writes the last counts.")


# ---- creation

register("full", "", "source", infer=lambda shape, value, dtype: TensorType(dtype, tuple(shape)),
         eager=lambda shape, value, dtype: np.full(shape, value, dtype.numpy), vjp=NO_OPERANDS,
         attributes={"shape": REQUIRED, "value": REQUIRED, "dtype": REQUIRED}, doc="One value everywhere.")


def _infer_arange(start: float, stop: float, step: float, dtype: DType) -> TensorType:
    if isinstance(start, int) and isinstance(stop, int) and isinstance(step, int):
        count = -(-(stop - start) // step)
    else:
        count = math.ceil((stop - start) / step)
    return TensorType(dtype, (max(0, count),))


def _arange(start: Any, stop: Any, step: Any, dtype: DType) -> Any:
    numpy: Any = np
    return numpy.arange(start, stop, step, dtype.numpy)


register("arange", "", "source", infer=_infer_arange, eager=_arange, vjp=NO_OPERANDS,
         attributes={"start": REQUIRED, "stop": REQUIRED, "step": REQUIRED, "dtype": REQUIRED},
         doc="Evenly spaced values.")
register("constant", "", "source", infer=lambda data: data.type, eager=lambda data: data.array, vjp=NO_OPERANDS,
         attributes={"data": REQUIRED},
         doc="An array written down in the graph.")
