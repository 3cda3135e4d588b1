"""`RETAPE_CHECK=1`: every call of a compiled function also runs eagerly, and both must agree.

The eager call comes first, on the very objects, and all is put back as it was. Then the compiled call is made. Results,
everything that the function can reach and change, and gradients of the results are compared.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from retape.ir.errors import CheckFailed, RetapeError
from retape.tracer.apply import located
from retape.tracer.engine import grad
from retape.tracer.environment import Environment
from retape.tracer.printing import muted
from retape.tracer.state import state
from retape.tracer.tensor import Tensor, wrap
from retape.tracer.tree import LEAF, flatten

from .call import Call
from .compare import WRONG, row_of, worst_of
from .compiled import CompiledFunction
from .effects import Setting
from .snapshot import Frozen, Snapshot, frozen

__all__ = ["CheckedFunction"]

NUMBERS = (bool, int, float, complex)


class CheckedFunction(CompiledFunction):
    """A compiled function that compares each of its calls with eager execution. Raises `CheckFailed`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if state.tracer is not None or state.shadow:
            return self.function(*args, **kwargs)
        call = self._call(args, kwargs)
        world = self._world(call)
        with _shadow():
            eager = _Outcome(world, lambda: self._eager(call))
        world.restore()
        compiled = _Outcome(world, lambda: self._compiled(call, world, args, kwargs))
        if compiled.error is not None and eager.error is None:
            raise compiled.error
        found = eager.difference(compiled)
        if found is not None:
            after = self._world(call)
            if not self._sensitive(call, world, eager):
                world.restore()
                raise self._failed(found)
            after.restore()
        if compiled.error is not None:
            raise compiled.error
        return compiled.result

    def _world(self, call: Call) -> Snapshot:
        return Snapshot([*call.named_leaves, *zip(self._names(call), call.given, strict=True)],
                        Environment(self.function, call.objects))

    def _names(self, call: Call) -> Iterator[str]:
        position = 0
        for structure, count in call.structures:
            yield call.names[position] if structure == LEAF else \
                call.names[position].rsplit("_", 1)[0] if count else "an argument"
            position += count

    def _compiled(self, call: Call, world: Snapshot, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call in compiled code, also where it is the first; what a trace left behind is put back before."""
        with suppress(Exception):  # what is raised here the call itself raises again
            if self._find(call, False) is None:
                self._trace(call, False)
        world.restore()
        return super().__call__(*args, **kwargs)

    def _sensitive(self, call: Call, world: Snapshot, eager: _Outcome) -> bool:
        """Whether the same trace under strict numerics gives the eager outcome, or would have seen other values: then
        the function's sensitivity to rounding explains the difference."""
        world.restore()
        found = None if self.numerics == "strict" else self._find(call, False)
        if found is None:
            return False
        known = found[0].over(found[0].graph, True)
        here = Setting(call.leaves, known.environment.find() or {}, call.given)

        def run() -> Any:
            leaves = known.attempt(here)
            if leaves is None:
                raise _Parted
            return call.finish(known, leaves)

        strict = _Outcome(world, run)
        return isinstance(strict.error, _Parted) or eager.difference(strict) is None

    def _failed(self, difference: tuple[str, str]) -> CheckFailed:
        name, text = difference
        code = getattr(self.function, "__code__", None)
        place = self._of if code is None else f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}"
        return located(CheckFailed(
            f"a compiled call of `{self.__qualname__}` differs from eager execution in {name}",
            ("function", place), ("differs", text),
            ("why", "the function depends on something that compiled calls don't follow, or it is a bug of retape"),
            fix="pass what changes as an argument (docs/semantics.md tells what is not noticed); "
                "`rt.compare` names the operation where one differs"))


class _Parted(Exception):
    """Under strict numerics the call takes another path."""


@contextmanager
def _shadow() -> Iterator[None]:
    """Compiled functions that are called inside run eagerly, and `rt.debug.print` is silent."""
    state.shadow = True
    try:
        with muted():
            yield
    finally:
        state.shadow = False


class _Outcome:
    """What a call returned or raised, and what there is then, by name."""

    def __init__(self, world: Snapshot, run: Callable[[], Any]) -> None:
        self.error: Exception | None = None
        self.result: Any = None
        self.contents: list[tuple[str, Any]] = []
        try:
            self.result = run()
        except Exception as error:
            self.error = error
            return
        self.contents = [("the result", frozen(self.result)), *world.contents()]
        self.contents.append(("the gradient of its results", _gradients(self.result, world)))

    def difference(self, other: _Outcome) -> tuple[str, str] | None:
        """Where another outcome differs first, and how."""
        if type(self.error) is not type(other.error):
            return "what is raised", f"eager {_said(self.error)}, compiled {_said(other.error)}"
        for (name, a), (_, b) in zip(self.contents, other.contents, strict=True):
            found = _difference(a, b)
            if found is not None:
                return name, found
        return None


def _said(error: Exception | None) -> str:
    return "nothing" if error is None else f"{type(error).__name__}: {error}".split("\n")[0]


def _gradients(result: Any, world: Snapshot) -> Any:
    """The derivative of a result with respect to what required grad before the call; None where it can't be asked for,
    and where hooks of the user's would run."""
    live = [leaf for leaf in flatten(result)[0] if isinstance(leaf, Tensor) and leaf._requires_grad]
    wanted = world.variables
    if not live or not wanted or any(tensor._hooks for tensor in (*live, *wanted)):
        return None
    rng = np.random.default_rng(0)
    cotangents = [wrap(np.asarray(rng.standard_normal(out._data.shape), out._data.dtype)) for out in live]
    after = world.again()
    try:
        return frozen(grad(live, wanted, cotangents, retain_graph=True, allow_unused=True))
    except RetapeError as error:
        return error.code
    finally:
        after.restore()


def _difference(a: Any, b: Any) -> str | None:
    """How the compiled `b` differs from the eager `a`; None where rounding explains it."""
    if isinstance(a, Frozen) and isinstance(b, Frozen):
        if a.requires_grad != b.requires_grad:
            return f"eager requires_grad={a.requires_grad}, compiled {b.requires_grad}"
        return _apart(a.array, b.array)
    if isinstance(a, (Frozen, *NUMBERS)) and isinstance(b, (Frozen, *NUMBERS)):
        x, y = _number(a), _number(b)
        if x is not None and y is not None:
            dtype = np.result_type(*(v.array.dtype if isinstance(v, Frozen) else v for v in (a, b)))
            return _apart(x.astype(dtype), y.astype(dtype))
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        return next((f"[{i}]: {found}" for i, (x, y) in enumerate(zip(a, b, strict=True))
                     if (found := _difference(x, y)) is not None), None)
    if isinstance(a, dict) and isinstance(b, dict) and list(a) == list(b):
        return next((f"[{key!r}]: {found}" for key in a if (found := _difference(a[key], b[key])) is not None), None)
    if isinstance(a, Frozen) or isinstance(b, Frozen) or type(a) is not type(b) or a != b:
        return f"eager {_shown(a)}, compiled {_shown(b)}"
    return None


def _number(value: Any) -> np.ndarray[Any, Any] | None:
    if isinstance(value, Frozen):
        return value.array if not value.array.ndim and not value.requires_grad else None
    return np.asarray(value)


def _apart(eager: np.ndarray[Any, Any], compiled: np.ndarray[Any, Any]) -> str | None:
    if eager.shape != compiled.shape or eager.dtype != compiled.dtype:
        return f"eager {eager.dtype}{list(eager.shape)}, compiled {compiled.dtype}{list(compiled.shape)}"
    row = row_of("", eager, compiled)
    return f"{worst_of(eager, compiled)}, {row.ulp:.3g} ULP apart" if row.verdict == WRONG else None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:80]}..."
