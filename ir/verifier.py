"""Checks a graph against the rules of the IR: definition before use, one name a value, types as the ops infer them."""

from __future__ import annotations

from .errors import IRError, RetapeError
from .graph import Graph, Node
from .text import format_node

__all__ = ["verify"]


def verify(graph: Graph) -> Graph:
    """The graph itself. Raises `IRError` with a window of IR around the first broken line."""
    defined: set[Node] = set()
    names: set[str] = set()
    for node in graph.inputs:
        _define(graph, node, defined, names, -1)
    for position, node in enumerate(graph.nodes):
        for parent in node.parents():
            if parent not in defined:
                raise _broken(graph, position, f"`{parent.name}` is read before it is defined")
        if not node.op.variadic and len(node.inputs) != len(node.op.operands):
            raise _broken(graph, position, f"{node.op.name} takes the operands {node.op.operands}")
        if len(node.attrs) != len(node.op.attributes):
            raise _broken(graph, position, f"{node.op.name} takes the attributes {node.op.attribute_names}")
        try:
            wanted = node.op.infer(*(i.type if isinstance(i, Node) else i for i in node.inputs), *node.attrs)
        except RetapeError as error:
            raise _broken(graph, position, error.message) from error
        if (wanted.dtype, wanted.shape) != (node.type.dtype, node.type.shape):
            raise _broken(graph, position, f"its type is {wanted}, not {node.type}")
        _define(graph, node, defined, names, position)
    for root in graph.roots():
        if root not in defined:
            raise _broken(graph, len(graph.nodes), f"`{root.name}` leaves the graph but is not defined in it")
    _check_effects(graph)
    return graph


def _check_effects(graph: Graph) -> None:
    """A write goes to an input, once, and has its type."""
    written: set[Node] = set()
    for effect in graph.effects:
        target, value = effect.target, effect.value
        if target not in graph.inputs or target in written:
            raise _broken(graph, len(graph.nodes), f"`{target.name}` is written but no input, or written twice")
        written.add(target)
        if isinstance(value, Node) and (value.type.dtype, value.type.shape) != (target.type.dtype, target.type.shape):
            raise _broken(graph, len(graph.nodes), f"`{value.name}` doesn't fit into `{target.name}`")


def _define(graph: Graph, node: Node, defined: set[Node], names: set[str], position: int) -> None:
    if node.name in names:
        raise _broken(graph, position, f"the name `{node.name}` is given twice")
    names.add(node.name)
    defined.add(node)


def _broken(graph: Graph, position: int, why: str) -> IRError:
    first = max(position - 2, 0)
    window = [f"{'>' if first + i == position else ' '} {_shown(node)}"
              for i, node in enumerate(graph.nodes[first : position + 2])]
    return IRError(f"graph `{graph.name}` is not valid", ("why", why), ("where", "\n           ".join(window)),
                   fix="this is a bug of the pass that made the graph: please report it with the graph's text")


def _shown(node: Node) -> str:
    """The node's line, as far as a broken node has one."""
    return format_node(node) if len(node.attrs) == len(node.op.attributes) else f"{node!r} {node.attrs}"
