"""Nested tuples, lists, dicts and dataclasses as a flat list of leaves and a structure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

LEAF = "*"


def flatten(value: Any) -> tuple[list[Any], Any]:
    """The leaves from left to right, and a hashable structure that `unflatten` reads."""
    leaves: list[Any] = []
    return leaves, _walk(value, leaves)


def _walk(value: Any, leaves: list[Any]) -> Any:
    kind = type(value)
    if kind is tuple or kind is list:
        return (kind, tuple(_walk(v, leaves) for v in value))
    if kind is dict:
        return (dict, tuple((key, _walk(v, leaves)) for key, v in value.items()))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return (kind, tuple(_walk(v, leaves) for v in value))
    names = _record(value)
    if names:
        return (kind, tuple((name, _walk(getattr(value, name), leaves)) for name in names))
    leaves.append(value)
    return LEAF


def _record(value: Any) -> tuple[str, ...]:
    """The fields of a dataclass instance that holds nothing besides them; () for anything else."""
    if not hasattr(type(value), "__dataclass_fields__"):
        return ()
    names = tuple(field.name for field in fields(value))
    whole = vars(value).keys() == set(names) if hasattr(value, "__dict__") else all(hasattr(value, n) for n in names)
    return names if whole else ()


def unflatten(structure: Any, leaves: list[Any]) -> Any:
    """The inverse of `flatten`. Dataclasses are made without their `__init__`."""
    return _build(structure, iter(leaves))


def _build(structure: Any, leaves: Iterator[Any]) -> Any:
    if structure is LEAF or structure == LEAF:
        return next(leaves)
    kind, parts = structure
    if kind is dict:
        return {key: _build(part, leaves) for key, part in parts}
    if hasattr(kind, "__dataclass_fields__"):
        made = object.__new__(kind)
        for name, part in parts:
            object.__setattr__(made, name, _build(part, leaves))
        return made
    built = [_build(part, leaves) for part in parts]
    return kind(*built) if hasattr(kind, "_fields") else kind(built)


def changeable(values: Iterable[Any]) -> list[Any]:
    """The lists, dicts and dataclasses with a `__dict__` in some values, outer ones first."""
    found: list[Any] = []
    for value in values:
        _collect(value, found)
    return found


def _collect(value: Any, found: list[Any]) -> None:
    kind = type(value)
    if kind is list or kind is dict:
        found.append(value)
    names = _record(value)
    if names:
        if hasattr(value, "__dict__"):
            found.append(value)
        parts: Any = [getattr(value, name) for name in names]
    elif kind is dict:
        parts = value.values()
    else:
        parts = value if isinstance(value, (list, tuple)) else ()
    for part in parts:
        _collect(part, found)
