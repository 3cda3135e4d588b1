"""The reference semantics of a graph: node by node with NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import RetapeError
from .graph import Graph, Node

__all__ = ["evaluate", "run_nodes"]


def run_nodes(graph: Graph, arrays: tuple[Any, ...]) -> dict[Node, Any]:
    """Every node's value for these inputs. Raises `TypeError` on a wrong count, and the ops' own errors."""
    if len(arrays) != len(graph.inputs):
        raise TypeError(f"{graph.name} takes {len(graph.inputs)} inputs, got {len(arrays)}")
    values: dict[Node, Any] = {}
    for node, array in zip(graph.inputs, arrays, strict=True):
        values[node] = np.asarray(array, node.type.dtype.numpy)
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            operands = (values[i] if isinstance(i, Node) else i for i in node.inputs)
            try:
                result = node.op.eager(*operands, *node.attrs)
            except RetapeError as error:
                error.facts = (("where", node.note), *error.facts)
                raise
            values[node] = np.asarray(result, node.type.dtype.numpy)
    return values


def evaluate(graph: Graph, *arrays: Any) -> Any:
    """Run a graph: a tuple of outputs, or outputs and saved values where the graph is a forward one.

    Guards are not checked: they say for which inputs the graph stands for the traced function. Effects are carried
    out on the arrays given.
    """
    values = run_nodes(graph, arrays)
    outputs = tuple(values[o] if isinstance(o, Node) else np.asarray(o) for o in graph.outputs)
    written = [values[e.value] if isinstance(e.value, Node) else e.value for e in graph.effects]
    positions = {node: i for i, node in enumerate(graph.inputs)}
    for effect, value in zip(graph.effects, written, strict=True):
        np.copyto(arrays[positions[effect.target]], value)
    if graph.kind == "forward":
        return outputs, tuple(values[s] for s in graph.saved)
    return outputs
