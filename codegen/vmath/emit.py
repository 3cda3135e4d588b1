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


def load(name: str, table: Callable[[], Sequence[float]], index: Value) -> Value:
    """`value.lookup`: a load from a constant of the kernel's module."""
    builder = index.builder
    known = builder.module.globals.get(f"retape_table_{name}")
    if known is None:
        words = table()
        kind = ir.ArrayType(_LLVM["double"], len(words))
        known = ir.GlobalVariable(builder.module, kind, f"retape_table_{name}")
        known.initializer, known.global_constant, known.linkage = ir.Constant(kind, words), True, "internal"
    return Value(builder, builder.load(builder.gep(known, [_LLVM["i64"](0), index.ir], inbounds=True)))


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
