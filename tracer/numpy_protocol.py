"""NumPy's own functions on tensors (NEP 13 and 18): `np.exp(t)`, `np.sum(t, axis=0)`, recorded like any operation.

Where NumPy and torch mean the same by a name, the call goes to the function of the vocabulary. Where names, arguments
or defaults differ, the tables here translate. Options that would be lost are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from retape.ir.errors import InvalidOperands
from retape.ir.types import COMPLEX

from . import (
    arranging,
    bits,
    creation,
    differences,
    fft,
    linalg,
    numeric,
    order,
    products,
    selecting,
    shaping,
    statistics,
)
from .apply import located
from .indexing import getitem
from .surface import function, space, unknown
from .tensor import Tensor
from .vocabulary import axes_of, tensor_of

INF = float("inf")
_NAMES = {
    "subtract": "sub", "multiply": "mul", "true_divide": "div", "divide": "div", "power": "pow", "negative": "neg",
    "absolute": "abs", "fabs": "abs", "equal": "eq", "not_equal": "ne", "less": "lt", "less_equal": "le",
    "greater": "gt", "greater_equal": "ge", "rint": "round", "concatenate": "cat", "expand_dims": "unsqueeze",
    "swapaxes": "transpose", "clip": "clamp", "around": "round", "max": "amax", "min": "amin", "dot": "matmul",
    "invert": "bitwise_not", "left_shift": "bitwise_left_shift", "right_shift": "bitwise_right_shift",
    "degrees": "rad2deg", "radians": "deg2rad", "conjugate": "conj", "float_power": "float_power",
}


def _axis(x: Tensor, axis: Any) -> tuple[Tensor, int]:
    """NumPy's axis=None stands for the flattened array."""
    return (x.reshape(-1), 0) if axis is None else (x, axis)


def _sorted(a: Any, axis: Any = -1, kind: Any = None) -> Tensor:
    return order.sort(*_axis(tensor_of(a), axis)).values  # type: ignore[no-any-return]


def _argsorted(a: Any, axis: Any = -1, kind: Any = None) -> Tensor:
    return order.argsort(*_axis(tensor_of(a), axis))


def _along(name: str) -> Callable[..., Any]:
    def call(a: Any, axis: Any = None) -> Any:
        found = function(name)
        assert found is not None
        return found(*_axis(tensor_of(a), axis))

    return call


def _pad(array: Any, pad_width: Any, mode: str = "constant", constant_values: Any = 0) -> Tensor:
    x = tensor_of(array)
    wide = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2)).tolist()
    names = {"constant": "constant", "reflect": "reflect", "wrap": "circular", "edge": "replicate"}
    if mode not in names:
        raise unknown(f"np.pad(mode={mode!r})")
    flat = [n for pair in reversed(wide) for n in pair]
    return arranging.pad(x, flat, names[mode], constant_values if mode == "constant" else None)


def _split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    x = tensor_of(ary)
    if isinstance(indices_or_sections, int) and x.shape[axis] % indices_or_sections:
        raise located(InvalidOperands("array split does not result in an equal division",
                                      ("why", f"{x.shape[axis]} elements in {indices_or_sections} parts"),
                                      fix="use `np.array_split`"))
    return list(shaping.tensor_split(x, indices_or_sections, axis))


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    return linalg.norm(x, ord, axis, keepdims) if ord is not None or axis is not None else \
        statistics.norm(x, 2, None, keepdims)


def _spread(ddof_root: bool) -> Callable[..., Tensor]:
    def call(a: Any, axis: Any = None, *, ddof: float = 0, correction: float | None = None, keepdims: bool = False) \
            -> Tensor:
        make = statistics.std if ddof_root else statistics.var
        return make(a, axis, keepdim=keepdims, correction=ddof if correction is None else correction)

    return call


def _medians(a: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """NumPy takes the mean of the two middle elements."""
    return order.quantile(a, 0.5, axis, keepdims)


def _rolled(a: Any, shift: Any, axis: Any = None) -> Tensor:
    return arranging.roll(a, shift, axis)


def _triangle(lower: bool) -> Callable[..., Tensor]:
    return lambda m, k=0: (arranging.tril if lower else arranging.triu)(m, k)


def _mapped(**names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Keywords under NumPy's names handed on under torch's."""
    def wrap(call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: call(*args, **{names.get(k, k): v for k, v in kwargs.items()})

    return wrap


def _repeat(a: Any, repeats: Any, axis: Any = None) -> Tensor:
    return arranging.repeat_interleave(a, repeats, axis)


def _tiled(A: Any, reps: Any) -> Tensor:  # noqa: N803
    counts = (reps,) if isinstance(reps, int) else tuple(reps)
    return arranging.tile(A, counts)


def _rounded(a: Any, decimals: int = 0) -> Tensor:
    return numeric.round_(a, decimals)


def _expanded(a: Any, axis: Any) -> Tensor:
    x = tensor_of(a)
    for at in sorted((axis,) if isinstance(axis, int) else axis):
        x = shaping.unsqueeze(x, at)
    return x


def _crossed(a: Any, b: Any, axis: int = -1) -> Tensor:
    return products.cross(a, b, axis)


def _dotted(a: Any, b: Any) -> Any:
    """A product of numbers or matrices, or over the last dim of one and the last but one of the other."""
    x, y = tensor_of(a), tensor_of(b)
    if not x.ndim or not y.ndim:
        return x * y
    return products.matmul(x, y) if y.ndim < 3 else products.tensordot(x, y, ([x.ndim - 1], [y.ndim - 2]))


def _averaged(a: Any, axis: Any = None, weights: Any = None, *, keepdims: bool = False) -> Any:
    x = tensor_of(a)
    if weights is None:
        return x.mean(axis, keepdims)
    w = tensor_of(weights)
    if w.shape != x.shape:
        if not isinstance(axis, int):
            raise unknown("np.average(weights of another shape)")
        w = w.reshape(-1, *(1,) * (x.ndim - axis % x.ndim - 1))
    return (x * w).sum(axis, keepdims) / (w + x * 0).sum(axis, keepdims)


def _numbers_only(name: str, fill: float) -> Callable[..., Any]:
    """A reduction in which NaN counts as `fill`."""
    def call(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
        x, found = tensor_of(a), function(name)
        assert found is not None
        missing = numeric.isnan(x)
        out = found(numeric.where(missing, fill, x), axis, keepdims)
        return out if abs(fill) != INF else numeric.where(missing.all(axis, keepdims), float("nan"), out)

    return call


def _slopes(f: Any, *spacing: Any, axis: Any = None, edge_order: int = 1) -> Any:
    found = differences.gradient(f, spacing=[tensor_of(s) if np.ndim(s) else s for s in spacing] if len(spacing) > 1
                                 else spacing[0] if spacing else 1, dim=axis, edge_order=edge_order)
    return found[0] if len(found) == 1 else found


# of NumPy's functions those whose arguments or defaults aren't torch's
_OWN: dict[Any, Callable[..., Any]] = {
    np.sort: _sorted, np.argsort: _argsorted, np.pad: _pad, np.split: _split, np.array_split: shaping.tensor_split,
    np.var: _spread(False), np.std: _spread(True), np.median: _medians, np.roll: _rolled, np.tril: _triangle(True),
    np.triu: _triangle(False), np.cumsum: _along("cumsum"), np.cumprod: _along("cumprod"), np.repeat: _repeat,
    np.tile: _tiled, np.round: _rounded, np.around: _rounded, np.expand_dims: _expanded, np.where: order.where_,
    np.nonzero: lambda a: order.nonzero(a, as_tuple=True), np.cross: _crossed,
    np.transpose: lambda a, axes=None: tensor_of(a).T if axes is None else shaping.permute(a, *axes),
    np.permute_dims: lambda a, axes=None: tensor_of(a).T if axes is None else shaping.permute(a, *axes),
    np.flip: lambda m, axis=None: shaping.flip(m, axes_of(axis, tensor_of(m))),
    np.squeeze: lambda a, axis=None: shaping.squeeze(a, axis),
    np.take_along_axis: lambda arr, indices, axis=-1: selecting.take_along_dim(arr, indices, axis),
    np.take: lambda a, indices, axis=None: selecting.take(a, indices) if axis is None else getitem(
        tensor_of(a), (*(slice(None),) * (axis % tensor_of(a).ndim), indices)),
    np.diff: lambda a, n=1, axis=-1: differences.diff(a, n, axis),
    np.trapezoid: lambda y, x=None, dx=1.0, axis=-1: differences.trapezoid(y, x, dx=dx, dim=axis),
    np.quantile: lambda a, q, axis=None, *, keepdims=False: order.quantile(a, q, axis, keepdims),
    np.tensordot: lambda a, b, axes=2: products.tensordot(a, b, axes),
    np.diagonal: lambda a, offset=0, axis1=0, axis2=1: shaping.diagonal(a, offset, axis1, axis2),
    np.trace: lambda a, offset=0: shaping.diagonal(a, offset).sum(-1),
    np.diag: lambda v, k=0: arranging.diag(v, k), np.rot90: lambda m, k=1, axes=(0, 1): arranging.rot90(m, k, axes),
    np.moveaxis: lambda a, source, destination: shaping.movedim(a, source, destination),
    np.meshgrid: lambda *xi, indexing="xy": arranging.meshgrid(*xi, indexing=indexing),
    np.searchsorted: lambda a, v, side="left": order.searchsorted(a, v, side=side),
    np.dot: _dotted, np.average: _averaged, np.gradient: _slopes, np.vdot: lambda a, b: products.vdot(
        tensor_of(a).reshape(-1), tensor_of(b).reshape(-1)),
    np.outer: lambda a, b: products.outer(tensor_of(a).reshape(-1), tensor_of(b).reshape(-1)),
    np.nanmedian: lambda a, axis=None, keepdims=False: order.nanquantile(a, 0.5, axis, keepdims),
    np.nanquantile: lambda a, q, axis=None, *, keepdims=False: order.nanquantile(a, q, axis, keepdims),
    np.percentile: lambda a, q, axis=None, *, keepdims=False: order.quantile(a, q / 100.0, axis, keepdims),
    np.nanpercentile: lambda a, q, axis=None, *, keepdims=False: order.nanquantile(a, q / 100.0, axis, keepdims),
    np.nanmax: _numbers_only("amax", -INF), np.nanmin: _numbers_only("amin", INF),
    np.nanprod: _numbers_only("prod", 1.0), np.ptp: lambda a, axis=None, keepdims=False: tensor_of(a).amax(
        axis, keepdims) - tensor_of(a).amin(axis, keepdims),
    np.append: lambda arr, values, axis=None: shaping.cat([tensor_of(arr), tensor_of(values)], axis)
    if axis is not None else shaping.cat([tensor_of(arr).reshape(-1), tensor_of(values).reshape(-1)], 0),
    np.flatnonzero: lambda a: order.nonzero(tensor_of(a).reshape(-1), as_tuple=True)[0],
    np.digitize: lambda x, bins, right=False: order.searchsorted(bins, x, right=not right),
    np.ediff1d: lambda ary: differences.diff(tensor_of(ary).reshape(-1)),
    np.array_equal: lambda a1, a2: numeric.equal(a1, a2), np.matrix_transpose: shaping.mT,
    np.imag: lambda val: bits.imag(val) if tensor_of(val).dtype.category == COMPLEX else creation.zeros_like(val),
    np.iscomplexobj: lambda x: tensor_of(x).dtype.category == COMPLEX,
    np.isrealobj: lambda x: tensor_of(x).dtype.category != COMPLEX,
    np.result_type: lambda *given: np.result_type(*(g._data if isinstance(g, Tensor) else g for g in given)),
    np.broadcast_arrays: arranging.broadcast_tensors, np.stack: lambda arrays, axis=0: shaping.stack(arrays, axis),
    np.ones_like: creation.ones_like, np.zeros_like: creation.zeros_like, np.full_like: creation.full_like,
    np.empty_like: creation.empty_like, np.copy: shaping.clone, np.einsum: products.einsum,
    np.clip: lambda a, a_min=None, a_max=None, **known: numeric.clamp(
        a, **{"min": a_min, "max": a_max, **known}),
}


def _svd(a: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    return linalg.svd(a, full_matrices) if compute_uv else linalg.svdvals(a)


# by name, since NumPy loads these modules only when they are wanted
_LINALG: dict[str, Callable[..., Any]] = {
    **space("linalg"), "norm": _norm, "svd": _svd,
    "lstsq": lambda a, b, rcond=None: linalg.lstsq(a, b, rcond), "pinv": lambda a, rcond=None: linalg.pinv(a, rcond),
    "matrix_rank": lambda A: linalg.matrix_rank(A), "matrix_transpose": shaping.mT,  # noqa: N803
    "trace": lambda x, *, offset=0: shaping.diagonal(x, offset, -2, -1).sum(-1),
    "tensordot": lambda a, b, axes=2: products.tensordot(a, b, axes), "outer": products.outer,
}
_FFT = {
    **{name: _mapped(a="input", axis="dim", axes="dim")(call) for name, call in space("fft").items()},
    "fftshift": lambda x, axes=None: fft.fftshift(x, axes), "ifftshift": lambda x, axes=None: fft.ifftshift(x, axes),
}
_SHAPE_QUESTIONS: dict[Any, Callable[[Tensor], Any]] = {
    np.shape: lambda x: x.shape, np.ndim: lambda x: x.ndim, np.size: lambda x: x.numel()}
_REDUCED = {"add": "sum", "multiply": "prod", "maximum": "amax", "minimum": "amin", "logical_and": "all",
            "logical_or": "any"}
_DIFFERENT = {"select", "gradient", "insert", "delete", "partition", "histogram", "convolve", "interp", "prod_"}


def _ufunc(self: Tensor, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
    name = _NAMES.get(ufunc.__name__, ufunc.__name__)
    called = f"np.{ufunc.__name__}" + (f".{method}" if method != "__call__" else "")
    if options.keys() - {"axis", "keepdims"} or (method == "__call__" and options):
        raise unknown(called)
    if method in ("reduce", "accumulate"):
        reduced = _REDUCED.get(ufunc.__name__)
        if method == "accumulate":
            reduced = {"sum": "cumsum", "prod": "cumprod"}.get(reduced or "")
        found = function(reduced) if reduced else None
        if found is None:
            raise unknown(called)
        return found(inputs[0], **{"axis": 0, **options})
    found = function(name)
    if found is None or method != "__call__":
        raise unknown(called)
    return found(*inputs)


def _function(self: Tensor, func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if func in _SHAPE_QUESTIONS and not kwargs and len(args) == 1:
        return _SHAPE_QUESTIONS[func](args[0])
    own = _OWN.get(func)
    if own is None:
        module = (func.__module__ or "").rpartition(".")[2]
        name = _NAMES.get(func.__name__, func.__name__)
        if module in ("linalg", "fft"):
            own = (_LINALG if module == "linalg" else _FFT).get(func.__name__)
        elif name not in _DIFFERENT:
            own = function(name)
    if own is None:
        raise unknown(f"np.{func.__name__}")
    if kwargs.get("out", self) is not self:
        raise unknown(f"np.{func.__name__}(out=...)")
    return own(*args, **kwargs)


def attach() -> None:
    """Have NumPy hand its calls on tensors over."""
    Tensor.__array_ufunc__ = _ufunc  # type: ignore[attr-defined]
    Tensor.__array_function__ = _function  # type: ignore[attr-defined]
