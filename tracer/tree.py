"""Nested tuples, lists and dicts as a flat list of leaves and a structure."""

from __future__ import annotations

from collections.abc import Iterator
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
    leaves.append(value)
    return LEAF


def unflatten(structure: Any, leaves: list[Any]) -> Any:
    """The inverse of `flatten`."""
    return _build(structure, iter(leaves))


def _build(structure: Any, leaves: Iterator[Any]) -> Any:
    if structure is LEAF or structure == LEAF:
        return next(leaves)
    kind, parts = structure
    if kind is dict:
        return {key: _build(part, leaves) for key, part in parts}
    built = [_build(part, leaves) for part in parts]
    return kind(*built) if hasattr(kind, "_fields") else kind(built)
