"""Values that take the place of others: when a step may write where it reads, and when to an input's own memory.

What an effect writes to an input may be computed in the input's memory, where nothing can fail any more once that has
begun, and nothing asks for the old elements afterwards. A kernel that reads each element where it writes the new one
is no hindrance: it reads first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from retape.ir.graph import Node, Operand

from .assembly import is_assembled
from .fuse import Group
from .indexed import is_indexed
from .order import Task
from .products import is_product
from .routines import is_routine, may_refuse
from .stages import from_memory
from .steps import Draft
from .views import View, apply_view, undo_view

__all__ = ["can_fail", "in_step", "targets"]


def targets(draft: Draft) -> dict[Node, tuple[Node, View]]:
    """For values that effects write: the input, and where in its memory the value would lie. Row-major inputs only."""
    found: dict[Node, tuple[Node, View]] = {}
    inputs = {node.name: node for node in draft.graph.inputs}
    for effect in draft.graph.effects:
        target, value = inputs[effect.target.name], effect.value
        view: View | None = draft.views[target] if draft.views[target].is_row_major else None
        while view is not None and isinstance(value, Node) and value.op.kind == "view":
            view, value = undo_view(value, view), next(value.parents())
        if view is not None and isinstance(value, Node) and value.type.numel \
                and value.type.dtype is target.type.dtype and value.type.shape == view.shape:
            found.setdefault(value, (target, view))
    return found


def can_fail(step: Task, strict: bool) -> bool:
    """Whether a step may end a call: it looks at indices, or runs outside native code."""
    if isinstance(step, Group):
        return any(map(is_indexed, step.nodes))
    if is_routine(step, strict):
        return may_refuse(step)
    return not is_assembled(step) and (strict or not is_product(step))


def in_step(
    group: Group, value: Node, place: View, old: Node, under: View, inlined: set[Node],
    sources: Callable[[Node], Iterable[Operand]],
) -> bool:
    """Whether a kernel may write a value to `place` in the memory `under` which it reads `old`: all that it reads there
    is, in one pass, the element that it is about to write."""
    if group.rows or value.op.kind != "pointwise":
        return False
    own = set(group.nodes)
    for node in group.nodes:
        for position, parent in enumerate(node.inputs):
            if isinstance(parent, Node) and parent not in own and old in sources(parent) and (
                    parent in inlined or from_memory(node, position) or _shown(parent, old, under) != place):
                return False
    return True


def _shown(node: Node, old: Node, under: View) -> View | None:
    """Where a value lies that is a view of `old`; None for other values."""
    if node is old:
        return under
    if node.op.kind != "view":
        return None
    view = _shown(next(node.parents()), old, under)
    return None if view is None else apply_view(node, view)
