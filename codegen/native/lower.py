"""From a Python function to the text of an LLVM module, by the middle of numba's pipeline.

numba's own driver runs some 25 passes for features that kernel source does not use (closures, rewrites, object mode,
reference counts), links its run-time library and optimises every module twice. Here: bytecode, type inference,
lowering, nothing else. Import this module only when a kernel must be built.
"""

# mypy: disable-error-code="misc,no-untyped-call"
from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

from numba.core import bytecode, funcdesc, interpreter, lowering, postproc, types
from numba.core.compiler import Flags
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaError
from numba.core.target_extension import target_override
from numba.core.targetconfig import ConfigStack
from numba.core.typed_passes import type_inference_stage

from . import contexts, direct, engine, jitted

# The wrapper with the uniform C interface, the only function that a kernel's object code exports. The volatile load
# keeps what the inner function writes when it raises, so that `build` sees it and can refuse the kernel.
_WRAPPER = """
define void @"{symbol}"(ptr %ptrs, ptr %ints, i64 %lo, i64 %hi) {{
  %ret = alloca ptr
  %exc = alloca ptr
{loads}
  %status = call i32 @"{inner}"(ptr %ret, ptr %exc{arguments}, i64 %lo, i64 %hi)
  %raised = load volatile ptr, ptr %exc
  ret void
}}
"""

_ARITHMETIC = frozenset({
    operator.add, operator.sub, operator.mul, operator.truediv,
    operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne,
})  # fmt: skip
_FREE_METADATA = 900_000  # above the numbers that numba's own metadata has


class _Library:
    """Stands in for numba's code library: keeps the module as text and the names of linked libraries."""

    def __init__(self) -> None:
        self.text = ""
        self.linked: list[Any] = []

    def create_ir_module(self, name: str) -> Any:
        from llvmlite import ir

        module = ir.Module(name)
        module.triple, module.data_layout = engine.host().triple, engine.layout()
        return module

    def add_ir_module(self, module: Any) -> None:
        self.text = str(module)

    def add_linking_library(self, library: Any) -> None:
        if library not in self.linked:
            self.linked.append(library)


class _Lower(lowering.Lower):
    """numba's lowering, but for the operators of scalar arithmetic.

    numba tries three variants with constant operands before the general one, and each failure costs as much as success.
    """

    def lower_binop(self, resty: Any, expr: Any, op: Any) -> Any:
        if op not in _ARITHMETIC:
            return super().lower_binop(resty, expr, op)
        function = self.context.typing_context.resolve_value_type(op)
        signature = self.fndesc.calltypes[expr]
        operands = []
        for variable, kind in zip((expr.lhs, expr.rhs), signature.args, strict=True):
            value = self.loadvar(variable.name)
            operands.append(self.context.cast(self.builder, value, self.typeof(variable.name), kind))
        result = self.context.get_function(function, signature)(self.builder, operands)
        return self.context.cast(self.builder, result, signature.return_type, resty)


def module_text(
    function: Callable[..., object],
    symbol: str,
    pointers: Sequence[str],
    n_ints: int,
    *,
    contract: bool,
    width: int | None,
    masked: bool,
) -> tuple[str, list[Any]]:
    """Lower ``function``: the module's text, with the wrapper ``symbol``, and the modules to link with it."""
    arguments = [jitted.Pointer(jitted.SCALARS[name]) for name in pointers] + [types.int64] * (n_ints + 2)
    with global_compiler_lock:
        library, inner = _lower_somehow(function, arguments, contract)
        linked = [other._get_module_for_linking() for other in library.linked if other is not None]
    text = _with_attributes(library.text, inner, width)
    if masked:
        text = _mask_loops(text)
    return text + _wrapper(symbol, inner, len(pointers), n_ints), linked


def _lower_somehow(function: Callable[..., object], arguments: list[Any], contract: bool) -> tuple[_Library, str]:
    """Lower for the short target; where that does not know a function, for numba's whole CPU target."""
    if not any(isinstance(value, Dispatcher) for value in function.__globals__.values()):
        try:
            with target_override(contexts.NAME):
                return _lower(function, arguments, contexts.contexts(), contract)
        except (NumbaError, NotImplementedError):
            pass
    return _lower(function, arguments, contexts.full_contexts(), contract)


def _flags(contract: bool) -> Any:
    from numba.core.cpu_options import FastMathOptions

    flags: Any = Flags()
    flags.no_cpython_wrapper = flags.no_cfunc_wrapper = flags.no_compile = flags.noalias = True
    flags.nrt = flags.enable_pyobject = False
    flags.error_model = "numpy"
    flags.fastmath = FastMathOptions({"contract"} if contract else False)
    return flags


def _lower(
    function: Callable[..., object], arguments: list[Any], pair: tuple[Any, Any], contract: bool
) -> tuple[_Library, str]:
    """Bytecode, types, lowering. Return the library that took the module, and the inner function's symbol."""
    typing_context, target_context = pair
    target_context.refresh()
    target_context = contexts.specialise(target_context, contract)
    flags, library = _flags(contract), _Library()
    with ConfigStack().enter(flags):
        identity = bytecode.FunctionIdentity.from_function(function)
        code = interpreter.Interpreter(identity).interpret(bytecode.ByteCode(identity))
        postproc.PostProcessor(code).run()  # without deletions: scalars need none
        typemap, result, calltypes, _ = type_inference_stage(
            typing_context, target_context, code, arguments, types.none, {}
        )
        descriptor = funcdesc.PythonFunctionDescriptor.from_specialized_function(
            code, typemap, result, calltypes, mangler=_mangler, inline=False, noalias=True, abi_tags=()
        )
        with target_context.push_code_library(library):
            _Lower(target_context, library, descriptor, code).lower()
    return library, descriptor.llvm_func_name


def _mangler(name: str, argtypes: Any, *, abi_tags: Any = (), uid: Any = None) -> str:
    """The function's own name: it holds the content hash already, so it is unique and the same in every process."""
    return f"{name}.inner"


def _with_attributes(text: str, inner: str, width: int | None) -> str:
    """Write attributes behind the inner function's head; llvmlite knows no string attributes."""
    attributes = f" noinline nounwind {direct.FRAMED}"
    if width is not None:
        attributes += f' "prefer-vector-width"="{width}"'
    end = text.index("\n", text.index(f'define i32 @"{inner}"('))
    return text[:end] + attributes + text[end:]


_LABEL = re.compile(r'"?B(\d+)[^:]*:$')
_JUMP = re.compile(r'  br label %"?B(\d+)"?$')


def _mask_loops(text: str) -> str:
    """Ask the vectoriser to mask the last iterations of each loop instead of doing them one by one.

    The request is metadata on the branch that closes a loop. numba names blocks by bytecode offset, so that is a branch
    to a block whose number is not above the current one's.
    """
    current = -1
    nodes: list[str] = []
    lines = text.split("\n")
    for i, line in enumerate(lines):
        label, jump = _LABEL.match(line), _JUMP.match(line)
        if label:
            current = int(label[1])
        elif jump and int(jump[1]) <= current:
            node = _FREE_METADATA + 1 + len(nodes)
            lines[i] = f"{line}, !llvm.loop !{node}"
            nodes.append(f"!{node} = distinct !{{!{node}, !{_FREE_METADATA}}}")
    if nodes:
        nodes.append(f'!{_FREE_METADATA} = !{{!"llvm.loop.vectorize.predicate.enable", i1 true}}')
    return "\n".join([*lines, *nodes, ""])


def _wrapper(symbol: str, inner: str, n_pointers: int, n_ints: int) -> str:
    """The function ``void(void **ptrs, int64 *ints, int64 lo, int64 hi)`` that unpacks the tables."""
    loads, arguments = [], []
    for table, count, kind in (("ptrs", n_pointers, "ptr"), ("ints", n_ints, "i64")):
        for i in range(count):
            loads.append(f"  %{table}.{i} = getelementptr inbounds {kind}, ptr %{table}, i64 {i}")
            loads.append(f"  %{table}.v{i} = load {kind}, ptr %{table}.{i}")
            arguments.append(f", {kind} %{table}.v{i}")
    return _WRAPPER.format(symbol=symbol, inner=inner, loads="\n".join(loads), arguments="".join(arguments))
