"""NumPy's own functions on tensors (NEP 13 and 18): `np.exp(t)`, `np.sum(t, axis=0)`, recorded like any operation."""

from __future__ import annotations

from typing import Any

import numpy as np

from .surface import function, unknown
from .tensor import Tensor

_NAMES = {
    "subtract": "sub", "multiply": "mul", "true_divide": "div", "divide": "div", "power": "pow", "negative": "neg",
    "absolute": "abs", "fabs": "abs", "equal": "eq", "not_equal": "ne", "less": "lt", "less_equal": "le",
    "greater": "gt", "greater_equal": "ge", "rint": "round", "concatenate": "cat", "expand_dims": "unsqueeze",
    "swapaxes": "transpose", "clip": "clamp", "around": "round", "max": "amax", "min": "amin",
    "dot": "matmul",
}

# what NumPy and torch call by one name and mean differently
_DIFFERENT = {"pad", "repeat", "split", "select"}


def _ufunc(self: Tensor, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
    name = _NAMES.get(ufunc.__name__, ufunc.__name__)
    found = function(name)
    if found is None or method not in ("__call__", "reduce") or options.keys() - {"axis", "keepdims"}:
        raise unknown(f"np.{ufunc.__name__}" + (f".{method}" if method != "__call__" else ""))
    if method == "reduce":
        reduction = {"add": "sum", "multiply": "prod", "maximum": "amax", "minimum": "amin"}.get(ufunc.__name__)
        reducer = function(reduction) if reduction else None
        if reducer is None:
            raise unknown(f"np.{ufunc.__name__}.reduce")
        return reducer(inputs[0], axis=options.get("axis", 0), keepdims=options.get("keepdims", False))
    return found(*inputs)


def _function(self: Tensor, func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = _NAMES.get(func.__name__, func.__name__)
    if name in ("shape", "ndim", "size"):
        return getattr(args[0]._data, name)
    if name == "transpose" and func is np.transpose:
        axes = kwargs.get("axes", args[1] if len(args) > 1 else None)
        return args[0].T if axes is None else args[0].permute(*axes)
    if name in ("ones_like", "zeros_like"):
        from . import creation

        return getattr(creation, name)(*args, **kwargs)
    found = function(name)
    if found is None or name in _DIFFERENT or (name == "norm" and len(args) + len(kwargs) > 1):
        raise unknown(f"np.{func.__name__}")
    if name == "cumsum" and len(args) < 2 and kwargs.get("axis") is None:
        args, kwargs = (args[0].reshape(-1),), {}
    if name in ("unsqueeze", "flip") and "axis" in kwargs:
        args, kwargs = (*args, kwargs["axis"]), {}
    if name in ("var", "std") and "ddof" in kwargs:
        correction = kwargs.pop("ddof")
        kwargs = {**kwargs, "correction": correction}
    elif name in ("var", "std"):
        kwargs = {**kwargs, "correction": 0}  # NumPy's default, where torch's is 1
    return found(*args, **kwargs)


def attach() -> None:
    """Have NumPy hand its calls on tensors over."""
    Tensor.__array_ufunc__ = _ufunc  # type: ignore[attr-defined]
    Tensor.__array_function__ = _function  # type: ignore[attr-defined]
