"""A compiled graph whose memory is given later: what equal segments of a trace tree share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from retape.ir import Graph
from retape.ir.collection import set_aside

from .kept import prepared
from .linking import Row, holding, link
from .lowered import WAKING, HostStep
from .program import Output
from .reserve import fresh_arrays
from .views import Buffer, View

__all__ = ["Call", "Part", "maker"]


@dataclass(frozen=True, slots=True)
class Call:
    """A row of a tree but for its operands: `buffers` says what they are. `ints` is held for its address."""

    kernel: int
    buffers: tuple[Buffer, ...]
    ints: Any
    extent: int
    grain: int
    wake: bool


class Part:
    """A graph's steps. Its first `stored` outputs are written to memory that whoever uses it provides, the others are
    `results` as a program's are. `scratch` is how many bytes of workspace the steps need, at `offsets`.
    """

    def __init__(self, graph: Graph, strict: bool, stored: int, varied: bool = False) -> None:
        lowered = prepared(graph, strict, stored, varied)
        with set_aside:
            linked = link(lowered)
        self.kernels, self.keep = linked.kernels, linked.keep
        self.inputs = lowered.inputs
        self.types = [node.type for node in graph.inputs]
        self.status = lowered.status
        self.stored = [view.buffer for view, _ in lowered.outputs[:stored]]
        results = lowered.outputs[stored:]
        self.buffers = list(dict.fromkeys(where.buffer for where, _ in results if isinstance(where, View)))
        self.results = [Output(where, copied, self.buffers.index) for where, copied in results]
        self.offsets, self.scratch = lowered.offsets, lowered.workspace
        self.steps = _calls(linked.steps)
        self.constants = {b: b.constant for b in lowered.buffers if b.kind == "constant"}
        self.hosts = [b for b in lowered.buffers if b.kind == "host"]
        shapes = {where.buffer: where.shape for where, _ in results if isinstance(where, View)
                  and where.offset == 0 and where.is_row_major and np.prod(where.shape) == where.buffer.numel}
        self.fresh = [(b, (shapes.get(b, (b.numel,)), b.dtype.numpy)) for b in self.buffers if b.kind == "output"]

    @property
    def plain(self) -> bool:
        """Whether results are what lies in `buffers`, each one once and as it is."""
        return len(self.results) == len(self.buffers) and all(
            o.plain and not o.copied and o.index == i for i, o in enumerate(self.results))


def maker(shape: tuple[int, ...], dtype: Any) -> Callable[[], Any]:
    """A function that makes arrays for results."""
    return fresh_arrays(shape, dtype) if shape else partial(np.empty, shape, dtype)


def _calls(steps: Sequence[Row | HostStep]) -> list[Call | HostStep]:
    """Rows as calls; runs of them that BLAS could disturb are put between those that hold it."""
    found: list[Call | HostStep] = []
    run: list[Row] = []

    def close() -> None:
        wake = sum(row.work for row in run) >= WAKING
        calls = [Call(row.kernel, tuple(v.buffer for v in row.views), np.array(row.ints or [0], np.int64), row.extent,
                      row.grain, wake) for row in run]
        if any(row.alone for row in run):
            hold = holding()
            none = np.zeros(1, np.int64)
            calls = [Call(hold.first, (), none, 1, 0, False), *calls, Call(hold.last, (), none, 1, 0, False)]
        found.extend(calls)
        run.clear()

    for step in steps:
        if isinstance(step, HostStep):
            close()
            found.append(step)
        else:
            run.append(step)
    close()
    return found
