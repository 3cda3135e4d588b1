"""`@rt.compile`: a function that is traced at its first call and runs as compiled code from then on."""

from __future__ import annotations

import inspect
import keyword
import re
import warnings
from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any, TypeVar, overload

import numpy as np

from retape.ir.errors import GuardExplosion, UnsupportedOp
from retape.ir.types import default_float
from retape.tracer.apply import located
from retape.tracer.environment import Environment
from retape.tracer.state import state
from retape.tracer.tensor import Tensor
from retape.tracer.trace import trace
from retape.tracer.transforms import to_numpy
from retape.tracer.tree import flatten, unflatten

from .entry import MISS, make_entry
from .specialization import Specialization

__all__ = ["CompiledFunction", "compile"]

F = TypeVar("F", bound=Callable[..., Any])
BUDGET = 32


class CompiledFunction:
    """A compiled function. It is called like the function it wraps.

    The first call with arguments of new types runs eagerly and is recorded; later ones run compiled code. Where Python
    looked at values, the code is used only while it would see the same again; another path is traced and compiled in
    turn, up to `budget` of them for one signature, after which the function runs eagerly (with one warning).
    """

    def __init__(self, function: Callable[..., Any], budget: int = BUDGET) -> None:
        if isinstance(function, np.ufunc):
            raise located(UnsupportedOp(f"`np.{function.__name__}` is a ufunc of NumPy, not a function of tensors",
                                        ("why", "its own parameters (out, where, ...) can't be traced"),
                                        fix=f"compile `lambda x: np.{function.__name__}(x)`"))
        update_wrapper(self, function)
        self.function = function
        self.budget = budget
        self.traces = 0
        self._entry: Callable[[tuple[Any, ...]], Any] | None = None
        self._known: dict[Any, list[Specialization]] = {}
        self._exhausted: set[Any] = set()
        # the graph's name has to be one that Python accepts: `lambda_` for a lambda
        self.__qualname__ = getattr(function, "__qualname__", type(function).__name__)
        name = re.sub(r"\W", "", getattr(function, "__name__", type(function).__name__)) or "function"
        self._name = f"{name}_" if keyword.iskeyword(name) else name
        self._signature = inspect.signature(function)
        parameters = self._signature.parameters.values()
        self._positional = [p.name for p in parameters
                            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self._simple = len(self._positional) == len(parameters)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        bound = instance.__dict__.setdefault("_compiled_methods", {}) if hasattr(instance, "__dict__") else {}
        name = self.function.__name__
        if name not in bound:
            bound[name] = CompiledFunction(self.function.__get__(instance, owner), self.budget)
        return bound[name]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if state.tracer is not None:  # inside another trace: inlined
            return self.function(*args, **kwargs)
        if self._entry is not None and not kwargs:
            result = self._entry(args)
            if result is not MISS:
                return result
        call = self._call(args, kwargs)
        for known in self._known.get(call.key, ()):
            found = known.run(call.leaves)
            if found is not None:
                if self._simple and call.flat:
                    self._entry = make_entry(known, call.leaves, call.tensors)
                return call.finish(known, found)
        if call.key in self._exhausted:
            return self._eager(call)
        return self._trace(call)

    # ---- looking into it

    def specialize(self, *args: Any, **kwargs: Any) -> Specialization:
        """Trace the function for these arguments (unless that has been done) and give the trace to look at."""
        call = self._call(args, kwargs)
        for known in self._known.get(call.key, ()):
            if known.run(call.leaves) is not None:
                return known
        self._trace(call)
        return self._known[call.key][-1]

    def leaves_of(self, *args: Any, **kwargs: Any) -> list[Any]:
        """The arguments flattened, as `Specialization.inputs_of` takes them."""
        return self._call(args, kwargs).leaves

    @property
    def specializations(self) -> list[Specialization]:
        """All traces so far."""
        return [known for group in self._known.values() for known in group]

    def explain(self) -> str:
        """What was traced, and on what each trace depends."""
        lines = [f"{self.__qualname__}: {len(self.specializations)} trace(s)"]
        for number, known in enumerate(self.specializations):
            lines.append(f"  [{number}] " + known.explain().replace("\n", "\n      "))
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<compiled {self.__qualname__}: {len(self.specializations)} trace(s)>"

    # ---- calling

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call:
        if self._simple and not kwargs and len(args) == len(self._positional):
            named = list(zip(self._positional, args, strict=True))
            return _Call(named, lambda values: (tuple(values), {}))
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        named = [*((f"arg{i}" if i >= len(self._positional) else self._positional[i], v)
                   for i, v in enumerate(bound.args)), *bound.kwargs.items()]
        count, keys = len(bound.args), list(bound.kwargs)
        return _Call(named, lambda values: (tuple(values[:count]), dict(zip(keys, values[count:], strict=True))))

    def _trace(self, call: _Call) -> Any:
        group = self._known.setdefault(call.key, [])
        group[:] = [known for known in group if known.environment.holds()]
        if len(group) >= self.budget:
            self._exhausted.add(call.key)
            last = group[-1].graph.guards
            warnings.warn(
                f"RT401 GuardExplosion: `{self.__qualname__}` reached its budget of {self.budget} traces for "
                f"one signature and runs eagerly now\n  last guard : "
                f"{last[-1].note if last else 'a changed closure or global'}\n  why        : each new outcome of a "
                f"look at a value needs a trace\n  fix        : use `rt.where`, fewer branches, or a larger `budget`",
                GuardExplosion, stacklevel=3)
            return self._eager(call)
        environment = Environment(self.function, call.objects)
        recorded = trace(self.function, self._name, call.named_leaves, call.rebuild, environment)
        self._refuse_effects(environment)
        self.traces += 1
        group.append(Specialization(recorded, environment, call.leaves, self.function))
        return call.numpy_out(recorded.result)

    def _refuse_effects(self, environment: Environment) -> None:
        """Raises where the traced call changed something that Python code keeps outside it."""
        changed = [path.name for path in environment.paths if not path.holds()]
        if changed:
            raise located(UnsupportedOp(
                f"`{changed[0]}` was changed by `{self.__qualname__}` itself",
                ("why", "compiled calls don't run the function's Python code, so the change would happen only once"),
                fix="return the new value and assign it outside"))

    def _eager(self, call: _Call) -> Any:
        args, kwargs = call.rebuild([_eager_leaf(leaf) for leaf in call.leaves])
        return call.numpy_out(self.function(*args, **kwargs))


def _eager_leaf(leaf: Any) -> Any:
    from retape.tracer.creation import from_numpy

    return from_numpy(leaf) if isinstance(leaf, np.ndarray) else leaf


class _Call:
    """One call's arguments, flattened, and the key under which traces for such arguments are kept."""

    __slots__ = ("key", "leaves", "names", "objects", "structures", "tensors", "values")

    def __init__(self, named: list[tuple[str, Any]], values: Callable[[list[Any]], Any]) -> None:
        self.values = values
        self.leaves: list[Any] = []
        self.names: list[str] = []
        self.structures: list[Any] = []
        self.objects: list[tuple[str, Any]] = []
        self.tensors = False
        parts: list[Any] = [state.grad_enabled, default_float()]
        arrays: list[int] = []
        for name, value in named:
            leaves, structure = ([value], "*") if isinstance(value, (Tensor, np.ndarray, float)) else flatten(value)
            self.structures.append((structure, len(leaves)))
            parts.append(structure)
            for number, leaf in enumerate(leaves):
                self.names.append(name if structure == "*" else f"{name}_{number}")
                parts.append(self._describe(name, leaf, arrays))
        if len(set(arrays)) != len(arrays):  # one array given twice is another signature
            parts.append(tuple(arrays.index(a) for a in arrays))
        self.key = tuple(parts)

    def _describe(self, name: str, leaf: Any, arrays: list[int]) -> Any:
        """What of a leaf decides which trace fits."""
        if isinstance(leaf, np.generic):
            leaf = leaf.item()
        elif isinstance(leaf, np.ndarray) and type(leaf) is not np.ndarray:
            leaf = np.asarray(leaf)
        self.leaves.append(leaf)
        if isinstance(leaf, Tensor):
            self.tensors = True
            data = leaf._data
            arrays.append(id(leaf))
            return data.dtype, data.shape, None if data.flags.c_contiguous else data.strides, leaf._requires_grad
        if isinstance(leaf, np.ndarray):
            arrays.append(id(leaf))
            if not leaf.flags.aligned:
                raise located(UnsupportedOp(f"`{name}` is an unaligned array",
                                            ("why", "compiled code reads whole words"), fix="pass a copy"))
            return leaf.dtype, leaf.shape, None if leaf.flags.c_contiguous else leaf.strides
        if isinstance(leaf, float):
            return float
        if leaf is None or isinstance(leaf, (bool, int, str, bytes, complex)):
            return type(leaf), leaf
        self.objects.append((name, leaf))
        return type(leaf), id(leaf)

    @property
    def named_leaves(self) -> Sequence[tuple[str, Any]]:
        return list(zip(self.names, self.leaves, strict=True))

    @property
    def flat(self) -> bool:
        """Whether every argument is a leaf itself."""
        return all(structure == "*" for structure, _ in self.structures)

    def rebuild(self, leaves: list[Any]) -> Any:
        """(args, kwargs) from what stands for the leaves."""
        values, position = [], 0
        for structure, count in self.structures:
            values.append(unflatten(structure, leaves[position : position + count]))
            position += count
        return self.values(values)

    def finish(self, known: Specialization, outputs: list[Any]) -> Any:
        return known.rebuild(outputs if self.tensors else [to_numpy(leaf) for leaf in outputs])

    def numpy_out(self, result: Any) -> Any:
        """NumPy in, NumPy out."""
        if self.tensors:
            return result
        leaves, structure = flatten(result)
        return unflatten(structure, [to_numpy(leaf) for leaf in leaves])


@overload
def compile(function: Callable[..., Any]) -> CompiledFunction: ...
@overload
def compile(*, budget: int = BUDGET) -> Callable[[Callable[..., Any]], CompiledFunction]: ...
def compile(function: Any = None, *, budget: int = BUDGET) -> Any:
    """Compile a function, as `@rt.compile`, `@rt.compile(budget=...)` or `rt.compile(f)`.

    Arguments may be tensors, arrays, numbers and nested tuples, lists and dicts of them. Where no argument is a tensor,
    results are ndarrays and NumPy numbers. Floats are inputs of the compiled code; ints, strings, bools and None are
    part of the signature. Raises `UnsupportedOp` where the function does something that can't be compiled.
    """
    if function is None:
        return lambda f: CompiledFunction(f, budget)
    return CompiledFunction(function, budget)


