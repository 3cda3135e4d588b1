"""The autograd engine: walks the recorded graph from results to leaves, each node once, newest first.

Plain backward runs the rules on arrays. With `create_graph`, or while a function is being traced, it runs the same
rules on tensors, so that what backward does is recorded in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from retape.ir import CATALOGUE, Op
from retape.ir.builder import NUMPY, Builder, sum_to
from retape.ir.errors import (
    GradientMismatch,
    NoDerivative,
    NoGradPath,
    NonScalarBackward,
    RetapeError,
    SavedTensorModified,
    SecondBackward,
)
from retape.ir.shapes import same_shape

from .apply import apply, located
from .gradnode import Edge, GradNode, OutputNode, Parts
from .inplace import write_result
from .quiet import hush, unhush
from .state import _GradMode, describe, site, state
from .tensor import Tensor, wrap


class TensorBuilder(Builder):
    """Operations on tensors: computed and recorded."""

    def call(self, op: Op) -> Callable[..., Any]:
        names = op.attribute_names

        def run(*operands: Any, **attributes: Any) -> Any:  # rules give all attributes by keyword
            return apply(op, operands, tuple([attributes[name] for name in names]) if names else ())

        return run


TENSORS = TensorBuilder()
SLICE = CATALOGUE["slice"]


class _Cotangents(dict[Edge, Any]):
    """Cotangents by the edges that they are for; those of `own` are arrays that nothing else refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.own: set[Edge] = set()

    def add_slice(self, edge: Edge, shape: Any, index: tuple[Any, ...], ct: Any) -> bool:
        """Add to a part of an array: without one as large as that for each of the parts. False for other values."""
        known: Any = self.get(edge)
        if known is not None and (type(known) is not np.ndarray or known.dtype != ct.dtype):
            return False
        if edge not in self.own:
            known = self[edge] = np.zeros(shape, ct.dtype) if known is None else known.copy()
            self.own.add(edge)
        known[index] += ct
        return True


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
    b: Any = TENSORS if on_tensors else NUMPY
    keep = create_graph if retain_graph is None else retain_graph
    targets = None if wanted is None else {id(t._grad_fn or t) for t in wanted}
    cotangents = _Cotangents()
    for output, gradient in zip(outputs, gradients, strict=True):
        top, seed = output._grad_fn or output, _seed(output, gradient, on_tensors)
        cotangents[top] = b.add(cotangents[top], seed) if top in cotangents else seed
    order, leaves = topological([o._grad_fn for o in outputs if o._grad_fn is not None])
    useful, runs = None, order
    if targets is not None and leaves != targets:  # else every node leads to what is asked for
        useful, runs = _useful(order, targets)
        order = [node for node in order if id(node) in useful]
    _refuse_freed(runs)
    found = _Found()
    before, state.grad_enabled = state.grad_enabled, create_graph
    quiet = hush()
    try:
        _walk(order, cotangents, found, targets, useful, on_tensors)
    finally:
        unhush(quiet)
        state.grad_enabled = before
    for leaf, value in cotangents.items():  # what is left over: the nodes' have been taken out
        if isinstance(leaf, Tensor) and (targets is None or id(leaf) in targets):
            found.leaves[leaf] = _hooked(leaf._hooks, value, on_tensors) if leaf._hooks else value
    if targets is not None:
        found.captured.update({id(leaf): value for leaf, value in found.leaves.items()})
    if not keep:
        place = site()
        for node in runs:
            node.free(place)
    return found


def _walk(
    order: list[GradNode], cotangents: _Cotangents, found: _Found, targets: set[int] | None,
    useful: set[int] | None, on_tensors: bool,
) -> None:
    """Run the rules of one node after the other, and add up in `cotangents` what they give for their operands."""
    tracer = state.tracer
    b: Any = TENSORS if on_tensors else NUMPY
    for node in order:
        ct = cotangents.pop(node, None)
        if ct is None:
            continue
        if node.hooks:
            ct = _hooked(node.hooks, ct, on_tensors)
        if targets is not None and id(node) in targets:
            found.captured[id(node)] = ct
        if node.retained is not None:
            found.retained.append((node.retained, ct))
        op = node.op
        if op.kind == "call":  # a custom Function or a compiled program brings its own derivative
            for edge, part in zip(node.edges, node.derive_all(ct, on_tensors), strict=True):  # type: ignore[attr-defined]
                if edge is not None and part is not None:
                    known = cotangents.get(edge)
                    cotangents[edge] = part if known is None else (
                        known.joined(part, b) if isinstance(known, Parts) else b.add(known, part))
            continue
        if tracer is None:
            _derive(node, op, ct, cotangents, useful, on_tensors, b)
        else:  # operations of the rules are marked as such; those of a custom backward have their own lines
            before, tracer.note = tracer.note, f"vjp {node.label or op.name}"
            try:
                _derive(node, op, ct, cotangents, useful, on_tensors, b)
            finally:
                tracer.note = before


def _derive(
    node: GradNode, op: Op, ct: Any, cotangents: _Cotangents, useful: set[int] | None, on_tensors: bool, b: Any,
) -> None:
    """Run the rules of one node."""
    if op is SLICE and not on_tensors and (edge := node.edges[0]) is not None \
            and (useful is None or id(edge) in useful):
        shape = edge._data.shape if isinstance(edge, Tensor) else edge.shape
        if shape and cotangents.add_slice(edge, shape, node.attrs[0], ct):
            return
    values = _values(node, on_tensors) if node.saved is not None else node.literals
    rules = op.rules
    tracer = state.tracer
    formulas = tracer is not None and tracer.formulas is not None  # of extents
    for index, edge in enumerate(node.edges):
        if edge is None or (useful is not None and id(edge) not in useful):
            continue
        rule = rules[0 if op.variadic else index]
        part = (rule.conjugated if node.dtype.kind == "c" else rule.call or rule)(b, ct, node, values, index)
        if part is None:
            continue
        if formulas:
            extents, shape = part.shape, edge.shape
            alike = same_shape(extents, shape)
        else:
            extents = part._data.shape if on_tensors else part.shape
            shape = edge._data.shape if isinstance(edge, Tensor) else edge.shape
            alike = extents == shape
        if not alike:
            part = sum_to(b, part, extents, shape)
        known = cotangents.get(edge)
        cotangents[edge] = part if known is None else b.add(known, part)


def _values(node: GradNode, on_tensors: bool) -> list[Any]:
    """The operands' values, None where they weren't kept, and last the result's."""
    values = [None] * (len(node.edges) + 1) if node.literals is None else node.literals.copy()
    assert node.saved is not None
    for index, (array, counter, version, traced) in node.saved.items():
        if counter[0] != version:
            raise _modified(node, counter, version)
        values[index] = _restored(node, index, array, counter, traced) if on_tensors else array
    return values


def _restored(node: GradNode, index: int, array: Any, counter: Any, traced: Any) -> Tensor:
    """A saved value as a tensor with its history."""
    edge: Edge = node if index == -1 else node.edges[index]
    if isinstance(edge, Tensor):
        return edge
    tensor = wrap(array)
    tensor._version = counter
    if traced is not None and traced[0] is state.tracer:
        tensor._traced = traced
    if edge is not None:
        tensor._grad_fn, tensor._requires_grad = edge, True
    return tensor


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
        if not on_tensors:
            return np.ones(output._data.shape, output._data.dtype)
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
            if isinstance(edge, Tensor):
                leaves.add(id(edge))
            else:
                seen.add(edge)
                stack.append(edge)
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
        for _, counter, version, _ in (node.saved or {}).values():
            if counter[0] != version:
                return _modified(node, counter, version)
        if isinstance(node, OutputNode) and node.call.freed is None:  # of a custom Function: other calls are inlined
            return NoDerivative.of_function(node.name().removesuffix("Backward"))
        stack.extend(node.edges)
    return None


def _hooked(hooks: list[Callable[[Any], Any]], value: Any, on_tensors: bool) -> Any:
    for hook in list(hooks):
        given = value if on_tensors else wrap(np.asarray(value))
        result = hook(given)
        if result is not None:
            value = result if on_tensors else result._data
    return value


def _modified(node: GradNode, counter: list[Any], version: int) -> SavedTensorModified:
    return SavedTensorModified(
        "a tensor needed for backward was changed in place after it had been saved",
        ("saved by", f"{describe(node.site)}  ({node.op.name}, version {version})"),
        ("changed", f"{describe(counter[1])}  (version {counter[0]})"),
        ("why", "the derivative is taken at the values that were there before"),
        fix="write `x = x + 1` in place of `x += 1`, or pass `x.clone()`")
