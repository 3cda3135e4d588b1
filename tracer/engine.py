"""The autograd engine: walks the recorded graph from results to leaves, each node once, newest first.

Plain backward runs the rules on arrays. With `create_graph`, or while a function is being traced, it runs the same
rules on tensors, so that what backward does is recorded in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from retape.ir import Op
from retape.ir.builder import NUMPY, Builder, sum_to
from retape.ir.errors import (
    GradientMismatch,
    NoGradPath,
    NonScalarBackward,
    RetapeError,
    SavedTensorModified,
    SecondBackward,
)

from .apply import apply, located
from .gradnode import Edge, GradNode, Parts, Saved
from .inplace import write_result
from .quiet import hush, unhush
from .state import _GradMode, describe, site, state
from .tensor import Tensor, wrap

if TYPE_CHECKING:
    from .tracer import Tracer


class TensorBuilder(Builder):
    """Operations on tensors: computed and recorded."""

    def call(self, op: Op) -> Callable[..., Any]:
        def run(*operands: Any, **attributes: Any) -> Any:
            inputs, attrs = op.bind(operands, attributes)
            return apply(op, inputs, attrs)

        return run


TENSORS = TensorBuilder()


def backward(
    outputs: Sequence[Tensor], gradients: Sequence[Tensor | None], retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Accumulate into `.grad` of every leaf below `outputs`. Nothing is changed where an error is raised."""
    found = _run(outputs, gradients, retain_graph, create_graph, None)
    if state.tracer is not None:
        for leaf in found.leaves:
            state.tracer.read_grad(leaf)
    for leaf, gradient in found.leaves.items():
        _accumulate_grad(leaf, gradient, create_graph)
    for tensor, gradient in found.retained:
        tensor._grad = found.as_tensor(gradient)


def _accumulate_grad(leaf: Tensor, gradient: Any, create_graph: bool) -> None:
    known = leaf._grad
    if isinstance(gradient, Tensor):
        with _GradMode(create_graph):
            if known is None:
                leaf._grad = TENSORS.clone(gradient)
            elif create_graph:
                leaf._grad = known + gradient
            else:
                write_result(known, known + gradient)
    elif known is None:
        # a gradient never shares memory with another tensor
        leaf._grad = wrap(np.array(gradient, leaf._data.dtype))
    else:
        known._data += gradient
        known._changed()


def grad(
    outputs: Tensor | Sequence[Tensor], inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None, retain_graph: bool | None = None,
    create_graph: bool = False, allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of `outputs` with respect to `inputs`, returned instead of accumulated.

    `grad_outputs` has the outputs' shapes (one is assumed for one element). An input that the outputs don't depend on
    raises `NoGradPath`, or gives None with `allow_unused`.
    """
    tops = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
    wanted = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    seeds = (grad_outputs,) if isinstance(grad_outputs, Tensor) else tuple(grad_outputs or (None,) * len(tops))
    found = _run(tops, seeds, retain_graph, create_graph, wanted)
    results: list[Tensor | None] = []
    for position, tensor in enumerate(wanted):
        value = found.captured.get(id(tensor._grad_fn or tensor))
        if value is None and not allow_unused:
            raise NoGradPath(f"input {position} doesn't take part in the outputs", ("where", describe(site())),
                             ("why", "no recorded operation leads from it to them"),
                             fix="pass `allow_unused=True` to get None for it")
        results.append(None if value is None else found.as_tensor(value))
    return tuple(results)


class _Found:
    """What a walk has collected: gradients of leaves, of retained tensors and of the tensors asked for."""

    def __init__(self) -> None:
        self.leaves: dict[Tensor, Any] = {}
        self.retained: list[tuple[Tensor, Any]] = []
        self.captured: dict[int, Any] = {}

    @staticmethod
    def as_tensor(value: Any) -> Tensor:
        return value if isinstance(value, Tensor) else wrap(np.array(value))


def _run(
    outputs: Sequence[Tensor], gradients: Sequence[Tensor | None], retain_graph: bool | None, create_graph: bool,
    wanted: Sequence[Tensor] | None,
) -> _Found:
    on_tensors = create_graph or state.tracer is not None
    keep = create_graph if retain_graph is None else retain_graph
    cotangents: dict[GradNode, Any] = {}
    found = _Found()
    targets = None if wanted is None else {id(t._grad_fn or t) for t in wanted}
    for output, gradient in zip(outputs, gradients, strict=True):
        seed = _seed(output, gradient, on_tensors)
        _deliver(output._grad_fn or output, seed, cotangents, found, targets, TENSORS if on_tensors else NUMPY)
    order, leaves = topological([o._grad_fn for o in outputs if o._grad_fn is not None])
    useful, runs = None, order
    if targets is not None and leaves != targets:  # else every node leads to what is asked for
        useful, runs = _useful(order, targets)
        order = [node for node in order if id(node) in useful]
    _refuse_freed(runs)
    walk = _Walk(cotangents, found, targets, useful, on_tensors)
    before, state.grad_enabled = state.grad_enabled, create_graph
    quiet = hush()
    try:
        for node in order:
            if state.tracer is None:
                walk.visit(node)
            else:
                with _noted(state.tracer, node):
                    walk.visit(node)
    finally:
        unhush(quiet)
        state.grad_enabled = before
    for leaf in list(found.leaves):
        if leaf._hooks:
            found.leaves[leaf] = _hooked(leaf._hooks, found.leaves[leaf], on_tensors)
    if targets is not None:
        found.captured.update({id(leaf): value for leaf, value in found.leaves.items() if id(leaf) in targets})
    if not keep:
        place = site()
        for node in runs:
            node.free(place)
    return found


@contextmanager
def _noted(tracer: Tracer, node: GradNode) -> Iterator[None]:
    """In a trace, operations of the rules are marked as such; those of a custom backward have their own lines."""
    if node.op.kind == "call":
        yield
        return
    before, tracer.note = tracer.note, f"vjp {node.label or node.op.name}"
    try:
        yield
    finally:
        tracer.note = before


def _seed(output: Tensor, gradient: Tensor | None, on_tensors: bool) -> Any:
    """The cotangent to start with. Raises where there is none, or it doesn't fit."""
    if not output._requires_grad:
        raise located(NoGradPath(
            "the tensor depends on no tensor that requires grad: it does not require grad and does not have a grad_fn",
            ("why", "it was computed from no tensor that requires grad, or under `no_grad` or after `detach()`"),
            fix="set `requires_grad=True` on an input, or remove the cut"))
    if gradient is None:
        if output._data.size != 1:
            raise NonScalarBackward(
                f"grad can be implicitly created only for scalar outputs; this one has shape {output.shape}",
                ("where", describe(site())), ("why", "a derivative of one is meant only for one element"),
                fix=f"`y.sum().backward()`, or `gradient=` of shape {output.shape}")
        ones = np.ones(output.shape, output._data.dtype)
        if not on_tensors:
            return ones
        return TENSORS.full(shape=output.shape, value=1.0, dtype=output.dtype)
    given = gradient if isinstance(gradient, Tensor) else wrap(np.asarray(gradient))
    if given.shape != output.shape or given._data.dtype != output._data.dtype:
        raise GradientMismatch(
            f"the gradient is {given.dtype.short}{given.shape}, the output {output.dtype.short}{output.shape}",
            ("where", describe(site())), ("why", "each element of the output needs its own cotangent"),
            fix=f"reshape it to {output.shape} and cast it to {output.dtype.name}")
    return given if on_tensors else given._data


def topological(roots: list[GradNode]) -> tuple[list[GradNode], set[int]]:
    """The nodes below `roots`, newest first (each before everything it was made from), and the ids of the leaves."""
    seen: set[Any] = set(roots)
    leaves: set[int] = set()
    stack = list(seen)
    while stack:
        for edge in stack.pop().edges:
            if edge is None or edge in seen:
                continue
            if isinstance(edge, GradNode):
                seen.add(edge)
                stack.append(edge)
            else:
                leaves.add(id(edge))
    return sorted(seen, key=attrgetter("sequence"), reverse=True), leaves


def _useful(order: list[GradNode], targets: set[int]) -> tuple[set[int], list[GradNode]]:
    """The targets and the nodes from which one can be reached, and those of them whose rules are run."""
    useful, runs = set(targets), []
    for node in reversed(order):
        for edge in node.edges:
            if id(edge) in useful:
                useful.add(id(node))
                runs.append(node)
                break
    return useful, runs


def _refuse_freed(order: list[GradNode]) -> None:
    """Raises `SecondBackward` before anything has been computed."""
    for node in order:
        if node.freed is not None:
            raise located(_freed(node))


def _freed(node: GradNode) -> SecondBackward:
    return SecondBackward(
        "Trying to backward through the graph a second time, but the buffers have already been freed. "
        "Specify retain_graph=True when calling backward the first time.",
        ("freed", describe(node.freed)),
        ("why", f"`{node.op.name}` ({describe(node.site)}) needs values that were dropped after their use"),
        fix="`retain_graph=True` at the first backward, or compute the result again; "
            "`.detach()` state carried between steps")


def barrier(output: Tensor, since: int) -> RetapeError | None:
    """The error that backward from `output` would meet in nodes numbered `since` or later; None where there is none."""
    stack: list[Any] = [output._grad_fn]
    seen = set()
    while stack:
        node = stack.pop()
        if not isinstance(node, GradNode) or node.sequence < since or node in seen:
            continue
        seen.add(node)
        if node.freed is not None:
            return _freed(node)
        for saved in (node.saved or {}).values():
            if saved.modified:
                return _modified(node, saved)
        stack.extend(node.edges)
    return None


def _deliver(
    edge: Any, value: Any, cotangents: dict[GradNode, Any], found: _Found, targets: set[int] | None, b: Any
) -> None:
    if isinstance(edge, GradNode):
        known = cotangents.get(edge)
        if known is not None:
            value = known.joined(value, b) if isinstance(known, Parts) else b.add(known, value)
        cotangents[edge] = value
    elif targets is None or id(edge) in targets:
        known = found.leaves.get(edge)
        found.leaves[edge] = value if known is None else b.add(known, value)


def _hooked(hooks: list[Callable[[Any], Any]], value: Any, on_tensors: bool) -> Any:
    for hook in list(hooks):
        given = value if on_tensors else wrap(np.asarray(value))
        result = hook(given)
        if result is not None:
            value = result if on_tensors else result._data
    return value


class _Walk:
    """Runs the rules of one node after the other."""

    def __init__(
        self, cotangents: dict[GradNode, Any], found: _Found, targets: set[int] | None, useful: set[int] | None,
        on_tensors: bool,
    ) -> None:
        self.cotangents = cotangents
        self.found = found
        self.targets = targets
        self.useful = useful
        self.on_tensors = on_tensors
        self.b: Any = TENSORS if on_tensors else NUMPY

    def visit(self, node: GradNode) -> None:
        ct = self.cotangents.pop(node, None)
        if ct is None:
            return
        if node.hooks:
            ct = _hooked(node.hooks, ct, self.on_tensors)
        if self.targets is not None and id(node) in self.targets:
            self.found.captured[id(node)] = ct
        if node.retained is not None:
            self.found.retained.append((node.retained, ct))
        if node.op.kind == "call":  # a custom Function or a compiled program brings its own derivative
            for edge, part in zip(node.edges, node.derive_all(ct, self.on_tensors), strict=True):  # type: ignore[attr-defined]
                if edge is not None and part is not None:
                    self.deliver(edge, part)
            return
        values: Any = None
        useful, b = self.useful, self.b
        for index, edge in enumerate(node.edges):
            if edge is None or (useful is not None and id(edge) not in useful):
                continue
            if values is None:
                values, out = self.unpack(node)
            part = node.derive(b, ct, values, out, index)
            if part is None:
                continue
            shape = node.metas[index].shape
            if part.shape != shape:
                part = sum_to(b, part, part.shape, shape)
            _deliver(edge, part, self.cotangents, self.found, self.targets, b)

    def deliver(self, edge: Edge, part: Any) -> None:
        _deliver(edge, part, self.cotangents, self.found, self.targets, self.b)

    def unpack(self, node: GradNode) -> tuple[list[Any], Any]:
        """The operands' values, None where they weren't kept, and the result's."""
        count = len(node.edges)
        values: list[Any] = [None] * count
        if node.literals:
            for index, literal in node.literals.items():
                values[index] = literal
        out = None
        for index, saved in (node.saved or {}).items():
            if saved.counter[0] != saved.version:
                raise _modified(node, saved)
            value = self.restore(node, index, saved) if self.on_tensors else saved.array
            if index == -1:
                out = value
            else:
                values[index] = value
        return values, out

    @staticmethod
    def restore(node: GradNode, index: int, saved: Saved) -> Tensor:
        """A saved value as a tensor with its history."""
        edge: Edge = node if index == -1 else node.edges[index]
        if isinstance(edge, Tensor):
            return edge
        tensor = wrap(saved.array)
        tensor._version = saved.counter
        if saved.traced is not None and saved.traced[0] is state.tracer:
            tensor._traced = saved.traced
        if isinstance(edge, GradNode):
            tensor._grad_fn, tensor._requires_grad = edge, True
        return tensor


def _modified(node: GradNode, saved: Saved) -> SavedTensorModified:
    return SavedTensorModified(
        "a tensor needed for backward was changed in place after it had been saved",
        ("saved by", f"{describe(node.site)}  ({node.op.name}, version {saved.version})"),
        ("changed", f"{describe(saved.counter[1])}  (version {saved.counter[0]})"),
        ("why", "the derivative is taken at the values that were there before"),
        fix="write `x = x + 1` in place of `x += 1`, or pass `x.clone()`")
