"""The public vocabulary, derived: functions and methods from the op catalogue and from the compositions.

`functions()` gives every `rt.<name>`, `space` those of `rt.linalg`, `rt.fft` and `rt.nn.functional`; `attach()` puts
operators and methods on `Tensor`. Names are torch's, and NumPy's `axis`/`keepdims` are accepted beside `dim`/`keepdim`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from retape.ir import CATALOGUE, Op
from retape.ir.errors import DtypeError, UnknownName
from retape.ir.ops import told
from retape.ir.shapes import canonical_axes
from retape.ir.types import HALVES

from . import (
    activations,
    arranging,
    bits,
    convolution,
    differences,
    elimination,
    fft,
    grids,
    inplace,
    layers,
    linalg,
    losses,
    margins,
    numeric,
    order,
    parts,
    pooling,
    products,
    resampling,
    selecting,
    shaping,
    signals,
    special,
    statistics,
)
from .apply import apply, located
from .indexing import getitem
from .tensor import Tensor
from .vocabulary import COMPOSED, FUNCTIONAL, IN_PLACE, METHODS, SPACES, guarded

del activations, arranging, convolution, differences, elimination, fft, grids, layers, linalg, losses, margins, order
del parts, products, resampling, selecting, signals, special, statistics

Function = Callable[..., Any]

OPERATORS = {
    "__add__": "add", "__sub__": "sub", "__mul__": "mul", "__truediv__": "div", "__pow__": "pow",
    "__floordiv__": "floor_divide", "__mod__": "remainder", "__matmul__": "matmul", "__and__": "bitwise_and",
    "__or__": "bitwise_or", "__xor__": "bitwise_xor", "__lshift__": "bitwise_left_shift",
    "__rshift__": "bitwise_right_shift",
}
COMPARISONS = {f"__{name}__": name for name in ("eq", "ne", "lt", "le", "gt", "ge")}
UNARY = {"__neg__": "neg", "__abs__": "abs", "__invert__": "bitwise_not"}
ALIASES = {
    "negative": "neg", "absolute": "abs", "multiply": "mul", "subtract": "sub", "divide": "div", "true_divide": "div",
    "greater": "gt", "greater_equal": "ge", "less": "lt", "less_equal": "le", "not_equal": "ne", "concat": "cat",
    "concatenate": "cat", "swapaxes": "transpose", "swapdims": "transpose", "moveaxis": "movedim", "arcsin": "asin",
    "arccos": "acos", "arctan": "atan", "arctan2": "atan2", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
    "fix": "trunc", "special_xlogy": "xlogy", "row_stack": "vstack", "ger": "outer", "gammaln": "lgamma",
    "positive": "clone", "expit": "sigmoid", "trapz": "trapezoid",
}
# beside the activations and layers themselves, what torch has under both names
BOTH = ("relu", "sigmoid", "tanh", "one_hot", "pixel_shuffle", "pixel_unshuffle")
# the names of `rt.special` that are `rt`'s, or stand for one of these
SPECIAL = {
    **{name: name for name in ("digamma", "erf", "erfc", "erfinv", "exp2", "expit", "expm1", "gammaln", "log1p",
                               "log_softmax", "logit", "logsumexp", "polygamma", "round", "sinc", "softmax", "xlogy")},
    "psi": "digamma", "multigammaln": "mvlgamma",
}
CASTS = {"float": "float32", "double": "float64", "int": "int32", "long": "int64", "bool": "bool", "short": "int16",
         "char": "int8", "byte": "uint8", "cfloat": "complex64", "cdouble": "complex128"}


def _unary(op: Op) -> Function:
    def function(input: Any) -> Tensor:
        return apply(op, (input,))

    return function


def _binary(op: Op) -> Function:
    def function(input: Any, other: Any) -> Tensor:
        return apply(op, (input, other))

    return function


def _ternary(op: Op) -> Function:
    def function(condition: Any, input: Any, other: Any) -> Tensor:
        return apply(op, (condition, input, other))

    return function


_EVERY = tuple(tuple(range(rank)) for rank in range(65))  # all axes, by rank


def _reduction(op: Op) -> Function:
    single = op.name == "argmax"

    def function(
        input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool | None = None,
        dtype: Any = None,
    ) -> Tensor:
        if dim is None and axis is None and dtype is None and input.__class__ is Tensor:
            return apply(op, (input,), (_EVERY[input._data.ndim], keepdim if keepdims is None else keepdims))
        return slowly(input, axis if dim is None else dim, keepdim if keepdims is None else keepdims, dtype)

    def reduced(input: Any, dim: Any, keepdim: bool, dtype: Any) -> Tensor:
        if single and dim is not None and not isinstance(dim, int):
            raise TypeError(f"{op.name}() takes one dim or none")
        if dtype is not None:
            input = numeric.to(input, dtype)
        shape = input.shape if isinstance(input, (Tensor, np.ndarray)) else ()
        return apply(op, (input,), (canonical_axes(dim, shape), keepdim))

    slowly = guarded(op.name, reduced)
    return function


def derived(op: Op) -> Function:
    """The public function of a catalogue entry: positional operands, and dims where it reduces."""
    make = _reduction if op.kind == "reduction" else (_unary, _binary, _ternary)[len(op.operands) - 1]
    function = make(op)
    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = op.doc
    return function


_cache: dict[str, Function] = {}


def function(name: str) -> Function | None:
    """The public function `name`, or None. New catalogue entries are found as soon as they are registered."""
    found = _cache.get(name)
    if found is None:
        real = ALIASES.get(name, name)
        op = CATALOGUE.get(real)
        if real in COMPOSED:
            found = COMPOSED[real]
        elif op is not None and op.public:
            found = derived(op)
        if found is not None:
            _cache[name] = found
    return found


def functions() -> dict[str, Function]:
    """Every public function by name."""
    names = [*COMPOSED, *(op.name for op in CATALOGUE.values() if op.public), *ALIASES]
    return {name: f for name in names if (f := function(name)) is not None}


def space(name: str) -> dict[str, Function]:
    """The functions of a namespace: "linalg", "fft", "special" or "nn.functional"."""
    if name == "special":
        return {**SPACES[name], **{n: f for n, real in SPECIAL.items() if (f := function(real)) is not None}}
    if name != "nn.functional":
        return SPACES[name]
    found = {known: function(known) for known in (*FUNCTIONAL, *BOTH)}
    return {**{known: f for known, f in found.items() if f is not None}, **pooling.FUNCTIONAL_ONLY}


def namespace(name: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a module that has the functions of one of torch's namespaces."""
    def find(attribute: str) -> Any:
        if name != "nn.functional":
            found = SPACES[name].get(attribute)
            if found is None and name == "special" and attribute in SPECIAL:
                found = function(SPECIAL[attribute])
        else:
            found = pooling.FUNCTIONAL_ONLY.get(attribute)
            if found is None and (attribute in FUNCTIONAL or attribute in BOTH):
                found = function(attribute)
        if found is None:
            if attribute.startswith("_"):
                raise AttributeError(attribute)
            raise unknown(attribute)
        return found

    return find, lambda: sorted(space(name))


def unknown(name: str) -> UnknownName:
    """The error for a name that is in no catalogue, with the nearest ones that are."""
    from difflib import get_close_matches

    near = get_close_matches(name, functions(), 3)
    return located(UnknownName(
        f"`{name}` is not an operation of the catalogue", ("why", "what isn't in the catalogue can't be recorded"),
        fix=f"use {', '.join(f'`{n}`' for n in near)}" if near
        else "compose it of other operations, or write a Function"))


def half(name: str) -> DtypeError:
    """The error for element types of 16 bits."""
    return located(DtypeError(
        f"{HALVES[name]} is not supported", ("why", "kernels and NumPy's libraries work in float32 and float64"),
        fix="use float32"))


def _half(name: str) -> Function:
    def method(self: Tensor) -> Tensor:
        raise half(name)

    method.__doc__ = f"Raises `DtypeError`: {HALVES[name]} is not supported."
    return method


def _operator(name: str, reflected: bool) -> Function:
    """An operator that leaves operands it doesn't know to Python."""
    op = CATALOGUE.get(name)
    known = (Tensor, int, float, complex, np.ndarray, np.generic)
    if op is None or not op.public or (name in COMPOSED and name not in ("add", "sub", "div")):
        found = function(name)
        assert found is not None

        def composed(self: Tensor, other: Any) -> Any:
            if isinstance(other, known):
                return found(other, self) if reflected else found(self, other)
            return NotImplemented

        return composed

    def primitive(self: Tensor, other: Any) -> Any:
        if isinstance(other, known):
            return apply(op, (other, self) if reflected else (self, other))
        return NotImplemented

    return primitive


def _to(dtype: str) -> Function:
    def method(self: Tensor) -> Tensor:
        return numeric.to(self, dtype)

    method.__doc__ = f"The values as {dtype}."
    return method


def _late(op: Op) -> None:
    """The method of an operation that is registered later. (A `__getattr__` would slow down every attribute.)"""
    if op.public and not hasattr(Tensor, op.name):
        setattr(Tensor, op.name, derived(op))


def attach() -> None:
    """Put operators and methods on `Tensor`."""
    for special, name in {**OPERATORS, **COMPARISONS}.items():
        setattr(Tensor, special, _operator(name, False))
        if special in OPERATORS:
            setattr(Tensor, f"__r{special[2:]}", _operator(name, True))
            setattr(Tensor, f"__i{special[2:]}", inplace.in_place(_operator(name, False)))
    for special, name in UNARY.items():
        setattr(Tensor, special, function(name))
    for name, found in functions().items():
        if not hasattr(Tensor, name) and (name not in COMPOSED or name in METHODS):
            setattr(Tensor, name, found)
    _attach_writes()
    told.append(_late)
    own = {"__getitem__": getitem, "__setitem__": inplace.setitem, "where": _where,
           **{name: _half(name) for name in ("half", "bfloat16")},
           **{name: _to(dtype) for name, dtype in CASTS.items()}}
    for name, method in own.items():
        setattr(Tensor, name, method)
    for name, made in (("T", shaping.T), ("mT", shaping.mT), ("H", shaping.H), ("mH", shaping.H), ("real", bits.real),
                       ("imag", bits.imag)):
        setattr(Tensor, name, property(made))


def _attach_writes() -> None:
    """The methods that write in place, under their aliases, too."""
    for name in (*IN_PLACE, *(op.name for op in CATALOGUE.values() if op.public and op.kind == "pointwise")):
        written = function(name)
        if written is not None and name != "where":
            setattr(Tensor, f"{name}_", inplace.in_place(written))
    for alias, name in ALIASES.items():
        if hasattr(Tensor, f"{name}_"):
            setattr(Tensor, f"{alias}_", getattr(Tensor, f"{name}_"))
    for name in inplace.METHODS:
        setattr(Tensor, name, guarded(name, getattr(inplace, name)))


def _where(self: Tensor, condition: Any, other: Any) -> Tensor:
    """This tensor's elements where the condition holds, else the other's."""
    return numeric.where(condition, self, other)
