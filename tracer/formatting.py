"""Printing tensors as torch does: four digits, one width for all elements, large tensors summarised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from retape.ir import dtype_of

from .tensor import Tensor

PRECISION, THRESHOLD, EDGE, LINE = 4, 1000, 3, 80


def format_tensor(tensor: Tensor) -> str:
    """`tensor([[1., 1.]], requires_grad=True)`."""
    data = tensor._data
    prefix = "tensor("
    if data.size == 0:
        body = "[" * data.ndim + "]" * data.ndim if data.ndim == 1 else "[]"
    elif data.ndim == 0:
        body = _element_format(data.reshape(1))(data[()])
    else:
        shown = _edges(data) if data.size > THRESHOLD else data
        body = np.array2string(
            data, separator=", ", prefix=prefix, max_line_width=LINE, threshold=THRESHOLD, edgeitems=EDGE,
            formatter={"all": _element_format(np.asarray(shown).reshape(-1))})
    notes = [body]
    dtype = dtype_of(data.dtype)
    if data.size == 0 and data.ndim != 1:
        notes.append(f"size={data.shape}")
    if dtype.name not in ("float32", "int64", "bool") or (data.size == 0 and dtype.name != "float32"):
        notes.append(f"dtype={dtype!r}")
    if tensor._grad_fn is not None:
        notes.append(f"grad_fn=<{tensor._grad_fn.name()}>")
    elif tensor._requires_grad:
        notes.append("requires_grad=True")
    text = notes[0]
    for note in notes[1:]:
        last = text.rsplit("\n", 1)[-1]
        fits = len(last) + len(note) + 2 <= LINE
        text += f", {note}" if fits else f",\n{' ' * len(prefix)}{note}"
    return f"{prefix}{text})"


def _edges(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The elements that a summary shows."""
    for axis, extent in enumerate(data.shape):
        if extent > 2 * EDGE:
            data = np.concatenate([np.take(data, range(EDGE), axis), np.take(data, range(extent - EDGE, extent), axis)],
                                  axis)
    return data


def _element_format(values: np.ndarray[Any, Any]) -> Callable[[Any], str]:
    kind = values.dtype.kind
    if kind == "b":
        width = max(len(str(bool(v))) for v in values)
        return lambda v: f"{bool(v)!s:>{width}}"
    if kind in "iu":
        width = max(len(str(int(v))) for v in values)
        return lambda v: f"{int(v):>{width}}"
    if kind == "c":
        real, imaginary = _float_format(values.real), _float_format(np.abs(values.imag))
        return lambda v: f"{real(v.real)}{'-' if v.imag < 0 else '+'}{imaginary(abs(v.imag)).strip()}j"
    return _float_format(values)


def _float_format(values: np.ndarray[Any, Any]) -> Callable[[Any], str]:
    finite = np.abs(values[np.isfinite(values) & (values != 0)]).astype(np.float64)
    if finite.size == 0:
        text: Callable[[Any], str] = lambda v: f"{v:.0f}." if np.isfinite(v) else f"{v}"  # noqa: E731
    else:
        low, high = float(finite.min()), float(finite.max())
        whole = bool(np.all(finite == np.ceil(finite)))
        if high / low > 1000.0 or high > 1e8 or (low < 1e-4 and not whole):
            text = lambda v: f"{v:.{PRECISION}e}"  # noqa: E731
        elif whole:
            text = lambda v: f"{v:.0f}." if np.isfinite(v) else f"{v}"  # noqa: E731
        else:
            text = lambda v: f"{v:.{PRECISION}f}"  # noqa: E731
    width = max(len(text(v)) for v in values)
    return lambda v: f"{text(v):>{width}}"
