"""The register of compositions (functions made of primitives), and what they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from retape.ir import CATALOGUE
from retape.ir.errors import AxisError
from retape.ir.shapes import canonical_axis

from .apply import apply, as_operand, located
from .creation import as_tensor
from .tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])

COMPOSED: dict[str, Callable[..., Any]] = {}
METHODS: set[str] = set()


@overload
def composed(function: F) -> F: ...
@overload
def composed(*, name: str | None = None, method: bool = True) -> Callable[[F], F]: ...
def composed(function: Any = None, *, name: str | None = None, method: bool = True) -> Any:
    """Make a function part of the vocabulary: `rt.<name>`, and a method of `Tensor` unless told otherwise."""

    def enter(function: F) -> F:
        known = name or function.__name__
        COMPOSED[known] = function
        if method:
            METHODS.add(known)
        return function

    return enter if function is None else enter(function)


def primitive(name: str, *operands: Any, **attributes: Any) -> Tensor:
    """Apply a catalogue entry by name, with all its attributes."""
    op = CATALOGUE[name]
    inputs, attrs = op.bind(operands, attributes)
    return apply(op, inputs, attrs)


def tensor_of(x: Any) -> Tensor:
    """Any operand as a tensor."""
    x = as_operand(x)
    return x if isinstance(x, Tensor) else as_tensor(x)


def dims_of(dims: tuple[Any, ...]) -> tuple[int, ...]:
    """Integers given one by one or as one sequence."""
    given = dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    return tuple(int(d) for d in given)


def axis_of(dim: int, x: Tensor, extra: int = 0) -> int:
    """`dim` counted from the front. Raises the located `AxisError`."""
    try:
        return canonical_axis(dim, x.ndim + extra, x.shape)
    except AxisError as error:
        raise located(error) from None
