"""Integers of more than 64 bits: `Value`s of such a type, or `Wide`s beside NumPy scalars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from retape.codegen.vmath.value import Scalar, Value, from_bits


class Wide:
    """An unsigned integer of any number of bits that wraps, with the operators of an integer `Value`."""

    __slots__ = ("bits", "width")

    def __init__(self, bits: int, width: int) -> None:
        self.bits = bits & ((1 << width) - 1)
        self.width = width

    def _new(self, bits: int) -> Wide:
        return Wide(bits, self.width)

    def __int__(self) -> int:
        return self.bits

    def __add__(self, other: Any) -> Wide:
        return self._new(self.bits + int(other))

    def __sub__(self, other: Any) -> Wide:
        return self._new(self.bits - int(other))

    def __rsub__(self, other: Any) -> Wide:
        return self._new(int(other) - self.bits)

    def __mul__(self, other: Any) -> Wide:
        return self._new(self.bits * int(other))

    def __and__(self, other: Any) -> Wide:
        return self._new(self.bits & int(other))

    def __or__(self, other: Any) -> Wide:
        return self._new(self.bits | int(other))

    def __xor__(self, other: Any) -> Wide:
        return self._new(self.bits ^ int(other))

    def __lshift__(self, other: Any) -> Wide:
        return self._new(self.bits << int(other))

    def __rshift__(self, other: Any) -> Wide:
        return self._new(self.bits >> int(other))


def wide(k: Scalar, width: int) -> Any:
    """An unsigned integer with this many bits; of a wider one the low ones."""
    return k.convert(f"i{width}") if isinstance(k, Value) else Wide(int(k), width)


def narrow(k: Any) -> Scalar:
    """The low 64 bits."""
    return k.convert("i64") if isinstance(k, Value) else np.uint64(int(k) & 0xFFFFFFFFFFFFFFFF)


def leading_zeros(k: Any) -> Any:
    """The number of zero bits above the highest one, in the type of k."""
    if isinstance(k, Value):
        from retape.codegen.vmath.emit import leading_zeros as emitted

        return emitted(k)
    return Wide(k.width - k.bits.bit_length(), k.width)


def lookup(name: str, table: Callable[[], Sequence[int]], index: Scalar, width: int) -> Any:
    """The integer of that width at an index of a table that has this name in compiled code, as `value.lookup`."""
    if isinstance(index, Value):
        from retape.codegen.vmath.emit import load

        return load(name, table, index, f"i{width}")
    return Wide(table()[int(index)], width)


def floats(k: Any, width: int, scale: int) -> tuple[Scalar, Scalar]:
    """(high, low) with high + low = k 2^scale, for a signed integer of that width, in two's complement.

    The magnitude's first 53 bits become one float and the next 52 the other, from which its implicit one is taken.
    """
    negative = k >> (width - 1)
    size = (k ^ (0 - negative)) + negative
    zeros = leading_zeros(size)
    size = size << zeros
    ones = 0xFFFFFFFFFFFFF
    high = from_bits(narrow(size >> (width - 53)) & ones | 1023 << 52)
    low = from_bits(narrow(size >> (width - 105)) & ones | (1023 - 52) << 52) - 2.0**-52
    unit = from_bits((narrow(negative) << 63) | ((1022 + width + scale - narrow(zeros)) << 52))
    return high * unit, low * unit
