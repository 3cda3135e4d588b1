"""Views that NumPy took of arrays which a compiled function reaches: `data[i]`, `weights.T`, `image[::2, :3]`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .tensor import Tensor

__all__ = ["owner", "window"]


def window(view: np.ndarray[Any, Any], candidates: Iterable[Any]) -> Tensor | None:
    """The same view, taken by operations of the one among the candidate tensors and arrays in whose memory it lies.

    None where there is no such candidate, or where neither a basic index, an order of dims and an expansion lead to the
    view, nor a stretch of row-major memory under another shape.
    """
    from .apply import array_operand

    held = owner(view)
    for candidate in candidates:
        data = candidate._data if isinstance(candidate, Tensor) else candidate
        if data.dtype != view.dtype or not view.size or owner(data) is not held:
            continue
        start = _address(view) - _address(data)
        stretch = slice(start // data.itemsize, start // data.itemsize + view.size)
        steps = _steps(data, view, start)
        flat = data.flags.c_contiguous and view.flags.c_contiguous and stretch.start >= 0 and stretch.stop <= data.size
        if steps is None and not flat:
            continue
        root = candidate.detach() if isinstance(candidate, Tensor) else array_operand(candidate)
        if steps is None:
            return root.reshape(-1)[stretch].reshape(view.shape)
        index, axes, missing, backward = steps
        found = root[tuple(index)].permute(*axes)
        for dim in missing:
            found = found.unsqueeze(dim)
        found = found.expand(*view.shape)
        return found.flip(backward) if backward else found
    return None


def _steps(data: np.ndarray[Any, Any], view: np.ndarray[Any, Any], start: int) \
        -> tuple[list[Any], list[int], list[int], list[int]] | None:
    """What turns an array into a view that begins `start` bytes behind it: an index, an order of dims, the dims to be
    inserted, and those to be turned round."""
    dims = sorted((j for j in range(data.ndim) if data.shape[j] > 1), key=lambda j: -data.strides[j])
    index: list[Any] = [0] * data.ndim
    rest = start
    for j in dims:
        if data.strides[j] <= 0:
            return None
        index[j], rest = divmod(rest, data.strides[j])
        if not 0 <= index[j] < data.shape[j]:
            return None
    taken: dict[int, int] = {}  # the dim of the view for each dim of the array that it runs along
    for k, (extent, stride) in enumerate(zip(view.shape, view.strides, strict=True)):
        if extent > 1 and stride:
            along = [j for j in dims if j not in taken and stride % data.strides[j] == 0]
            if not along:
                return None
            j = along[0]
            taken[j] = k
            step, first = stride // data.strides[j], index[j]
            last = first + step * (extent - 1)
            if not 0 <= last < data.shape[j]:
                return None
            index[j] = slice(min(first, last), max(first, last) + 1, abs(step))
    order = [taken[j] for j in sorted(taken)]
    backward = [k for k in sorted(order) if view.strides[k] < 0]
    missing = [k for k in range(view.ndim) if k not in order]
    return (index, [order.index(k) for k in sorted(order)], missing, backward) if rest == 0 else None


def _address(array: np.ndarray[Any, Any]) -> int:
    place: int = array.__array_interface__["data"][0]
    return place


def owner(array: np.ndarray[Any, Any]) -> Any:
    """The array that holds the memory of a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
