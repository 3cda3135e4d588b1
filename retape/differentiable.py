"""A graph as a differentiable call: programs for its value and, made when asked for, for its derivatives.

The backward graph is again a graph, so derivatives of any order come from the same class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from retape.ir import CATALOGUE, Graph, Node
from retape.ir.collection import paused
from retape.ir.errors import SavedTensorModified
from retape.ir.once import once
from retape.tracer.apply import apply
from retape.tracer.gradnode import attach_outputs
from retape.tracer.state import describe, enable_grad
from retape.tracer.tensor import Tensor, wrap

if TYPE_CHECKING:
    from retape.codegen import Program

__all__ = ["Derivative", "DifferentiableGraph"]


def compile_graph(graph: Graph, strict: bool = False, in_place: bool = False) -> Program:
    """`codegen.compile_graph`; the compiler is imported when the first program is made."""
    from retape import codegen

    return codegen.compile_graph(graph, strict, in_place)


class Derivative:
    """The forward and backward graphs of `graph` with respect to some of its inputs, and their programs."""

    def __init__(self, graph: Graph, wrt: Sequence[int], strict: bool = False) -> None:
        self.graph = graph
        self.strict = strict
        self.wrt = tuple(wrt)
        # a process that takes no derivative does without
        from retape.ir.passes import differentiate, partition, share_views

        with paused:
            if not strict:  # it changes the order in which cotangents are added
                graph = share_views(graph)
            self.joint = differentiate(graph, [graph.inputs[i] for i in wrt])
            self.forward, self.backward = partition(self.joint)
        names = {node.name: i for i, node in enumerate(graph.inputs)}
        # inputs that are saved as they are, by position among the saved values
        self.saved_inputs = [(k, names[s.name]) for k, s in enumerate(self.forward.saved) if s.name in names]
        self.seeds = [i for i, o in enumerate(graph.outputs) if isinstance(o, Node) and o.type.dtype.is_differentiable]

    @once
    def forward_program(self) -> Program:
        return compile_graph(self.forward, self.strict)

    @once
    def backward_program(self) -> Program:
        return compile_graph(self.backward, self.strict)

    @once
    def whole(self) -> DifferentiableGraph:
        """The derivative as a function of cotangents and inputs, itself differentiable."""
        from retape.ir.passes import backward_graph

        return DifferentiableGraph(backward_graph(self.joint), self.strict)


class DifferentiableGraph:
    """Calls a graph on tensors; results carry the derivative that the graph's differentiation gives.

    Where `needed` tells which outputs are looked at, the program for values may write what effects write to the
    operands themselves, and leave the other outputs out.
    """

    def __init__(self, graph: Graph, strict: bool = False, needed: frozenset[int] | None = None) -> None:
        self.graph = graph
        self.strict = strict
        self.needed = needed if graph.effects and not graph.guards else None
        self.written = frozenset(graph.inputs.index(effect.target) for effect in graph.effects)
        self._derivatives: dict[tuple[int, ...], Derivative] = {}

    @once
    def program(self) -> Program:
        """Values only."""
        if self.needed is None:
            return compile_graph(self.graph, self.strict)
        outputs = tuple(out if i in self.needed else 0.0 for i, out in enumerate(self.graph.outputs))
        return compile_graph(replace(self.graph, outputs=outputs), self.strict, True)

    def derivative(self, wrt: tuple[int, ...]) -> Derivative:
        """The derivative with respect to inputs `wrt`, found once."""
        found = self._derivatives.get(wrt)
        if found is None:
            found = self._derivatives[wrt] = Derivative(self.graph, wrt, self.strict)
        return found

    def __call__(
        self, operands: Sequence[Any], constant: frozenset[int] = frozenset(), commit: bool = True
    ) -> tuple[list[Tensor], list[Any]]:
        """Outputs as tensors, and the values of guards and effects. `operands` are tensors, arrays or floats, one for
        each input; outputs in `constant` get no history. An effect whose value is None has been carried out, but
        without `commit` none is."""
        arrays = [o._data if isinstance(o, Tensor) else o for o in operands]
        count = len(self.graph.outputs)
        wrt = tuple(i for i, o in enumerate(operands) if isinstance(o, Tensor) and o._requires_grad) \
            if len(constant) < count else ()
        if not wrt:
            program = self.program
            written = program.overwritten
            if written and not (commit and all(arrays[i].flags.writeable for i in written)):
                for i in written:
                    arrays[i] = arrays[i].copy()
            values = program(arrays)
            return [wrap(v) for v in values[:count]], values[count:]
        derivative = self.derivative(wrt)
        values = derivative.forward_program(arrays)
        saved_end = count + len(derivative.forward.saved)
        outputs = [wrap(v) for v in values[:count]]
        tensors = [operands[i] for i in wrt]
        kept = [_before_write(o) if i in self.written else o for i, o in enumerate(operands)]
        pullback = _Pullback(derivative, kept, values[count:saved_end])
        attach_outputs("Compiled", outputs, tensors, pullback, constant)
        return outputs, values[saved_end:]


def _before_write(operand: Any) -> Any:
    """An operand as it is before the call writes to its memory, with its history."""
    if not isinstance(operand, Tensor):
        return operand.copy()
    copied = wrap(operand._data.copy())
    if not operand._requires_grad:
        return copied
    with enable_grad():
        return apply(CATALOGUE["overwrite"], (copied, operand))


class _Pullback:
    """The derivative of one call: cotangents of its outputs to cotangents of the inputs that require grad."""

    def __init__(self, derivative: Derivative, operands: list[Any], saved: list[Any]) -> None:
        self.derivative = derivative
        self.operands = operands
        self.saved = saved
        self.versions = [(o, o._version[0]) for _, i in derivative.saved_inputs if isinstance(o := operands[i], Tensor)]

    def __call__(self, cotangents: list[Any], on_tensors: bool) -> list[Any]:
        for tensor, version in self.versions:
            if tensor._version[0] != version:
                raise SavedTensorModified(
                    "an argument of a compiled function was changed in place before backward",
                    ("changed", describe(tensor._version[1])),
                    ("why", "its derivative is taken at the values that were there before"),
                    fix="write `x = x + 1` in place of `x += 1`, or pass `x.clone()`")
        derivative = self.derivative
        seeds = [self._seed(i, cotangents[i], on_tensors) for i in derivative.seeds]
        if on_tensors:
            found, _ = derivative.whole([*seeds, *self.operands])
            parts: list[Any] = list(found)
        else:
            arrays = [_laid_out(a, n) for a, n in zip(self.saved, derivative.backward.inputs[len(seeds):], strict=True)]
            parts = list(derivative.backward_program([*seeds, *arrays]))
        return [part if known else None for part, known in zip(parts, derivative.joint.connected, strict=True)]

    def _seed(self, position: int, cotangent: Any, on_tensors: bool) -> Any:
        node = self.derivative.graph.outputs[position]
        assert isinstance(node, Node)
        if cotangent is None:
            cotangent = np.zeros(node.type.shape, node.type.dtype.numpy)
        if not on_tensors:
            return np.ascontiguousarray(cotangent).reshape(node.type.shape)
        given = cotangent if isinstance(cotangent, Tensor) else wrap(cotangent)
        return given if given._data.flags.c_contiguous else given.clone()


def _laid_out(array: Any, node: Node) -> Any:
    """A saved value in the layout that the backward graph expects."""
    if node.type.strides is None and isinstance(array, np.ndarray) and not array.flags.c_contiguous:
        return np.ascontiguousarray(array)
    return array
