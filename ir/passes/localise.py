"""Small parts are added where they belong.

Adding a small part of an array as zeros of the array's size, with the part among them, walks over all of it. Here the
part's place is read, the part is added to it, and the sum is written back: codegen does that in the array's own memory.
"""

from __future__ import annotations

from typing import Any

from ..graph import Graph, Node, rewired, users_of
from ..ops import CATALOGUE
from ..types import COMPLEX, TensorType

__all__ = ["localise_parts"]

LARGER = 16  # times the part: from there on the rest of the array isn't walked over


def localise_parts(graph: Graph) -> Graph:
    """`x + embed(part)` as `x` with `x[index] + part` written to its place, where nothing else reads the embed."""
    if "embed" not in graph.op_names:
        return graph
    embeds = [node for node in graph.nodes if node.op.name == "embed" and _is_small(node)]
    if not embeds:
        return graph
    users, roots = users_of(graph, set(embeds)), set(graph.roots())
    alone = {node for node in embeds if node not in roots and len(users[node]) == 1}
    new: dict[Any, Node] = {}
    nodes: list[Node] = []
    for old in graph.nodes:
        node = rewired(old, new)
        place = next((i for i, operand in enumerate(old.inputs) if operand in alone), None) \
            if old.op.name == "add" else None
        if place is not None and _suits(old, old.inputs[1 - place]):
            embed, base = node.inputs[place], node.inputs[1 - place]
            assert isinstance(embed, Node)
            part, index = embed.inputs[0], embed.attr("index")
            assert isinstance(part, Node)
            kind = TensorType(old.type.dtype, part.type.shape)
            shown = Node(CATALOGUE["slice"], (base,), (index,), kind, f"{old.name}_shown", old.origin)
            total = Node(old.op, (shown, part), (), kind, f"{old.name}_part", old.origin)
            nodes += [shown, total]
            node = Node(CATALOGUE["slice_scatter"], (base, total), (index,), old.type, old.name, old.origin)
        if node is not old:
            new[old] = node
        nodes.append(node)
    return graph.map_roots(nodes, lambda o: new.get(o, o)) if new else graph


def _is_small(embed: Node) -> bool:
    return next(embed.parents()).type.numel * LARGER <= embed.type.numel


def _suits(total: Node, base: Any) -> bool:
    return isinstance(base, Node) and base.op.name != "embed" and base.type.shape == total.type.shape \
        and base.type.dtype is total.type.dtype and total.type.dtype.category != COMPLEX
