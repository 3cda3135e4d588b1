"""What is in force in this thread: whether operations are recorded for backward, and which trace is being taken."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import wraps
from types import CodeType, TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from retape import ir
from retape.ir import Span

if TYPE_CHECKING:
    from .tracer import Tracer

F = TypeVar("F", bound=Callable[..., Any])
Site = tuple[CodeType, int]


class State(threading.local):
    """Per thread: gradient recording is on, no trace is active."""

    grad_enabled: bool = True
    tracer: Tracer | None = None
    shadow: bool = False  # an eager call is made for comparison with a compiled one
    muted: float = 0  # how many of the next lines of `rt.debug.print` are left out
    printed: int = 0  # how many were printed


state = State()


# ---- where the user's code stands

_HERE = tuple(os.path.dirname(os.path.abspath(path)) + os.sep for path in (__file__, ir.__file__))


class _Internal(dict[str, bool]):
    """Whether a file is one of retape's own."""

    def __missing__(self, filename: str) -> bool:
        found = self[filename] = os.path.abspath(filename).startswith(_HERE)
        return found


_internal = _Internal()
_is_internal = _internal.__getitem__


def internal_folder(path: str) -> None:
    """Count the files of a folder as retape's own: they are passed over when the user's line is looked for."""
    global _HERE
    _HERE = (*_HERE, os.path.abspath(path) + os.sep)
    _internal.clear()


def user_file(path: str) -> None:
    """Count one of retape's own files as a user's: a demonstration, whose lines are to be quoted."""
    _internal[path] = False


def site(depth: int = 1, known: dict[int, dict[int, Site]] | None = None) -> Site:
    """The user's code and instruction that led here; decoded to a `Span` only when it is shown.

    `depth` counts the frames above that are known to be retape's own; `known` holds one object for each place,
    by the id of its code and by the instruction.
    """
    try:
        frame = sys._getframe(depth)
    except ValueError:  # there are fewer: called from C, as a thread's first function say
        frame = sys._getframe(1)
    while _internal[frame.f_code.co_filename]:
        if frame.f_back is None:
            break
        frame = frame.f_back
    code, instruction = frame.f_code, frame.f_lasti
    if known is None:
        return code, instruction
    here = known.get(id(code))
    if here is None:
        here = known[id(code)] = {}
    place = here.get(instruction)
    if place is None:
        place = here[instruction] = code, instruction
    return place


def span_of(place: Site | None) -> Span | None:
    return None if place is None else Span.of(*place)


def describe(place: Site | None) -> str:
    """`ex.py:5:12  (x+2)**2`, for error texts."""
    if place is None:
        return "an unknown place"
    span = Span.of(*place)
    return f"{span.place}  {span.text}"


# ---- gradient modes


class _GradMode:
    """Sets whether operations are recorded, as a context manager or a decorator."""

    def __init__(self, mode: bool) -> None:
        self.mode = mode
        self.previous: list[bool] = []

    def __enter__(self) -> None:
        self.previous.append(state.grad_enabled)
        state.grad_enabled = self.mode

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) \
            -> None:
        state.grad_enabled = self.previous.pop()

    def __call__(self, function: F) -> F:
        mode = self.mode

        @wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with _GradMode(mode):
                return function(*args, **kwargs)

        return inside  # type: ignore[return-value]


class no_grad(_GradMode):
    """Operations inside are not recorded for backward; usable as `with rt.no_grad():` and `@rt.no_grad()`."""

    def __init__(self) -> None:
        super().__init__(False)


class enable_grad(_GradMode):
    """Operations inside are recorded, also within `no_grad`."""

    def __init__(self) -> None:
        super().__init__(True)


class set_grad_enabled(_GradMode):
    """Recording on or off by a flag: at once when called, and undone at the end of a `with`."""

    def __init__(self, mode: bool) -> None:
        super().__init__(bool(mode))
        self.before = state.grad_enabled
        state.grad_enabled = self.mode

    def __enter__(self) -> None:
        self.previous.append(self.before)
        state.grad_enabled = self.mode


def is_grad_enabled() -> bool:
    """Whether operations are being recorded for backward in this thread."""
    return state.grad_enabled
