"""LLVM side of `value.rarely`: a scalar function, and vector functions around it that the loop vectoriser may call.

The call of the scalar function names, in the attribute `vector-function-abi-variant` (LLVM language reference, "Vector
Function ABI"), a variant for each vector length. A variant tests all lanes at once and returns when all are 0, so a
vectorised loop pays one call and one test per vector (0.25 ns a number). All these functions are internal to the
kernel's module; their names hold a hash of the code, so that modules linked together cannot confuse two versions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from retape.codegen.vmath import fingerprint
from retape.codegen.vmath.value import Value

DOUBLE, INT, BYTE = ir.DoubleType(), ir.IntType(64), ir.IntType(8)
LENGTHS = (2, 4, 8)


def _declare(module: Any, name: str, result: Any, parameters: Sequence[Any]) -> Any:
    """A function without side effects that LLVM leaves as it is: optimising rare code would cost a third more time."""
    function = ir.Function(module, ir.FunctionType(result, parameters), name)
    function.linkage = "internal"
    for attribute in ("nounwind", "readnone", "willreturn", "speculatable", "noinline", "optnone"):
        # llvmlite's own `add` knows only part of LLVM's attributes.
        set.add(function.attributes, attribute)
    return function


def _scalar(module: Any, name: str, rare: Callable[..., Value], uniform: Sequence[Any]) -> Any:
    """The function of one number; 0 is returned."""
    function = _declare(module, name, DOUBLE, [DOUBLE, *uniform])
    entry, usual, beyond = (function.append_basic_block(n) for n in ("entry", "usual", "beyond"))
    builder = ir.IRBuilder(entry)
    builder.cbranch(builder.fcmp_ordered("==", function.args[0], DOUBLE(0.0)), usual, beyond)
    builder.position_at_end(usual)
    builder.ret(DOUBLE(0.0))
    builder.position_at_end(beyond)
    builder.ret(rare(*(Value(builder, a) for a in function.args)).ir)
    return function


def _vector(module: Any, name: str, scalar: Any, uniform: Sequence[Any], length: int) -> Any:
    """The variant for vectors: a loop over the lanes, entered only if one isn't 0."""
    vector = ir.VectorType(DOUBLE, length)
    function = _declare(module, name, vector, [vector, *uniform])
    entry, loop, done = (function.append_basic_block(n) for n in ("entry", "loop", "done"))
    (x, *others), builder = function.args, ir.IRBuilder(entry)
    zeros = ir.Constant(vector, [0.0] * length)
    lanes = builder.bitcast(builder.fcmp_unordered("!=", x, zeros), ir.IntType(length))
    builder.cbranch(builder.icmp_unsigned("!=", lanes, lanes.type(0)), loop, done)
    builder.position_at_end(loop)
    lane, partial = builder.phi(INT), builder.phi(vector)
    one = builder.call(scalar, [builder.extract_element(x, lane), *others])
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


def call(name: str, rare: Callable[..., Value], x: Value, uniform: Sequence[int]) -> Value:
    """A call of the scalar function that the loop vectoriser can replace by one of a vector variant."""
    module, types = x.builder.module, [INT] * len(uniform)
    scalar_name = f"retape_{name}_{fingerprint()[:12]}"
    variants = {length: f"{scalar_name}_x{length}" for length in LENGTHS}
    scalar = module.globals.get(scalar_name)
    if scalar is None:
        scalar = _scalar(module, scalar_name, rare, types)
        _keep(module, [_vector(module, variants[length], scalar, types, length) for length in LENGTHS])
    result = x.builder.call(scalar, [x.ir, *map(INT, uniform)])
    # The first parameter is a vector, others are uniform.
    shape = "v" + "u" * len(uniform)
    mapping = ",".join(f"_ZGV_LLVM_N{length}{shape}_{scalar_name}({variant})" for length, variant in variants.items())
    set.add(result.attributes, f'"vector-function-abi-variant"="{mapping}"')
    return Value(x.builder, result)


def _keep(module: Any, functions: Sequence[Any]) -> None:
    """Name functions in `llvm.compiler.used`: an attribute does not count as a use, they would be deleted too early."""
    pointers = [function.bitcast(BYTE.as_pointer()) for function in functions]
    used = module.globals.get("llvm.compiler.used")
    if used is not None:
        pointers = [*used.initializer.constant, *pointers]
    array = ir.ArrayType(BYTE.as_pointer(), len(pointers))
    if used is None:
        used = ir.GlobalVariable(module, array, "llvm.compiler.used")
        used.linkage, used.section = "appending", "llvm.metadata"
    used.value_type, used.type = array, array.as_pointer()
    used.initializer = ir.Constant(array, pointers)
