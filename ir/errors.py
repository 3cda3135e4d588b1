"""Every error that a user can meet, with a stable code.

An error's text says what happened, where (the user's line), why, and the fix; `explain` gives the long form.
Each class also subclasses the built-in exception that a NumPy or torch user would catch.
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

CODES: dict[str, type[Any]] = {}


class RetapeError(Exception):
    """The root of retape's errors. `code` is stable; `facts` are the labelled lines under the first."""

    code: ClassVar[str] = "RT000"

    def __init_subclass__(cls) -> None:
        if "code" in cls.__dict__:
            CODES[cls.code] = cls

    def __init__(self, message: str, *facts: tuple[str, str], fix: str = "") -> None:
        self.message = message
        self.facts = (*facts, ("fix", fix)) if fix else facts
        super().__init__(message)

    def head(self) -> str:
        return f"{self.code} {type(self).__name__}: {self.message}"

    def __str__(self) -> str:
        width = max((len(label) for label, _ in self.facts), default=0)
        return "\n".join([self.head(), *(f"  {label:{width}} : {text}" for label, text in self.facts)])


class SecondBackward(RetapeError, RuntimeError):
    """A graph was walked backward twice although its saved values were freed the first time.

    The values that backward needs are dropped as soon as they have been used. Ask for them to be kept with
    `retain_graph=True` at the first backward, or compute the result again. Where state is carried from one
    step to the next (recurrent nets, running averages), cut the old graph off with `.detach()`.
    """

    code = "RT101"

    def head(self) -> str:
        """torch's own sentence comes first, without a code, for those who compare it."""
        return self.message


class NonScalarBackward(RetapeError, RuntimeError):
    """`backward()` without a gradient starts from a derivative of one, which only a one-element result has.

    Reduce the result (`y.sum().backward()`), or say with which vector the Jacobian is to be multiplied:
    `y.backward(v)` with `v` of y's shape.
    """

    code = "RT102"


class GradientMismatch(RetapeError, RuntimeError):
    """The gradient handed to `backward` has another shape or element type than the output it belongs to."""

    code = "RT103"


class SavedTensorModified(RetapeError, RuntimeError):
    """A tensor that backward needs was changed in place after it had been saved.

    The derivative would be taken at the new values, so it is refused. Write `x = x + 1` in place of `x += 1`, or
    hand a `clone()` to the function that needs the old values.
    """

    code = "RT104"


class NoGradPath(RetapeError, RuntimeError):
    """The result depends on no tensor that requires grad, or the path was cut by `detach()` or `no_grad`."""

    code = "RT105"


class DtypeNotDifferentiable(RetapeError, RuntimeError):
    """Only floating-point and complex tensors can require grad."""

    code = "RT106"


class NoDerivative(RetapeError, RuntimeError):
    """The derivative of an operation that has none (`argmax`, `floor_divide`, a custom Function inside a compiled
    function's own backward) was asked for. `detach()` its input or result, or write a custom `Function`."""

    code = "RT107"

    @classmethod
    def of_function(cls, name: str) -> NoDerivative:
        """The error of a custom Function whose result is differentiated outside the compiled function."""
        return cls(f"the custom Function `{name}` inside a compiled function has no derivative outside it",
                   ("why", "its backward is Python code that the compiled function's backward can't call"),
                   fix="call backward (or `rt.func.grad`) inside the compiled function, so that it is traced too")


class LeafInplace(RetapeError, RuntimeError):
    """A leaf that requires grad was written in place, which would make its own derivative undefined.

    Parameter updates belong in `with rt.no_grad():`.
    """

    code = "RT108"


class BroadcastMismatch(RetapeError, RuntimeError, ValueError):
    """Two shapes can't be broadcast: from the right, extents must be equal or one of them 1."""

    code = "RT201"


class MatmulMismatch(RetapeError, RuntimeError, ValueError):
    """The inner extents of a matrix product differ."""

    code = "RT202"


class AxisError(RetapeError, IndexError, ValueError):
    """A dimension number lies outside the tensor's rank."""

    code = "RT203"


class OutOfBounds(RetapeError, IndexError):
    """An index lies outside the extent it selects from."""

    code = "RT204"


class ShapeError(RetapeError, RuntimeError, ValueError):
    """The operands' shapes don't fit the operation (reshape to another count, cat of unequal parts, ...)."""

    code = "RT205"


class DtypeError(RetapeError, TypeError):
    """The operation isn't defined for the element type of its operands."""

    code = "RT206"


class InvalidOperands(RetapeError, ValueError):
    """NumPy refuses the operands' values or extents: the largest element of nothing, a negative power of integers."""

    code = "RT207"


class UnsupportedOp(RetapeError, TypeError):
    """A call can't be recorded: it is no operation of the catalogue, or this version can't compile its effect."""

    code = "RT301"


class UnknownName(UnsupportedOp, AttributeError):
    """A name that is in no catalogue (RT301); also an `AttributeError`, so that `hasattr` works."""


class EscapedTensor(RetapeError, RuntimeError):
    """A tensor made while a function was traced was kept outside it and used later.

    The compiled function doesn't make that tensor again, so it would be stale. Return it instead.
    """

    code = "RT302"


class GuardExplosion(UserWarning):
    """A compiled function reached its budget of traces and runs eagerly from now on (RT401).

    Each new path through the function's branches on values is traced and compiled once. Use `rt.where`, fewer
    branches, or a larger `budget`.
    """


class CompareMismatch(RetapeError, AssertionError):
    """Eager and compiled results differ by more than rounding."""

    code = "RT501"


class KernelFailed(RetapeError, RuntimeError):
    """A generated kernel could not be built: a bug of retape."""

    code = "RT503"


class CacheRefused(UserWarning):
    """The cache of compiled code on disk can't be used as it was asked for (RT504).

    The folder must belong to you and be writable by nobody else, since what lies there is run. `RETAPE_CACHE_DIR` names
    another folder, or none if it is empty; `RETAPE_CACHE_SIZE` is a size such as `512M`.
    """


class ThreadCount(RetapeError, RuntimeError, ValueError):
    """A number of threads that is none: it must be an integer of at least 1.

    `rt.set_num_threads(1)` keeps every call on its caller's thread. Without a call of it the environment variable
    `RETAPE_NUM_THREADS` counts, and without that the number of cores that the process may run on.
    """

    code = "RT505"


class CheckFailed(RetapeError, AssertionError):
    """Under `RETAPE_CHECK=1`, a compiled call gave, changed or raised something else than eager execution.

    The function depends on something that compiled calls don't follow, such as the time, a file, or an attribute whose
    name is computed (docs/semantics.md lists these under what is not noticed), or it does something that happens while
    it is traced only. Pass what changes as an argument, return what the function does, or print with
    `rt.debug.print`. Where neither is the case, it is a bug of retape. Nothing outside is changed by the failed call.
    """

    code = "RT506"


class BadFile(RetapeError, ValueError):
    """A file is not retape IR, has another version, or is damaged."""

    code = "RT601"


class IRError(RetapeError, ValueError):
    """A graph breaks a rule of the IR: a bug of the pass that made it. The text quotes a window of IR."""

    code = "RT602"


CODES["RT401"] = GuardExplosion
CODES["RT504"] = CacheRefused


def explain(code: str) -> str:
    """The long form of an error: what it means and what to do. Raises `KeyError` for an unknown code."""
    found = CODES[code.upper()]
    return f"{code.upper()} {found.__name__}\n\n{inspect.cleandoc(found.__doc__ or '')}"
