"""Splits a graph and its derivative into a forward graph that saves values and a backward graph that reads them.

What backward needs and can cheaply be computed again from inputs or from other saved values is computed again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from typing import Any

from ..graph import Graph, Node, input_node
from .differentiate import Joint
from .eliminate import eliminate_dead

__all__ = ["backward_graph", "partition"]

FIXED = {"view": 0.0, "source": 1.0}  # the work of an element by kind, where it isn't the operation's own
CHEAP = 8.0  # additions an element that are spent rather than one value stored and loaded


def backward_graph(joint: Joint) -> Graph:
    """The whole derivative as one graph: cotangents and the graph's inputs to gradients, nothing saved."""
    graph = joint.graph
    whole = Graph(f"{graph.name}_bwd", (*joint.cotangents, *graph.inputs), (*graph.nodes, *joint.nodes),
                  joint.gradients, "backward", graph.of)
    return _renamed(eliminate_dead(whole), joint.names, {}, graph.inputs)


def partition(joint: Joint) -> tuple[Graph, Graph]:
    """The forward graph, returning outputs and saved values, and the backward graph of cotangents and saved values."""
    graph = joint.graph
    joint = _trimmed(joint)
    read = _read_from(joint, {*graph.inputs, *graph.nodes})
    needed = [node for node in (*graph.inputs, *graph.nodes) if node in read]
    kept = _worth_saving(graph, read)
    again = {node for node in needed if node not in kept and node not in graph.inputs}
    saved = _leaves(graph, needed, again, kept)
    forward = replace(graph, name=f"{graph.name}_fwd", kind="forward", saved=tuple(saved))
    recomputed = _chain(graph, again, set(saved))
    backward = Graph(f"{graph.name}_bwd", (*joint.cotangents, *saved), (*recomputed, *joint.nodes),
                     joint.gradients, "backward", graph.of)
    notes = {node: f"remat {node.name}" for node in recomputed}
    return eliminate_dead(forward), eliminate_dead(_renamed(backward, joint.names, notes, saved))


def _trimmed(joint: Joint) -> Joint:
    """Only the derivative's nodes that a gradient depends on."""
    alive: set[Any] = set(joint.gradients)
    kept: list[Node] = []
    for node in reversed(joint.nodes):
        if node in alive:
            alive.update(node.inputs)
            kept.append(node)
    return replace(joint, nodes=tuple(reversed(kept)))


def _read_from(joint: Joint, primal: set[Any]) -> set[Any]:
    read = primal.intersection(chain.from_iterable([node.inputs for node in joint.nodes]))
    return read | primal.intersection(joint.gradients)


def _worth_saving(graph: Graph, read: set[Node]) -> set[Node]:
    """The values among `read` that cost too much to compute again from the inputs and from what is saved before."""
    costs: dict[Any, float] = dict.fromkeys(graph.inputs, 0.0)  # additions an element
    kept: set[Node] = set()
    for node in graph.nodes:
        kind = node.op.kind
        cost = node.op.cost if kind == "pointwise" else FIXED.get(kind, math.inf)
        for operand in node.inputs:
            cost += costs.get(operand, 0.0)
        costs[node] = cost
        if cost > CHEAP and node in read:
            kept.add(node)
            costs[node] = 0.0
    return kept


def _leaves(graph: Graph, needed: list[Node], again: set[Node], saved: set[Node]) -> list[Node]:
    """The saved values together with the inputs that are read directly or to compute others again."""
    inputs = set(graph.inputs)
    reached = {node for node in needed if node in inputs}
    reached.update(_walk(again, saved, inputs)[1])
    return [node for node in (*graph.inputs, *graph.nodes) if node in reached or node in saved]


def _walk(again: set[Node], saved: set[Node], inputs: set[Node]) -> tuple[set[Node], set[Node]]:
    """The nodes computed again to get `again`, and the inputs they start from."""
    found: set[Node] = set()
    leaves: set[Node] = set()
    stack = list(again)
    while stack:
        node = stack.pop()
        if node in inputs:
            leaves.add(node)
        elif node not in saved and node not in found:
            found.add(node)
            stack.extend(node.parents())
    return found, leaves


def _chain(graph: Graph, again: set[Node], saved: set[Node]) -> list[Node]:
    found, _ = _walk(again, saved, set(graph.inputs))
    return [node for node in graph.nodes if node in found]


def _renamed(graph: Graph, names: dict[Node, str], notes: dict[Node, str], keep: Iterable[Node]) -> Graph:
    """The graph rebuilt: cotangents under their primal's name, saved values as plain inputs."""
    new: dict[Any, Node] = {}
    taken = {node.name for node in (*graph.inputs, *graph.nodes)}
    kept = set(keep)
    for node in graph.inputs:
        new[node] = input_node(node.name, node.type, node.origin) if node in kept else node

    for node in graph.nodes:
        name = names.get(node, node.name)
        if name != node.name:
            name = name if name not in taken else node.name
            taken.add(name)
        inputs, origin = tuple([new.get(i, i) for i in node.inputs]), notes.get(node, node.origin)
        if name is node.name and origin is node.origin and inputs == node.inputs:
            new[node] = node
        else:
            new[node] = Node(node.op, inputs, node.attrs, node.type, name, origin)
    return replace(graph, inputs=tuple(new[node] for node in graph.inputs),
                   nodes=tuple(new[node] for node in graph.nodes),
                   outputs=tuple(new.get(o, o) for o in graph.outputs))


