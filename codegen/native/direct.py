"""From the text of a kernel to that of an LLVM module, without numba.

Importing numba takes a quarter of a second, and its way through bytecode and type inference some 20 ms a kernel; this
takes one. Kernel text has assignments, loops and branches over scalar expressions (`scalars`). Variables that are
assigned once are LLVM values, valid where they are assigned and inside of it; others have a place on the stack, which
LLVM turns into values.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from llvmlite import ir

from . import names
from .scalars import BYTE, TYPES, WORD, Scalars, Typed, Unknown
from .vectors import parsed

__all__ = ["Unknown", "module_text"]

ALIGNED = 64  # bytes: rows on the stack suit the widest vectors
_MASKED = '!{} = !{{!"llvm.loop.vectorize.predicate.enable", i1 true}}'
_LOOP = "!{0} = distinct !{{!{0}, !{1}}}"
_METADATA = 900_000  # from here on metadata is numbered; llvmlite has none of its own here
_WIDE = 512
# No data is addressed by way of the frame pointer's register. Loads relative to it, behind many stores, are slower on
# some x86 processors than those through other registers (as if they were taken for parts of the stack): where LLVM let
# it hold the address of a row, `x - x.mean(1)` took 1.16 times as long, the maximum of 5 columns 1.5 times.
FRAMED = '"frame-pointer"="all"'
FLOATING = frozenset({"fadd", "fsub", "fmul", "fdiv", "fneg", "fcmp"})


def module_text(
    source: str, symbol: str, pointers: Sequence[str], n_ints: int, functions: Mapping[str, Callable[..., Any]], *,
    contract: bool, width: int | None, masked: bool,
) -> str:
    """The text of a module with a kernel as the function ``symbol``; it may call ``functions`` of `Value`s, whose names
    end with their type. Raises `Unknown`.

    A kernel with loops is a function of its own, whose pointer parameters are known not to overlap.
    """
    definition = parsed(source)
    module = ir.Module(symbol)
    table = BYTE.as_pointer().as_pointer()
    kernel = ir.Function(module, ir.FunctionType(ir.VoidType(), [table, WORD.as_pointer(), WORD, WORD]), symbol)
    kernel.attributes.add("nounwind")
    outside = ir.IRBuilder(kernel.append_basic_block())
    given = _arguments(outside, kernel, pointers, n_ints)
    if all(isinstance(line, ast.Assign) for line in definition.body):
        function, arguments, builder = kernel, given, outside
    else:
        function = _inner(module, f"{symbol}.inner", given)
        outside.call(function, given)
        outside.ret_void()
        arguments, builder = function.args, ir.IRBuilder(function.append_basic_block())
    text = _Text(builder, functions, definition, masked)
    text.parameters([argument.arg for argument in definition.args.args], pointers, arguments)
    text.block(definition.body)
    builder.ret_void()
    if width is None and text.calls and function is not kernel:
        width = _WIDE  # such functions are arithmetic throughout, and LLVM prefers 256 bits on many processors
    if width is not None:
        set.add(function.attributes, f'"prefer-vector-width"="{width}"')
    if contract:
        _contract(module)
    return "\n".join([str(module), *text.metadata()])


def _arguments(builder: Any, kernel: Any, pointers: Sequence[str], n_ints: int) -> list[Any]:
    """What a kernel's text has as parameters, from the tables. Bools are bytes in memory."""
    table, ints, lo, hi = kernel.args
    given = []
    for number, short in enumerate(pointers):
        memory = BYTE if short == "b1" else TYPES[short]
        start = builder.load(builder.gep(table, [WORD(number)], inbounds=True))
        given.append(builder.bitcast(start, memory.as_pointer()))
    given += [builder.load(builder.gep(ints, [WORD(number)], inbounds=True)) for number in range(n_ints)]
    return [*given, lo, hi]


def _inner(module: Any, name: str, given: Sequence[Any]) -> Any:
    """A function of these values whose pointers don't overlap."""
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [value.type for value in given]), name)
    function.linkage = "internal"
    function.attributes.add("nounwind")
    function.attributes.add("noinline")
    set.add(function.attributes, FRAMED)  # llvmlite knows no string attributes
    for argument in function.args:
        if isinstance(argument.type, ir.PointerType):
            argument.add_attribute("noalias")
    return function


def _contract(module: Any) -> None:
    """Allow fused multiply-add wherever nothing else is said; as numba, also where that says nothing by itself: what
    LLVM makes of two instructions is allowed what both are."""
    for function in module.functions:
        for block in function.blocks:
            for instruction in block.instructions:
                if instruction.opname in FLOATING and not instruction.flags:
                    instruction.flags.append("contract")
                elif instruction.opname == "call" and str(instruction.type) in ("double", "float"):
                    instruction.fastmath.add("contract")


def _assigned(lines: Sequence[ast.stmt]) -> Iterator[str]:
    """The variables that statements assign to, each as often as it stands there."""
    for line in lines:
        targets = line.targets if isinstance(line, ast.Assign) else [line.target] if isinstance(line, ast.For) else []
        for target in targets:
            if isinstance(target, ast.Name):
                yield target.id
        if isinstance(line, ast.For | ast.While | ast.If):
            yield from _assigned([*line.body, *line.orelse])


class _Mark:
    """What llvmlite writes at a branch as metadata; it knows no nodes that refer to themselves."""

    def __init__(self, number: int) -> None:
        self.number = number

    def get_reference(self) -> str:
        return f"!{self.number}"


class _Text(Scalars):
    """Writes instructions for statements."""

    def __init__(
        self, builder: Any, functions: Mapping[str, Callable[..., Any]], definition: ast.FunctionDef, masked: bool,
    ) -> None:
        super().__init__(builder, functions)
        self.assigned = Counter(_assigned(definition.body))
        self.masked = masked
        self.loops = 0
        self.inside = 0  # how many loops and branches

    def parameters(self, given: Sequence[str], pointers: Sequence[str], values: Sequence[Any]) -> None:
        """Let names mean values: those of pointers to types, then of integers."""
        if len(given) != len(values) or any(name in self.assigned for name in given):
            raise Unknown("parameters")
        count = len(pointers)
        self.pointers.update(zip(given[:count], zip(pointers, values[:count], strict=True), strict=True))
        self.variables.update((name, ("i64", value)) for name, value in zip(given[count:], values[count:], strict=True))

    def block(self, lines: Sequence[ast.stmt]) -> None:
        for line in lines:
            if isinstance(line, ast.Assign) and len(line.targets) == 1:
                self.assign(line.targets[0], line.value)
            elif isinstance(line, ast.For) and not line.orelse:
                self.counted(line)
            elif isinstance(line, ast.While) and not line.orelse:
                self.repeated(line)
            elif isinstance(line, ast.If):
                self.branch(line)
            else:
                raise Unknown(ast.unparse(line))

    def within(self, lines: Sequence[ast.stmt]) -> None:
        """Lines of a loop or a branch: what they assign once is unknown behind it."""
        known, self.inside = dict(self.variables), self.inside + 1
        self.block(lines)
        self.variables, self.inside = known, self.inside - 1

    # ---- statements

    def assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Subscript):
            typed = self.value(value)
            short, place = self.place(target)
            stored = self.cast(typed, short)
            self.builder.store(self.builder.zext(stored, BYTE) if short == "b1" else stored, place)
            return
        if not isinstance(target, ast.Name):
            raise Unknown(ast.unparse(target))
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id[4:] in names.ROWS \
                and value.func.id[:4] == "row_":
            self.row(target.id, value.func.id[4:], value.args[0])
        elif self.assigned[target.id] == 1:
            self.variables[target.id] = self.value(value)
        else:
            self.keep(target.id, self.value(value))

    def row(self, name: str, short: str, count: ast.expr) -> None:
        """Room on the stack."""
        if self.inside or self.assigned[name] > 1:
            raise Unknown("room on the stack inside of a loop")
        room = self.builder.alloca(BYTE if short == "b1" else TYPES[short], size=self.integer(count))
        room.align = ALIGNED
        self.pointers[name] = short, room

    def keep(self, name: str, typed: Typed) -> None:
        """Assign to a variable that has a place."""
        if name not in self.slots:
            if name in self.variables:
                raise Unknown(f"{name} counts, and is more")
            with self.builder.goto_entry_block():
                self.slots[name] = typed[0], self.builder.alloca(TYPES[typed[0]], name=name)
        short, slot = self.slots[name]
        if short != typed[0]:
            raise Unknown(f"{name} is of two types")
        self.builder.store(typed[1], slot)

    def counted(self, line: ast.For) -> None:
        """A loop over a range with a step that is a positive literal."""
        target, call = line.target, line.iter
        if not (isinstance(target, ast.Name) and isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
                and call.func.id == "range" and 1 <= len(call.args) <= 3):
            raise Unknown(ast.unparse(call))
        *bounds, step = call.args if len(call.args) == 3 else [*call.args, ast.Constant(1)]
        if not (isinstance(step, ast.Constant) and type(step.value) is int and step.value > 0):
            raise Unknown(ast.unparse(step))
        if target.id in self.variables or target.id in self.slots:
            raise Unknown(f"{target.id} counts, and is more")
        b, before = self.builder, self.builder.block
        start = self.integer(bounds[0]) if len(bounds) == 2 else WORD(0)
        stop = self.integer(bounds[-1])
        head, body, after = self.blocks(3)
        count = b.phi(WORD)
        count.add_incoming(start, before)
        b.cbranch(b.icmp_signed("<", count, stop), body, after)
        b.position_at_end(body)
        self.variables[target.id] = "i64", count
        self.within(line.body)
        del self.variables[target.id]
        count.add_incoming(b.add(count, WORD(step.value), flags=("nsw",)), b.block)
        self.again(head)
        b.position_at_end(after)

    def repeated(self, line: ast.While) -> None:
        """A loop while a condition holds."""
        b = self.builder
        head, body, after = self.blocks(3)
        b.cbranch(self.condition(line.test), body, after)
        b.position_at_end(body)
        self.within(line.body)
        self.again(head)
        b.position_at_end(after)

    def branch(self, line: ast.If) -> None:
        with self.builder.if_else(self.condition(line.test)) as (then, otherwise):
            with then:
                self.within(line.body)
            with otherwise:
                self.within(line.orelse)

    def blocks(self, count: int) -> list[Any]:
        """New blocks, the first of which follows."""
        found = [self.builder.append_basic_block() for _ in range(count)]
        self.builder.branch(found[0])
        self.builder.position_at_end(found[0])
        return found

    def again(self, head: Any) -> None:
        """Close a loop, with the request to mask its last iterations where that is wanted."""
        self.loops += 1
        jump = self.builder.branch(head)
        if self.masked:
            jump.set_metadata("llvm.loop", _Mark(_METADATA + self.loops))

    def metadata(self) -> list[str]:
        if not self.masked or not self.loops:
            return []
        loops = [_LOOP.format(_METADATA + number, _METADATA) for number in range(1, self.loops + 1)]
        return [*loops, _MASKED.format(_METADATA)]
