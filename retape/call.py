"""One call's arguments: flattened into leaves, described by a key, and put together again."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from retape.ir.errors import UnsupportedOp
from retape.ir.types import default_float
from retape.tracer.apply import check_dtype, located, plain_array
from retape.tracer.creation import from_numpy
from retape.tracer.state import state
from retape.tracer.tensor import Tensor
from retape.tracer.transforms import to_numpy
from retape.tracer.tree import LEAF, changeable, flatten, unflatten

if TYPE_CHECKING:
    from .specialization import Specialization

__all__ = ["Call"]


class Same:
    """An object in a key: equal only to itself, and kept alive."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


class Call:
    """Arguments as leaves; `key` is what decides which traces fit them.

    `named` are the arguments with their names; `values` makes (args, kwargs) of their values in that order.
    """

    __slots__ = ("given", "key", "kinds", "leaves", "names", "objects", "structures", "tensors", "values")

    def __init__(self, named: list[tuple[str, Any]], values: Callable[[list[Any]], Any]) -> None:
        self.values = values
        self.given = [value for _, value in named]
        self.leaves: list[Any] = []
        self.names: list[str] = []
        self.structures: list[Any] = []
        self.objects: list[tuple[str, Any]] = []
        self.tensors = False
        self.kinds: list[Any] = []  # what of each leaf decides which trace fits
        parts: list[Any] = [state.grad_enabled, default_float()]
        arrays: list[int] = []
        for name, value in named:
            leaves, structure = ([value], LEAF) if isinstance(value, (Tensor, np.ndarray, float)) else flatten(value)
            self.structures.append((structure, len(leaves)))
            parts.append(structure)
            for number, leaf in enumerate(leaves):
                self.names.append(name if structure == LEAF else f"{name}_{number}")
                self.kinds.append(self._describe(name, leaf, arrays))
        parts += self.kinds
        if len(set(arrays)) != len(arrays):  # one array given twice is another signature
            parts.append(tuple(arrays.index(a) for a in arrays))
        self.key = tuple(parts)

    def _describe(self, name: str, leaf: Any, arrays: list[int]) -> Any:
        """What of a leaf decides which trace fits."""
        if isinstance(leaf, np.generic) and not isinstance(leaf, float):
            leaf = leaf.item()
        elif isinstance(leaf, np.ndarray) and type(leaf) is not np.ndarray:
            leaf = plain_array(leaf)
        self.leaves.append(leaf)
        if isinstance(leaf, Tensor):
            self.tensors = True
            data = leaf._data
            arrays.append(id(leaf))
            return data.dtype, data.shape, None if data.flags.c_contiguous else data.strides, leaf._requires_grad
        if isinstance(leaf, np.ndarray):
            arrays.append(id(leaf))
            check_dtype(leaf)
            if not leaf.flags.aligned:
                raise located(UnsupportedOp(f"`{name}` is an unaligned array",
                                            ("why", "compiled code reads whole words"), fix="pass a copy"))
            return leaf.dtype, leaf.shape, None if leaf.flags.c_contiguous else leaf.strides
        if isinstance(leaf, float):
            return float
        if leaf is None or isinstance(leaf, (bool, int, str, bytes, complex)):
            return type(leaf), leaf
        self.objects.append((name, leaf))
        return type(leaf), Same(leaf)

    @property
    def named_leaves(self) -> Sequence[tuple[str, Any]]:
        return list(zip(self.names, self.leaves, strict=True))

    def rebuild(self, leaves: list[Any]) -> Any:
        """(args, kwargs) from what stands for the leaves."""
        values, position = [], 0
        for structure, count in self.structures:
            values.append(unflatten(structure, leaves[position : position + count]))
            position += count
        return self.values(values)

    def finish(self, known: Specialization, outputs: list[Any]) -> Any:
        return known.rebuild(outputs if self.tensors else [to_numpy(leaf) for leaf in outputs])

    def numpy_out(self, result: Any) -> Any:
        """NumPy in, NumPy out; beside tensors, an array that is returned as it was given."""
        leaves, structure = flatten(result)
        if not self.tensors:
            return unflatten(structure, [to_numpy(leaf) for leaf in leaves])
        arrays = {id(leaf): leaf for leaf in self.leaves if isinstance(leaf, np.ndarray)}
        given = [arrays.get(id(leaf._data), leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        return result if all(map(operator.is_, given, leaves)) else unflatten(structure, given)

    def eagerly(self, function: Callable[..., Any]) -> Any:
        """Call the function itself, with arrays as tensors over their memory."""
        given = [from_numpy(leaf) if isinstance(leaf, np.ndarray) else leaf for leaf in self.leaves]
        args, kwargs = self.rebuild(given)
        own = changeable(self.given)
        copies = changeable([*args, *kwargs.values()]) if own else []
        back = {id(a): b for a, b in [*zip(given, self.leaves, strict=True), *zip(copies, own, strict=True)]}
        result = function(*args, **kwargs)
        for container, copied in zip(own, copies, strict=True):  # what the function did to its copies
            if isinstance(container, list):
                container[:] = [back.get(id(entry), entry) for entry in copied]
            else:
                fields, now = (c if isinstance(c, dict) else vars(c) for c in (container, copied))
                fields.clear()
                fields.update({key: back.get(id(value), value) for key, value in now.items()})
        return self.numpy_out(result)
