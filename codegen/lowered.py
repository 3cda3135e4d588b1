"""A lowered graph: what lowering hands on, and a file of the cache gives back. Nothing that lowers is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from retape.ir import Graph, i64
from retape.ir.graph import Node, Origin

from .views import Buffer, View

__all__ = ["WAKING", "WHOLE", "Chunks", "Division", "Emitted", "HostStep", "KernelStep", "Lowered", "PanelStep",
           "ProductStep", "Step", "Walk"]

# From this much work in rows that can be shared a tape wakes the workers of the pool. [to wake a thread takes the
# caller 9 to 14 us, and until that works some 20 more; a row of 33 us alone then takes 45, one of 480 takes 320]
WAKING = 100000.0
# Multiply-adds a nanosecond of one core, for a product and for a matrix by a vector, which waits for memory.
PRODUCTS = {"f64": (30.0, 4.0), "f32": (70.0, 8.0)}


@dataclass(frozen=True, slots=True)
class Division:
    """How the outermost loop may be cut: at multiples of `grain`, or into chunks of `chunk` iterations, or not (0).

    `partial` gives the pointers to which chunks write partial results, and the nodes that these are of. `work` is the
    time of an iteration in nanoseconds, about.
    """

    grain: int = 0
    chunk: int = 0
    work: float = 0.0
    partial: tuple[tuple[int, Node], ...] = ()


WHOLE = Division()


@dataclass(frozen=True, slots=True)
class Chunks:
    """A kernel's loop in `count` chunks of `size` iterations; `strides` in bytes move each pointer between chunks."""

    size: int
    count: int
    strides: tuple[int, ...]


class Walk(NamedTuple):
    """What a pointer does: the elements from one iteration of the outermost loop to the next, how far from where it
    begins an iteration reaches at most, and whether it is written."""

    step: int
    reach: int
    written: bool


@dataclass(frozen=True, slots=True)
class Emitted:
    """A kernel's text in canonical names (equal kernels have equal text), and what a call of it needs.

    `walks` tells how each pointer moves, where they all move forwards alone and lowering is going on. `readable` is the
    same text with the graph's names and the user's lines, from `labels` (a name and an origin for each variable) and
    `operands` (a name for each pointer).
    """

    source: str
    labels: dict[str, tuple[str, Origin]]
    operands: tuple[str, ...]
    pointers: tuple[str, ...]
    views: tuple[View, ...]
    ints: tuple[int, ...]
    extent: int
    division: Division = WHOLE
    walks: tuple[Walk, ...] = ()

    @property
    def time(self) -> float:
        """Nanoseconds that the whole range takes, about; 0 where the loop isn't divided."""
        return self.extent * self.division.work

    @property
    def readable(self) -> str:
        from .expressions import rename

        return rename(self.source, self.labels, {f"p{i}": f"p_{name}" for i, name in enumerate(self.operands)})


@dataclass(frozen=True, slots=True)
class KernelStep:
    """Run a generated kernel over the whole range of its outermost loop, or over each of its chunks."""

    emitted: Emitted
    chunks: Chunks | None = None


@dataclass(frozen=True, slots=True)
class ProductStep:
    """C = A @ B through BLAS: `arguments` are those of `native.blas.product`."""

    operands: tuple[View, View, View]
    arguments: dict[str, Any]
    batch: int

    @property
    def work(self) -> float:
        """About how long one of the batch takes, in nanoseconds."""
        dtype, m, n, k = (self.arguments[name] for name in ("dtype", "m", "n", "k"))
        return float(m * n * k / PRODUCTS[dtype][min(m, n) == 1])


@dataclass(frozen=True, slots=True)
class PanelStep:
    """A product in panels of `rows` of its rows, each of which a kernel reads at once: the product is never whole.

    `reads` says which of the kernel's pointers are the product, `scratch` holds a panel for each of `lanes`, which may
    run at the same time.
    """

    product: ProductStep
    kernel: KernelStep
    reads: tuple[bool, ...]
    rows: int
    lanes: int
    scratch: View

    @property
    def operands(self) -> tuple[View, ...]:
        own = zip(self.kernel.emitted.views, self.reads, strict=True)
        return (*self.product.operands[:2], self.scratch, *(self.scratch if reads else view for view, reads in own))


@dataclass(frozen=True, slots=True)
class HostStep:
    """An operation that runs its eager form in Python; its result becomes the buffer's memory."""

    node: Node
    operands: tuple[View | Any, ...]
    result: Buffer


Step = KernelStep | ProductStep | PanelStep | HostStep


@dataclass(slots=True)
class Lowered:
    """A program before it is bound to memory. With `strict`, its kernels round each operation.

    `graph` is the one that was given. `outputs` tells where each result lies, and whether it is copied out; None where
    an effect's value lies in the input that it is for. From step `final` on inputs are written, and nothing can fail.
    `offsets` are places in a workspace of so many bytes, once they are planned. `beside` are runs of steps that may run
    at the same time: the first, and the one behind the last.
    """

    graph: Graph
    strict: bool = False
    steps: list[Step] = field(default_factory=list)
    inputs: list[Buffer] = field(default_factory=list)
    outputs: list[tuple[View | Any, bool]] = field(default_factory=list)
    final: int | None = None
    buffers: list[Buffer] = field(default_factory=list)
    status: Buffer = field(default_factory=lambda: Buffer(i64, 1, "status"))
    offsets: dict[Buffer, int] = field(default_factory=dict)
    workspace: int = 0
    beside: list[tuple[int, int]] = field(default_factory=list)
