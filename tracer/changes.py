"""What a traced call rebinds: variables, attributes, entries of lists and dicts that the function reaches by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from retape.ir.errors import UnsupportedOp
from retape.ir.extents import plain
from retape.ir.quantities import TRACKED
from retape.ir.recipes import Recipe

from .apply import located
from .environment import SCALARS, Environment
from .numbers import Number, NumberTensor, known
from .paths import ABSENT, Path, equal
from .tensor import Tensor
from .tracer import Tracer
from .tree import flatten, unflatten

__all__ = ["Change", "Value", "changes", "undo"]


@dataclass(frozen=True, slots=True)
class Value:
    """A value that is bound outside: nested containers with leaves (kind, what).

    Kinds: "output" and "number" (of the graph, by position; a number is one of Python), "outside" (where it comes
    from), "constant".
    """

    structure: Any
    leaves: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A path that leads elsewhere after the call.

    kind "slot": `new` is a Value or ABSENT. "list": `new` holds its entries, old ones as their positions. "append":
    `new` are the entries added. "dict": `new` maps keys to values, ABSENT where they are taken out.
    """

    path: Path
    kind: str
    new: Any


def changes(
    tracer: Tracer, environment: Environment, arguments: Sequence[tuple[Any, Any]], extra: list[Tensor], first: int,
) -> list[Change]:
    """The changes that the call has made. Tensors of the trace among them are added to `extra`: outputs from number
    `first` on. `arguments` are the containers in the arguments, and what they held at first. Raises `UnsupportedOp`
    for what can't be repeated."""
    bind = _Binder(tracer, extra, first)
    found: list[Change] = []
    for path, new in _slots(environment):
        found.append(Change(path, "slot", new if new is ABSENT else bind.value(path, new, path.assign)))
    watched = [(path, path.expected, _without(old, [entry.key for entry in environment.rebound
                                                    if entry.container is path]))
               for path, old in environment.contents]
    for number, (container, old) in enumerate(arguments):
        watched.append((Path("an argument", "argument", None, number), container, old))
    for path, now, old in watched:
        if isinstance(now, list):
            if len(now) != len(old) or any(a is not b for a, b in zip(now, old, strict=True)):
                found.append(_list_change(bind, path, now, old))
        elif change := _dict_change(bind, path, now if isinstance(now, dict) else vars(now), old):
            found.append(change)
    return found


def _without(old: Any, assigned: Sequence[Any]) -> Any:
    """What a container held; nothing where the call has assigned a number, be it the one that was there."""
    if assigned:
        old = old.copy()
        for key in assigned:
            old[key] = ABSENT
    return old


def _dict_change(bind: _Binder, path: Path, now: dict[Any, Any], old: dict[Any, Any]) -> Change | None:
    keys = [key for key in now if key not in old or now[key] is not old[key]]
    new = {key: bind.value(path, now[key], partial(now.__setitem__, key)) for key in keys}
    gone = dict.fromkeys((key for key in old if key not in now), ABSENT)
    return Change(path, "dict", {**gone, **new}) if gone or new else None


def _list_change(bind: _Binder, path: Path, now: list[Any], old: list[Any]) -> Change:
    kept = {id(entry): i for i, entry in reversed(list(enumerate(old)))}
    entries: list[Any] = []
    for position, entry in enumerate(now):
        if id(entry) in kept and not isinstance(entry, SCALARS):
            entries.append(kept[id(entry)])
        elif path.check == "appended" and position < len(old):
            entries.append(position)
        else:
            entries.append(bind.value(path, entry, partial(now.__setitem__, position)))
    if path.check == "appended":
        return Change(path, "append", entries[len(old):])
    return Change(path, "list", entries)


def _slots(environment: Environment) -> Iterator[tuple[Path, Any]]:
    """The paths of one step that lead elsewhere now."""
    for path in environment.paths:
        if isinstance(path.container, Path) or path.access == "root":
            continue  # entries are looked at with their container
        new = path.follow()
        if path in environment.rebound or (
                new is not path.expected and not (path.check == "value" and equal(new, path.expected))):
            yield path, new


def undo(environment: Environment) -> None:
    """Put everything back as it was before the call."""
    for path, _ in list(_slots(environment)):
        path.assign(path.expected)
    for path, old in environment.contents:
        container = path.expected
        if isinstance(container, list):
            container[:] = old
        elif list(container) != list(old) or any(container[key] is not old[key] for key in old):
            container.clear()
            container.update(old)


class _Binder:
    """Describes values that are bound outside, and frees them from the trace."""

    def __init__(self, tracer: Tracer, extra: list[Tensor], first: int) -> None:
        self.tracer = tracer
        self.extra = extra
        self.first = first

    def value(self, path: Path, value: Any, assign: Any) -> Value:
        leaves, structure = flatten(value)
        described = tuple(self.leaf(path, leaf) for leaf in leaves)
        if any(isinstance(v, (NumberTensor, Number)) or type(v) in TRACKED for v in leaves):
            # what runs eagerly keeps a Python number
            assign(unflatten(structure, [v._data.item() if isinstance(v, NumberTensor) else known(v) for v in leaves]))
        return Value(structure, described)

    def leaf(self, path: Path, leaf: Any) -> tuple[str, Any]:
        if isinstance(leaf, Number):
            leaf = leaf.output() if leaf._live() else leaf._value
        if isinstance(leaf, Tensor):
            if not self.tracer.made(leaf):
                return "outside", self.tracer.source_of(leaf)
            known = next((i for i, t in enumerate(self.extra) if t is leaf), len(self.extra))
            if known == len(self.extra):
                self.extra.append(leaf)
            return ("number" if isinstance(leaf, NumberTensor) else "output"), self.first + known
        if type(leaf) in TRACKED and self.tracer.formulas is not None:
            leaf = self.tracer.formulas.kept(leaf)
            if isinstance(leaf, Recipe):
                return "outside", leaf
        if isinstance(leaf, SCALARS):
            return "constant", plain(leaf)
        raise located(UnsupportedOp(
            f"`{path.name}` was changed by the compiled function to hold a {type(leaf).__name__}",
            ("why", "compiled calls don't run the function's Python code, so the change would happen only once"),
            fix="return the new value and assign it outside"))
