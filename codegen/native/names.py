"""The functions that kernel source may call, as they run without a compiler.

Each is a plain function on NumPy scalars with the meaning that the compiled one has, so the same kernel source runs
unchanged under the interpreter (inside ``np.errstate(all="ignore")``: compiled code gives no floating-point warnings).
``jitted`` gives numba the compiled form of these very functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def radd(a: Any, b: Any) -> Any:
    """``a + b``, where the compiler may change the order of a chain of such additions. Not for two bools."""
    return a + b


def rmul(a: Any, b: Any) -> Any:
    """``a * b``, where the compiler may change the order of a chain of such products."""
    return a * b


def rmax(a: Any, b: Any) -> Any:
    """The larger of two; NaN if one of them is."""
    return np.maximum(a, b)


def rmin(a: Any, b: Any) -> Any:
    """The smaller of two; NaN if one of them is."""
    return np.minimum(a, b)


def select(c: Any, a: Any, b: Any) -> Any:
    """``a`` where ``c`` holds, else ``b``; both are evaluated."""
    return a if c else b


def sqrt(x: Any) -> Any:
    """Square root, correctly rounded."""
    return np.sqrt(x)


def fabs(x: Any) -> Any:
    """Absolute value of a float."""
    return np.fabs(x)


def floor(x: Any) -> Any:
    """Round towards minus infinity."""
    return np.floor(x)


def ceil(x: Any) -> Any:
    """Round towards plus infinity."""
    return np.ceil(x)


def rint(x: Any) -> Any:
    """Round to nearest, ties to even."""
    return np.rint(x)


def trunc(x: Any) -> Any:
    """Round towards zero."""
    return np.trunc(x)


def copysign(x: Any, y: Any) -> Any:
    """The magnitude of ``x`` with the sign of ``y``."""
    return np.copysign(x, y)


def number(bits: Any) -> Any:
    """The float64 of these 64 bits."""
    return np.int64(bits).view(np.float64)


def _cast(dtype: type) -> Any:
    def convert(x: Any) -> Any:
        return np.asarray(x).astype(dtype)[()]

    convert.__name__ = convert.__qualname__ = "to_" + _SHORT[dtype]
    convert.__doc__ = f"Convert to {dtype.__name__} as C and NumPy do."
    return convert


_SHORT: dict[type, str] = {
    np.float64: "f64",
    np.float32: "f32",
    np.int64: "i64",
    np.int32: "i32",
    np.int16: "i16",
    np.int8: "i8",
    np.uint8: "u8",
    np.bool_: "b1",
}
CASTS: dict[str, Any] = {short: _cast(dtype) for dtype, short in _SHORT.items()}
DTYPES: dict[str, type] = {short: dtype for dtype, short in _SHORT.items()}

def _row(dtype: type) -> Any:
    def allocate(count: Any) -> Any:
        return np.empty(count, dtype)

    allocate.__name__ = allocate.__qualname__ = "row_" + _SHORT[dtype]
    allocate.__doc__ = f"Room for some {dtype.__name__} numbers on the stack, as long as the kernel runs."
    return allocate


ROWS: dict[str, Any] = {short: _row(dtype) for dtype, short in _SHORT.items()}

REASSOCIATED = {"radd": radd, "rmul": rmul}
EXTREMES = {"rmax": rmax, "rmin": rmin}
UNARY = {"sqrt": sqrt, "fabs": fabs, "floor": floor, "ceil": ceil, "rint": rint, "trunc": trunc}


def table() -> dict[str, object]:
    """All names, ready to be the globals of kernel source."""
    typed = {function.__name__: function for function in (*CASTS.values(), *ROWS.values())}
    return {**REASSOCIATED, **EXTREMES, **UNARY, "select": select, "copysign": copysign, "number": number, **typed}
