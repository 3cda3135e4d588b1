"""The register of compositions (functions made of primitives), and what they share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

from retape.ir import CATALOGUE
from retape.ir.errors import AxisError, InvalidOperands, OutOfBounds, RetapeError, UnsupportedOp
from retape.ir.extents import whole
from retape.ir.shapes import canonical_axes, canonical_axis

from .apply import apply, as_operand, located
from .creation import as_tensor
from .tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])

COMPOSED: dict[str, Callable[..., Any]] = {}
METHODS: set[str] = set()
IN_PLACE: set[str] = set()
FUNCTIONAL: set[str] = set()
SPACES: dict[str, dict[str, Callable[..., Any]]] = {"": COMPOSED, "linalg": {}, "fft": {}, "special": {}}


@overload
def composed(function: F) -> F: ...
@overload
def composed(
    *, name: str | None = None, method: bool = True, in_place: bool = False, space: str = ""
) -> Callable[[F], F]: ...
def composed(
    function: Any = None, *, name: str | None = None, method: bool = True, in_place: bool = False, space: str = "",
) -> Any:
    """Make a function part of the vocabulary: `rt.<name>`, and a method of `Tensor` unless told otherwise.

    `in_place` adds the method `<name>_`; `space` puts it into `rt.linalg`, `rt.fft` or `rt.special` instead, or beside
    `rt.<name>` into `rt.nn.functional` ("nn").
    """

    def enter(function: F) -> F:
        known = name or function.__name__
        if space in ("linalg", "fft", "special"):
            SPACES[space][known] = guarded(known, function)
            return function
        COMPOSED[known] = guarded(known, function)
        if space == "nn":
            FUNCTIONAL.add(known)
        if method and space != "nn":
            METHODS.add(known)
        if in_place:
            IN_PLACE.add(known)
        return function

    return enter if function is None else enter(function)


def guarded(name: str, function: F) -> F:
    """The function with what Python and NumPy say of wrong arguments located at the user's line.

    Within the package functions call each other as they are: this is for calls from outside.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except RetapeError as error:
            raise located(error) from None
        except (TypeError, AttributeError, KeyError, IndexError, ValueError, ArithmeticError) as error:
            trace = error.__traceback__
            if trace is None or trace.tb_next is None:  # arguments that don't fit the signature
                raise error.with_traceback(None) from None
            raise unfit(name, function, error) from None

    return call  # type: ignore[return-value]


def unfit(name: str, function: Callable[..., Any], error: Exception) -> RetapeError:
    """The located error for arguments that a function can't work with."""
    kind: type[Any] = OutOfBounds if isinstance(error, IndexError) else UnsupportedOp if isinstance(
        error, (TypeError, AttributeError)) else InvalidOperands
    names = [str(p).split(":")[0].split("=")[0] for p in inspect.signature(function).parameters.values()]
    found: RetapeError = kind(
        f"`{name}` can't work with these arguments", ("why", f"{type(error).__name__}: {error}"),
        fix=f"check their types and extents: {name}({', '.join(names)})")
    return located(found)


def choosing(function: F) -> F:
    """A function of one tensor with torch's last argument `inplace`: whether the result is written into its operand."""
    positions = len(inspect.signature(function).parameters)

    @functools.wraps(function)
    def call(*args: Any, inplace: bool = False, **options: Any) -> Any:
        if len(args) == positions + 1:
            *args, inplace = args  # type: ignore[assignment]
        if not inplace:
            return function(*args, **options)
        from .inplace import in_place

        return in_place(function)(*args, **options)

    known = inspect.signature(function)
    option = inspect.Parameter("inplace", inspect.Parameter.KEYWORD_ONLY, default=False, annotation="bool")
    call.__signature__ = known.replace(parameters=[*known.parameters.values(), option])  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


def primitive(name: str, *operands: Any, **attributes: Any) -> Tensor:
    """Apply a catalogue entry by name, with all its attributes."""
    op = CATALOGUE[name]
    inputs, attrs = op.bind(operands, attributes)
    return apply(op, inputs, attrs)


def tensor_of(x: Any) -> Tensor:
    """Any operand as a tensor."""
    x = as_operand(x)
    return x if isinstance(x, Tensor) else as_tensor(x)


def floating(x: Any) -> Tensor:
    """An operand as a tensor of a float or complex type: integers and truth values in the default float type."""
    from retape.ir.types import default_float

    x = tensor_of(x)
    return x if x.dtype.is_differentiable else primitive("cast", x, dtype=default_float())


def dims_of(dims: tuple[Any, ...]) -> tuple[int, ...]:
    """Integers given one by one or as one sequence."""
    given = dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    return tuple(whole(d) for d in given)


def axis_of(dim: int, x: Tensor, extra: int = 0) -> int:
    """`dim` counted from the front. Raises the located `AxisError`."""
    try:
        return canonical_axis(dim, x.ndim + extra, x.shape)
    except AxisError as error:
        raise located(error) from None


def axes_of(dim: int | Sequence[int] | None, x: Tensor) -> tuple[int, ...]:
    """Dims counted from the front, None standing for all. Raises the located `AxisError`."""
    try:
        return canonical_axes(dim, x.shape)
    except AxisError as error:
        raise located(error) from None


def either(dim: Any, axis: Any, keepdim: bool = False, keepdims: bool | None = None) -> tuple[Any, bool]:
    """torch's spelling of a dim, or NumPy's."""
    return axis if dim is None else dim, keepdim if keepdims is None else keepdims


def refuse(wrong: Any, what: str, why: str, fix: str, error: type[Any]) -> None:
    """Raise a located error where `wrong` holds."""
    if wrong:
        raise located(error(what, ("why", why), fix=fix))
