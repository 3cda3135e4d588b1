"""From steps to rows: kernels and products that are built but not yet bound to memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from .kernels import Kernel, kernel_for
from .lowered import HostStep, KernelStep, Lowered, PanelStep, ProductStep, Step
from .threads import get_num_threads
from .views import Buffer, View

if TYPE_CHECKING:
    from .native.blas_threads import Hold

__all__ = ["Linked", "Row", "holding", "in_turns", "lifetimes", "link"]


class Row(NamedTuple):
    """One row of a tape before it is bound to memory."""

    kernel: int
    ints: Sequence[int]
    extent: int
    grain: int
    views: Sequence[View]
    work: float  # nanoseconds that can be shared, about
    alone: bool = False  # whether BLAS must be held to one thread


@dataclass(slots=True)
class Linked:
    """Rows and host steps in order, the generated kernels in order of first use, and what keeps their code."""

    steps: list[Row | HostStep] = field(default_factory=list)
    kernels: list[Kernel] = field(default_factory=list)
    keep: list[Any] = field(default_factory=list)


def link(lowered: Lowered) -> Linked:
    """Build the kernels of a lowered graph. Raises `KernelFailed` where generated code is refused."""
    linked = Linked()
    known: dict[tuple[str, tuple[str, ...]], Kernel] = {}
    options = {"contract": False} if lowered.strict else {}
    for step in lowered.steps:
        if isinstance(step, HostStep):
            linked.steps.append(step)
        elif isinstance(step, ProductStep):
            linked.steps.append(_product_row(step))
        else:
            emitted = step.kernel.emitted if isinstance(step, PanelStep) else step.emitted
            text = emitted.source, emitted.pointers
            kernel = known.get(text)
            if kernel is None:
                kernel = known[text] = kernel_for(emitted, **options)
            at = kernel.built.address
            linked.steps.append(_panel_row(step, at) if isinstance(step, PanelStep) else _kernel_row(step, at))
    linked.keep = [kernel.built for kernel in known.values()]
    shown: dict[str, Kernel] = {}
    for (source, _), kernel in known.items():
        shown.setdefault(source, kernel)
    linked.kernels = list(shown.values())
    return linked


def _kernel_row(step: KernelStep, address: int) -> Row:
    emitted, chunks = step.emitted, step.chunks
    grain = emitted.division.grain
    work = emitted.time if emitted.extent >= 2 * grain else 0.0
    if chunks is None:
        return Row(address, emitted.ints, emitted.extent, grain, emitted.views, work)
    from .native.chunks import chunked

    run, ints = chunked(address, emitted.extent, chunks.size, chunks.strides, emitted.ints)
    return Row(run, ints, chunks.count, 1, emitted.views, work)


def in_turns(lowered: Lowered, linked: Linked) -> Iterator[tuple[int, Row | HostStep]]:
    """Rows and host steps, each with the number of its (first) step: those that may run `beside` one another are one
    row, which threads share, the longest first."""
    behind = 0
    runs = dict(lowered.beside)
    for number, step in enumerate(linked.steps):
        if number in runs:
            behind = runs[number]
            yield number, _lanes(lowered.steps[number:behind], linked.steps[number:behind])
        elif number >= behind:
            yield number, step


def _lanes(steps: Sequence[Step], rows: Sequence[Row | HostStep]) -> Row:
    from .native.lanes import in_lanes

    times = [(step.emitted.time, row) for step, row in zip(steps, rows, strict=True)
             if isinstance(step, KernelStep) and isinstance(row, Row)]
    ordered = [row for _, row in sorted(times, key=lambda entry: -entry[0])]
    run, ints, lanes = in_lanes([(row.kernel, len(row.views), row.ints, row.extent) for row in ordered])
    return Row(run, ints, lanes, 1, [view for row in ordered for view in row.views], 0.0)


def _product_row(step: ProductStep) -> Row:
    from .native import blas_threads

    product = blas_threads.divided(get_num_threads(), step.work, step.batch, step.arguments)
    return Row(product.address, product.ints, product.extent, product.grain, step.operands, product.work,
               product.shared)


def _panel_row(step: PanelStep, address: int) -> Row:
    from .native import blas_threads
    from .native.panels import Reader, panelled

    given, emitted, rows = step.product.arguments, step.kernel.emitted, step.rows
    product = blas_threads.in_panels(rows, given)
    iterations = emitted.extent // given["m"]  # to a row
    panels = -(-given["m"] // rows)
    moves = step.kernel.chunks.strides if step.kernel.chunks else [0] * len(step.reads)
    strides = [None if reads else move for reads, move in zip(step.reads, moves, strict=True)]
    reader = Reader(address, emitted.ints, rows * iterations, emitted.extent, strides)
    run, ints = panelled((product.address, product.ints), reader, panels, -(-panels // step.lanes),
                         rows * given["n"] * step.scratch.buffer.dtype.itemsize)
    work = step.product.work + emitted.time
    return Row(run, ints, step.lanes, product.grain, step.operands, work if product.grain else 0.0, product.shared)


def holding() -> Hold:
    """The kernels that hold BLAS to one thread and let it go: they stand around rows that run `alone`."""
    from .native import blas_threads

    hold = blas_threads.hold()
    assert hold is not None
    return hold


def lifetimes(lowered: Lowered) -> list[tuple[Buffer, int, int]]:
    """The first and last step of every value in the workspace."""
    spans: dict[Buffer, tuple[int, int]] = {}
    for number, step in enumerate(lowered.steps):
        views: Sequence[Any] = step.emitted.views if isinstance(step, KernelStep) else step.operands
        for view in views:
            if isinstance(view, View) and view.buffer.kind == "arena":
                first, _ = spans.get(view.buffer, (number, number))
                spans[view.buffer] = (first, number)
    return [(buffer, first, last) for buffer, (first, last) in spans.items()]
