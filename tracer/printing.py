"""`rt.debug.print`: text with the values of a call, from eager and from compiled code.

Eager code, and the call that is traced, print at once. A trace keeps what was printed as outputs of its graph, in the
state they had there, and a compiled call prints them when its effects are carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from retape.ir import CATALOGUE
from retape.ir.errors import UnsupportedOp
from retape.ir.quantities import TRACKED

from .apply import apply, array_operand, as_operand, located
from .environment import SCALARS
from .numbers import Number, NumberTensor
from .state import no_grad, site, state
from .tensor import Tensor, wrap
from .tree import flatten, unflatten

if TYPE_CHECKING:
    from .tracer import Tracer

__all__ = ["Printed", "muted", "print_values", "printed"]


@dataclass(frozen=True, slots=True)
class Printed:
    """One call of `rt.debug.print` in a trace.

    `leaves` of its arguments are (kind, what, history): kind "tensor", "number" or "array" with the position of a graph
    output, or "constant" with the value itself. `history` is what a tensor's printed form says of its gradient: the
    name of its node, whether it requires grad, or (source,) where a tensor from outside tells.
    """

    text: str
    structure: Any
    leaves: tuple[tuple[str, Any, Any], ...]
    place: Any

    def show(self, arrays: list[Any], outside: Callable[[Any], Tensor]) -> None:
        """Print, with the graph's outputs as arrays, and the tensors that sources stand for."""
        values = [what if kind == "constant" else _shown(kind, arrays[what], _history(outside(*history))
                  if isinstance(history, tuple) else history) for kind, what, history in self.leaves]
        _write(self.text, *unflatten(self.structure, values))


class _History:
    """Stands for the node of a tensor of which only the name is wanted."""

    def __init__(self, name: str) -> None:
        self._name = name

    def name(self) -> str:
        return self._name


def print_values(text: str, /, *args: Any, **kwargs: Any) -> None:
    """Print `text.format(*args, **kwargs)`, in eager and in compiled code.

    Arguments are tensors, arrays, numbers, strings, and tuples, lists, dicts and dataclasses of them; tensors look as
    eager code prints them (`{:.3f}` shows one element as a number). A compiled call prints when it has succeeded, in
    the order of the program; one that fails prints what eager code prints before the error. Gradients are not touched.

    Raises `UnsupportedOp` for arguments of other kinds, and what `str.format` raises.
    """
    tracer = state.tracer
    leaves, structure = flatten((args, kwargs))
    kept = [_kept(leaf) for leaf in leaves]
    if tracer is None:
        _write(text, args, kwargs)
        return
    tensors: list[Tensor] = []
    entries: list[tuple[str, Any, Any]] = []
    outside: dict[Any, Tensor] = {}
    for kind, leaf in kept:
        if kind == "constant":
            entries.append((kind, leaf, False))
            continue
        operand = leaf if isinstance(leaf, Tensor) else array_operand(leaf)
        with no_grad():
            tensors.append(apply(CATALOGUE["clone"], (operand,)))  # later writes aren't to be seen
        own = tracer.made(operand) or id(operand) in tracer.journal.histories
        history: Any = _history(operand)
        if kind == "tensor" and not own:  # a later call may be given one with another history
            source = tracer.source_of(operand)
            outside[source], history = operand, (source,)
        entries.append((kind, len(tensors) - 1, history))
    call = Printed(text, structure, tuple(entries), site())
    call.show([tensor._data for tensor in tensors], outside.__getitem__)
    tracer.prints.append((call, tensors))


def _history(tensor: Any) -> str | bool:
    if not isinstance(tensor, Tensor):  # an array stands for it
        return False
    return tensor._requires_grad if tensor._grad_fn is None else tensor._grad_fn.name()


def _kept(leaf: Any) -> tuple[str, Any]:
    """What kind of argument a leaf is. Raises `UnsupportedOp` for what a later call couldn't show as it is then."""
    if type(leaf) in TRACKED:
        leaf = as_operand(leaf)
    if isinstance(leaf, Number):
        leaf = leaf.operand()
    if isinstance(leaf, Tensor):
        return ("number" if isinstance(leaf, NumberTensor) else "tensor"), leaf
    if isinstance(leaf, np.ndarray):
        return "array", leaf
    if isinstance(leaf, SCALARS):
        return "constant", leaf
    raise located(UnsupportedOp(
        f"`rt.debug.print` can't show a {type(leaf).__name__}",
        ("why", "compiled code prints tensors, arrays, numbers, strings and containers of them"),
        fix="print its fields, or `str(...)` of what doesn't change"))


def _shown(kind: str, array: Any, history: str | bool) -> Any:
    """An argument as `str.format` is to see it."""
    if kind != "tensor":
        return array.item() if kind == "number" else array
    tensor = wrap(array)
    tensor._requires_grad = bool(history)
    if isinstance(history, str):
        tensor._grad_fn = _History(history)  # type: ignore[assignment]
    return tensor


def _write(text: str, args: Any, kwargs: Any) -> None:
    tracer, state.tracer = state.tracer, None  # to format isn't to look
    try:
        with no_grad():
            line = text.format(*args, **kwargs)
    finally:
        state.tracer = tracer
    if state.muted:
        state.muted -= 1
        return
    state.printed += 1
    print(line)


def printed(tracer: Tracer, extra: list[Tensor], first: int) -> tuple[Printed, ...]:
    """What a trace has printed; the tensors are added to `extra`, the graph's outputs from number `first` on."""
    found = []
    for call, tensors in tracer.prints:
        start = first + len(extra)
        extra += tensors
        found.append(Printed(call.text, call.structure, tuple(
            (kind, what if kind == "constant" else start + what, history) for kind, what, history in call.leaves),
            call.place))
    return tuple(found)


@contextmanager
def muted(count: float = float("inf")) -> Iterator[None]:
    """Leave the next `count` lines out: they have been printed, or aren't to be."""
    before, state.muted = state.muted, state.muted + count
    try:
        yield
    finally:
        state.muted = before
