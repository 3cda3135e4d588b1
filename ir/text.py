"""The text form: a strict subset of Python that runs, one operation a line.

    # retape-ir 1
    from retape.ir import *

    @graph(kind="trace", of="ex.f")
    def f(x: f64[2, 2]):
        add0: f64[2, 2] = op.add(x, 2.0)   #@ ex.py:5:13-16 | x+2
        return (add0,)

A forward graph returns its outputs (bare where there is one) and a tuple of saved values; `op.guard(node, value)`
states what Python saw, `op.write(input, value)` what an input's memory
holds in the end. Reading goes through `ast`; nothing of a file is executed.
"""

from __future__ import annotations

import ast
import math
import re
from typing import Any

from .builder import value_key
from .errors import BadFile
from .graph import Effect, Graph, Guard, Node, Operand, Span, input_node
from .ops import CATALOGUE, REQUIRED
from .types import DTYPES, Array, DType, TensorType, weak_type

__all__ = ["HEADER", "format_call", "format_node", "parse", "parse_module", "print_graph", "print_module", "same_graph"]

HEADER = "# retape-ir 1"
_DTYPES = {dtype.short: dtype for dtype in DTYPES}
_WEAK = {"float": float, "int": int, "bool": bool, "complex": complex}
_ORIGIN = re.compile(r"(?P<file>[^|]*?):(?P<line>\d+):(?P<column>\d+)-(?P<end>\d+)(?: \| (?P<text>.*))?$")


# ---- printing


def format_value(value: Any) -> str:
    """An attribute or literal as Python source."""
    if isinstance(value, DType):
        return value.short
    if isinstance(value, tuple):
        return f"({', '.join(map(format_value, value))}{',' if len(value) == 1 else ''})"
    return repr(value)


def _operand(operand: Operand) -> str:
    return operand.name if isinstance(operand, Node) else format_value(operand)


def format_call(node: Node) -> str:
    """`op.mul(x, 2.0)`; attributes that have their default are left out."""
    attributes = (f"{name}={format_value(value)}" for (name, default), value in
                  zip(node.op.attributes, node.attrs, strict=True)
                  if default is REQUIRED or value_key(value) != value_key(default))
    return f"op.{node.op.name}({', '.join((*map(_operand, node.inputs), *attributes))})"


def format_node(node: Node) -> str:
    """`mul1: f64[2] = op.mul(x, 2.0)`."""
    return f"{node.name}: {node.type} = {format_call(node)}"


def print_graph(graph: Graph) -> str:
    """The graph as the source of one function; where each line came from stands behind `#@`."""
    lines = [(format_node(node), node.note) for node in graph.nodes]
    lines += [(f"op.guard({guard.node.name}, {format_value(guard.value)})", guard.note)
              for guard in graph.guards]
    lines += [(f"op.write({effect.target.name}, {_operand(effect.value)})", effect.note) for effect in graph.effects]
    outputs = ", ".join(map(_operand, graph.outputs))
    if graph.kind == "forward":
        bare = outputs if len(graph.outputs) == 1 else f"({outputs})"
        lines.append((f"return {bare}, {format_value_names(graph.saved)}", ""))
    else:
        lines.append((f"return ({outputs}{',' if len(graph.outputs) == 1 else ''})", ""))
    width = min(max((len(code) for code, origin in lines if origin), default=0), 100)
    body = "\n".join(f"    {code:{width}}  #@ {origin}" if origin else f"    {code}" for code, origin in lines)
    parameters = ", ".join(f"{node.name}: {node.type}" for node in graph.inputs)
    return f'@graph(kind="{graph.kind}", of="{graph.of}")\ndef {graph.name}({parameters}):\n{body}'


def format_value_names(nodes: tuple[Node, ...]) -> str:
    return f"({', '.join(node.name for node in nodes)}{',' if len(nodes) == 1 else ''})"


def print_module(*graphs: Graph) -> str:
    """A file of graphs: it can be imported, and read back by `parse_module`."""
    return "\n\n".join([f"{HEADER}\nfrom retape.ir import *", *map(print_graph, graphs)]) + "\n"


# ---- parsing


def parse(text: str) -> Graph:
    """The one graph in `text`. Raises `BadFile`."""
    graphs = parse_module(text)
    if len(graphs) != 1:
        raise BadFile(f"expected one graph, found {len(graphs)}", fix="use `parse_module`")
    return next(iter(graphs.values()))


def parse_module(text: str) -> dict[str, Graph]:
    """The graphs of a text by name. Raises `BadFile`, naming the line, on anything but retape IR of this version."""
    head = re.search(r"^# retape-ir (\S+)", text, re.MULTILINE)
    if head and head[1] != "1":
        raise BadFile(f"the file is of retape IR version {head[1]}", ("why", "this retape reads version 1"),
                      fix="write the file again with this version")
    try:
        module = ast.parse(text)
    except SyntaxError as error:
        raise BadFile("the text is not retape IR", ("line", str(error.lineno)), ("why", error.msg),
                      fix="print the graph again") from None
    graphs: dict[str, Graph] = {}
    for statement in module.body:
        if isinstance(statement, ast.FunctionDef):
            graphs[statement.name] = _Reader(text.splitlines()).function(statement)
        elif not isinstance(statement, (ast.ImportFrom, ast.Expr)):
            raise _bad(statement, "only graphs may stand here")
    return graphs


def _bad(node: ast.AST, why: str) -> BadFile:
    return BadFile("the text is not retape IR", ("line", str(getattr(node, "lineno", "?"))), ("why", why),
                   fix="print the graph again")


class _Reader:
    """Reads one function; `names` are the values in scope."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.names: dict[str, Node] = {}

    def function(self, definition: ast.FunctionDef) -> Graph:
        kind, of = self.decorator(definition)
        inputs = []
        for argument in definition.args.args:
            if argument.annotation is None:
                raise _bad(argument, f"{argument.arg} has no type")
            inputs.append(self.bind(input_node(argument.arg, self.type(argument.annotation)), argument))
        nodes: list[Node] = []
        guards: list[Guard] = []
        effects: list[Effect] = []
        outputs: tuple[Operand, ...] = ()
        saved: tuple[Node, ...] = ()
        for statement in definition.body:
            if isinstance(statement, ast.AnnAssign):
                nodes.append(self.bind(self.assignment(statement), statement))
            elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
                found = self.statement(statement.value, inputs)
                if isinstance(found, Guard):
                    guards.append(found)
                else:
                    effects.append(found)
            elif isinstance(statement, ast.Return):
                outputs, saved = self.result(statement, kind)
            else:
                raise _bad(statement, "neither an operation nor a guard nor a write nor a return")
        return Graph(definition.name, tuple(inputs), tuple(nodes), outputs, kind, of, saved, tuple(guards),
                     tuple(effects))

    def decorator(self, definition: ast.FunctionDef) -> tuple[str, str]:
        if len(definition.decorator_list) == 1:
            call = definition.decorator_list[0]
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "graph":
                values = {k.arg: self.value(k.value) for k in call.keywords}
                return str(values.get("kind", "trace")), str(values.get("of", ""))
        raise _bad(definition, "a graph starts with `@graph(kind=..., of=...)`")

    def bind(self, node: Node, place: ast.AST) -> Node:
        if node.name in self.names:
            raise _bad(place, f"{node.name} is defined twice")
        self.names[node.name] = node
        return node

    def assignment(self, statement: ast.AnnAssign) -> Node:
        call = statement.value
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
                and isinstance(call.func.value, ast.Name) and call.func.value.id == "op"
                and isinstance(statement.target, ast.Name)):
            raise _bad(statement, "expected `name: type = op.<name>(...)`")
        op = CATALOGUE.get(call.func.attr)
        if op is None:
            raise _bad(statement, f"the catalogue has no op {call.func.attr!r}")
        attributes = {k.arg or "**": self.value(k.value) for k in call.keywords}
        if not op.variadic and len(call.args) != len(op.operands):
            raise _bad(statement, f"{op.name} takes the operands {op.operands}")
        try:
            inputs, attrs = op.bind(tuple(self.operand(argument) for argument in call.args), attributes)
        except TypeError as error:
            raise _bad(statement, str(error)) from None
        return Node(op, inputs, attrs, self.type(statement.annotation), statement.target.id, self.origin(statement))

    def statement(self, call: ast.Call, inputs: list[Node]) -> Guard | Effect:
        """`op.guard(node, value)` or `op.write(input, value)`."""
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        if name not in ("guard", "write") or len(call.args) != 2:
            raise _bad(call, "expected `op.guard(node, value)` or `op.write(input, value)`")
        if name == "write":
            target = self.operand(call.args[0])
            if not isinstance(target, Node) or target not in inputs:
                raise _bad(call, "a write goes to an input")
            return Effect(target, self.operand(call.args[1]), self.origin(call))
        node = self.operand(call.args[0])
        if not isinstance(node, Node):
            raise _bad(call, "a guard looks at a node")
        return Guard(node, self.value(call.args[1]), self.origin(call))

    def result(self, statement: ast.Return, kind: str) -> tuple[tuple[Operand, ...], tuple[Node, ...]]:
        if not isinstance(statement.value, ast.Tuple):
            raise _bad(statement, "a graph returns a tuple")
        parts = statement.value.elts
        if kind != "forward":
            return tuple(self.operand(part) for part in parts), ()
        if len(parts) != 2 or not isinstance(parts[1], ast.Tuple):
            raise _bad(statement, "a forward graph returns its outputs and a tuple of saved values")
        first = parts[0].elts if isinstance(parts[0], ast.Tuple) else [parts[0]]
        saved = tuple(self.operand(part) for part in parts[1].elts)
        if not all(isinstance(s, Node) for s in saved):
            raise _bad(statement, "saved values are nodes")
        return tuple(self.operand(part) for part in first), saved  # type: ignore[return-value]

    def operand(self, node: ast.expr) -> Operand:
        if isinstance(node, ast.Name) and node.id not in ("inf", "nan"):
            if node.id not in self.names:
                raise _bad(node, f"{node.id} is not defined above this line")
            return self.names[node.id]
        value = self.value(node)
        if not isinstance(value, (bool, int, float, complex)):
            raise _bad(node, "an operand is a name or a number")
        return value

    def value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -self.value(node.operand)
        if isinstance(node, (ast.Tuple, ast.List)):
            return tuple(self.value(element) for element in node.elts)
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):  # a complex literal
            left, right = self.value(node.left), self.value(node.right)
            return left + right if isinstance(node.op, ast.Add) else left - right
        if isinstance(node, ast.Name) and node.id in _DTYPES:
            return _DTYPES[node.id]
        if isinstance(node, ast.Name) and node.id in ("inf", "nan"):
            return getattr(math, node.id)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id == "slice":
                return slice(*(self.value(argument) for argument in node.args))
            if node.func.id == "Array" and len(node.args) == 2:
                return Array(self.value(node.args[0]), self.type(node.args[1]))
        raise _bad(node, f"`{ast.unparse(node)}` is no value of the IR")

    def type(self, node: ast.expr) -> TensorType:
        if isinstance(node, ast.Name) and node.id in _WEAK:
            return weak_type(_WEAK[node.id])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "strided":
            return self.type(node.func.value).strided(*(self.value(argument) for argument in node.args))
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in _DTYPES:
            extents = self.value(node.slice)
            shape = extents if isinstance(extents, tuple) else (extents,)
            if all(isinstance(extent, int) and extent >= 0 for extent in shape):
                return _DTYPES[node.value.id][shape]
        raise _bad(node, f"`{ast.unparse(node)}` is no type")

    def origin(self, node: ast.stmt | ast.expr) -> Span | str | None:
        line = self.lines[(node.end_lineno or node.lineno) - 1].encode()[node.end_col_offset or 0 :].decode()
        comment = line.partition("#@ ")[2].strip()
        found = _ORIGIN.match(comment)
        if found is None:
            return comment or None
        return Span(found["file"], int(found["line"]), int(found["column"]), int(found["end"]), found["text"] or "")


# ---- equality


def same_graph(a: Graph, b: Graph) -> bool:
    """Whether two graphs are equal up to the names of their values and where these came from."""
    return _canonical(a) == _canonical(b)


def _canonical(graph: Graph) -> list[Any]:
    names: dict[Node, int] = {}

    def known(operand: Operand) -> Any:
        return names[operand] if isinstance(operand, Node) else format_value(operand)

    result: list[Any] = [graph.kind]
    for node in (*graph.inputs, *graph.nodes):
        row = (node.op.name, str(node.type), tuple(map(known, node.inputs)), format_value(node.attrs))
        names[node] = len(names)
        result.append(row)
    result.append(tuple(map(known, graph.outputs)))
    result.append(tuple(map(known, graph.saved)))
    result += [(known(guard.node), format_value(guard.value)) for guard in graph.guards]
    result += [("write", known(effect.target), known(effect.value)) for effect in graph.effects]
    return result
