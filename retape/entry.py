"""The short way into compiled code: a generated function that checks the arguments and runs the program.

It serves calls with plain positional arguments (arrays, tensors that require no grad, numbers) on the trace used last,
where nothing else has to be looked at; for all other calls it gives `MISS`, and the general way is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from retape.ir.recipes import Recipe
from retape.ir.types import default_float
from retape.tracer.formulas import ExtentOf
from retape.tracer.state import state
from retape.tracer.tensor import Tensor, wrap
from retape.tracer.tree import LEAF

if TYPE_CHECKING:
    from .group import Group
    from .specialization import Specialization

__all__ = ["MISS", "make_entry"]

MISS: Any = object()


def make_entry(
    known: Specialization, group: Group, leaves: list[Any], tensors: bool
) -> Callable[[tuple[Any, ...]], Any] | None:
    """The entry for calls whose arguments are `leaves` one by one, or None where the general way is needed."""
    if group.grads or not _is_plain(known, leaves) or not (known.conditions is None or _is_reckoned(known.conditions)):
        return None
    scope: dict[str, Any] = {
        "MISS": MISS, "ndarray": np.ndarray, "Tensor": Tensor, "wrap": wrap, "state": state, "array": np.array,
        "holds": known.environment.holds, "default_float": default_float, "default": default_float(),
    }
    names = [f"a{i}" for i in range(len(leaves))]
    lines = [f"if len(args) != {len(leaves)}: return MISS", f"{', '.join(names)}{',' if names else ''} = args"]
    if not names:
        lines.pop()
    arrays: list[str] = []
    for number, (name, leaf) in enumerate(zip(names, leaves, strict=True)):
        if not _check(name, leaf, number in known.free, lines, scope):
            return None
        if isinstance(leaf, (Tensor, np.ndarray)):
            lines += [f"if {name} is {other}: return MISS" for other in arrays]
            arrays.append(name)
    lines.append(f"if state.grad_enabled is not {state.grad_enabled} or default_float() is not default: return MISS")
    if known.environment.paths:
        lines.append("if not holds(): return MISS")
    if not (_walk(group, names, leaves, tensors, lines, scope) if known.looks
            else _straight(known, names, leaves, tensors, lines, scope)):
        return None
    return _function("entry", "args", lines, scope)


def _is_plain(trace: Specialization, leaves: list[Any]) -> bool:
    """Whether a trace has nothing to do with what is outside, and gives arrays or arguments."""
    return not (trace.shared or trace.effects or trace.random) and all(map(_is_given, trace.sources)) \
        and all(kind in ("output", "number") or (kind == "leaf" and isinstance(leaves[v], (Tensor, np.ndarray)))
                for kind, v in trace.plan)


def _is_given(source: Any) -> bool:
    return isinstance(source, int) or _is_reckoned(source)


def _is_reckoned(source: Any) -> bool:
    """Whether a number is computed of the arguments alone."""
    return isinstance(source, Recipe) and all(isinstance(s, (int, ExtentOf)) for s in source.sources)


def _operands(sources: Sequence[Any], names: list[str], leaves: list[Any], lines: list[str], scope: dict[str, Any]) \
        -> list[str]:
    """The expressions of what sources stand for; what is computed of numbers is so in lines before."""
    operands = []
    for source in sources:
        if isinstance(source, int):
            operands.append(_operand(names[source], leaves[source]))
        else:
            operands.append(f"array({_reckoned(source, names, lines, scope)})")
    return operands


def _reckoned(source: Recipe, names: list[str], lines: list[str], scope: dict[str, Any]) -> str:
    """The name of what a recipe gives, which lines compute."""
    number = f"n{len(lines)}"
    scope[f"{number}_of"] = source.function
    given = ", ".join(names[s] if isinstance(s, int) else f"{names[s.position]}.shape[{s.dim}]" for s in source.sources)
    lines += [f"try: {number} = {number}_of({given})", "except (ArithmeticError, ValueError): return MISS"]
    return number


def _straight(known: Specialization, names: list[str], leaves: list[Any], tensors: bool, lines: list[str],
              scope: dict[str, Any]) -> bool:
    """Lines that run a program and put its results together. False where it has no such way in."""
    direct = known.direct()
    if direct is None:
        return False
    scope["direct"] = direct
    if known.conditions is not None:
        lines.append(f"if not {_reckoned(known.conditions, names, lines, scope)}: return MISS")
    operands = _operands(known.sources, names, leaves, lines, scope)
    outputs = [f"o{i}" for i in range(len(known.ends))]
    lines.append(f"[{', '.join(outputs)}] = direct({', '.join(operands)})")
    lines.append(f"return {_result(known, outputs, names, tensors, scope)}")
    return True


def _walk(group: Group, names: list[str], leaves: list[Any], tensors: bool, lines: list[str],
          scope: dict[str, Any]) -> bool:
    """Lines that walk a trace tree and put the results of the trace that holds together. False where the tree reads
    what isn't an argument."""
    scope["walk"] = group.branches.entrance()
    if not all(map(_is_given, group.branches.sources)):
        return False
    shown = group.shown.setdefault(tensors, {})

    def show_of(trace: Specialization) -> Callable[[Any, Any], Any]:
        """A function that puts a trace's result together from the values of a walk and the arguments."""
        if _is_plain(trace, leaves) and trace.conditions is None:
            inner: dict[str, Any] = {"wrap": wrap}
            outputs = [f"values[{i}]" for i in range(len(trace.ends))]
            arguments = [f"args[{i}]" for i in range(len(names))]
            line = f"return {_result(trace, outputs, arguments, tensors, inner)}"
            show = _function("show", "values, args", [line], inner)
        else:
            def show(values: Any, args: Any) -> Any:
                return MISS
        shown[trace] = show
        return show

    scope["shown"], scope["show_of"] = shown, show_of
    operands = _operands(group.branches.given, names, leaves, lines, scope)
    lines += [f"found = walk(({', '.join(operands)}{',' if operands else ''}))",
              "if found is None: return MISS",
              "trace, values = found",
              "return (shown.get(trace) or show_of(trace))(values, args)"]
    return True


def _result(known: Specialization, outputs: list[str], names: list[str], tensors: bool, scope: dict[str, Any]) -> str:
    """The expression of a result."""
    shown = [f"wrap({o})" if tensors else f"{o}[()]" if end is None or not end.shape else o
             for o, end in zip(outputs, known.ends, strict=True)]
    ordered = iter([shown[v] if kind == "output" else f"{outputs[v]}.item()" if kind == "number" else names[v]
                    for kind, v in known.plan])
    return _structure(known.structure, ordered, scope)


def _function(name: str, parameters: str, lines: list[str], scope: dict[str, Any]) -> Callable[..., Any]:
    exec(f"def {name}({parameters}):\n" + "\n".join(f"    {line}" for line in lines), scope)
    made: Callable[..., Any] = scope[name]
    return made


def _check(name: str, leaf: Any, free: bool, lines: list[str], scope: dict[str, Any]) -> bool:
    """Lines that leave unless an argument is like `leaf`: of the same type, where it is a `free` number. False where
    this can't be said shortly."""
    if free:
        lines.append(f"if type({name}) is not int: return MISS")
        return True
    if isinstance(leaf, (Tensor, np.ndarray)):
        data = leaf._data if isinstance(leaf, Tensor) else leaf
        if not data.flags.carray or type(data) is not np.ndarray:
            return False
        scope[f"{name}_dtype"], scope[f"{name}_shape"] = data.dtype, data.shape
        path = name
        if isinstance(leaf, Tensor):
            lines.append(f"if type({name}) is not Tensor or {name}._requires_grad: return MISS")
            path = f"{name}._data"
        lines += [f"if type({path}) is not ndarray or {path}.dtype is not {name}_dtype or {path}.shape != {name}_shape "
                  f"or not {path}.flags.carray: return MISS"]
        return not (isinstance(leaf, Tensor) and leaf._requires_grad)
    if isinstance(leaf, float):
        lines.append(f"if type({name}) is not float: return MISS")
        return True
    if leaf is None or isinstance(leaf, (bool, int, str)):
        scope[f"{name}_value"], scope[f"{name}_type"] = leaf, type(leaf)
        lines.append(f"if type({name}) is not {name}_type or {name} != {name}_value: return MISS")
        return True
    return False


def _operand(name: str, leaf: Any) -> str:
    if isinstance(leaf, Tensor):
        return f"{name}._data"
    return f"array({name})" if isinstance(leaf, float) else name


def _structure(structure: Any, leaves: Any, scope: dict[str, Any]) -> str:
    """The expression that puts a result together."""
    if structure == LEAF:
        return str(next(leaves))
    kind, parts = structure
    if kind is dict:
        return "{" + ", ".join(f"{key!r}: {_structure(part, leaves, scope)}" for key, part in parts) + "}"
    inner = ", ".join(_structure(part, leaves, scope) for part in parts)
    if kind is list:
        return f"[{inner}]"
    if kind is tuple:
        return f"({inner}{',' if len(parts) == 1 else ''})"
    scope[f"type_{id(kind)}"] = kind
    return f"type_{id(kind)}({inner})"
