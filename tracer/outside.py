"""What a traced call changes outside: memory written in place, `.grad` and flags of tensors that live longer than it.

The traced call runs eagerly and changes these things as it goes. Each is noted before its first change, so that the
trace tells what a compiled call has to do in the end, and so that a call that fails can be taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .tensor import Tensor

__all__ = ["DataBind", "GradBind", "GradOf", "Outside", "Write", "overlapping"]


@dataclass(frozen=True, slots=True)
class GradOf:
    """Where an input comes from: the `.grad` of an argument (by its position) or of a captured tensor."""

    owner: Any


@dataclass(frozen=True, slots=True)
class Write:
    """A write to the memory of the input from `source`: how often its version was counted, and where last.

    `output` is the graph's output that carries the history which the tensor takes over, None where it keeps its own.
    """

    source: Any
    count: int
    place: Any
    output: int | None = None


@dataclass(frozen=True, slots=True)
class DataBind:
    """The tensor from `owner` gets the memory of the graph's output `output`."""

    owner: Any
    output: int


@dataclass(frozen=True, slots=True)
class GradBind:
    """`.grad` of the tensor from `owner` becomes None, the graph's output `output`, or the outside tensor `value`."""

    owner: Any
    output: int | None = None
    value: Any = None


class Outside:
    """The journal of one traced call."""

    def __init__(self) -> None:
        self.memory: dict[int, tuple[Tensor, Any, int, Any]] = {}  # tensor, old elements, old version, old place
        self.histories: dict[int, tuple[Tensor, Any, bool]] = {}
        self.data: dict[int, tuple[Tensor, Any]] = {}  # memory that was exchanged for another
        self.generators: dict[int, tuple[Any, Any, Any]] = {}  # generator, NumPy's one, where it stood
        self.grads: dict[int, tuple[Tensor, Tensor | None]] = {}  # `.grad` when it was first looked at

    def before_write(self, tensor: Tensor) -> None:
        """Note a tensor whose memory is about to be written for the first time."""
        if id(tensor) not in self.memory:
            self.memory[id(tensor)] = (tensor, tensor._data.copy(), *tensor._version)
            self.histories[id(tensor)] = (tensor, tensor._grad_fn, tensor._requires_grad)

    def before_grad(self, tensor: Tensor) -> bool:
        """Note the `.grad` of a tensor before it is read or set for the first time. Whether this was that time."""
        if id(tensor) in self.grads:
            return False
        self.grads[id(tensor)] = (tensor, tensor._grad)
        return True

    def before_rebind(self, tensor: Tensor) -> None:
        """Note a tensor that is about to get other memory."""
        self.data.setdefault(id(tensor), (tensor, tensor._data))

    def before_draw(self, generator: Any) -> None:
        """Note a generator that is about to be drawn from or seeded for the first time."""
        if id(generator) not in self.generators:
            numpy = generator.state
            self.generators[id(generator)] = (generator, numpy, numpy.bit_generator.state)

    def undo(self) -> None:
        """Put everything back as it was before the call."""
        for tensor, array in self.data.values():
            tensor._data = array
        for tensor, data, version, place in reversed(self.memory.values()):
            np.copyto(tensor._data, data)
            tensor._version[:] = [version, place]
        for tensor, grad_fn, requires_grad in self.histories.values():
            tensor._grad_fn, tensor._requires_grad = grad_fn, requires_grad
        for tensor, grad in self.grads.values():
            tensor._grad = grad
        for generator, numpy, position in self.generators.values():
            numpy.bit_generator.state = position
            generator.state = numpy


def overlapping(arrays: Sequence[Any], written: Sequence[int], known: Sequence[Any] = ()) -> bool:
    """Whether a written array (by position) shares memory with another one; arrays that are the very ones in `known`
    were found apart before."""
    new = {i for i, array in enumerate(arrays) if i >= len(known) or array is not known[i]}
    for position in written:
        target = arrays[position]
        others = range(len(arrays)) if position in new else new
        for other in others:
            if other != position and isinstance(arrays[other], np.ndarray) \
                    and np.may_share_memory(target, arrays[other]):
                return True
    return False
