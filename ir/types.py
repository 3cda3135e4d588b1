"""Element types and tensor types: what is known of a value before it is computed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Union

import numpy as np

__all__ = [
    "Array", "DType", "TensorType", "Literal", "DTYPES", "dtype_of", "promote", "type_of", "weak_type",
    "b1", "i8", "i16", "i32", "i64", "u8", "f32", "f64", "c64", "c128",
]

Literal = Union[bool, int, float, complex]
BOOL, INTEGER, FLOAT, COMPLEX = range(4)


class DType:
    """An element type, under torch's name (`retape.float32`) and a short one for the IR (`f32`).

    Indexing gives a tensor type: `f64[2, 3]`, `f64[()]`.
    """

    __slots__ = ("category", "itemsize", "name", "numpy", "short")

    def __init__(self, name: str, short: str, category: int) -> None:
        self.name = name
        self.short = short
        self.category = category
        self.numpy: np.dtype[Any] = np.dtype(name)
        self.itemsize = self.numpy.itemsize

    @property
    def is_floating_point(self) -> bool:
        return self.category == FLOAT

    @property
    def is_differentiable(self) -> bool:
        return self.category >= FLOAT

    def __getitem__(self, shape: int | tuple[int, ...]) -> TensorType:
        return TensorType(self, shape if isinstance(shape, tuple) else (shape,))

    __iter__ = None  # which Python would make of `__getitem__`, without an end

    def __repr__(self) -> str:
        return f"retape.{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return dtype_of, (self.name,)


b1 = DType("bool", "b1", BOOL)
u8 = DType("uint8", "u8", INTEGER)
i8 = DType("int8", "i8", INTEGER)
i16 = DType("int16", "i16", INTEGER)
i32 = DType("int32", "i32", INTEGER)
i64 = DType("int64", "i64", INTEGER)
f32 = DType("float32", "f32", FLOAT)
f64 = DType("float64", "f64", FLOAT)
c64 = DType("complex64", "c64", COMPLEX)
c128 = DType("complex128", "c128", COMPLEX)
DTYPES = (b1, u8, i8, i16, i32, i64, f32, f64, c64, c128)

_BY_NUMPY = {dtype.numpy: dtype for dtype in DTYPES}
_BY_NAME = {name: dtype for dtype in DTYPES for name in (dtype.name, dtype.short)}
_BY_NAME |= {"float": f32, "double": f64, "int": i32, "long": i64}
_BY_PYTHON = {bool: b1, int: i64, float: f64, complex: c128}


HALVES = {"float16": "float16", "half": "float16", "bfloat16": "bfloat16"}


def dtype_of(spec: Any) -> DType:
    """The `DType` that a NumPy dtype, a Python type, a name or an array's `.dtype` stands for.

    Raises `TypeError` for element types outside the list (float16, object, strings, ...).
    """
    if isinstance(spec, DType):
        return spec
    if isinstance(spec, np.dtype) and spec in _BY_NUMPY:
        return _BY_NUMPY[spec]
    if isinstance(spec, str) and spec in _BY_NAME:
        return _BY_NAME[spec]
    if isinstance(spec, type) and spec in _BY_PYTHON:
        return _BY_PYTHON[spec]
    name = spec if isinstance(spec, str) else getattr(spec, "__name__", str(spec))
    if name in HALVES:
        raise TypeError(f"{HALVES[name]} is not supported: kernels and NumPy's libraries work in float32 and float64")
    found = _BY_NUMPY.get(np.dtype(spec))
    if found is None:
        names = ", ".join(dtype.name for dtype in DTYPES)
        raise TypeError(f"element type {spec!r} is not one of {names}")
    return found


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type, extents and layout of a value.

    `strides` counts elements and is None for row-major. `weak` marks a Python scalar that is known only at
    run time: it takes on the element type of the tensors that it meets. `numel` and `nbytes` are counted when they are
    first asked for.
    """

    dtype: DType
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None
    weak: bool = False
    numel: int = field(init=False, repr=False, compare=False)
    nbytes: int = field(init=False, repr=False, compare=False)

    if not TYPE_CHECKING:
        def __getattr__(self, name):
            if name not in ("numel", "nbytes"):
                raise AttributeError(f"a tensor type has no {name!r}")
            count = 1
            for extent in self.shape:
                count *= extent
            object.__setattr__(self, "numel", count)
            object.__setattr__(self, "nbytes", count * self.dtype.itemsize)
            return count if name == "numel" else self.nbytes

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def strided(self, *strides: int) -> TensorType:
        """The same type with element strides other than row-major."""
        return TensorType(self.dtype, self.shape, strides)

    def __str__(self) -> str:
        if self.weak:
            return {BOOL: "bool", INTEGER: "int", FLOAT: "float", COMPLEX: "complex"}[self.dtype.category]
        extents = ", ".join(map(str, self.shape)) if self.shape else "()"
        text = f"{self.dtype.short}[{extents}]"
        if self.strides is not None:
            text += f".strided({', '.join(map(str, self.strides))})"
        return text

    __repr__ = __str__


class Array:
    """An array written down in a graph, as `Array([1.0, 2.0], f64[2])`: elements in row-major order and a type."""

    __slots__ = ("array", "type")

    def __init__(self, elements: Any, type: TensorType) -> None:
        self.array = np.array(elements, type.dtype.numpy).reshape(type.shape)
        self.array.flags.writeable = False
        self.type = type

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Array) and self.type == other.type and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash((self.type, self.array.tobytes()))

    def __repr__(self) -> str:
        return f"Array({self.array.ravel().tolist()!r}, {self.type})"


def weak_type(kind: type) -> TensorType:
    """The type of a Python scalar of class `kind` that is a run-time input."""
    return TensorType(_BY_PYTHON[kind], (), None, True)


@lru_cache(maxsize=4096)
def row_major(dtype: np.dtype[Any], shape: tuple[int, ...]) -> TensorType:
    """The type of a row-major value."""
    return TensorType(dtype_of(dtype), shape)


def type_of(array: np.ndarray[Any, Any]) -> TensorType:
    """The type of an array, its layout left out."""
    return row_major(array.dtype, array.shape)


def shared_type(type: TensorType) -> TensorType:
    """The type itself, or the one object that stands for all that are equal and of row-major arrays."""
    if type.strides is None and not type.weak and all(extent.__class__ is int for extent in type.shape):
        return row_major(type.dtype.numpy, type.shape)
    return type


_ORDER = {dtype: rank for rank, dtype in enumerate(DTYPES)}
_default_float = [f32]


def default_float() -> DType:
    """The element type of Python floats among integer tensors, and of tensors made from them."""
    return _default_float[0]


def set_default_float(dtype: DType) -> None:
    _default_float[0] = dtype


def complex_of(dtype: DType) -> DType:
    """The complex type with parts of a float type."""
    return c128 if dtype is f64 else c64


def _join(a: DType, b: DType) -> DType:
    """The smaller element type that holds both, as torch's table gives it."""
    if a is b:
        return a
    low, high = (a, b) if _ORDER[a] < _ORDER[b] else (b, a)
    if low is u8 and high is i8:
        return i16
    if high is c64 and low is f64:
        return c128
    return high


def promote(operands: tuple[TensorType | Literal, ...]) -> DType:
    """The element type in which an operation on `operands` is carried out: torch's promotion rules.

    Tensors with dimensions decide; zero-dimensional ones count only with a higher category (bool < integer <
    float < complex), Python scalars only with one higher still.
    """
    ranks: list[DType | None] = [None, None, None]
    for operand in operands:
        if isinstance(operand, TensorType):
            rank, dtype = (2 if operand.weak else 1 if not operand.shape else 0), operand.dtype
        else:
            rank, dtype = 2, _BY_PYTHON[type(operand)]
        if rank == 2 and dtype.category == FLOAT:
            dtype = default_float()
        elif rank == 2 and dtype.category == COMPLEX:
            dtype = complex_of(default_float())
        known = ranks[rank]
        ranks[rank] = dtype if known is None else _join(known, dtype)
    result = ranks[0]
    for dtype_ in ranks[1:]:
        if dtype_ is None or (result is not None and dtype_.category <= result.category):
            continue
        widened = result is not None and dtype_.category == COMPLEX and result.category == FLOAT
        result = complex_of(result) if widened and result is not None else dtype_
    assert result is not None
    return result
