"""The parts of vmath that need llvmlite, and numba for its intrinsics: imported only to compile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from retape.codegen.vmath.value import Value

_LLVM: dict[str, Any] = {
    "double": ir.DoubleType(),
    "float": ir.FloatType(),
    "i64": ir.IntType(64),
    "i32": ir.IntType(32),
    "i128": ir.IntType(128),
    "i192": ir.IntType(192),
}
_CAST = {
    ("float", "double"): "fpext",
    ("double", "float"): "fptrunc",
}


def convert(value: Value, target: str) -> Value:
    """`Value.convert`: the matching LLVM cast, a bitcast between types of one width."""
    if value.kind == target:
        return value
    cast = _CAST.get((value.kind, target), "bitcast")
    if value.kind.startswith("i") and target.startswith("i"):
        cast = "zext" if int(target[1:]) > int(value.kind[1:]) else "trunc"
    return Value(value.builder, getattr(value.builder, cast)(value.ir, _LLVM[target]))


def call(value: Value, intrinsic: str, others: list[Any]) -> Value:
    """`Value.call`: all operands and the result have one type."""
    arguments = [value.ir, *others]
    function_type = ir.FunctionType(value.ir.type, [a.type for a in arguments])
    function = value.builder.module.declare_intrinsic(intrinsic, [value.ir.type], function_type)
    return Value(value.builder, value.builder.call(function, arguments))


def leading_zeros(k: Value) -> Value:
    """`wide.leading_zeros`."""
    return Value(k.builder, k.builder.ctlz(k.ir, ir.IntType(1)(1)))


def _table(builder: Any, name: str, kind: Any, words: Any) -> Any:
    """A constant of the kernel's module."""
    known = builder.module.globals.get(f"retape_table_{name}")
    if known is None:
        known = ir.GlobalVariable(builder.module, kind, f"retape_table_{name}")
        known.initializer, known.global_constant, known.linkage = ir.Constant(kind, words), True, "internal"
    return known


def load(name: str, table: Callable[[], Sequence[Any]], index: Value, kind: str) -> Value:
    """`value.lookup` and `wide.lookup`: a load from a table of words of a kind."""
    builder, words = index.builder, table()
    known = _table(builder, name, ir.ArrayType(_LLVM[kind], len(words)), words)
    return Value(builder, builder.load(builder.gep(known, [_LLVM["i64"](0), index.ir], inbounds=True)))


def window(exponent: Value) -> Value:
    """`far.window`: one unaligned load of 256 bits (little-endian, as all targets are), and a shift by less than 8."""
    from retape.codegen.vmath import far

    builder, count = exponent.builder, far.TABLE_BITS // 8 + 8
    table = _table(builder, "inverse_pi", ir.ArrayType(ir.IntType(8), count),
                   bytearray(far.INVERSE_PI.to_bytes(count, "little")))
    start = (far.TABLE_BITS - 192) - exponent
    address = builder.gep(table, [_LLVM["i64"](0), (start >> 3).ir], inbounds=True)
    bits = builder.load(builder.bitcast(address, ir.IntType(256).as_pointer()), align=1)
    shift = builder.zext((start & 7).ir, ir.IntType(256))
    return Value(builder, builder.trunc(builder.lshr(bits, shift), ir.IntType(192)))


def loop(count: Any, step: Callable[..., tuple[Value, ...]], state: tuple[Value, ...]) -> tuple[Value, ...]:
    """`value.repeat`."""
    builder, word = state[0].builder, _LLVM["i64"]
    before = builder.block
    head, body, after = (builder.append_basic_block() for _ in range(3))
    builder.branch(head)
    builder.position_at_end(head)
    i, *phis = (builder.phi(kind) for kind in (word, *(value.ir.type for value in state)))
    stop = count.ir if isinstance(count, Value) else word(count)
    builder.cbranch(builder.icmp_unsigned("<", i, stop), body, after)
    builder.position_at_end(body)
    following = step(Value(builder, i), *(Value(builder, phi) for phi in phis))
    i.add_incoming(word(0), before)
    i.add_incoming(builder.add(i, word(1)), builder.block)
    for phi, first, next_ in zip(phis, state, following, strict=True):
        phi.add_incoming(first.ir, before)
        phi.add_incoming(next_.ir, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return tuple(Value(builder, phi) for phi in phis)


def branch(
    name: str, condition: Value, usual: Callable[[], Value], rare: Callable[..., Value], arguments: Sequence[Value]
) -> Value:
    """`value.usually`: the rare function is one of the kernel's module."""
    builder, kind = condition.builder, arguments[0].ir.type
    function = builder.module.globals.get(f"retape_rare_{name}")
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(kind, [kind] * len(arguments)), f"retape_rare_{name}")
        function.linkage = "internal"
        function.attributes.add("noinline")
        inside = ir.IRBuilder(function.append_basic_block())
        inside.ret(rare(*(Value(inside, a) for a in function.args)).ir)
    with builder.if_else(condition.ir, likely=True) as (then, otherwise):
        with then:
            first, first_block = usual().ir, builder.block
        with otherwise:
            second, second_block = builder.call(function, [a.ir for a in arguments]), builder.block
    result = builder.phi(kind)
    result.add_incoming(first, first_block)
    result.add_incoming(second, second_block)
    return Value(builder, result)


def prefer_wide_vectors(function: Any) -> None:
    """Let LLVM use 512-bit vectors where the CPU has them; elsewhere the attribute means nothing.

    LLVM takes 256 bits on most AVX-512 CPUs to spare loops of few vector instructions a lower clock. These loops are
    arithmetic throughout: 512 bits gain 25 to 40 percent.
    """
    # llvmlite admits only attributes it knows through `add` of its own class, which is a set.
    set.add(function.attributes, '"prefer-vector-width"="512"')


def numba_intrinsic(name: str, function: Callable[..., Any], arity: int, type_name: str) -> Any:
    """A numba intrinsic that emits `function` in place, for arguments of one float type."""
    from numba import types
    from numba.extending import intrinsic

    scalar: Any = {"f64": types.float64, "f32": types.float32}[type_name]
    signature = scalar(*[scalar] * arity)

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        prefer_wide_vectors(builder.function)
        return function(*(Value(builder, a) for a in args)).ir

    if arity == 1:

        def typed1(typingctx: Any, x: Any) -> Any:
            return signature, emit

        typed: Callable[..., Any] = typed1
    else:

        def typed2(typingctx: Any, x: Any, y: Any) -> Any:
            return signature, emit

        typed = typed2
    typed.__name__ = name
    return intrinsic(typed)
