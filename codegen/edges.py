"""The edges of a graph as arrays: what asks every node the same is asked once for all of them."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from itertools import chain, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retape.ir import Graph

__all__ = ["Edges", "Numbers", "connected"]

Numbers = NDArray[np.int64]


class Edges:
    """Who reads what. `nodes` are a graph's inputs and then its nodes, `number` tells the position of each. Edge e
    leads from the operand at position `parent[e]` to the node at `reader[e]`, whose operand number `place[e]` it is.

    Edges are in the order of their readers and of these operands.
    """

    def __init__(self, graph: Graph) -> None:
        self.nodes = (*graph.inputs, *graph.nodes)
        self.number: dict[Any, int] = dict(zip(self.nodes, range(len(self.nodes)), strict=True))
        operands = [node.inputs for node in self.nodes]
        counts = np.fromiter(map(len, operands), np.int64, len(operands))
        parent = np.fromiter(map(self.number.get, chain.from_iterable(operands), repeat(-1)), np.int64)
        first = np.cumsum(counts) - counts
        between = parent >= 0  # the others are literals
        self.parent: Numbers = parent[between]
        self.reader: Numbers = np.repeat(np.arange(len(operands)), counts)[between]
        self.place: Numbers = (np.arange(len(parent)) - np.repeat(first, counts))[between]

    def among(self, chosen: Collection[int]) -> NDArray[np.bool_]:
        """Whether each node is one of some."""
        found = np.zeros(len(self.nodes), bool)
        found[list(chosen)] = True
        return found

    @cached_property
    def operands(self) -> tuple[list[int], list[int]]:
        """The numbers of all operands, and where those of each node begin."""
        starts = np.zeros(len(self.nodes) + 1, np.int64)
        np.cumsum(np.bincount(self.reader, minlength=len(self.nodes)), out=starts[1:])
        return self.parent.tolist(), starts.tolist()

    def parents(self, number: int) -> list[int]:
        """The numbers of a node's operands that are nodes."""
        parents, starts = self.operands
        return parents[starts[number] : starts[number + 1]]

    @cached_property
    def _by_parent(self) -> tuple[list[int], list[int], list[int]]:
        """Readers and places in the order of the operands, and where those of each operand begin."""
        order = np.argsort(self.parent, kind="stable")
        starts = np.searchsorted(self.parent[order], np.arange(len(self.nodes) + 1))
        return self.reader[order].tolist(), self.place[order].tolist(), starts.tolist()

    def readers(self, number: int) -> list[tuple[int, int]]:
        """The nodes that read a node, in order, with the operand's number, as often as they read it."""
        readers, places, starts = self._by_parent
        own = slice(starts[number], starts[number + 1])
        return list(zip(readers[own], places[own], strict=True))


def connected(count: int, one: Numbers, other: Numbers) -> Numbers:
    """The least of all the numbers below `count` that each is connected with, by pairs of `one` and `other`.

    Each number points to a lower one that it is paired with, and then to where that points, until nothing changes.
    """
    leader = np.arange(count)
    while True:
        a, b = leader[one], leader[other]
        apart = a != b
        if not apart.any():
            return leader
        one, other, a, b = one[apart], other[apart], a[apart], b[apart]
        np.minimum.at(leader, np.maximum(a, b), np.minimum(a, b))
        while (further := leader[leader]).tobytes() != leader.tobytes():
            leader = further
