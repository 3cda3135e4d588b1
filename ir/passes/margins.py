"""Sums of one array at many places, as reads of that array with zeros around it: the gradient of a filter.

A filter that is written with slices reads an array at an offset for each of its weights. Each read gives the gradient
an `embed` of the same cotangent, times the weight, at another place, and every one of these would fill an array of its
own. With margins of zeros around it the cotangent is laid out once, and read at offsets as the filter reads:

    embed(c * g, at o) = c * slice(margins(g), from m - o).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from math import isfinite, prod
from typing import Any

from ..builder import GraphBuilder
from ..graph import Graph, Node, rewired
from ..ops import CATALOGUE
from ..types import FLOAT, TensorType
from .eliminate import eliminate_dead

__all__ = ["read_margins"]

EMBED, MUL, SLICE = CATALOGUE["embed"], CATALOGUE["mul"], CATALOGUE["slice"]
LEAST = 6  # fewer are read in pieces, by loops that are cut at the margins
ROOM = 2  # how many times as large as the whole array the one with margins may be

Place = tuple[Node, Any, tuple[int, ...]]
"""What is embedded, the number that it is multiplied by (None: by none), and where it begins."""


def read_margins(graph: Graph) -> Graph:
    """The graph in which no array is embedded at many places of arrays of one shape, itself or times numbers."""
    groups: dict[Any, dict[Node, Place]] = {}
    for node in graph.nodes:
        if node.op is EMBED and (place := _place(node)) is not None:
            groups.setdefault((place[0], node.type.shape), {})[node] = place
    found = {node: key for key, places in groups.items() if _pays(key[1], places) for node in places}
    if not found:
        return graph
    b = GraphBuilder(consing=False)
    b.reserve(chain(graph.inputs, graph.nodes))
    new: dict[Any, Any] = {}
    margins: dict[Any, Node] = {}
    for node in graph.nodes:
        if node in found:
            b.origin = node.origin
            key = found[node]
            new[node] = _read(b, node, groups[key], margins, key, new)
        elif new.keys().isdisjoint(node.inputs):
            b.nodes.append(node)
        else:
            made = new[node] = rewired(node, new)
            b.nodes.append(made)
    return eliminate_dead(graph.map_roots(b.nodes, lambda o: new.get(o, o)))


def _place(node: Node) -> Place | None:
    """What is embedded where; None but for a box of some extent in all of its dims."""
    shape, index = node.attrs
    if node.type.dtype.category != FLOAT or len(index) != len(shape) \
            or not all(isinstance(entry, slice) and entry.step in (None, 1) for entry in index):
        return None
    value, factor = node.inputs[0], None
    if isinstance(value, Node) and value.op is MUL:
        first, second = value.inputs
        literal = second if isinstance(first, Node) else first
        other = first if isinstance(first, Node) else second
        if isinstance(literal, (int, float)) and isfinite(literal) and isinstance(other, Node) \
                and other.type == value.type:
            value, factor = other, literal
    if not isinstance(value, Node) or not value.type.numel:
        return None
    return value, factor, tuple([entry.start or 0 for entry in index])


def _span(places: Mapping[Node, Place]) -> list[tuple[int, int]]:
    """For each dim the first place and the last."""
    return [(min(starts), max(starts)) for starts in zip(*(start for *_, start in places.values()), strict=True)]


def _pays(shape: tuple[int, ...], places: Mapping[Node, Place]) -> bool:
    return len(places) >= LEAST and prod(
        extent + last - first for extent, (first, last) in zip(shape, _span(places), strict=True)) <= ROOM * prod(shape)


def _read(b: GraphBuilder, node: Node, places: Mapping[Node, Place], margins: dict[Any, Node], key: Any,
          new: Mapping[Any, Any]) -> Any:
    """A read of the array with margins, which is laid out before the first."""
    span, shape = _span(places), node.type.shape
    value, factor, start = places[node]
    if key not in margins:
        whole = tuple([extent + last - first for extent, (first, last) in zip(shape, span, strict=True)])
        inside = tuple([slice(last, last + extent, 1)
                        for extent, (_, last) in zip(value.type.shape, span, strict=True)])
        margins[key] = b.append(EMBED, (new.get(value, value),), (whole, inside), TensorType(node.type.dtype, whole))
    index = tuple([slice(last - begin, last - begin + extent, 1)
                   for extent, begin, (_, last) in zip(shape, start, span, strict=True)])
    read = b.append(SLICE, (margins[key],), (index,), TensorType(node.type.dtype, shape))
    return read if factor is None else b.mul(read, factor)
