"""What numba must know of kernels: the pointer type and the intrinsics of ``names``, typed and lowered.

Everything goes into two registries that only our contexts install; numba's own registries stay as they are. Import this
module only when a kernel must be built.
"""

# mypy: disable-error-code="misc,no-untyped-call,attr-defined"
from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.datamodel import models, register_default
from numba.core.imputils import Registry as LoweringRegistry
from numba.core.typing import signature
from numba.core.typing.templates import AbstractTemplate
from numba.core.typing.templates import Registry as TypingRegistry

from . import names

typing_registry = TypingRegistry()
lowering_registry = LoweringRegistry("retape-kernel")

SCALARS: dict[str, Any] = {
    "f64": types.float64,
    "f32": types.float32,
    "i64": types.int64,
    "i32": types.int32,
    "i16": types.int16,
    "i8": types.int8,
    "u8": types.uint8,
    "b1": types.boolean,
}
Rule = Callable[[Any, tuple[Any, ...]], Any]


class Pointer(types.Type):
    """The address of elements of one scalar type, indexed by an integer."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"retape.Pointer({dtype})")


@register_default(Pointer)
class PointerModel(models.PrimitiveModel):
    """A typed LLVM pointer to the memory form of the element (a byte for a bool)."""

    def __init__(self, manager: Any, frontend: Pointer) -> None:
        element = manager.lookup(frontend.dtype).get_data_type()
        super().__init__(manager, frontend, element.as_pointer())


def _typed(function: Any, rule: Rule) -> None:
    """Register ``rule`` as the typing rule of ``function``: it returns a signature or None."""

    def generic(self: Any, args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        return None if kws else rule(self.context, args)

    name = getattr(function, "__name__", "function")
    template = type(f"Kernel_{name}", (AbstractTemplate,), {"key": function, "generic": generic})
    typing_registry.register_global(function, types.Function(template))


def _lowered(function: Any, count: int, implementation: Callable[..., Any]) -> None:
    lowering_registry.lower(function, *[types.Any] * count)(implementation)


# Pointers ---------------------------------------------------------------------------------------------------------


def _type_getitem(_context: Any, args: tuple[Any, ...]) -> Any:
    if len(args) == 2 and isinstance(args[0], Pointer) and isinstance(args[1], types.Integer):
        return signature(args[0].dtype, args[0], types.int64)
    return None


def _type_setitem(_context: Any, args: tuple[Any, ...]) -> Any:
    if len(args) == 3 and isinstance(args[0], Pointer) and isinstance(args[1], types.Integer):
        return signature(types.none, args[0], types.int64, args[0].dtype)
    return None


def _lower_getitem(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    value = builder.load(builder.gep(args[0], [args[1]], inbounds=True))
    if sig.return_type is types.boolean:
        return builder.icmp_unsigned("!=", value, value.type(0))
    return value


def _lower_setitem(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    pointer, index, value = args
    if sig.args[2] is types.boolean:
        value = builder.zext(value, ir.IntType(8))
    builder.store(value, builder.gep(pointer, [index], inbounds=True))
    return context.get_dummy_value()


def _type_row(kind: Any) -> Rule:
    def rule(_context: Any, args: tuple[Any, ...]) -> Any:
        return signature(Pointer(kind), types.int64) if _numbers(args, 1, types.Integer) else None

    return rule


def _lower_row(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """Room on the stack, aligned for the widest vectors. It must not stand in a loop."""
    element = context.get_data_type(sig.return_type.dtype)
    room = builder.alloca(element, size=args[0])
    room.align = 64
    return room


# Arithmetic -------------------------------------------------------------------------------------------------------


def _numbers(args: tuple[Any, ...], count: int, kinds: Any = types.Number) -> bool:
    return len(args) == count and all(isinstance(a, kinds) for a in args)


def _type_extreme(context: Any, args: tuple[Any, ...]) -> Any:
    if not _numbers(args, 2, (types.Float, types.Integer, types.Boolean)):
        return None
    kind = _unified(context, args)
    return signature(kind, kind, kind)


def _type_reassociated(context: Any, args: tuple[Any, ...]) -> Any:
    found = _type_extreme(context, args)
    return None if found is None or found.return_type is types.boolean else found


def _unified(context: Any, args: tuple[Any, ...]) -> Any:
    kind = context.unify_types(*args)
    return types.unliteral(kind)


def _type_select(context: Any, args: tuple[Any, ...]) -> Any:
    if len(args) != 3 or not _numbers(args[1:], 2, (types.Float, types.Integer, types.Boolean)):
        return None
    kind = _unified(context, args[1:])
    return signature(kind, types.boolean, kind, kind)


def _type_float(count: int) -> Rule:
    def rule(context: Any, args: tuple[Any, ...]) -> Any:
        if not _numbers(args, count, (types.Float, types.Integer)):
            return None
        kind = _unified(context, args)
        kind = kind if isinstance(kind, types.Float) else types.float64
        return signature(kind, *[kind] * count)

    return rule


def _reassociated(floating: str, integer: str) -> Callable[..., Any]:
    """Lower to one instruction; only this one carries ``reassoc``, so nothing else in the kernel is reordered."""

    def implementation(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if isinstance(sig.return_type, types.Float):
            return getattr(builder, floating)(*args, flags=("reassoc", "contract"))
        return getattr(builder, integer)(*args)

    return implementation


def _intrinsic(name: str, sig: Any, builder: Any, args: Any) -> Any:
    """Call the LLVM intrinsic ``llvm.<name>`` of the result's type."""
    kind = args[0].type
    suffix = {"double": "f64", "float": "f32"}.get(str(kind), str(kind))
    function = builder.module.declare_intrinsic(
        f"llvm.{name}.{suffix}", fnty=ir.FunctionType(kind, [a.type for a in args])
    )
    return builder.call(function, args)


def _extreme(floating: str, signed: str, unsigned: str) -> Callable[..., Any]:
    def implementation(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = sig.return_type
        if isinstance(kind, types.Float):
            return _intrinsic(floating, sig, builder, args)
        return _intrinsic(signed if getattr(kind, "signed", False) else unsigned, sig, builder, args)

    return implementation


def _plain(name: str) -> Callable[..., Any]:
    def implementation(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _intrinsic(name, sig, builder, args)

    return implementation


def _lower_select(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.select(*args)


# Conversions ------------------------------------------------------------------------------------------------------


def _type_cast(kind: Any) -> Rule:
    def rule(_context: Any, args: tuple[Any, ...]) -> Any:
        if not _numbers(args, 1, (types.Float, types.Integer, types.Boolean)):
            return None
        return signature(kind, types.unliteral(args[0]))

    return rule


def _lower_cast(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    source, target, value = sig.args[0], sig.return_type, args[0]
    if source == target:
        return value
    if target is types.boolean:
        zero = value.type(0.0 if isinstance(source, types.Float) else 0)
        compare = builder.fcmp_unordered if isinstance(source, types.Float) else builder.icmp_unsigned
        return compare("!=", value, zero)
    if isinstance(source, types.Float) and isinstance(target, types.Integer):
        return _float_to_integer(builder, value, target)
    return context.cast(builder, value, source, target)


def _float_to_integer(builder: Any, value: Any, target: Any) -> Any:
    """Narrow integers go by way of 32 bits and then wrap, as C compilers and NumPy do on the usual processors."""
    final = ir.IntType(target.bitwidth)
    if target.bitwidth >= 32:
        return builder.fptosi(value, final)
    return builder.trunc(builder.fptosi(value, ir.IntType(32)), final)


def _type_number(_context: Any, args: tuple[Any, ...]) -> Any:
    return signature(types.float64, types.int64) if _numbers(args, 1, types.Integer) else None


def _lower_number(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.bitcast(args[0], ir.DoubleType())


# The tables -------------------------------------------------------------------------------------------------------


def _register() -> None:
    _typed(operator.getitem, _type_getitem)
    _typed(operator.setitem, _type_setitem)
    lowering_registry.lower(operator.getitem, Pointer, types.Integer)(_lower_getitem)
    lowering_registry.lower(operator.setitem, Pointer, types.Integer, types.Any)(_lower_setitem)
    pairs = {
        "radd": _reassociated("fadd", "add"),
        "rmul": _reassociated("fmul", "mul"),
        "rmax": _extreme("maximum", "smax", "umax"),
        "rmin": _extreme("minimum", "smin", "umin"),
    }
    for name, implementation in pairs.items():
        function: Any = {**names.REASSOCIATED, **names.EXTREMES}[name]
        _typed(function, _type_extreme if name in names.EXTREMES else _type_reassociated)
        _lowered(function, 2, implementation)
    _typed(names.select, _type_select)
    _lowered(names.select, 3, _lower_select)
    for name, function in names.UNARY.items():
        _typed(function, _type_float(1))
        _lowered(function, 1, _plain(name))
    _typed(names.copysign, _type_float(2))
    _lowered(names.copysign, 2, _plain("copysign"))
    _typed(names.number, _type_number)
    _lowered(names.number, 1, _lower_number)
    for short, function in names.CASTS.items():
        _typed(function, _type_cast(SCALARS[short]))
        _lowered(function, 1, _lower_cast)
    for short, function in names.ROWS.items():
        _typed(function, _type_row(SCALARS[short]))
        _lowered(function, 1, _lower_row)


_register()
