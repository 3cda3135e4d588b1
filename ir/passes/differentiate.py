"""Reverse-mode differentiation of a graph.

The one walk that applies the ops' rules to IR: from the last node to the first, each rule's result is summed back to
its operand's shape and accumulated. Rules emit ops that have rules, so the result can be differentiated again.

What the rules of an operation give depends on no more than its operands' types, which of them are the same value, its
literals and its attributes: that is written down once (a `_Recipe`), and followed for each such operation.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

from ..builder import GraphBuilder, sum_to, value_key
from ..errors import NoDerivative
from ..graph import Graph, Node, input_node
from ..ops import CATALOGUE, NotDifferentiable, Op
from ..types import COMPLEX, TensorType, row_major

__all__ = ["Joint", "differentiate"]

ADD = CATALOGUE["add"]


@dataclass(frozen=True, slots=True)
class Joint:
    """A graph and its derivative over the same nodes.

    `cotangents` are the new inputs, one for each floating-point output; `gradients` stand for `wrt` in order, and
    `connected` says which of them depend on the cotangents at all (the others are zeros).
    """

    graph: Graph
    cotangents: tuple[Node, ...]
    nodes: tuple[Node, ...]
    wrt: tuple[Node, ...]
    gradients: tuple[Node, ...]
    connected: tuple[bool, ...]


def differentiate(graph: Graph, wrt: Sequence[Node] | None = None) -> Joint:
    """The vector-Jacobian product of `graph` with respect to inputs (by default all that are differentiable).

    Raises `NoDerivative` where an active path leads through an op that has no rule for a value it needs.
    """
    targets = tuple(differentiable_inputs(graph) if wrt is None else wrt)
    builder = GraphBuilder(prefix="t")
    builder.reserve(chain(graph.inputs, graph.nodes))
    builder.nodes += graph.nodes
    outputs = [o for o in graph.outputs if isinstance(o, Node) and o.type.dtype.is_differentiable]
    seeds = tuple([input_node(builder.unique(f"d_{o.name}"), row_major(o.type.dtype.numpy, o.type.shape))
                   for o in outputs])
    cotangents: dict[Node, Node] = {}
    for output, seed in zip(outputs, seeds, strict=True):
        known = cotangents.get(output)
        cotangents[output] = seed if known is None else builder.add(known, seed)
    active = active_nodes(graph, targets)
    recipes = _Recipes(graph, builder, active)
    for node in reversed(graph.nodes):
        if node in cotangents and node in active:
            recipes.follow(node, cotangents)
    gradients = []
    for target in targets:
        builder.origin = "no path"
        found = cotangents.get(target)
        gradients.append(found or builder.full(shape=target.type.shape, value=0.0, dtype=target.type.dtype))
    made = builder.nodes[len(graph.nodes):]
    names = {ct: primal.name for primal, ct in cotangents.items()}
    builder.rename((node, f"d_{names[node]}") for node in made if node in names)
    connected = tuple([target in cotangents for target in targets])
    return Joint(graph, seeds, tuple(made), targets, tuple(gradients), connected)


def differentiable_inputs(graph: Graph) -> list[Node]:
    return [node for node in graph.inputs if node.type.dtype.is_differentiable and not node.type.weak]


def active_nodes(graph: Graph, targets: Sequence[Node]) -> set[Node]:
    """The nodes whose value depends on `targets` through differentiable values."""
    active: set[Any] = set(targets)
    for node in graph.nodes:
        if not active.isdisjoint(node.inputs) and node.type.dtype.is_differentiable and node.op.name != "detach":
            active.add(node)
    return active


class _Step(NamedTuple):
    """An operation of a recipe: its operands are `pick`ed from a list of values, to which its result is added.

    One that is `fresh` isn't searched for among those that were made before: it is of a cotangent and of values. What
    is of a cotangent alone may be there already, since a sum hands its own on to all terms.
    """

    op: Op
    pick: Callable[[list[Any]], tuple[Any, ...]]
    attrs: tuple[Any, ...]
    type: TensorType
    fresh: bool


@dataclass(slots=True)
class _Recipe:
    """The rules of one operation: for each operand with a derivative its index, steps, and where the result stands.

    Values are the operands, the result, its cotangent and the literals, then what the steps give.
    """

    literals: list[Any]
    parts: list[tuple[int, list[_Step], int]]


class _Recipes:
    """The rules, written down once for all operations to which they apply alike."""

    def __init__(self, graph: Graph, builder: GraphBuilder, active: set[Node]) -> None:
        self.graph, self.builder, self.active = graph, builder, active
        self.known: dict[Hashable, _Recipe] = {}
        self.noted: set[Op] = set()

    def follow(self, node: Node, cotangents: dict[Node, Node]) -> None:
        """Add to the operands' cotangents what a node's rules give."""
        builder, active, ct = self.builder, self.active, cotangents[node]
        inputs: tuple[Any, ...] = node.inputs
        # types live as long as the graph; operands that are one value may be treated alike
        key: Hashable = (node.op, builder.value_key(node.attrs) if node.attrs else (), id(ct.type), *[
            value_key(i) if i.__class__ is not Node else id(i.type) if i in active else -id(i.type) for i in inputs])
        if len(inputs) > 1 and len({*inputs}) < len(inputs):
            numbers: dict[Any, int] = {}
            key = key, tuple([numbers.setdefault(i, len(numbers)) for i in inputs])
        recipe = self.known.get(key)
        if recipe is None:
            recipe = self.known[key] = self._written(node, ct)
        builder.origin = f"vjp {node.name}"
        append, emit = builder.append, builder.emit
        values = [*inputs, node, ct, *recipe.literals]
        for index, steps, result in recipe.parts:
            for op, pick, attrs, type, fresh in steps:
                values.append(append(op, pick(values), attrs, type) if fresh
                              else emit(op, pick(values), attrs, None, None, type))
            operand, part = inputs[index], values[result]
            known = cotangents.get(operand)
            if known is not None:
                part = append(ADD, (known, part), (), known.type) if known.type is part.type \
                    else emit(ADD, (known, part))
            cotangents[operand] = part

    def _written(self, node: Node, ct: Node) -> _Recipe:
        """The recipe of a node, found by applying its rules to values that stand for its own."""
        draft = GraphBuilder(like=self.builder)
        stand = {operand: input_node(operand.name, operand.type) for operand in node.parents()}
        inputs = tuple([stand[i] if isinstance(i, Node) else i for i in node.inputs])
        out = Node(node.op, inputs, node.attrs, node.type, node.name, node.origin)
        cotangent = input_node("ct", ct.type)
        given = (*inputs, out, cotangent)
        drafted: list[tuple[int, list[Node], Node]] = []
        for index, operand in enumerate(node.inputs):
            if operand in self.active:
                before = len(draft.nodes)
                part = _derive(draft, cotangent, out, index)
                if part is not None:
                    drafted.append((index, draft.nodes[before:], part))
        fresh = self._note(draft.nodes, cotangent)
        literals = {value_key(i): i for made in draft.nodes for i in made.inputs if not isinstance(i, Node)}
        places: dict[Any, int] = {value: i for i, value in enumerate(given) if isinstance(value, Node)}
        places |= {key: len(given) + i for i, key in enumerate(literals)}
        recipe = _Recipe([*literals.values()], [])
        count = len(given) + len(literals)
        for index, steps, part in drafted:
            written = []
            for step in steps:
                written.append(_Step(step.op, _picker([places[i if isinstance(i, Node) else value_key(i)]
                                                       for i in step.inputs]), step.attrs, step.type,
                                     step in fresh))
                places[step] = count
                count += 1
            recipe.parts.append((index, written, places[part]))
        return recipe

    def _note(self, nodes: Sequence[Node], cotangent: Node) -> set[Any]:
        """Have the graph's own operations found where rules make them again: what doesn't depend on a cotangent.

        Gives what depends on a cotangent and on values besides.
        """
        linear: set[Any] = {cotangent}
        alone = {cotangent}
        for node in nodes:
            if not linear.isdisjoint(node.inputs):
                linear.add(node)
                if alone.issuperset(node.parents()):
                    alone.add(node)
            elif node.op not in self.noted:
                self.noted.add(node.op)
                self.builder.note([n for n in self.graph.nodes if n.op is node.op])
        return linear - alone


def _picker(places: list[int]) -> Callable[[list[Any]], tuple[Any, ...]]:
    """Gives the values at some places as a tuple."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda values: tuple([values[place] for place in places])


def _derive(b: GraphBuilder, ct: Node, node: Node, index: int) -> Any:
    """What the rule of one operand gives, in the operand's shape. An error it raises names the user's line."""
    op = node.op
    operand: Any = node.inputs[index]
    if isinstance(op.vjp, NotDifferentiable):
        if op.kind == "pointwise":  # a step function: zero almost everywhere
            return None
        raise NoDerivative(f"`{op.name}` has no derivative", ("where", node.note), ("why", op.vjp.reason),
                           fix="`.detach()` its input")
    rule = op.rule(index)
    run = rule.conjugated if node.type.dtype.category == COMPLEX else rule
    try:
        part: Any = run(b, ct, node, (*node.inputs, node), index)
    except NoDerivative as error:
        error.facts = (("where", node.note), *error.facts)
        raise
    if part is not None and part.type.shape != operand.type.shape:
        part = sum_to(b, part, part.type.shape, operand.type.shape)
    return part
