"""Traces: one eager call of a function, recorded as a graph.

While a `Tracer` is active, every operation that passes `apply` is appended to its graph, and every look of Python at a
value becomes a guard. What can't be compiled (effects on what lives outside, arrays of unknown origin) is refused with
the user's line, so that no compiled function leaves it out in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from retape.ir import CATALOGUE, Array, Graph, GraphBuilder, Guard, Node, Op, TensorType, input_node, type_of
from retape.ir.errors import RetapeError, UnsupportedOp
from retape.ir.types import weak_type

from .apply import located
from .environment import Environment
from .state import site, state
from .tensor import ScalarTensor, Tensor, wrap
from .tree import flatten

LOOK_LIMIT = 64


@dataclass(frozen=True)
class Recorded:
    """A finished trace: the graph, what its inputs stand for, and the result of the eager call.

    `inputs` gives, for each graph input, the position of an argument leaf, or the captured tensor or array.
    """

    graph: Graph
    inputs: tuple[Any, ...]
    result: Any
    outputs: tuple[Any, ...]


class Tracer:
    """The trace being taken in this thread."""

    def __init__(self, environment: Environment) -> None:
        self.builder = GraphBuilder(consing=False)
        self.environment = environment
        self.inputs: list[Node] = []
        self.sources: list[Any] = []
        self.guards: list[Guard] = []
        self.finished = False
        self.note: str | None = None  # where operations come from that no line of the user's stands for
        self._bound: list[Tensor] = []
        self._arrays: dict[int, Node] = {}
        self._outside: dict[int, Any] = {}  # version counters of memory that lives outside the trace
        self._objects: dict[int, Tensor] = {}  # tensors that live outside the trace

    # ---- inputs

    def add_input(self, name: str, type: TensorType, source: Any) -> Node:
        node = input_node(self.builder.name_for(CATALOGUE["full"], name), type)
        self.inputs.append(node)
        self.sources.append(source)
        return node

    def bind(self, tensor: Tensor, node: Node) -> None:
        """Let `tensor`, which lives outside the trace, stand for an input of it."""
        tensor._traced = (self, node, tensor._version[0])
        self._bound.append(tensor)
        self._outside[id(tensor._version)] = tensor._version

    def bind_array(self, array: np.ndarray[Any, Any], node: Node) -> None:
        self._arrays[id(array)] = node

    def adopt_array(self, array: np.ndarray[Any, Any], out: Tensor) -> None:
        """Let a tensor over `array` stand for the input that the array is. Raises where its origin is unknown."""
        node = self._arrays.get(id(array))
        if node is None:
            node = self._capture(array, type_of(array))
            self.bind_array(array, node)
        self.bind(out, node)

    def node_of(self, operand: Any) -> Any:
        """The node of a tensor; numbers are literals. Raises where a tensor's origin is unknown."""
        if not isinstance(operand, Tensor):
            return operand
        traced = operand._traced
        if traced is not None and traced[0] is self:
            return traced[1]
        node = self._capture(operand, type_of(operand._data))
        self.bind(operand, node)
        self._objects[id(operand)] = operand
        return node

    def _capture(self, value: Any, type: TensorType) -> Node:
        """An input for a tensor or array that the function reaches by its names."""
        path = self.environment.path_of(value)
        if path is None:
            kind = "a tensor" if isinstance(value, Tensor) else "an array"
            raise located(UnsupportedOp(
                f"{kind} whose origin isn't recorded enters a compiled function",
                ("why", "it is neither an argument nor reached by a name of the function, so a later call would see "
                        "its old values"),
                fix="pass it as an argument, or make it with rt's functions"))
        return self.add_input(path.name, type, value)

    # ---- operations

    def record(self, op: Op, operands: Sequence[Any], attrs: tuple[Any, ...], out: Tensor, cut: bool) -> None:
        """Append `out = op(operands)`; `cut` says that autograd doesn't see it although an operand requires grad."""
        inputs = tuple(self.node_of(operand) for operand in operands)
        weak = any(isinstance(i, Node) and i.type.weak for i in inputs)
        node: Any = self.builder.emit(
            op, inputs, attrs, origin=self.note or site(), type=None if weak else type_of(out._data))
        if cut and node.type.dtype.is_differentiable:
            node = self.builder.emit(CATALOGUE["detach"], (node,), origin=node.origin)
        out._traced = (self, node, out._version[0])

    def record_named(self, name: str, operands: Sequence[Any], out: Tensor, attrs: tuple[Any, ...] = ()) -> None:
        self.record(CATALOGUE[name], operands, attrs, out, False)

    def write(self, target: Tensor, result: Tensor) -> None:
        """Rebind a tensor of this trace that is about to be overwritten. Raises for those from outside."""
        if not self.owns(target):
            raise self.unsupported_effect("an in-place write to a tensor")
        target._traced = (self, self.node_of(result), target._version[0] + 1)  # the write will be counted

    # ---- looks

    def look(self, tensor: Tensor, value: Any) -> None:
        """Python saw `value` in a tensor: the trace holds only where it would see it again."""
        if tensor._data.size > LOOK_LIMIT:
            raise located(UnsupportedOp(
                f"Python looks at all {tensor._data.size} elements of a tensor in a compiled function",
                ("why", "the trace would hold for these very values only"),
                fix="compute with the tensor itself, or do this outside the compiled function"))
        if tensor._data.ndim:
            value = Array(tensor._data, type_of(tensor._data))
        elif not isinstance(value, (bool, int, float, complex)):
            value = tensor._data.item()
        self.guards.append(Guard(self.node_of(tensor), value, site()))

    def look_at_truth(self, tensor: Tensor, value: bool) -> None:
        node = self.node_of(tensor)
        if node.type.dtype.category:
            node = self.builder.emit(CATALOGUE["ne"], (node, 0), origin=site())
        self.guards.append(Guard(node, value, site()))

    # ---- effects

    def owns(self, tensor: Tensor) -> bool:
        """Whether the tensor's memory was made in this trace, so that writing to it is no effect."""
        traced = tensor._traced
        return traced is not None and traced[0] is self and id(tensor._version) not in self._outside

    def made(self, tensor: Tensor) -> bool:
        """Whether the tensor object (its `.grad`, its flags) was made in this trace."""
        traced = tensor._traced
        return traced is not None and traced[0] is self and id(tensor) not in self._objects

    def alias(self, tensor: Tensor, out: Tensor) -> None:
        """`out` shares memory with `tensor` under a version counter of its own."""
        if not self.owns(tensor):
            self._outside[id(out._version)] = out._version

    def check_made(self, tensors: Iterable[Tensor], what: str) -> None:
        """Raises where a change of state would outlive the call."""
        for tensor in tensors:
            if not self.made(tensor):
                raise self.unsupported_effect(what)

    def unsupported_effect(self, what: str) -> RetapeError:
        return located(UnsupportedOp(
            f"{what} that lives outside the compiled function can't be compiled",
            ("why", "this version compiles functions without effects on their arguments and surroundings"),
            fix="return the new value and assign it outside, as in `w = step(w)`"))

    def finish(self) -> None:
        self.finished = True
        for tensor in self._bound:
            tensor._traced = None
        self.builder = GraphBuilder()


def trace(
    function: Callable[..., Any], name: str, of: str, leaves: Sequence[tuple[str, Any]],
    rebuild: Callable[[list[Any]], Any], environment: Environment,
) -> Recorded:
    """Call `function` eagerly and record it as a graph called `name`, of the function `of`.

    `leaves` are the named argument leaves; `rebuild` makes (args, kwargs) of what stands for them: tensors as they
    are, arrays and floats as tensors over them. Raises what the function raises, and the tracer's own refusals;
    nothing outside has been changed then.
    """
    tracer = Tracer(environment)
    given: list[Any] = []
    for position, (label, leaf) in enumerate(leaves):
        given.append(_enter(tracer, label, leaf, position))
    previous, state.tracer = state.tracer, tracer
    try:
        args, kwargs = rebuild(given)
        structure = flatten((args, kwargs))[1]
        result = function(*args, **kwargs)
        after, shape = flatten((args, kwargs))
        if shape != structure or any(a is not b for a, b in zip(after, given, strict=True)):
            raise tracer.unsupported_effect("a change of a list or dict")
        outputs = flatten(result)[0]
        nodes = tuple(tracer.node_of(out) for out in outputs if isinstance(out, Tensor))
        graph = Graph(name, tuple(tracer.inputs), tuple(tracer.builder.nodes), nodes, "trace", of,
                      guards=tuple(tracer.guards))
        for out in outputs:
            if isinstance(out, Tensor):
                out._traced = None
        return Recorded(graph, tuple(tracer.sources), result, tuple(outputs))
    finally:
        state.tracer = previous
        tracer.finish()


def _enter(tracer: Tracer, label: str, leaf: Any, position: int) -> Any:
    """The object that stands for an argument leaf in the traced call."""
    if isinstance(leaf, Tensor):
        if leaf._traced is not None and leaf._traced[0] is tracer:
            return leaf  # the same tensor given twice
        tracer.bind(leaf, tracer.add_input(label, _layout(leaf._data), position))
        tracer._objects[id(leaf)] = leaf
        return leaf
    if isinstance(leaf, np.ndarray):
        out = wrap(leaf)
        known = tracer._arrays.get(id(leaf))
        node = known or tracer.add_input(label, _layout(leaf), position)
        tracer.bind_array(leaf, node)
        tracer.bind(out, node)
        return out
    if isinstance(leaf, float):
        out = ScalarTensor.of(wrap(np.asarray(leaf, np.float64)))
        tracer.bind(out, tracer.add_input(label, weak_type(float), position))
        return out
    return leaf


def _layout(array: np.ndarray[Any, Any]) -> TensorType:
    plain = type_of(array)
    if array.flags.c_contiguous or any(step % array.itemsize for step in array.strides):
        return plain
    return plain.strided(*(step // array.itemsize for step in array.strides))
