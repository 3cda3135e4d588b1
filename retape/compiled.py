"""`@rt.compile`: a function that is traced at its first call and runs as compiled code from then on."""

from __future__ import annotations

import inspect
import itertools
import keyword
import os
import re
import warnings
from collections.abc import Callable, Sequence
from functools import partial, update_wrapper
from typing import Any, TypeVar, overload
from weakref import WeakValueDictionary

import numpy as np

from retape.ir.errors import GuardExplosion, KernelFailed, UnsupportedOp
from retape.ir.once import tracing
from retape.tracer.apply import located
from retape.tracer.environment import Environment
from retape.tracer.notices import notices
from retape.tracer.numbers import Numbers
from retape.tracer.outside import overlapping
from retape.tracer.printing import muted
from retape.tracer.state import state
from retape.tracer.tensor import Tensor
from retape.tracer.trace import Recorded, trace

from .arguments import form, positional
from .call import Call
from .effects import Setting
from .entry import MISS, Entry, make_entry
from .group import Group
from .shapes import Templates
from .specialization import Specialization

__all__ = ["CompiledFunction", "compile"]

F = TypeVar("F", bound=Callable[..., Any])
BUDGET = 128
CHECK = "RETAPE_CHECK"
_number = itertools.count()
SIGNATURES = 4096  # for more, what serves a call is looked for anew
ENTRIES = 8  # short ways that a call tries
PATTERNS = 256  # forms of calls that are remembered
LONG, LONGEST = 64, 2000  # arguments and names: with more the short way isn't made later, and isn't made
OTHERS = 32  # groups of traces that are kept for surroundings that may come back


class CompiledFunction:
    """A compiled function. It is called like the function it wraps.

    The first call with arguments of new types runs eagerly and is recorded; later ones run compiled code. Where Python
    looked at values, the code is used only while it would see the same again; another path is traced and compiled in
    turn, up to `budget` of them for one signature, after which other paths run eagerly (with one warning).
    """

    def __init__(self, function: Callable[..., Any], budget: int = BUDGET, fallback: str = "eager",
                 numerics: str = "default") -> None:
        if fallback not in ("eager", "error"):
            raise ValueError(f"fallback is 'eager' or 'error', not {fallback!r}")
        if numerics not in ("default", "strict"):
            raise ValueError(f"numerics is 'default' or 'strict', not {numerics!r}")
        if isinstance(function, np.ufunc):
            raise located(UnsupportedOp(f"`np.{function.__name__}` is a ufunc of NumPy, not a function of tensors",
                                        ("why", "its own parameters (out, where, ...) can't be traced"),
                                        fix=f"compile `lambda x: np.{function.__name__}(x)`"))
        update_wrapper(self, function)
        self.function = function
        self.budget = budget
        self.fallback = fallback
        self.numerics = numerics
        self._traced_here = 0
        self._methods: WeakValueDictionary[int, CompiledFunction] = WeakValueDictionary()  # of instances
        self._entry: Entry | None = None  # the one that served last
        self._entries: list[Entry] = []
        # by forms of calls: their short ways, None where there is none, or how many have taken the general way so far
        self._patterns: dict[Any, Entry | int | None] = {}
        self._known: dict[Any, list[Group]] = {}
        self._templates = Templates()
        self._eager_keys: set[Any] = set()  # signatures that run eagerly for good
        self._plain = ""  # why a trace with formulas was last given up
        self._looks = ""  # why the same was done with numbers that it takes out of tensors
        self._fixed: set[Any] = set()  # places of numbers that can't have formulas
        # the graph's name has to be one that Python accepts: `lambda_` for a lambda
        self.__qualname__ = getattr(function, "__qualname__", type(function).__name__)
        name = re.sub(r"\W", "", getattr(function, "__name__", type(function).__name__)) or "function"
        self._name = f"{name}_" if keyword.iskeyword(name) else name
        self._of = f"{getattr(function, '__module__', '')}.{self.__qualname__}"
        # what a decorator wraps gives names to arguments, of which the decorator may take others
        self._signature = inspect.signature(function, follow_wrapped=False)
        self._positional = positional(inspect.signature(function))
        self._simple = len(positional(self._signature)) == len(self._signature.parameters)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        bound = instance.__dict__.setdefault("_compiled_methods", {}) if hasattr(instance, "__dict__") else {}
        name = self.function.__name__
        if name not in bound:
            bound[name] = self._methods[next(_number)] = type(self)(
                self.function.__get__(instance, owner), self.budget, self.fallback, self.numerics)
        return bound[name]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if state.tracer is not None:  # inside another trace: inlined
            return self.function(*args, **kwargs)
        last = self._entry
        if last is not None:
            result = last(args, kwargs)
            if result is not MISS:
                return result
            for entry in self._entries:
                if entry is not last and (result := entry(args, kwargs)) is not MISS:
                    self._entry = entry
                    return result
        call = self._call(args, kwargs)
        if call.key in self._eager_keys:
            return self._eager(call)
        try:
            found = self._find(call)
        except KernelFailed as error:
            return self._without_kernel(call, error)
        if found is None:
            return self._trace(call)
        self._enter(call, found[0], args, kwargs)
        return call.finish(*found)

    def _enter(self, call: Call, known: Specialization, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Have further calls like this one take the short way."""
        group = self._known[call.key][0]
        pattern = known, group.environment.edition, call.key, len(args), tuple(kwargs)
        size = len(call.leaves) + len(group.environment.paths)
        if len(self._patterns) >= PATTERNS:
            self._patterns.clear()
        entry = self._patterns.get(pattern, 0)
        if isinstance(entry, int):
            entry += 1
            if entry == 1 + min(size, LONG) // 8 and size <= LONGEST:  # making it takes as long as some general calls
                entry = make_entry(known, group, call, *form(self._call, args, kwargs))
            self._patterns[pattern] = entry
        if callable(entry):
            self._entry = entry
            if entry not in self._entries:
                self._entries = [entry, *self._entries[:ENTRIES - 1]]

    def _find(self, call: Call, commit: bool = True) -> tuple[Specialization, list[Any]] | None:
        """The trace that holds for a call, and its results; the group that held last is tried first."""
        groups = self._known.get(call.key)
        if groups is None:
            groups = self._templates.fill(call)
            if len(self._known) < SIGNATURES:
                self._known[call.key] = groups
        for position, group in enumerate(groups):
            found = group.run(call, commit)
            if found is not None:
                if position:
                    groups.insert(0, groups.pop(position))
                return None if found[0] is None else (found[0], found[1])
        return None

    # ---- looking into it

    def specialize(self, *args: Any, **kwargs: Any) -> Specialization:
        """Trace the function for these arguments (unless that has been done) and give the trace to look at.

        Nothing outside is changed. Raises `UnsupportedOp` where these arguments can only be served eagerly.
        """
        call = self._call(args, kwargs)
        found = self._find(call, False)
        if found is None:
            self._trace(call, False)
            found = self._find(call, False)
        if found is None:
            raise located(UnsupportedOp(f"`{self.__qualname__}` runs eagerly for these arguments",
                                        ("why", "they share memory that it writes to, its budget is spent, or it takes "
                                                "from an iterator"),
                                        fix="pass a `clone()`, a larger `budget`, or what the iterator gives"))
        return found[0]

    def leaves_of(self, *args: Any, **kwargs: Any) -> list[Any]:
        """The arguments flattened, as `Specialization.inputs_of` takes them."""
        return self._call(args, kwargs).leaves

    @property
    def traces(self) -> int:
        """How often a call was traced; of a method that a class has, for all instances that there are."""
        return self._traced_here + sum(method.traces for method in self._methods.values())

    @property
    def specializations(self) -> list[Specialization]:
        """All traces so far; of a method that a class has, those for its instances."""
        if self._methods:
            return [known for method in self._methods.values() for known in method.specializations]
        groups = dict.fromkeys(group for groups in self._known.values() for group in groups)
        return [known for group in groups for known in group.traces]

    def explain(self) -> str:
        """What was traced, on what each trace depends, and what the code does that compiled calls don't repeat. Of a
        method that a class has, for each instance that it was called on."""
        if self._methods:
            return "\n".join(method.explain() for method in self._methods.values())
        lines = [f"{self.__qualname__}: {len(self.specializations)} trace(s)"]
        environments = dict.fromkeys(known.environment for known in self.specializations)
        lines += [f"  note: {line}" for line in dict.fromkeys(n for e in environments for n in notices(e))]
        if self._plain:
            lines.append("  note: extents are plain ints and numbers are compared, each with a trace: formulas led to "
                         + self._plain)
        if self._looks:
            lines.append(f"  note: numbers out of tensors are looks at values: recorded ones led to {self._looks}")
        for number, known in enumerate(self.specializations):
            lines.append(f"  [{number}] " + known.explain().replace("\n", "\n      "))
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<compiled {self.__qualname__}: {len(self.specializations)} trace(s)>"

    # ---- calling

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        if self._simple and not kwargs and len(args) == len(self._signature.parameters):
            return Call(self._named(args), lambda values: (tuple(values), {}))
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.__qualname__}() {error}") from None
        bound.apply_defaults()
        named = [*self._named(bound.args), *bound.kwargs.items()]
        count, keys = len(bound.args), list(bound.kwargs)
        return Call(named, lambda values: (tuple(values[:count]), dict(zip(keys, values[count:], strict=True))))

    def _named(self, args: Sequence[Any]) -> list[tuple[str, Any]]:
        names = [*self._positional, *(f"arg{i}" for i in range(len(self._positional), len(args)))]
        return list(zip(names, args, strict=False))

    def _trace(self, call: Call, commit: bool = True) -> Any:
        before = state.printed
        waited = not tracing.acquire(blocking=False)
        if waited:
            tracing.acquire()
        try:
            # another thread's trace may serve this call, or have had formulas in place of its numbers
            if waited and commit and (found := self._find(call)) is not None:
                return call.finish(*found)
            recorded, fitting = self._traced(call, commit)
        finally:
            tracing.release()
        if fitting is not None:
            return self._over_budget(call, fitting) if commit else None
        if recorded is not None:
            return call.numpy_out(recorded.result)
        if not commit:
            return None
        # arguments that share memory: eager code knows their order of reads and writes
        with muted(state.printed - before):
            return self._eager(call)

    def _traced(self, call: Call, commit: bool) -> tuple[Recorded | None, list[Group] | None]:
        """A call's trace, None where its arguments share memory that it writes to; or the groups that have spent the
        budget."""
        groups = self._known.setdefault(call.key, [])
        fitting = [group for group in groups if group.environment.holds()]
        groups[:] = [*fitting, *[group for group in groups if group not in fitting][:OTHERS]]
        if sum(group.cost() for group in fitting) >= self.budget or len(fitting) > self.budget:
            return None, fitting
        if fitting and fitting[0].environment.distinct():
            environment = fitting[0].environment.refreshed()
        else:
            environment = Environment(self.function, call.objects)
            known = dict.fromkeys(group.environment for groups in self._known.values() for group in groups)
            environment.vary(known, self._fixed)
        try:
            counted = any(group.counted for group in fitting)
            recorded, environment = self._recorded(call, environment, commit, counted)
        except UnsupportedOp:
            arrays = [leaf._data if isinstance(leaf, Tensor) else leaf for leaf in call.leaves]
            if not overlapping(arrays, [i for i, a in enumerate(arrays) if isinstance(a, np.ndarray)]):
                raise
            return None, None
        self._keep(call, groups, fitting, recorded, environment, commit)
        return recorded, None

    def _recorded(self, call: Call, environment: Environment, commit: bool, counted: bool) \
            -> tuple[Recorded, Environment]:
        """The call's trace: with formulas of the numbers and extents that have changed, and of extents that values
        decide (`counted`), and with the numbers that are taken out of tensors recorded, unless the function can't do
        with them. And its surroundings: where numbers can't have formulas, others that compare them."""
        varying = self._templates.varying(call)
        reason, places = "", [path.place for path in environment.numbers]
        recorded = None
        before = state.printed

        def take(*given: Any) -> Recorded:
            with muted(state.printed - before):  # what an attempt has printed
                return trace(self.function, self._name, self._of, call.named_leaves, call.rebuild, environment, commit,
                             *given)

        while recorded is None and (varying or counted or environment.numbers):
            try:
                recorded = take(varying if varying or counted else None, partial(self._templates.check, call),
                                Numbers())
            except Exception as error:  # perhaps it wants ints and nothing else; what it raises by itself comes again
                reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
                if environment.numbers:
                    environment = Environment(self.function, call.objects)
                else:
                    varying, counted = {}, False
        if recorded is None:
            numbers = Numbers()
            try:
                recorded = take(None, None, numbers)
            except Exception as error:  # perhaps it wants floats and nothing else
                if not numbers.made:
                    raise
                recorded = take()
                self._looks = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        if not environment.numbers:
            self._fixed.update(places)
        self._plain = reason or self._plain
        return recorded, environment

    def _keep(self, call: Call, groups: list[Group], fitting: list[Group], recorded: Recorded, environment: Environment,
              commit: bool) -> None:
        """Put a trace where it belongs: with those from which it parts at a look at a value, or by itself."""
        known: Specialization | None = None
        for group in fitting:
            if known is None and group.environment is environment:
                known = group.add(recorded, call.leaves)
                home = group
        if known is None:
            home = Group(recorded, environment, call.leaves, self.numerics == "strict")
            groups.insert(0, home)
            known = home.traces[0]
        self._templates.learn(call, recorded, known, home)
        if commit:
            outputs = [out for out in (*recorded.outputs, *recorded.extra) if isinstance(out, Tensor)]
            found = {path: path.expected for path in environment.paths}
            known.effects.repeat_on(Setting(call.leaves, found, call.given), outputs)
        self._traced_here += 1

    def _over_budget(self, call: Call, fitting: list[Group]) -> Any:
        """Run eagerly what no trace is known for and none may be added; one warning says so."""
        if not fitting[0].spent:
            fitting[0].spent = True
            last = fitting[0].kinds()[-1].graph.guards
            warnings.warn(
                f"RT401 GuardExplosion: `{self.__qualname__}` reached its budget of {self.budget} traces for "
                f"one signature; other paths run eagerly now\n  last guard : "
                f"{last[-1].note if last else 'a changed closure or global'}\n  why        : each new outcome of a "
                f"look at a value needs a trace\n  fix        : use `rt.where`, fewer branches, or a larger `budget`",
                GuardExplosion, stacklevel=4)
        return self._eager(call)

    def _without_kernel(self, call: Call, error: KernelFailed) -> Any:
        """Go on eagerly, with a warning, where generated code was refused; or raise, if that was asked for."""
        if self.fallback == "error":
            raise error
        self._eager_keys.add(call.key)
        warnings.warn(f"RT503 KernelFailed: `{self.__qualname__}` runs eagerly for these arguments\n{error}\n"
                      "  strict : `rt.compile(fallback=\"error\")` raises instead", RuntimeWarning, stacklevel=3)
        return self._eager(call)

    def _eager(self, call: Call) -> Any:
        return call.eagerly(self.function)


@overload
def compile(
    function: Callable[..., Any], *, budget: int = ..., fallback: str = ..., numerics: str = ...
) -> CompiledFunction: ...
@overload
def compile(
    *, budget: int = ..., fallback: str = ..., numerics: str = ...
) -> Callable[[Callable[..., Any]], CompiledFunction]: ...
def compile(function: Any = None, *, budget: int = BUDGET, fallback: str = "eager", numerics: str = "default") -> Any:
    """Compile a function, as `@rt.compile`, `@rt.compile(budget=...)` or `rt.compile(f)`.

    Arguments may be tensors, arrays, numbers and nested tuples, lists and dicts of them. Where no argument is a tensor,
    results are ndarrays and NumPy numbers. Floats are inputs of the compiled code, ints from their second value on;
    strings, bools and None are part of the signature. Raises `UnsupportedOp` where the function does something that
    can't be compiled. Where generated code itself can't be built, which would be a bug of retape, the function runs
    eagerly with a warning, or raises `KernelFailed` under `fallback="error"`.

    Where the environment variable `RETAPE_CHECK` is 1, each call of the function also runs eagerly and is compared;
    `CheckFailed` is raised where they differ.

    Under `numerics="strict"` results are those of eager execution to the last bit, but for transcendental functions: no
    operations are contracted, and sums and matrix products are NumPy's own. The default contracts, and adds in an order
    of its own, which is the same on every number of threads.
    """
    kind: type[CompiledFunction] = CompiledFunction
    if os.environ.get(CHECK, "") not in ("", "0"):
        from .check import CheckedFunction

        kind = CheckedFunction
    if function is None:
        return lambda f: kind(f, budget, fallback, numerics)
    return kind(function, budget, fallback, numerics)
