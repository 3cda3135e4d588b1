"""Where a mask holds: a kernel that runs through it once, and writes without a branch on what it reads."""

from __future__ import annotations

from retape.ir.graph import Node

from .lowered import Emitted, KernelStep
from .steps import Draft

__all__ = ["find_places"]

# Where fewer elements hold than were counted, a look refuses the result: the rest has only to be written.
SOURCE = """\
def kernel(p0, p1, k0, lo, hi):
    count = 0
    i0 = lo
    while count < k0 and i0 < hi:
        p1[count] = i0
        count = count + to_i64(p0[i0])
        i0 = i0 + 1
    while count < k0:
        p1[count] = 0
        count = count + 1
"""


def find_places(draft: Draft, node: Node) -> None:
    """Append the kernel of a `places` operation."""
    mask = next(node.parents())
    view = draft.views[mask]
    if not view.is_row_major:
        view = draft.duplicate(view, mask.type.shape, node)
    draft.result.steps.append(KernelStep(Emitted(
        SOURCE, {"count": (f"count_{node.name}", node.origin)}, (mask.name, node.name), ("b1", "i64"),
        (view, draft.views[node]), (node.type.numel,), mask.type.numel)))
