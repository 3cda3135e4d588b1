"""The `Tracer`: every operation, look at a value and write in place passes it while a trace is taken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from retape.ir import CATALOGUE, Array, Effect, GraphBuilder, Guard, Node, Op, TensorType, input_node, type_of
from retape.ir.errors import RetapeError, UnsupportedOp
from retape.ir.extents import plain
from retape.ir.graph import Origin

from .apply import located
from .environment import Environment
from .formulas import Formulas
from .gradnode import next_sequence
from .numbers import Numbers, check_few
from .outside import GradOf, Outside, Write
from .randomness import Draw
from .state import Site, site
from .tensor import Tensor, wrap
from .windows import window

__all__ = ["Tracer", "layout"]

MAY_SHARE = frozenset({"input", "detach", "overwrite", "opaque"})  # results that may be an operand's very memory
DETACH, OVERWRITE = CATALOGUE["detach"], CATALOGUE["overwrite"]


class Tracer:
    """The trace being taken in this thread."""

    def __init__(self, environment: Environment, formulas: Formulas | None = None, numbers: Numbers | None = None) \
            -> None:
        self.builder = GraphBuilder(consing=False)
        self.environment = environment
        self.inputs: list[Node] = []
        self.sources: list[Any] = []
        self.guards: list[Guard] = []
        self.looks: list[tuple[int, int]] = []  # how many operations and draws there were at each guard
        self.extents: list[int] = []  # numbers of the guards that are looks at extents
        self.finished = False
        self.formulas = formulas  # of the extents, where the trace is to hold for others, too
        self.numbers = numbers  # what `.item()` gives, unless Python is to have the very numbers
        self.note: str | None = None  # where operations come from that no line of the user's stands for
        self.journal = Outside()
        self.random: list[Any] = []  # draws, and what else was done with generators, in order
        self.first = next_sequence()  # nodes of autograd with this number or later belong to the trace
        self.entered: dict[Site, list[Any]] = {}  # arrays that became operands, by where that was
        self.prints: list[tuple[Any, list[Tensor]]] = []  # calls of `rt.debug.print`, and copies of what they showed
        self.places: dict[int, dict[int, Site]] = {}  # one object for each, however often a loop comes by
        self._bound: list[Tensor] = []
        self._roots: dict[int, tuple[Any, Tensor]] = {}  # arrays from outside, and the first tensor over each
        self._outside: dict[int, Any] = {}  # version counters of memory that lives outside the trace
        self._objects: dict[int, tuple[Tensor, Node, Any]] = {}  # tensors that live outside, their input and source
        self._aliases: dict[int, tuple[Tensor, Any]] = {}  # detached tensors: what each shares its memory with
        self._unseen_counts: dict[int, int] = {}  # by version counter: writes that it doesn't tell of
        self._linked: dict[int, Any] = {}  # by the counter of a `.data`: that of the tensor it was taken from
        self.grads: list[tuple[Any, bool]] = []  # whether a tensor had a `.grad` when it was looked at
        self.views: dict[int, Any] = {}  # tensors from outside that were taken as views of others from outside
        self._set: set[int] = set()  # tensors whose `.grad` was set
        self._owners: dict[int, Tensor] = {}  # tensors that are the `.grad` of one from outside
        self.held: dict[Any, Tensor] = {}  # by a mask's node, the places where it holds
        self._moved: dict[int, Any] = {}  # tensors and counters of memory that `.data = ...` gave away

    # ---- inputs

    def add_input(self, name: str, type: TensorType, source: Any) -> Node:
        node = input_node(self.builder.unique(name), type)
        self.inputs.append(node)
        self.sources.append(source)
        return node

    def bind(self, tensor: Tensor, node: Node, source: Any) -> None:
        """Let `tensor`, which lives outside the trace, stand for the input that comes from `source`."""
        tensor._traced = (self, node, self.count(tensor))
        self._bound.append(tensor)
        self._outside[id(tensor._version)] = tensor._version
        self._objects[id(tensor)] = (tensor, node, source)

    def adopt_array(self, array: np.ndarray[Any, Any], out: Tensor) -> None:
        """Let a tensor over `array` stand for the input that it is or is a view of. Raises where that is unknown."""
        self.entered.setdefault(site(1, self.places), []).append(array)
        if id(array) in self._roots:
            root = self._roots[id(array)][1]
            out._version = root._version
            self.alias(root, out)
            return
        if self.environment.path_of(array) is None:
            taken = window(array, [*self.environment.reached(), *(t for t, *_ in self._objects.values())])
            if taken is not None:
                self.alias(taken, out)
                return
        node = self._capture(array)
        self._roots[id(array)] = (array, out)
        self.bind(out, node, self.sources[-1])

    def count(self, tensor: Tensor) -> int:
        """How often the tensor's memory was written, as far as this trace can tell."""
        counted: int = tensor._version[0]
        return counted + self._unseen(id(tensor._version)) if self._unseen_counts else counted

    def _unseen(self, counter: int) -> int:
        """Writes to the memory of a version counter that it doesn't tell of: by or behind `.data`."""
        found = self._unseen_counts.get(counter, 0)
        source = self._linked.get(counter)
        return found if source is None else found + source[0] + self._unseen(id(source))

    def node_of(self, operand: Any) -> Any:
        """The node of a tensor as it is now; numbers are literals. Raises where a tensor's origin is unknown."""
        if not isinstance(operand, Tensor):
            return operand
        traced = operand._traced
        if traced is not None and traced[0] is self:
            return traced[1] if traced[2] == self.count(operand) else self._again(operand)
        node = self._capture(operand)
        self.bind(operand, node, self.sources[-1])
        return node

    def _again(self, tensor: Tensor) -> Any:
        """The node of a view whose memory was written since the view was taken: the same view of the present value."""
        base = self.base_of(tensor)
        if base is None:
            if not any(np.shares_memory(tensor._data, t._data) for t, *_ in self.journal.memory.values()
                       if t is not tensor):
                # another part of what it is a view of was written
                tensor._traced = (self, tensor._traced[1], self.count(tensor))  # type: ignore[index]
                return self.node_of(tensor)
            raise located(UnsupportedOp(
                "a tensor's memory was written by way of another tensor that shares it",
                ("why", "the trace doesn't know how the two lie over each other"),
                fix="take views inside the function, or pass a `clone()`"))
        source, _, op, attrs = base
        node: Any = self.builder.emit(op, (self.node_of(source),), plain(attrs), origin=self.note or site(),
                                      type=type_of(tensor._data))
        if self.formulas is not None:
            self.formulas.note(node, (source,), attrs)
        tensor._traced = (self, node, self.count(tensor))
        return node

    def base_of(self, tensor: Tensor) -> Any:
        """What a tensor shares its memory with: (source, count, op, attributes) as in `_base`, or None.

        A view that came from outside is memory of its own, unless the function can reach its source, too.
        """
        known = self._aliases.get(id(tensor))
        base = tensor._base if known is None else known[1]
        if base is not None and (tensor._traced is None or tensor._traced[0] is not self):
            self.node_of(tensor)  # from outside, and met for the first time
        if base is None or id(tensor) not in self._objects:
            return base
        source = base[0]
        reachable = id(source) in self._objects or self.environment.path_of(source) is not None
        if reachable and known is None:
            self.views[id(tensor)] = (tensor, source)
        return base if reachable else None

    def _capture(self, value: Any) -> Node:
        """An input for a tensor or array that the function reaches by its names."""
        owner = self._owners.get(id(value))
        if owner is not None:
            _, node, source = self._objects[id(owner)]
            return self.add_input(f"{node.name}_grad", layout(value), GradOf(source))
        path = self.environment.path_of(value)
        if path is None:
            kind = "a tensor" if isinstance(value, Tensor) else "an array"
            raise located(UnsupportedOp(
                f"{kind} whose origin isn't recorded enters a compiled function",
                ("why", "it is neither an argument nor reached by a name of the function, so a later call would see "
                        "its old values"),
                fix="pass it as an argument, or make it with rt's functions"))
        return self.add_input(path.name, layout(value), path)

    def draw(self, name: str, source: Draw) -> Tensor:
        """Random numbers, as an input that each call draws anew."""
        self.journal.before_draw(source.generator)
        if self.formulas is not None:
            source = replace(source, size=self.formulas.pinned(source.size))
        out = wrap(source.draw(source.generator.state, plain(source.size)))
        node = self.add_input(name, type_of(out._data), source)
        if self.formulas is not None:
            self.formulas.give(node, source.size)
        out._traced = (self, node, 0)
        self.random.append(source)
        return out

    # ---- operations

    def record(
        self, op: Op, operands: Sequence[Any], attrs: tuple[Any, ...], out: Tensor, cut: bool,
        place: Site | None = None,
    ) -> None:
        """Append `out = op(operands)`; `cut` says that autograd doesn't see it although an operand requires grad.

        `place` is the user's line, where it is known.
        """
        given, numbers = operands, attrs
        if self.formulas is not None:
            operands, numbers = plain(operands), plain(attrs)
        inputs: list[Any] = []
        strong = weak = False
        unseen = self._unseen_counts
        for operand in operands:
            if isinstance(operand, Tensor):
                traced = operand._traced
                if unseen or traced is None or traced[0] is not self or traced[2] != operand._version[0]:
                    operand = self.node_of(operand)
                else:
                    operand = traced[1]
                if operand.__class__ is Node:  # a view's source may have become a number
                    if operand.type.weak:
                        weak = True
                    else:
                        strong = True
            inputs.append(operand)
        origin: Origin = self.note or place or site(1, self.places)
        shared = self.builder.shared(numbers) if numbers else ()
        if strong and not weak:
            node: Any = self.builder.append(op, tuple(inputs), shared, type_of(out._data), origin)
        else:
            known = None if weak else type_of(out._data)
            node = self.builder.emit(op, tuple(inputs), shared, origin=origin, type=known)
        if self.formulas is not None:
            self.formulas.note(node, given, attrs)
        if cut and node.type.dtype.is_differentiable:
            node = self.builder.append(DETACH, (node,), (), node.type, origin)
        out._traced = (self, node, self.count(out) if unseen else out._version[0])

    def record_named(self, name: str, operands: Sequence[Any], out: Tensor, attrs: tuple[Any, ...] = ()) -> None:
        self.record(CATALOGUE[name], operands, attrs, out, False)

    def write(self, target: Tensor, result: Tensor, recorded: bool) -> None:
        """Rebind a tensor whose memory is about to be overwritten; `recorded` says that autograd sees it."""
        node, before = self.node_of(result), self.node_of(target)
        if target._requires_grad and not recorded:
            node = self.builder.emit(OVERWRITE, (node, before), origin=site())
        if id(target) in self._moved or id(target._version) in self._moved:
            raise self.unsupported_effect("a write to memory that `.data = ...` has given away")
        if id(target._version) in self._outside:
            if recorded and target._base is not None:
                raise self.unsupported_effect("a write with a gradient to a view")
            self.journal.before_write(target)
        target._traced = (self, node, self.count(target) + 1)  # the write will be counted

    def write_behind(self, alias: Tensor, source: Tensor) -> None:
        """Count a write to `alias` that its own version counter tells of, and that of `source` does not."""
        if alias._version is not source._version:
            key = id(source._version)
            source._version[0] -= 1
            self._unseen_counts[key] = self._unseen_counts.get(key, 0) + 1
            alias._changed()
        alias._traced = None
        self.record_named("detach", (source,), alias)

    def rebind(self, tensor: Tensor, value: Any) -> None:
        """`tensor.data = value`. Raises where `value` is no tensor of this trace."""
        if not isinstance(value, Tensor) or not self.owns(value) or value._base is not None:
            raise self.unsupported_effect("assignment to the `.data` of a tensor")
        node = self.node_of(value)
        if tensor._requires_grad:
            node = self.builder.emit(OVERWRITE, (node, self.node_of(tensor)), origin=site())
        if not self.made(tensor):
            self.node_of(tensor)
            self.journal.before_rebind(tensor)
        for part in (tensor, tensor._version, value._version):
            self._moved[id(part)] = part
        tensor._traced = (self, node, self.count(tensor))

    # ---- looks

    def look(self, tensor: Tensor, value: Any) -> None:
        """Python saw `value` in a tensor: the trace holds only where it would see it again."""
        check_few(tensor)
        if tensor._data.ndim:
            value = Array(tensor._data, type_of(tensor._data))
        elif not isinstance(value, (bool, int, float, complex)):
            value = tensor._data.item()
        self.guard(self.node_of(tensor), value)

    def look_at_extent(self, total: Tensor, extent: int) -> Any:
        """The extent that a value decides, of what comes next; with a formula where the trace has formulas."""
        node = self.node_of(total)
        if not isinstance(node, Node):
            return extent
        number = len(self.guards)
        self.extents.append(number)
        self.guard(node, extent)
        return extent if self.formulas is None else self.formulas.found(number, node.name, extent)

    def look_at_truth(self, tensor: Tensor, value: bool) -> None:
        node = self.node_of(tensor)
        if node.type.dtype.category:
            node = self.builder.emit(CATALOGUE["ne"], (node, 0), origin=site())
        self.guard(node, value)

    def guard(self, node: Node, value: Any) -> None:
        self.guards.append(Guard(node, value, site()))
        self.looks.append((len(self.builder.nodes), len(self.random)))

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
        """`out` shares memory with `tensor`, without its history."""
        self._aliases[id(out)] = (out, (tensor, 0, DETACH, ()))
        if out._version is not tensor._version:
            self._linked[id(out._version)] = tensor._version
            self._unseen_counts.setdefault(id(out._version), 0)
        self.record_named("detach", (tensor,), out)
        if not self.owns(tensor):
            self._outside[id(out._version)] = out._version

    def read_grad(self, tensor: Tensor) -> None:
        """The `.grad` of a tensor is about to be looked at."""
        if not self.made(tensor):
            self.node_of(tensor)
            if self.journal.before_grad(tensor):
                self.grads.append((self.source_of(tensor), tensor._grad is not None))
                if tensor._grad is not None:
                    self._owners[id(tensor._grad)] = tensor

    def set_grad(self, tensor: Tensor) -> None:
        """The `.grad` of a tensor is about to be set."""
        if not self.made(tensor):
            self.node_of(tensor)
            self.journal.before_grad(tensor)
            self._set.add(id(tensor))

    def check_made(self, tensors: Iterable[Tensor], what: str) -> None:
        """Raises where a change of state would outlive the call."""
        for tensor in tensors:
            if not self.made(tensor):
                raise self.unsupported_effect(what)

    def source_of(self, tensor: Tensor) -> Any:
        """Where a tensor from outside comes from. Raises where that is unknown."""
        self.node_of(tensor)
        if id(tensor) not in self._objects:
            raise self.unsupported_effect("a tensor made here was kept in one")
        return self._objects[id(tensor)][2]

    def unsupported_effect(self, what: str) -> RetapeError:
        return located(UnsupportedOp(
            f"{what} that lives outside the compiled function can't be compiled",
            ("why", "a compiled call couldn't repeat it"),
            fix="return the new value and assign it outside, as in `w = step(w)`"))

    def effects(self) -> tuple[tuple[Effect, ...], list[Write]]:
        """What the call wrote in place, as the graph's effects and as what they stand for outside."""
        effects, writes = [], []
        counted: set[int] = set()
        for tensor, _, version, _ in self.journal.memory.values():
            _, target, source = self._objects[id(tensor)]
            value = self.node_of(tensor)
            place = tensor._version[1]
            count = 0 if id(tensor._version) in counted else tensor._version[0] - version  # views share a counter
            counted.add(id(tensor._version))
            if isinstance(value, Node) and (value.op.shares or value.op.name in MAY_SHARE):
                value = self.builder.emit(CATALOGUE["clone"], (value,), origin=place)  # no write changes it
            effects.append(Effect(target, value, place))
            writes.append(Write(source, count, place))
        return tuple(effects), writes

    def finish(self) -> None:
        self.finished = True
        for tensor in self._bound:
            tensor._traced = None
        for tensor, _ in self.journal.grads.values():
            if tensor._grad is not None:
                tensor._grad._traced = None
        if self.formulas is not None:
            self.formulas.stop()
        # tensors that escaped point here, and must not be pointed to: cycles would keep the whole history
        self.builder, self.journal = GraphBuilder(), Outside()
        self.prints.clear()
        self.views.clear()
        for known in (self._bound, self._roots, self._objects, self._aliases, self._owners, self._moved,
                      self.held, self.entered):
            known.clear()


def layout(value: Any) -> TensorType:
    """The type of a tensor or array, with its strides where it isn't row-major."""
    array = value._data if isinstance(value, Tensor) else value
    plain = type_of(array)
    if array.flags.c_contiguous or any(step % array.itemsize for step in array.strides):
        return plain
    return plain.strided(*(step // array.itemsize for step in array.strides))
