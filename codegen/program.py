"""A compiled graph: a tape of native calls, with host steps in between, over a workspace."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from math import prod
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from retape.ir import Graph, Node
from retape.ir.collection import set_aside
from retape.ir.errors import RetapeError
from retape.ir.interpreter import run_nodes

from .kept import prepared
from .linking import Row, holding, in_turns, link
from .lowered import WAKING, HostStep, Lowered
from .memory import ALIGNMENT
from .native import Tape
from .reserve import fresh_arrays
from .views import Buffer, View

__all__ = ["Program", "compile_graph"]

WRITTEN = 256  # operands of a segment that are named in a generated call; more are picked by their positions
Values = list[Any]


def compile_graph(graph: Graph, strict: bool = False, in_place: bool = False) -> Program:
    """Compile a graph; the result is called with one array (or float, for a weak input) for each graph input.

    With `strict` it gives the bits of eager execution, but for transcendental functions. If `in_place`, calls write
    what effects write to the inputs themselves, where that can come last: to the inputs `overwritten`. Where a call
    fails they are as they were. The graph has no guards then.

    Raises `KernelFailed` where generated code is refused.
    """
    lowered = prepared(graph, strict, in_place=in_place)
    with set_aside:
        return Program(lowered)


@dataclass(slots=True)
class _Frame:
    """Memory for one call at a time: the pointer table, the workspace, the operands that lie there of each host step
    (None for others), and the bound entries."""

    pointers: Any
    workspace: Any
    operands: list[list[Any]]
    status: Any
    entries: list[Callable[[Any], None]]


@dataclass(frozen=True, slots=True)
class _Segment:
    """Consecutive native rows; `pick` takes from the values of a call the arrays for `slots`."""

    tape: Tape
    slots: Any
    pick: Callable[[Values], Any]


@dataclass(frozen=True, slots=True)
class _Check:
    """The place behind which no kernel reports an index out of bounds, and inputs are written."""


class Program:
    """A compiled graph. Calling it runs the tape; `kernels` are the generated kernels in order of first use."""

    def __init__(self, lowered: Lowered) -> None:
        self.graph = lowered.graph
        self._external: dict[Buffer, int] = {}
        self._frames: list[_Frame] = []
        self._outputs = [None if where is None else Output(where, copied, self._value_index)
                         for where, copied in lowered.outputs]
        positions = {node.name: position for position, node in enumerate(lowered.graph.inputs)}
        first = len(lowered.outputs) - len(lowered.graph.effects)
        self.overwritten = [positions[effect.target.name] for effect, (where, _) in zip(
            lowered.graph.effects, lowered.outputs[first:], strict=True) if where is None]
        for buffer in (*lowered.inputs, *lowered.buffers):
            if buffer.kind != "arena":
                self._value_index(buffer)
        shapes = {o.view.buffer: o.view.shape for o in reversed(self._outputs) if o and o.view is not None and o.plain}
        results = [(i, shapes.get(b, (b.numel,)), b.dtype.numpy) for b, i in self._external.items()
                   if b.kind == "output"]
        self._fresh = [(i, fresh_arrays(shape, dtype)) for i, shape, dtype in results]
        self._shapes = {i: shape for i, shape, _ in results}
        self._constants = [(i, b.constant) for b, i in self._external.items() if b.kind == "constant"]
        self._inputs = [(self._external[b], node.type.dtype.numpy) for b, node in
                        zip(lowered.inputs, lowered.graph.inputs, strict=True)]
        self._shapes.update((i, node.type.shape) for (i, _), node in
                            zip(self._inputs, lowered.graph.inputs, strict=True) if not node.type.weak)
        self.offsets, self.workspace_bytes = lowered.offsets, lowered.workspace
        self._plan = self._segments(lowered)
        self._shapes.update((self._external[part.result], part.node.type.shape) for part in self._plan
                            if isinstance(part, HostStep))
        self._checked = lowered.status in self._slots
        self._hosts = any(isinstance(part, HostStep) for part in self._plan)

    def _value_index(self, buffer: Buffer) -> int:
        """The position of a buffer that isn't in the workspace among the values of a call."""
        return self._external.setdefault(buffer, len(self._external))

    @property
    def memory(self) -> dict[str, int]:
        """Bytes by what they hold; `peak` is all that a call needs beside its inputs."""
        kinds = {"outputs": ("output", "host"), "constants": ("constant",), "inputs": ("input",)}
        found = {name: sum(b.nbytes for b in self._external if b.kind in of) for name, of in kinds.items()}
        found["workspace"] = self.workspace_bytes
        return {"peak": found["workspace"] + found["outputs"] + found["constants"], **found}

    # ---- building

    def _segments(self, lowered: Lowered) -> list[_Segment | HostStep | _Check]:
        linked = link(lowered)
        self.kernels = linked.kernels
        rows: list[list[int]] = []
        slots: list[Buffer] = []
        ints: list[int] = []
        cuts: list[tuple[int, int, HostStep | _Check | None]] = []
        bound: list[Row] = []
        start = 0
        for number, step in in_turns(lowered, linked):
            if number == lowered.final and lowered.status in slots:
                cuts.append((start, len(rows), _Check()))
                start = len(rows)
            if isinstance(step, HostStep):
                cuts.append((start, len(rows), step))
                start = len(rows)
                continue
            bound.append(step)
            rows.append([step.kernel, len(slots), len(ints), 0, step.extent, step.grain])
            slots += [view.buffer for view in step.views]
            ints += step.ints
        cuts.append((start, len(rows), None))
        self._slots = slots
        return self._cut(rows, ints, linked.keep, cuts, bound)

    def _cut(self, rows: list[list[int]], ints: list[int], keep: list[Any], cuts: list[Any], bound: list[Row]) \
            -> list[_Segment | HostStep | _Check]:
        words = np.array(ints, np.int64)
        external = [(slot, self._external[b]) for slot, b in enumerate(self._slots)
                    if b.kind != "arena" and b.kind != "status"]
        slots = [slot for slot, _ in external]
        plan: list[_Segment | HostStep | _Check] = []
        bounds = [row[1] for row in rows] + [len(self._slots)]
        for first, last, host in cuts:
            if last > first:
                used = external[bisect_left(slots, bounds[first]) : bisect_left(slots, bounds[last])]
                part = rows[first:last]
                if any(row.alone for row in bound[first:last]):
                    hold = holding()
                    part = [[hold.first, 0, 0, 0, 1, 0], *part, [hold.last, 0, 0, 0, 1, 0]]
                wake = sum(row.work for row in bound[first:last]) >= WAKING
                tape = Tape(np.array(part, np.int64), len(self._slots), words, keep, wake=wake)
                pick = _picker([value for _, value in used])
                plan.append(_Segment(tape, np.array([slot for slot, _ in used], np.int64), pick))
            if host is not None:
                plan.append(host)
        return plan

    def _frame(self) -> _Frame:
        """A frame that no other call is using."""
        try:
            return self._frames.pop()
        except IndexError:
            pass
        raw = np.empty(self.workspace_bytes + ALIGNMENT, np.uint8)
        shift = -raw.ctypes.data % ALIGNMENT
        workspace = raw[shift : shift + self.workspace_bytes]
        operands = [[self._within(workspace, operand) for operand in step.operands]
                    for step in self._plan if isinstance(step, HostStep)]
        pointers = np.zeros(len(self._slots), np.int64)
        base = workspace.ctypes.data if self.workspace_bytes else 0
        status = np.zeros(1, np.int64)
        for slot, buffer in enumerate(self._slots):
            if buffer.kind == "arena":
                pointers[slot] = base + self.offsets[buffer]
            elif buffer.kind == "status":
                pointers[slot] = status.ctypes.data
        entries = [part.tape.bind(part.slots, pointers) for part in self._plan if isinstance(part, _Segment)]
        return _Frame(pointers, raw, operands, status, entries)

    def _within(self, workspace: Any, operand: Any) -> Any:
        """The array of an operand that lies in the workspace; None for others."""
        if not isinstance(operand, View) or operand.buffer.kind != "arena":
            return None
        buffer, offset = operand.buffer, self.offsets[operand.buffer]
        return strided(workspace[offset : offset + buffer.nbytes].view(buffer.dtype.numpy), operand)

    # ---- running

    def __call__(self, arrays: Sequence[Any]) -> list[Any]:
        """Outputs, saved values, guarded values and what effects write (None where that is done), in this order.

        Each array has the element type, shape and strides of its graph input. Raises the located errors of host steps.
        """
        values: Values = [None] * len(self._external)
        for (index, dtype), array in zip(self._inputs, arrays, strict=True):
            values[index] = array if type(array) is np.ndarray else np.asarray(array, dtype)
        for index, constant in self._constants:
            values[index] = constant
        for index, make in self._fresh:
            values[index] = make()
        frame = self._frame()
        with np.errstate(all="ignore") if self._hosts else nullcontext():
            return self._run(arrays, values, frame)

    def _run(self, arrays: Sequence[Any], values: Values, frame: _Frame) -> list[Any]:
        """The results of a call whose inputs, constants and fresh arrays are in `values`; gives the frame back."""
        try:
            entries, operands = iter(frame.entries), iter(frame.operands)
            for part in self._plan:
                if isinstance(part, _Segment):
                    next(entries)(part.pick(values))
                elif isinstance(part, HostStep):
                    self._host(part, values, next(operands))
                elif frame.status[0]:
                    return self._refused(frame, arrays)
            if self._checked and frame.status[0]:
                return self._refused(frame, arrays)
            return [None if output is None else output.take(values) for output in self._outputs]
        finally:
            self._frames.append(frame)

    def _refused(self, frame: _Frame, arrays: Sequence[Any]) -> list[Any]:
        """A kernel has met an index out of bounds, or a matrix it can't factor: have the interpreter raise the error,
        with the user's line. Where only the kernel's rounding made a pivot 0, the interpreter's results count."""
        frame.status[0] = 0
        graph, given = self.graph, tuple(arrays)
        found: dict[Any, Any] = dict(run_nodes(graph, given))
        written = iter(self.overwritten)
        for effect, output in zip(graph.effects, self._outputs[len(self._outputs) - len(graph.effects):], strict=True):
            if output is None:
                np.copyto(arrays[next(written)], found.get(effect.value, effect.value))
        operands = [*graph.outputs, *graph.saved, *(g.node for g in graph.guards), *(e.value for e in graph.effects)]
        return [None if output is None else output.replaced(found.get(operand, operand))
                for output, operand in zip(self._outputs, operands, strict=True)]

    def direct(self) -> Callable[..., Any]:
        """A function of the input arrays (as they lie in memory, all of them arrays) that gives what a call does."""
        scope: dict[str, Any] = {"frames": self._frames, "new_frame": self._frame, "refused": self._refused}
        inputs = [f"v{index}" for index, _ in self._inputs]
        check = f"if frame.status[0]: return refused(frame, ({', '.join(inputs)},))"
        lines = ["try: frame = frames.pop()", "except IndexError: frame = new_frame()"] if self._plan else []
        for index, make in self._fresh:
            scope[f"make{index}"] = make
            lines.append(f"v{index} = make{index}()")
        for index, constant in self._constants:
            scope[f"v{index}"] = constant
        lines += [f"v{self._external[part.result]} = None" for part in self._plan if isinstance(part, HostStep)]
        segments = hosts = 0
        for part in self._plan:
            if isinstance(part, _Segment):
                lines += self._enter(part, segments, scope)
                segments += 1
            elif isinstance(part, HostStep):
                lines.append(self._outside(part, hosts, scope))
                hosts += 1
            else:
                lines.append(check)
        if self._checked:
            lines.append(check)
        if self._plan:
            lines.append("frames.append(frame)")
        lines.append(f"return [{', '.join(self._shown(i, output, scope) for i, output in enumerate(self._outputs))}]")
        if self._hosts:
            scope["errstate"] = np.errstate
            lines = ["with errstate(all='ignore'):", *[f"    {line}" for line in lines]]
        exec(f"def run({', '.join(inputs)}):\n" + "\n".join(f"    {line}" for line in lines), scope)
        run: Callable[..., Any] = scope["run"]
        return run

    def _enter(self, segment: _Segment, number: int, scope: dict[str, Any]) -> list[str]:
        """Lines that run a segment of a call whose values have names."""
        names = [f"v{i}" for i in range(len(self._external))]
        chosen = segment.pick(names)
        if len(chosen) <= WRITTEN:
            return [f"frame.entries[{number}](({', '.join(chosen)}{',' if chosen else ''}))"]
        scope[f"pick{number}"] = segment.pick
        return [f"frame.entries[{number}](pick{number}(({', '.join(names)},)))"]

    def _shown(self, number: int, output: Output | None, scope: dict[str, Any]) -> str:
        """The expression of a result of a call whose values have names."""
        if output is None:
            return "None"
        name = f"v{output.index}"
        if output.plain and output.view and not output.copied and self._shapes.get(output.index) == output.view.shape:
            return name
        scope[f"show{number}"] = output.shown
        return f"show{number}({'None' if output.view is None else name})"

    def _outside(self, step: HostStep, number: int, scope: dict[str, Any]) -> str:
        """The line that runs a host step of a call whose values have names. Where it fails, the frame is let go."""
        given = []
        for position, operand in enumerate(step.operands):
            name = f"h{number}_{position}"
            if isinstance(operand, View) and operand.buffer.kind == "arena":
                given.append(f"frame.operands[{number}][{position}]")
            elif isinstance(operand, View):
                scope[name] = partial(strided, view=operand)
                given.append(f"{name}(v{self._external[operand.buffer]})")
            else:
                scope[name] = operand
                given.append(name)
        scope |= {f"node{number}": step.node, "host": host_result}
        return f"v{self._external[step.result]} = host(node{number}, ({', '.join(given)},))"

    def _host(self, step: HostStep, values: Values, within: list[Any]) -> None:
        given = [strided(values[self._external[o.buffer]], o) if there is None and isinstance(o, View)
                 else o if there is None else there for o, there in zip(step.operands, within, strict=True)]
        values[self._external[step.result]] = host_result(step.node, given)


def host_result(node: Node, operands: Sequence[Any]) -> Any:
    """What an operation's eager form gives, contiguous. Raises its error, located. Warnings are the caller's."""
    try:
        result = node.op.eager(*operands, *node.attrs)
    except RetapeError as error:
        error.facts = (("where", node.note), *error.facts)
        raise
    return np.asarray(result, node.type.dtype.numpy, order="C")


class Output:
    """How one result is taken from the values of a call."""

    __slots__ = ("copied", "index", "literal", "plain", "view")

    def __init__(self, where: Any, copied: bool, index: Callable[[Buffer], int]) -> None:
        self.view: View | None = None
        self.literal, self.copied, self.index, self.plain = where, copied, -1, False
        if isinstance(where, View):
            self.view, self.literal, self.index = where, None, index(where.buffer)
            # an input that is returned as it came needs no view of it
            self.plain = not where.offset and where.buffer.numel == prod(where.shape) and where.is_row_major

    def replaced(self, value: Any) -> Any:
        """The result in the place of which the interpreter has given a value."""
        return value if self.view is not None and self.view.buffer.kind == "input" and not self.copied \
            else np.array(value, order="C")

    def take(self, values: Values) -> Any:
        return self.shown(None if self.view is None else values[self.index])

    def shown(self, base: Any) -> Any:
        """The result, where the value is that it lies in."""
        if self.view is None:
            return np.asarray(self.literal)
        result = base.reshape(self.view.shape) if self.plain and base.flags.c_contiguous else strided(base, self.view)
        return result.copy() if self.copied else result


def strided(base: Any, view: View) -> Any:
    """An array over `base`'s memory (which starts at its first element) as a view describes it."""
    size = base.itemsize
    if view.offset == 0 and base.shape == view.shape and base.strides == tuple(s * size for s in view.strides):
        return base
    if 0 in view.shape:
        return np.empty(view.shape, base.dtype)
    steps = tuple([s * size for s in view.strides])
    if base.flags.c_contiguous:
        return np.ndarray(view.shape, base.dtype, base, view.offset * size, steps)
    return as_strided(as_strided(base, (_reach(base),), (size,))[view.offset :], view.shape, steps)


def _reach(base: Any) -> int:
    """How many elements from the first to the last in memory."""
    spread = sum((extent - 1) * step for extent, step in zip(base.shape, base.strides, strict=True))
    return 1 + int(spread) // int(base.itemsize)


def _picker(indices: list[int]) -> Callable[[Values], Any]:
    if len(indices) == 1:
        only = indices[0]
        return lambda values: (values[only],)
    return itemgetter(*indices) if indices else lambda values: ()

