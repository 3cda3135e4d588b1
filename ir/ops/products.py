"""Matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import MatmulMismatch, ShapeError
from ..shapes import Shape, broadcast_shapes
from ..types import TensorType
from .op import OperandType, register


def mismatch(a: Shape, c: Shape) -> MatmulMismatch:
    """The error for shapes that can't be multiplied, with the remedies that would work."""
    options: list[str] = []
    if len(a) == len(c) == 2:
        options = [f"`{text}`" for text, fits in (
            ("a.T @ b", a[0] == c[0]), ("a @ b.T", a[1] == c[1]), ("b @ a", c[1] == a[0])) if fits]
    inner = f"inner {a[-1]} against {c[-2] if len(c) > 1 else c[-1]}" if a and c else "a product needs dims"
    last = "second last dim" if len(c) > 1 else "dim"
    return MatmulMismatch(f"{a} @ {c}", ("why", inner),
                          fix=" or ".join(options) or f"make the last dim of `a` equal to the {last} of `b`")


def _infer(x: OperandType, y: OperandType) -> TensorType:
    assert isinstance(x, TensorType) and isinstance(y, TensorType)
    a, c = x.shape, y.shape
    if len(a) < 2 or len(c) < 2 or a[-1] != c[-2]:
        raise mismatch(a, c)
    return TensorType(x.dtype, (*broadcast_shapes("matmul", [a[:-2], c[:-2]]), a[-2], c[-1]))


def transposed(b: Any, x: Any, ndim: int) -> Any:
    """The last two dimensions exchanged."""
    return b.permute(x, axes=(*range(ndim - 2), ndim - 1, ndim - 2))


register("matmul", "x y", "library", infer=_infer, eager=np.matmul,
         vjp=(lambda b, ct, y, types: b.matmul(ct, transposed(b, y, types[1].ndim)),
              lambda b, ct, x, types: b.matmul(transposed(b, x, types[0].ndim), ct)),
         domain=((-3.0, 3.0), (-3.0, 3.0)), promotion="same", cost=1.0, ulp=64.0,
         doc="Matrix product over the last two dims, the others broadcast.")


def _infer_add(c: OperandType, x: OperandType, y: OperandType, scale: float) -> TensorType:
    result = _infer(x, y)
    if isinstance(c, TensorType) and c.shape != result.shape:
        raise ShapeError(f"`matmul_add` adds a product of shape {result.shape} to shape {c.shape}",
                         ("why", "the product is added to what has its shape"), fix="expand the first operand")
    return result


def _matmul_add(c: Any, x: Any, y: Any, scale: float) -> Any:
    return c + np.matmul(x, y) * np.asarray(scale).astype(x.dtype)  # the scale is a number of the element type


register("matmul_add", "c x y", "library", infer=_infer_add, eager=_matmul_add,
         vjp=(lambda b, ct: ct,
              lambda b, ct, y, types, scale: b.mul(b.matmul(ct, transposed(b, y, types[2].ndim)), scale),
              lambda b, ct, x, types, scale: b.mul(b.matmul(transposed(b, x, types[1].ndim), ct), scale)),
         attributes={"scale": 1.0}, domain=((-3.0, 3.0),) * 3, promotion="same", cost=1.0, ulp=64.0,
         doc="`c + scale * (x @ y)`; `c` has the product's shape, or is a number.")
