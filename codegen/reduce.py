"""Statements of reductions and of embedding among zeros.

A reduction whose innermost dims are reduced accumulates in a variable, in blocks (for accuracy, and so that the result
doesn't depend on how the loop is cut); otherwise it accumulates in the memory of its result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from retape.ir.graph import Node

from .expressions import IDENTITY, identity, joined

if TYPE_CHECKING:
    from .emit import Writer

__all__ = ["embed", "fill", "reduction"]


def reduction(w: Writer, node: Node) -> None:
    """Combine an operand's elements over the reduced dims."""
    operand = node.inputs[0]
    assert isinstance(operand, Node)
    section = w.section[node]
    text, _ = w.operand(operand, node, section)
    combine, dtype = node.op.kernel, node.type.dtype
    if operand.type.dtype is not dtype:
        text = f"to_{dtype.short}({text})"
    if node in w.group.rowwise:
        total = w.variable(node, w.rows - 1, section + 1, _finished(w, node, _accumulated(w, node, text, w.rows)))
        if node in w.accesses:
            w.body.at(w.rows - 1, f"{w.address(node, w.rows - 1)} = {total}", section + 1)
        return
    strides = w.accesses[node].strides
    first = w.depth  # the reduced dims that lie innermost
    while first > 0 and strides[first - 1] == 0:
        first -= 1
    crosses = any(s == 0 for s in strides[:first])
    if first == w.depth:
        fill(w, node, identity(combine, dtype))
        target = w.address(node, w.depth - 1)
        w.body.at(w.depth - 1, f"{target} = {combine}({target}, {text})", section)
    else:
        total = _accumulated(w, node, text, first)
        target = w.address(node, first - 1)
        if not crosses:
            w.body.behind(first - 1, f"{target} = {_finished(w, node, total)}", section)
            return
        fill(w, node, identity(combine, dtype))
        w.body.behind(first - 1, f"{target} = {combine}({target}, {total})", section)
    if node.op.name == "mean":
        count = w.body.integer("n", w.order[node], 1, node.type.numel)
        target = f"p{w.order[node]}[j]"
        w.body.behind(-1, f"for j in range({count}):")
        w.body.behind(-1, f"    {target} = {_finished(w, node, target)}")


def embed(w: Writer, node: Node) -> None:
    """Zeros, and the operand in its place among them."""
    text, level = w.operand(node.inputs[0], node, w.section[node])
    w.levels[node] = level
    fill(w, node, identity("radd", node.type.dtype))
    w.store(node, text)


def fill(w: Writer, node: Node, start: str) -> None:
    """Let a result begin with one value everywhere."""
    count = w.body.integer("n", w.order[node], 1, node.type.numel)
    w.body.at(-1, f"for j in range({count}):")
    w.body.at(-1, f"    p{w.order[node]}[j] = {start}")


def _accumulated(w: Writer, node: Node, text: str, first: int) -> str:
    """Lines that combine `text` over the loops from `first` inwards in a variable; the text of the result.

    Long rows are combined in blocks. Blocks of float32 are added up in float64, one addition a block.
    """
    combine, dtype, section, body = node.op.kernel, node.type.dtype, w.section[node], w.body
    number = w.order[node] if node in w.order else f"r{w.nodes.index(node)}"
    start, name = identity(combine, dtype), f"a{number}"
    if combine not in IDENTITY or body.short:
        body.at(first - 1, f"{name} = {start}", section)
        body.at(w.depth - 1, f"{name} = {combine}({name}, {text})", section)
        return name
    inner, wide = f"b{number}", combine == "radd" and dtype.short == "f32"
    body.at(first - 1, f"{name} = {'0.0' if wide else start}", section)
    body.at(body.block, f"{inner} = {start}", section)
    body.at(w.depth - 1, f"{inner} = {combine}({inner}, {text})", section)
    body.behind(body.block, f"{name} = {joined(combine, name, f'to_f64({inner})' if wide else inner)}", section)
    return f"to_f32({name})" if wide else name


def _finished(w: Writer, node: Node, text: str) -> str:
    """The reduced value: a mean is divided by its count."""
    if node.op.name != "mean":
        return text
    operand = node.inputs[0]
    assert isinstance(operand, Node)
    count = operand.type.numel // max(node.type.numel, 1)
    number = w.nodes.index(node)
    return f"{text} / to_{node.type.dtype.short}({w.body.integer('c', number, 0, count)})"
