"""LLVM side of `far`: the scalar function, and vector functions around it that the loop vectoriser may call.

The call of the scalar function names, in the attribute `vector-function-abi-variant` (LLVM language reference, "Vector
Function ABI"), a variant for each vector length. A variant tests all lanes at once and returns when none is far, so a
vectorised loop pays one call and one test per vector (0.25 ns a number). All these functions are internal to the
kernel's module; their names hold a hash of the code, so that modules linked together cannot confuse two versions.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from retape.codegen.vmath import far, fingerprint
from retape.codegen.vmath.value import Value

DOUBLE, INT, BYTE, BOOL = ir.DoubleType(), ir.IntType(64), ir.IntType(8), ir.IntType(1)
LENGTHS = (2, 4, 8)


def window(exponent: Value) -> Value:
    """`far.window`: one unaligned load of 256 bits (little-endian, as all targets are), and a shift by less than 8."""
    builder, name = exponent.builder, f"retape_inverse_pi_{fingerprint()[:12]}"
    count = far.TABLE_BITS // 8 + 8
    table_type = ir.ArrayType(BYTE, count)
    if name in builder.module.globals:
        table = builder.module.globals[name]
    else:
        table = ir.GlobalVariable(builder.module, table_type, name)
        table.initializer = ir.Constant(table_type, bytearray(far.INVERSE_PI.to_bytes(count, "little")))
        table.global_constant, table.linkage = True, "internal"
    start = (far.TABLE_BITS - 192) - exponent
    address = builder.gep(table, [INT(0), (start >> 3).ir], inbounds=True)
    wide = builder.load(builder.bitcast(address, ir.IntType(256).as_pointer()), align=1)
    shift = builder.zext((start & 7).ir, ir.IntType(256))
    return Value(builder, builder.trunc(builder.lshr(wide, shift), ir.IntType(192)))


def leading_zeros(k: Value) -> Value:
    """The number of zero bits above the highest one."""
    return Value(k.builder, k.builder.ctlz(k.ir, BOOL(1)))


def _declare(module: Any, name: str, result: Any, *parameters: Any) -> Any:
    """A function without side effects that LLVM leaves as it is: optimising rare code would cost a third more time."""
    function = ir.Function(module, ir.FunctionType(result, parameters), name)
    function.linkage = "internal"
    for attribute in ("nounwind", "readnone", "willreturn", "speculatable", "noinline", "optnone"):
        # llvmlite's own `add` knows only part of LLVM's attributes.
        set.add(function.attributes, attribute)
    return function


def _scalar(module: Any, name: str) -> Any:
    """`far.far_function` for one number that is far; others are returned, and must not index the table."""
    function = _declare(module, name, DOUBLE, DOUBLE, INT)
    entry, near, beyond = (function.append_basic_block(n) for n in ("entry", "near", "beyond"))
    x, kind = function.args
    builder = ir.IRBuilder(entry)
    builder.cbranch(_is_far(builder, x, DOUBLE(far.LIMIT)), beyond, near)
    builder.position_at_end(near)
    builder.ret(x)
    builder.position_at_end(beyond)
    builder.ret(far.far_function(Value(builder, x), Value(builder, kind)).ir)
    return function


def _is_far(builder: Any, x: Any, limit: Any) -> Any:
    """|x| > limit, or NaN."""
    above, below = builder.fcmp_unordered(">", x, limit), builder.fcmp_unordered("<", x, builder.fneg(limit))
    return builder.or_(above, below)


def _vector(module: Any, name: str, scalar: Any, length: int) -> Any:
    """The variant for vectors: a loop over the lanes, entered only if a lane is far."""
    vector = ir.VectorType(DOUBLE, length)
    function = _declare(module, name, vector, vector, INT)
    entry, loop, done = (function.append_basic_block(n) for n in ("entry", "loop", "done"))
    (x, kind), builder = function.args, ir.IRBuilder(entry)
    limit = ir.Constant(vector, [far.LIMIT] * length)
    lanes = builder.bitcast(_is_far(builder, x, limit), ir.IntType(length))
    builder.cbranch(builder.icmp_unsigned("!=", lanes, lanes.type(0)), loop, done)
    builder.position_at_end(loop)
    lane, partial = builder.phi(INT), builder.phi(vector)
    one = builder.call(scalar, [builder.extract_element(x, lane), kind])
    filled = builder.insert_element(partial, one, lane)
    following = builder.add(lane, INT(1))
    for phi, first, next_ in ((lane, INT(0), following), (partial, x, filled)):
        phi.add_incoming(first, entry)
        phi.add_incoming(next_, loop)
    builder.cbranch(builder.icmp_unsigned("==", following, INT(length)), done, loop)
    builder.position_at_end(done)
    result = builder.phi(vector)
    result.add_incoming(x, entry)
    result.add_incoming(filled, loop)
    builder.ret(result)
    return function


def call_far(x: Value, kind: int) -> Value:
    """A call of the scalar function that the loop vectoriser can replace by one of a vector variant."""
    module = x.builder.module
    scalar_name = f"retape_far_{fingerprint()[:12]}"
    variants = {length: f"{scalar_name}_x{length}" for length in LENGTHS}
    scalar = module.globals.get(scalar_name)
    if scalar is None:
        scalar = _scalar(module, scalar_name)
        _keep(module, [_vector(module, variants[length], scalar, length) for length in LENGTHS])
    call = x.builder.call(scalar, [x.ir, INT(kind)])
    # Of the two parameters the first is a vector, the second uniform.
    mapping = ",".join(f"_ZGV_LLVM_N{length}vu_{scalar_name}({variant})" for length, variant in variants.items())
    set.add(call.attributes, f'"vector-function-abi-variant"="{mapping}"')
    return Value(x.builder, call)


def _keep(module: Any, functions: list[Any]) -> None:
    """Name functions in `llvm.compiler.used`: an attribute does not count as a use, they would be deleted too early."""
    pointer = BYTE.as_pointer()
    array = ir.ArrayType(pointer, len(functions))
    used = ir.GlobalVariable(module, array, "llvm.compiler.used")
    used.linkage, used.section = "appending", "llvm.metadata"
    used.initializer = ir.Constant(array, [f.bitcast(pointer) for f in functions])
