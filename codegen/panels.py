"""Products in panels: what one kernel alone reads of a large product is never written to memory as a whole.

A product with short sums writes more than it reads, and takes little longer than that. Where a kernel goes on with it
row by row (an activation, distances and their smallest, a softmax), the two alternate on panels of rows, which stay in
the cache of the core. BLAS lays out its right operand anew for each panel. So panels pay where results are much larger
than that cache, and sums are short.
"""

from __future__ import annotations

from .lowered import HostStep, KernelStep, Lowered, PanelStep, ProductStep, Step
from .threads import get_num_threads
from .views import Buffer, contiguous_view

__all__ = ["join_panels"]

# [measured on one core with 2 MB of second cache, products of f64 and what reads them: 1024 x 1024 over 64 terms take
# 0.87 to 0.96 of the time, over 128 as long, 20 000 x 64 over 16 0.77 to 0.93, 100 000 x 256 over 16 0.37 to 0.41]
LARGE = 4 << 20  # bytes of a product from which on panels pay
TERMS = 64  # of its sums up to which they do
COLUMNS = 32  # of it; a product with fewer takes no longer than laying out its operand
PANEL = 1 << 20  # bytes of a panel, about
ROWS = 64  # of a panel, at least and in multiples


def join_panels(lowered: Lowered) -> None:
    """Let large products with short sums and the kernels that read them take turns, where that changes no value."""
    steps = lowered.steps
    if not any(_suits(step) for step in steps):
        return
    uses: dict[Buffer, list[int]] = {}
    for number, step in enumerate(steps):
        for buffer in dict.fromkeys(_buffers(step)):
            uses.setdefault(buffer, []).append(number)
    joined: dict[int, Step] = {}
    gone: set[int] = set()
    for number, step in enumerate(steps):
        if not _suits(step):
            continue
        assert isinstance(step, ProductStep)
        places = uses[step.operands[2].buffer]
        reader = steps[places[-1]]
        if len(places) != 2 or places[0] != number or places[1] in joined or not isinstance(reader, KernelStep) \
                or any(_changes(steps[n], step) for n in range(number + 1, places[1] + 1)):
            continue
        reads, rows = _rowwise(step, reader), _rows(step, reader)
        if any(reads) and rows:
            joined[places[1]] = _panels(lowered, step, reader, reads, rows)
            gone.add(number)
    lowered.steps = [joined.get(n, step) for n, step in enumerate(steps) if n not in gone]
    if lowered.final is not None:
        lowered.final -= sum(number < lowered.final for number in gone)


def _suits(step: Step) -> bool:
    """Whether panels of a product pay."""
    if not isinstance(step, ProductStep) or step.batch != 1 or step.arguments.get("beta"):
        return False
    n, k, out = step.arguments["n"], step.arguments["k"], step.operands[2]
    return out.buffer.kind == "arena" and out.buffer.nbytes >= LARGE and k <= TERMS and n >= COLUMNS \
        and step.arguments["ldc"] == n and step.arguments["offsets"][2] == 0 \
        and out.buffer.numel == step.arguments["m"] * n


def _buffers(step: Step) -> list[Buffer]:
    if isinstance(step, KernelStep):
        return [view.buffer for view in step.emitted.views]
    if isinstance(step, HostStep):
        return [step.result, *(view.buffer for view in step.operands if hasattr(view, "buffer"))]
    return [view.buffer for view in step.operands]


def _changes(step: Step, product: ProductStep) -> bool:
    """Whether a step writes, or may write, what a product reads."""
    read = {view.buffer for view in product.operands[:2]}
    if isinstance(step, ProductStep):
        return step.operands[2].buffer in read
    if isinstance(step, KernelStep) and step.emitted.walks:
        return any(walk.written and view.buffer in read
                   for walk, view in zip(step.emitted.walks, step.emitted.views, strict=True))
    return not read.isdisjoint(_buffers(step))


def _rowwise(product: ProductStep, reader: KernelStep) -> tuple[bool, ...]:
    """Which of a kernel's pointers are the product; none where its iterations don't go through this row by row."""
    emitted, buffer = reader.emitted, product.operands[2].buffer
    m, n = product.arguments["m"], product.arguments["n"]
    iterations, rest = divmod(emitted.extent, m)
    if rest or not (reader.chunks or emitted.division.grain) or not emitted.walks:
        return ()  # its iterations write to the same places
    reads = tuple(view.buffer is buffer for view in emitted.views)
    for walk, view, own in zip(emitted.walks, emitted.views, reads, strict=True):
        if own and (walk.written or walk.step * iterations != n
                    or view.offset + (iterations - 1) * walk.step + walk.reach >= n):
            return ()
    return reads


def _rows(product: ProductStep, reader: KernelStep) -> int:
    """How many rows a panel has: those of a chunk, where the kernel has chunks; 0 where these are no panels."""
    m: int = product.arguments["m"]
    row: int = product.arguments["n"] * product.operands[2].buffer.dtype.itemsize
    if not reader.chunks:
        return max(ROWS, PANEL // row // ROWS * ROWS)
    rows, rest = divmod(reader.chunks.size, reader.emitted.extent // m)
    return rows if not rest and rows * row <= 2 * PANEL else 0


def _panels(
    lowered: Lowered, product: ProductStep, reader: KernelStep, reads: tuple[bool, ...], rows: int
) -> PanelStep:
    m, n, dtype = product.arguments["m"], product.arguments["n"], product.operands[2].buffer.dtype
    lanes = min(-(-m // rows), get_num_threads())
    scratch = Buffer(dtype, lanes * rows * n, "arena")
    lowered.buffers.append(scratch)
    return PanelStep(product, reader, reads, rows, lanes, contiguous_view(scratch, (lanes, rows, n)))
