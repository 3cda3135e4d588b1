"""Arrays that Python reads by itself: `limits[0]`, `if mask.any():`, `float(rates.sum())`.

An array which a function reaches by name is an input of its trace where it becomes an operand. What NumPy and Python
take out of it otherwise isn't seen. So each place in the code where an array is named is compared with the places where
arrays became operands; where one isn't among these, the values count as looked at, and are compared in each
call. Arrays in containers count so where they became no operand at all.
"""

from __future__ import annotations

import dis
import io
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from itertools import islice
from types import CodeType
from typing import Any

import numpy as np

from .environment import Environment
from .names import codes_in
from .paths import Path, holds_members
from .randomness import is_generator
from .state import Site
from .tensor import Tensor
from .windows import owner

__all__ = ["Reads"]

LARGE = 4096  # elements; of larger arrays it is noticed only if they are others

TYPES = frozenset({"shape", "dtype", "ndim", "size", "itemsize", "nbytes", "strides", "flags"})
IDLE = frozenset({"CACHE", "NOP", "EXTENDED_ARG", "KW_NAMES", "RESUME"})
FOLLOWED = ("LOAD_", "BINARY_", "COMPARE_OP", "CONTAINS_OP", "IS_OP", "UNARY_", "CALL", "BUILD_", "MAKE_FUNCTION")
Extent = tuple[tuple[int, int], tuple[int, int]]


class Reads:
    """Arrays and generators of NumPy that a function reaches by name, as they are before a traced call."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self._values = {path: path.expected.tobytes() if path.expected.size <= LARGE else path.expected
                        for path in environment.paths
                        if path.check == "array" and isinstance(path.expected, np.ndarray) and path.values is None}
        self._drawn = {path: path.expected.bit_generator.state for path in environment.paths
                       if path.check == "same" and is_generator(path.expected)}

    def keep(self, entered: Mapping[Site, Sequence[Any]], written: Collection[Tensor]) -> None:
        """Have the values compared from now on of which Python may have seen some, since `entered`, the arrays that
        became operands in the call, doesn't account for each place where the code names them.

        The trace is for this call alone where it changed a set or deque, could take from an iterator, drew from a
        generator of NumPy, or where NumPy changed an array, which isn't among the tensors `written` then.
        """
        recorded = {id(owner(tensor._data)) for tensor in written}
        places: dict[str, list[tuple[Site, bool]]] = {}
        used = {id(owner(array)) for arrays in entered.values() for array in arrays}
        for path in self.environment.paths:
            if path.check in ("array", "alias") and isinstance(path.expected, np.ndarray):
                memory = owner(path.expected)
                places.setdefault(path.label, []).extend(
                    (site, array is not path.expected) for site, arrays in entered.items() for array in arrays
                    if owner(array) is memory)
        codes = [code for function in self.environment.functions for code in codes_in(function.__code__)]
        for path, values in self._values.items():
            if isinstance(values, bytes) and values != path.expected.tobytes() \
                    and id(owner(path.expected)) not in recorded:
                path.check = "once"
                self.environment.changed()
            elif id(owner(path.expected)) not in used if isinstance(path.container, Path) \
                    else any(_Uses(code, places[path.label]).seen(path.label) for code in codes):
                path.values = values
                self.environment.changed()
        for path in self.environment.paths:
            if (path.check == "members" and not holds_members(path.expected, path.kept)) or (
                    path.check == "same" and (_is_iterator(path.expected) or (path in self._drawn
                                              and self._drawn[path] != path.expected.bit_generator.state))):
                path.check = "once"
                self.environment.changed()


def _is_iterator(value: Any) -> bool:
    return hasattr(type(value), "__next__") and not isinstance(value, io.IOBase)


class _Uses:
    """The mentions of names in one code object, against the places where what they name became operands.

    `places` has the place for each array that became an operand, and whether it was a view of what the name leads to.
    """

    def __init__(self, code: CodeType, places: Sequence[tuple[Site, bool]]) -> None:
        self.instructions = _instructions(code)
        self.code = code
        self.operands = {(_extent(code, at), part) for (other, at), part in places if other is code}
        self.elsewhere = {part for (other, _), part in places if other is not code}
        self.followed: set[tuple[str, bool]] = set()

    def seen(self, name: str, part: bool = False) -> bool:
        """Whether Python may see values at some place where the code names `name`, or a view of what it led to."""
        if (name, part) in self.followed:
            return False
        self.followed.add((name, part))
        return any(self._sees(i, part) for i, found in enumerate(self.instructions)
                   if name in _named(found, "LOAD") and found.opname != "LOAD_CLOSURE")

    def _sees(self, at: int, part: bool) -> bool:
        """Follow what the instruction `at` leaves on the stack to where it is used."""
        depth = 1  # of the stack, from the value on
        called = 0
        for found in self.instructions[at + 1 :]:
            kind, before = found.opname, depth
            if kind == "PRECALL":  # Python 3.11 has the effect of a call in two instructions
                called = dis.stack_effect(found.opcode, found.arg)
                continue
            if before == 1 and kind.startswith(("STORE_FAST", "STORE_DEREF")):
                return any(self.seen(name, part) for name in _named(found, "STORE"))
            if before == 1 and kind in ("LOAD_ATTR", "LOAD_METHOD", "GET_ITER", "FOR_ITER"):
                if found.argval in TYPES:
                    return False
                part = True  # what comes of it is a view, where it becomes an operand
            elif not kind.startswith(FOLLOWED):
                return True
            effect, called = dis.stack_effect(found.opcode, found.arg, jump=False) + called, 0
            depth = before if kind == "FOR_ITER" else before + effect
            if kind.startswith(("LOAD_", "GET_ITER", "FOR_ITER")) or 1 - effect < before:
                continue  # the value is still there
            if depth == 1 and kind.startswith(("BINARY_SUBSCR", "BINARY_SLICE", "CALL")):  # of the value, or its method
                part = True
            elif (_extent(self.code, found.offset), part) in self.operands:
                return False
            elif kind.startswith("CALL"):
                return part not in self.elsewhere  # given to a function that makes it an operand
            elif kind in ("BUILD_LIST", "BUILD_TUPLE"):
                depth = 1
            else:
                return True
        return True


def _named(instruction: dis.Instruction, kind: str) -> list[str]:
    """The names that an instruction loads or stores; some do both, with a pair of names."""
    if kind not in instruction.opname or instruction.argval is None:
        return []
    names = instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,)
    parts = [part for part in instruction.opname.split("_") if part in ("LOAD", "STORE")]
    if len(parts) != len(names):
        return [name for name in names if isinstance(name, str)]
    return [name for part, name in zip(parts, names, strict=True) if part == kind and isinstance(name, str)]


@cache
def _instructions(code: CodeType) -> list[dis.Instruction]:
    return [i for i in dis.get_instructions(code) if i.opname not in IDLE]


@cache
def _extent(code: CodeType, at: int) -> Extent | None:
    """Where the source text of the instruction at `at` begins and ends: lines and columns."""
    line, end_line, column, end_column = next(islice(code.co_positions(), at // 2, None), (None, None, None, None))
    if line is None or end_line is None or column is None or end_column is None:
        return None
    return (line, column), (end_line, end_column)
