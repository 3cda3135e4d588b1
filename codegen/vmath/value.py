"""What the vector-math functions compute on: NumPy scalars, or `Value`s that write LLVM instructions.

Every function of this package is ordinary straight-line Python over operators and the primitives below. Called with
NumPy scalars it computes. Called with `Value`s it *records*: each operator appends one LLVM instruction at the
builder's place, so running the function once emits its body, without numba's type inference and without a branch.
Literals are weak in both worlds (NumPy's NEP 50): `x * 2.1` stays f32 where x is f32. Integers are unsigned and wrap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Scalar = Any
"""A NumPy scalar or a `Value`."""


class Value:
    """An LLVM value with Python's operators; both operands must have one type, or one of them is a Python literal."""

    __slots__ = ("builder", "ir")

    def __init__(self, builder: Any, ir: Any) -> None:
        self.builder = builder
        self.ir = ir

    @property
    def kind(self) -> str:
        """LLVM's spelling of the type: 'double', 'float', 'i64', 'i32', 'i1'."""
        return str(self.ir.type)

    def _operand(self, other: Scalar) -> Any:
        if isinstance(other, Value):
            if other.ir.type != self.ir.type:
                raise TypeError(f"vmath: operands of types {self.kind} and {other.kind}; convert one of them")
            return other.ir
        if self.kind.startswith("i"):
            width = int(self.kind[1:])
            return self.ir.type(int(other) & ((1 << width) - 1))
        return self.ir.type(float(other))

    def _binary(self, float_op: str | None, int_op: str | None, other: Scalar, swap: bool = False) -> Value:
        op = int_op if self.kind.startswith("i") else float_op
        if op is None:
            raise TypeError(f"vmath: operator not defined for {self.kind}")
        left, right = self.ir, self._operand(other)
        if swap:
            left, right = right, left
        return Value(self.builder, getattr(self.builder, op)(left, right))

    def _compare(self, relation: str, other: Scalar) -> Value:
        right = self._operand(other)
        if self.kind.startswith("i"):
            return Value(self.builder, self.builder.icmp_unsigned(relation, self.ir, right))
        # A NaN is unequal to everything and in no order relation, as in IEEE 754 and NumPy.
        compare = self.builder.fcmp_unordered if relation == "!=" else self.builder.fcmp_ordered
        return Value(self.builder, compare(relation, self.ir, right))

    def __add__(self, other: Scalar) -> Value:
        return self._binary("fadd", "add", other)

    def __radd__(self, other: Scalar) -> Value:
        return self._binary("fadd", "add", other, swap=True)

    def __sub__(self, other: Scalar) -> Value:
        return self._binary("fsub", "sub", other)

    def __rsub__(self, other: Scalar) -> Value:
        return self._binary("fsub", "sub", other, swap=True)

    def __mul__(self, other: Scalar) -> Value:
        return self._binary("fmul", "mul", other)

    def __rmul__(self, other: Scalar) -> Value:
        return self._binary("fmul", "mul", other, swap=True)

    def __truediv__(self, other: Scalar) -> Value:
        return self._binary("fdiv", None, other)

    def __rtruediv__(self, other: Scalar) -> Value:
        return self._binary("fdiv", None, other, swap=True)

    def __neg__(self) -> Value:
        return Value(self.builder, self.builder.fneg(self.ir))

    def __and__(self, other: Scalar) -> Value:
        return self._binary(None, "and_", other)

    def __or__(self, other: Scalar) -> Value:
        return self._binary(None, "or_", other)

    def __xor__(self, other: Scalar) -> Value:
        return self._binary(None, "xor", other)

    def __lshift__(self, other: Scalar) -> Value:
        return self._binary(None, "shl", other)

    def __rshift__(self, other: Scalar) -> Value:
        return self._binary(None, "lshr", other)

    def __lt__(self, other: Scalar) -> Value:
        return self._compare("<", other)

    def __le__(self, other: Scalar) -> Value:
        return self._compare("<=", other)

    def __gt__(self, other: Scalar) -> Value:
        return self._compare(">", other)

    def __ge__(self, other: Scalar) -> Value:
        return self._compare(">=", other)

    def equals(self, other: Scalar) -> Value:
        return self._compare("==", other)

    def convert(self, target: str) -> Value:
        """This value in another type: between float and double, between i32 and i64 (zero-extended), or by bits."""
        # Types are made from the wanted name by the module that can import llvmlite.
        from retape.codegen.vmath.emit import convert

        return convert(self, target)

    def call(self, intrinsic: str, *others: Value) -> Value:
        """Call an LLVM intrinsic that is overloaded on this value's type, such as `llvm.fabs`."""
        from retape.codegen.vmath.emit import call

        return call(self, intrinsic, [self._operand(o) for o in others])


def is_f32(x: Scalar) -> bool:
    """True where x has type f32; a Python number counts as f64."""
    return x.kind == "float" if isinstance(x, Value) else isinstance(x, np.float32)


def bits(x: Scalar) -> Scalar:
    """The bit pattern of a float as an unsigned integer of the same width."""
    if isinstance(x, Value):
        return x.convert("i32" if x.kind == "float" else "i64")
    return x.view(np.uint32 if is_f32(x) else np.uint64)


def from_bits(k: Scalar) -> Scalar:
    """The float with the bit pattern k."""
    if isinstance(k, Value):
        return k.convert("float" if k.kind == "i32" else "double")
    return k.view(np.float32 if isinstance(k, np.uint32) else np.float64)


def f64(x: Scalar) -> Scalar:
    """x widened to f64."""
    return x.convert("double") if isinstance(x, Value) else np.float64(x)


def f32(x: Scalar) -> Scalar:
    """x rounded to f32."""
    return x.convert("float") if isinstance(x, Value) else np.float32(x)


def u32(k: Scalar) -> Scalar:
    """The low 32 bits of an unsigned integer."""
    return k.convert("i32") if isinstance(k, Value) else np.uint32(k & 0xFFFFFFFF)


def constant(like: Scalar, value: float) -> Scalar:
    """A literal in the float type of another value, for places where no operator gives it one."""
    if isinstance(like, Value):
        return Value(like.builder, like.ir.type(value))
    return type(like)(value)


def select(condition: Scalar, yes: Scalar, no: Scalar) -> Scalar:
    """yes where the condition holds, else no; both have been computed. One of them may be a literal."""
    if isinstance(condition, Value):
        typed = yes if isinstance(yes, Value) else no
        return Value(
            condition.builder,
            condition.builder.select(condition.ir, typed._operand(yes), typed._operand(no)),
        )
    typed = type(no) if isinstance(yes, (int, float)) and not isinstance(yes, np.generic) else type(yes)
    return typed(yes if condition else no)


def equal(a: Scalar, b: Scalar) -> Scalar:
    """a == b (a function, because `==` between `Value`s is left to Python's identity)."""
    return a.equals(b) if isinstance(a, Value) else a == b


def is_nan(x: Scalar) -> Scalar:
    """True for NaN."""
    return x._compare("!=", x) if isinstance(x, Value) else x != x


def fabs(x: Scalar) -> Scalar:
    """|x|, NaN's sign bit cleared too."""
    return x.call("llvm.fabs") if isinstance(x, Value) else abs(x)


def sqrt(x: Scalar) -> Scalar:
    """The correctly rounded square root: one instruction everywhere."""
    return x.call("llvm.sqrt") if isinstance(x, Value) else np.sqrt(x)


def copysign(magnitude: Scalar, sign: Scalar) -> Scalar:
    """|magnitude| with the sign bit of the second argument."""
    return magnitude.call("llvm.copysign", sign) if isinstance(sign, Value) else np.copysign(magnitude, sign)


def lookup(name: str, table: Callable[[], Sequence[float]], index: Scalar) -> Scalar:
    """The f64 at an index, an unsigned integer, of a table that has this name in compiled code."""
    if isinstance(index, Value):
        from retape.codegen.vmath.emit import load

        return load(name, table, index, "double")
    return np.float64(table()[int(index)])


def rarely(name: str, function: Callable[..., Scalar], condition: Scalar, x: Scalar, *uniform: int) -> Scalar:
    """function(x, *uniform) where the condition holds, and 0 elsewhere, for f64 x that isn't 0 where it holds.

    Compiled code calls it as a function with this name, one number at a time; vectors pay for a test.
    """
    if isinstance(condition, Value):
        from retape.codegen.vmath.rare_emit import call

        return call(name, function, select(condition, x, 0.0), uniform)
    return function(x, *map(np.uint64, uniform)) if condition else np.float64(0.0)


def repeat(count: Scalar, step: Callable[..., tuple[Scalar, ...]], *state: Scalar) -> tuple[Scalar, ...]:
    """The state after `state = step(i, *state)` for each i below count, an unsigned integer or an `int`.

    A loop, so for functions that `rarely` or `usually` calls.
    """
    if isinstance(state[0], Value):
        from retape.codegen.vmath.emit import loop

        return loop(count, step, state)
    for i in range(int(count)):
        state = step(np.uint64(i), *state)
    return state


def usually(
    name: str, condition: Scalar, usual: Callable[[], Scalar], rare: Callable[..., Scalar], *arguments: Scalar
) -> Scalar:
    """What `usual` computes where the condition holds, else `rare` of some numbers, which compiled code calls as a
    function with this name. A branch, so not for loops."""
    if isinstance(condition, Value):
        from retape.codegen.vmath.emit import branch

        return branch(name, condition, usual, rare, arguments)
    return usual() if condition else rare(*arguments)


def horner(x: Scalar, coefficients: Sequence[float]) -> Scalar:
    """The polynomial with these coefficients, constant first, by Horner's rule."""
    result: Scalar = coefficients[-1]
    for c in coefficients[-2::-1]:
        result = result * x + c
    return result


def poly(x: Scalar, coefficients: Sequence[float]) -> Scalar:
    """The polynomial with these coefficients, constant first.

    By Horner's rule; a long one has all but its constant in two interleaved Horner schemes in x^2, for the even and the
    odd powers: that halves the chain of dependent operations for one operation more, and adds to the constant last.
    """
    constant_term, *rest = coefficients
    if len(rest) < 5:
        return horner(x, coefficients)
    square = x * x
    return (horner(square, rest[0::2]) + x * horner(square, rest[1::2])) * x + constant_term
