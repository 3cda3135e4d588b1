"""Printing tensors as torch does: four digits, one width for all elements, large tensors summarised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from retape.ir import DType, dtype_of

from .tensor import Tensor

PRECISION, THRESHOLD, EDGE, LINE = 4, 1000, 3, 80
PREFIX = "tensor("
Format = Callable[[Any], str]


def format_tensor(tensor: Tensor) -> str:
    """`tensor([[1., 1.]], requires_grad=True)`."""
    data = tensor._data
    dtype = dtype_of(data.dtype)
    notes: list[str] = []
    if data.size == 0:
        body = "[]"
        if data.ndim != 1:
            notes.append(f"size={data.shape}")
    else:
        summarize = data.size > THRESHOLD
        show, width = _element_format((_edges(data) if summarize else data).reshape(-1))
        body = _nested(data, len(PREFIX), summarize, show, width)
    if not _is_default(dtype) or (data.size == 0 and not dtype.is_floating_point):
        notes.append(f"dtype={dtype!r}")
    if tensor._grad_fn is not None:
        notes.append(f"grad_fn=<{tensor._grad_fn.name()}>")
    elif tensor._requires_grad:
        notes.append("requires_grad=True")
    return f"{_with_notes(PREFIX + body, notes)})"


def _is_default(dtype: DType) -> bool:
    """Whether a literal of the printed form gives the element type by itself."""
    from .creation import get_default_dtype

    floating = get_default_dtype()
    return dtype is floating or dtype.name in ("int64", "bool", f"complex{floating.itemsize * 16}")


def _with_notes(text: str, notes: list[str]) -> str:
    length = len(text) - text.rfind("\n") + 1
    for note in notes:
        if length + len(note) + 2 > LINE:
            text += f",\n{' ' * len(PREFIX)}{note}"
            length = len(PREFIX) + len(note)
        else:
            text += f", {note}"
            length += len(note) + 2
    return text


def _nested(data: np.ndarray[Any, Any], indent: int, summarize: bool, show: Format, width: int) -> str:
    """The elements in brackets, one dim a level."""
    if data.ndim == 0:
        return show(data[()])
    cut = summarize and len(data) > 2 * EDGE
    heads, tails = (data[:EDGE], data[-EDGE:]) if cut else (data, data[:0])
    if data.ndim > 1:
        rows = [_nested(part, indent + 1, summarize, show, width) for part in heads]
        rows += ["..."] * cut + [_nested(part, indent + 1, summarize, show, width) for part in tails]
        return f"[{(',' + chr(10) * (data.ndim - 1) + ' ' * (indent + 1)).join(rows)}]"
    elements = [*map(show, heads), *[" ..."] * cut, *map(show, tails)]
    count = max(1, (LINE - indent) // (width + 2))
    lines = [", ".join(elements[i : i + count]) for i in range(0, len(elements), count)]
    return f"[{(',' + chr(10) + ' ' * (indent + 1)).join(lines)}]"


def _edges(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The elements that a summary shows."""
    for axis, extent in enumerate(data.shape):
        if extent > 2 * EDGE:
            data = np.concatenate([np.take(data, range(EDGE), axis), np.take(data, range(extent - EDGE, extent), axis)],
                                  axis)
    return data


def _element_format(values: np.ndarray[Any, Any]) -> tuple[Format, int]:
    """How one element is written, and the width of all."""
    if values.dtype.kind == "c":
        real, wide = _float_format(values.real)
        imaginary, narrow = _float_format(values.imag)

        def joined(v: Any) -> str:
            tail = f"{imaginary(v.imag)}j".lstrip()
            return real(v.real) + (tail if tail[0] in "+-" else f"+{tail}")

        return joined, wide + narrow + 1
    if values.dtype.kind == "f":
        return _float_format(values)
    kind = bool if values.dtype.kind == "b" else int
    width = max(len(str(kind(v))) for v in values)
    return (lambda v: f"{kind(v)!s:>{width}}"), width


def _float_format(values: np.ndarray[Any, Any]) -> tuple[Format, int]:
    """Whole numbers as `1.`, others with four digits, in scientific form where magnitudes differ much.

    The finite non-zero values alone decide.
    """
    finite = values[np.isfinite(values) & (values != 0)].astype(np.float64)
    if finite.size == 0:
        return _padded("", 1), 1
    low, high = float(np.abs(finite).min()), float(np.abs(finite).max())
    whole = bool(np.all(finite == np.ceil(finite)))
    form = f".{PRECISION}e" if high / low > 1000.0 or high > 1e8 or (low < 1e-4 and not whole) \
        else "" if whole else f".{PRECISION}f"
    width = max(1, *(len(_number(v, form)) for v in finite)) if finite.size else 1
    return _padded(form, width), width


def _number(value: Any, form: str) -> str:
    value = float(value)
    return format(value, form) if form else f"{value:.0f}." if np.isfinite(value) else f"{value:.0f}"


def _padded(form: str, width: int) -> Format:
    return lambda v: f"{_number(v, form):>{width}}"
