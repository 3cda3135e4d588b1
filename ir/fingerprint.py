"""A graph in a form that is the same in every process: what may be done once for all graphs that are equal.

A fingerprint tells all of a graph but names and places in the user's code: operations, attributes, types, edges, what
leaves it. `encoded` attributes are plain data: numbers, strings, bytes, None, and tuples and lists of them.
"""

from __future__ import annotations

import hashlib
import marshal
from collections.abc import Callable, Iterator
from itertools import chain, compress, count, repeat
from operator import not_
from typing import Any

from .collection import paused
from .graph import Graph, Node, Operand
from .ops import CATALOGUE, OWN, Op
from .types import DTYPES, Array, DType, TensorType, default_float, dtype_of

__all__ = ["Untold", "decoded", "encoded", "fingerprint", "type_from", "type_told"]

_PLAIN = frozenset({bool, int, float, complex, str, bytes, type(None)})
_NUMBER = {dtype: number for number, dtype in enumerate(DTYPES)}
Row = tuple[Any, ...]


class Untold(ValueError):
    """Something that has no form outside of this process."""


def encoded(value: Any, array: Callable[[Array], Any] | None = None) -> Any:
    """An attribute or literal as plain data: what isn't is a list that begins with what it is. Raises `Untold`.

    `array` tells of arrays that are written down in a graph; without it there must be none.
    """
    kind = value.__class__
    if kind is tuple:
        return _tuple(value, array)
    if kind in _PLAIN:
        return value
    if kind is slice:
        return _slice(value)
    if kind is list:
        return ["list", *[encoded(v, array) for v in value]]
    if kind is DType:
        return ["dtype", value.short]
    if kind is Array and array is not None:
        return ["array", array(value)]
    raise Untold(kind.__name__)


def _tuple(value: Row, array: Callable[[Array], Any] | None) -> Row:
    """Most attributes are tuples of integers and slices, and there are many of them."""
    found: list[Any] = []
    for part in value:
        kind = part.__class__
        if kind is int:
            found.append(part)
        elif kind is slice:
            found.append(_slice(part))
        elif kind is tuple:
            found.append(_tuple(part, array))
        else:
            found.append(encoded(part, array))
    return tuple(found)


def _slice(value: slice) -> list[Any]:
    return ["slice", value.start, value.stop, value.step]  # of integers: others `marshal` refuses, or tells as bytes


def decoded(value: Any) -> Any:
    """What `encoded` has told, arrays left out."""
    if value.__class__ is tuple:
        return tuple(map(decoded, value))
    if value.__class__ is not list:
        return value
    kind, *parts = value
    if kind == "slice":
        return slice(*map(decoded, parts))
    return dtype_of(parts[0]) if kind == "dtype" else [decoded(v) for v in parts]


def type_told(type: TensorType) -> Row:
    """A type as plain data."""
    return _NUMBER[type.dtype], type.shape, type.strides, type.weak


def type_from(told: Row) -> TensorType:
    """The type that `type_told` has told."""
    return TensorType(DTYPES[told[0]], *told[1:])


def fingerprint(graph: Graph, *options: bool | int | str | tuple[int, ...]) -> str | None:
    """A hash of a graph's structure and of options that are plain data: equal for graphs that are equal but for names,
    the places that they come from, and the values that guards saw. None where a graph can't be told.

    The default float type is a part of it, since rules and passes give types to numbers by it.
    """
    digest = hashlib.sha256()
    with paused:
        try:
            for part in _told(graph):
                digest.update(marshal.dumps(part, 2))  # from 3 on it tells which objects are the same one
            digest.update(marshal.dumps((default_float().short, options), 2))
        except (Untold, ValueError):  # `marshal` raises that for what it doesn't know
            return None
    return digest.hexdigest()


def _told(graph: Graph) -> Iterator[Any]:
    """All of a graph's structure in columns, which are made without a step of Python's for each operation."""
    nodes = graph.nodes
    number: dict[Any, int] = dict(zip(chain(graph.inputs, nodes), count(1)))
    ops = [node.op for node in nodes]
    names = {op: n for n, op in enumerate(dict.fromkeys(ops))}
    yield [_name(op) for op in names], _column(names, ops)
    operands = [node.inputs for node in nodes]
    every = [*chain.from_iterable(operands)]
    numbers = [*map(number.get, every, repeat(0))]
    yield [*map(len, operands)], numbers
    literals = [*compress(every, map(not_, numbers))]  # 0 is no node's number
    yield literals if _PLAIN.issuperset(map(type, literals)) else [encoded(value) for value in literals]
    attrs = [node.attrs for node in nodes if node.attrs]
    ids = [*map(id, attrs)]  # many operations share theirs
    texts: dict[bytes, int] = {}
    once = {i: texts.setdefault(marshal.dumps(encoded(a, _content), 2), len(texts))
            for i, a in dict(zip(ids, attrs, strict=True)).items()}
    yield _column(once, ids), list(texts)
    types = [node.type for node in chain(graph.inputs, nodes)]
    ids = [*map(id, types)]
    known: dict[Row, int] = {}
    by_id = {i: known.setdefault(type_told(t), len(known)) for i, t in dict(zip(ids, types, strict=True)).items()}
    yield len(graph.inputs), _column(by_id, ids), list(known)
    yield [_end(o, number) for o in graph.outputs]
    yield [number[s] for s in graph.saved], [number[guard.node] for guard in graph.guards]
    yield [(number[e.target], _end(e.value, number)) for e in graph.effects]


def _column(numbers: dict[Any, int], keys: list[Any]) -> bytes | list[int]:
    """The numbers of `keys`; as bytes, which are had sooner, where they are few."""
    found = map(numbers.__getitem__, keys)
    return [*found] if len(numbers) > 256 else bytes(found)


def _end(operand: Operand, number: dict[Any, int]) -> Any:
    return number[operand] if operand.__class__ is Node else [encoded(operand)]


def _name(op: Op) -> str:
    """The name of an operation that is retape's own: of a user's nothing here can tell what it does."""
    if op not in OWN or CATALOGUE.get(op.name) is not op:
        raise Untold(op.name)
    return op.name


def _content(array: Array) -> Row:
    """All of an array that is written down in a graph."""
    data = array.array
    return (*type_told(array.type), data.dtype.str, data.shape,
            hashlib.sha256(data.tobytes()).digest())
