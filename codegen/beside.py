"""Small kernels that follow one another and have nothing to do with each other: threads take turns on them.

Margins that are filled around what a large kernel computes are too small to be shared one by one. Which of them may run
at the same time is known once memory is planned: none may touch what another writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from .lowered import WAKING, HostStep, KernelStep, Lowered, ProductStep, Step, Walk
from .views import Buffer, View

__all__ = ["beside"]

# The least work of kernels that are shared out together, in nanoseconds as `division.py` estimates them in the cache;
# margins of fresh arrays take several times as long. [a region costs some 1 us]
LEAST = 1500.0
MOST = 16  # kernels: each is compared with all before it

# Where an access begins: in which buffer (None: the workspace), and at which byte; bytes from one iteration to the next
# and from where an iteration begins to behind its end; bytes from the first to behind the last; whether it is written
_Touch = tuple[Buffer | None, int, int, int, int, bool]


def beside(lowered: Lowered) -> list[tuple[int, int]]:
    """The first step and the one behind the last, for runs of steps that may run at the same time and are worth it."""
    if sum(map(_shared, lowered.steps)) < WAKING:
        return []
    found: list[tuple[int, int]] = []
    run: list[list[_Touch]] = []
    work = 0.0
    for number, step in enumerate([*lowered.steps, None]):
        touches = None if step is None else _touches(step, lowered.offsets)
        if run and (touches is None or number == lowered.final or len(run) == MOST
                    or any(_meet(own, other) for before in reversed(run) for own, other in product(touches, before))):
            if len(run) > 1 and work >= LEAST:
                found.append((number - len(run), number))
            run, work = [], 0.0
        if touches is not None:
            assert isinstance(step, KernelStep)
            run.append(touches)
            work += step.emitted.time
    return found


def _shared(step: Step) -> float:
    """Nanoseconds of work that threads share in a step, about."""
    if isinstance(step, HostStep):
        return 0.0
    if isinstance(step, KernelStep):
        return step.emitted.time if step.emitted.extent >= 2 * step.emitted.division.grain else 0.0
    product_step = step if isinstance(step, ProductStep) else step.product
    return product_step.work * product_step.batch


def _touches(step: Step, offsets: Mapping[Buffer, int]) -> list[_Touch] | None:
    """What a small kernel reads and writes; None where that isn't known, or other memory may be the same."""
    if not isinstance(step, KernelStep) or step.chunks is not None or not step.emitted.walks:
        return None
    emitted = step.emitted
    grain = emitted.division.grain
    if not grain or emitted.extent >= 2 * grain:  # without a grain it fills all of an array first, or is shared itself
        return None
    found = []
    for view, walk in zip(emitted.views, emitted.walks, strict=True):
        if view.buffer.kind == "status" or (walk.written and view.buffer.kind not in ("arena", "output")):
            return None
        found.append(_touch(view, walk, emitted.extent, offsets))
    return found


def _touch(view: View, walk: Walk, extent: int, offsets: Mapping[Buffer, int]) -> _Touch:
    buffer, size = view.buffer, view.buffer.dtype.itemsize
    inside = buffer.kind == "arena"
    start = view.offset * size + (offsets[buffer] if inside else 0)
    step, width = walk.step * size, (walk.reach + 1) * size
    return None if inside else buffer, start, step, width, (extent - 1) * step + width, walk.written


def _meet(a: _Touch, b: _Touch) -> bool:
    """Whether two accesses may touch the same bytes, and one of them writes."""
    (home, start, step, width, length, written), (other, begin, stride, breadth, reach, writes) = a, b
    if home is not other or not (written or writes) or start + length <= begin or begin + reach <= start:
        return False
    if step != stride or not step:
        return True
    apart = (begin - start) % step  # rows of the same distance may lie side by side
    return apart < width or apart + breadth > step
