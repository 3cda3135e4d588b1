"""The text form: it reads back, its spans are exact, damage is named by its line, and nothing of a file is executed."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import all_ops, samples

import retape as rt
from retape.ir import (
    CATALOGUE,
    Array,
    Graph,
    Guard,
    Node,
    Span,
    TensorType,
    b1,
    dtype_of,
    f32,
    f64,
    i64,
    input_node,
    parse,
    parse_module,
    print_graph,
    print_module,
    same_graph,
    verify,
)
from retape.ir.errors import BadFile, IRError
from retape.ir.passes import differentiate, partition

HERE = Path(__file__).name

EXAMPLE = '''@graph(kind="trace", of="ex.f")
def f(x: f64[2, 2], k: float):
    add0: f64[2, 2] = op.add(x, 2.0)   #@ ex.py:5:13-16 | x+2
    mul1: f64[2, 2] = op.mul(add0, k)  #@ ex.py:5:12-20 | (x+2)*k
    mean2: f64[()] = op.mean(mul1, axis=(0, 1))
    gt3: b1[()] = op.gt(mean2, 0.0)    #@ made up
    op.guard(gt3, True)                #@ ex.py:6:8-12 | m > 0
    return (mean2, 3)'''


# ---- round trips


def test_the_example_reads_back() -> None:
    graph = verify(parse(EXAMPLE))
    assert str(graph) == EXAMPLE
    assert (graph.name, graph.kind, graph.of) == ("f", "trace", "ex.f")
    add, mul, mean, gt = graph.nodes
    assert add.op is CATALOGUE["add"] and add.inputs == (graph.inputs[0], 2.0)
    assert add.span == Span("ex.py", 5, 13, 16, "x+2") and mul.span.text == "(x+2)*k"
    assert mean.attrs == ((0, 1), False) and mean.origin is None and mean.note == ""
    assert gt.origin == "made up" and gt.span is None
    assert graph.guards == (Guard(gt, True, Span("ex.py", 6, 8, 12, "m > 0")),)
    assert graph.outputs == (mean, 3)
    assert graph.inputs[1].type.weak and str(graph.inputs[1].type) == "float"


@pytest.mark.parametrize("op", all_ops(), ids=lambda op: op.name)
def test_every_op_reads_back(op: Any) -> None:
    for sample in samples(op):
        graph = sample.graph
        again = verify(parse(str(graph)))
        assert same_graph(again, graph), sample.label
        assert str(again) == str(graph)
        assert [n.type for n in again.inputs] == [n.type for n in graph.inputs]


VALUES = [0.0, -0.0, 1.5, -2.5e-300, 1e300, math.inf, -math.inf, math.nan, 0.1, 1, -7, 2**40, True, False, 1j, 2 - 3j]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_literals_read_back_exactly(value: Any) -> None:
    x = input_node("x", TensorType(dtype_of("complex128"), (2,)))
    node = Node(CATALOGUE["mul"], (x, value), (), x.type, "a")
    graph = Graph("g", (x,), (node,), (node, value))
    again = parse(str(graph))
    found = again.nodes[0].inputs[1]
    assert type(found) is type(value) and repr(found) == repr(value)
    assert repr(again.outputs[1]) == repr(value)
    assert same_graph(again, graph)


@pytest.mark.parametrize("index", [(0,), (slice(0, 2, 1),), (slice(2, None, -1), None, 1), (), (slice(None, 3, 2),)])
def test_indices_read_back(index: Any) -> None:
    x = input_node("x", f64[4, 4])
    node = Node(CATALOGUE["slice"], (x,), (index,), CATALOGUE["slice"].infer(x.type, index), "a")
    again = parse(str(Graph("g", (x,), (node,), (node,))))
    assert again.nodes[0].attrs == (index,)


@pytest.mark.parametrize("type", [f64[()], f64[1], f32[2, 3], i64[0], b1[2, 0, 3], f64[2, 3].strided(1, 2),
                                  f64[4].strided(-1), f32[2, 2].strided(0, 1)], ids=str)
def test_types_read_back(type: Any) -> None:
    x = input_node("x", type)
    again = parse(str(Graph("g", (x,), (), (x,))))
    assert again.inputs[0].type == type


@pytest.mark.parametrize("array", [np.array([1.5, -0.0, math.inf, math.nan]), np.array([[1, 2], [3, 4]]),
                                   np.array(True), np.zeros((0, 2), np.float32), np.array([1 + 2j])], ids=repr)
def test_constants_read_back(array: Any) -> None:
    data = Array(array, TensorType(dtype_of(array.dtype), array.shape))
    node = Node(CATALOGUE["constant"], (), (data,), data.type, "c")
    graph = Graph("g", (), (node,), (node,))
    again = parse(str(graph))
    assert again.nodes[0].attrs == (data,) and same_graph(again, graph)
    np.testing.assert_array_equal(again()[0], array)
    assert again()[0].dtype == array.dtype


def test_forward_graphs_read_back() -> None:
    for outputs in ("a", "(a, b)"):
        text = ('@graph(kind="forward", of="f")\ndef f(x: f64[2]):\n    a: f64[2] = op.exp(x)\n'
                f"    b: f64[2] = op.sin(a)\n    return {outputs}, (a, x)")
        graph = parse(text)
        assert [n.name for n in graph.saved] == ["a", "x"] and len(graph.outputs) == (1 if outputs == "a" else 2)
        assert same_graph(parse(str(graph)), graph)
    empty = parse('@graph(kind="forward", of="f")\ndef f(x: f64[2]):\n    return x, ()')
    assert empty.saved == () and same_graph(parse(str(empty)), empty)


def test_modules_are_python_that_runs(tmp_path: Path) -> None:
    def g(x: Any, k: float) -> Any:
        y = rt.softmax(x * k, -1) @ x.T
        return y[::2].sum(0) if y.sum() > 0 else y

    s = rt.compile(g).specialize(rt.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True), 0.5)
    path = tmp_path / "module.py"
    text = print_module(s.graph, s.forward, s.backward)
    path.write_text(text)
    space: dict[str, Any] = {}
    exec(compile(text, str(path), "exec"), space)
    assert space["g"].kind == "trace" and space["g"].of.endswith(".g")
    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(space["g"](x, 0.5)[0], s.graph(x, 0.5)[0])
    value, saved = space["g_fwd"](x, 0.5)
    expected, expected_saved = s.forward(x, 0.5)
    np.testing.assert_array_equal(value, expected[0])
    assert len(saved) == len(expected_saved)
    seed = np.ones(value.shape)
    for a, b in zip(space["g_bwd"](seed, *saved), s.backward(seed, *expected_saved), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="holds where"):
        space["g"](x * np.nan, 0.5)
    assert list(parse_module(text)) == ["g", "g_fwd", "g_bwd"]


def test_save_and_read(tmp_path: Path) -> None:
    graph = parse(EXAMPLE)
    graph.save(str(tmp_path / "f.py"))
    assert same_graph(parse((tmp_path / "f.py").read_text()), graph)


# ---- equality


def test_same_graph_ignores_names_and_origins_only() -> None:
    graph = parse(EXAMPLE)
    renamed = parse(EXAMPLE.replace("add0", "first").replace("def f", "def g").replace("ex.f", "other").replace("#@",
                                                                                                                "#"))
    assert same_graph(graph, renamed)
    for old, new in (("op.add(x, 2.0)", "op.sub(x, 2.0)"), ("x, 2.0)", "x, 2)"), ("x, 2.0)", "x, -2.0)"),
                     ("axis=(0, 1))", "axis=(0, 1), keepdims=True)"), ("guard(gt3, True)", "guard(gt3, False)"),
                     ("(mean2, 3)", "(3, mean2)"), ("(mean2, 3)", "(mean2, 3.0)"),
                     ("op.mul(add0, k)", "op.mul(k, add0)"),
                     ("k: float", "k: int"), ("f64[2, 2] = op.add", "f32[2, 2] = op.add"),
                     ('kind="trace"', 'kind="backward"'),
                     ("op.mul(add0, k)", "op.mul(x, k)"), ("axis=(0, 1)", "axis=(0,)")):
        assert old in EXAMPLE
        assert not same_graph(graph, parse(EXAMPLE.replace(old, new))), new


# ---- spans


def spans(function: Callable[..., Any], *arguments: Any) -> dict[str, Span]:
    graph = rt.compile(function).specialize(*arguments).graph
    return {node.name: node.span for node in graph.nodes}


def quoted(span: Span) -> str:
    """What stands in the file where a span points."""
    line = Path(__file__).read_text().splitlines()[span.line - 1]
    return line[span.column - 1 : span.end_column]


def test_spans_are_exact_to_the_column() -> None:
    def f(x: Any, y: Any) -> Any:
        total = (x + 2.5) * rt.sin(y) - x.sum(0)
        return total[0] / abs(total).amax()

    found = spans(f, rt.ones(3), rt.ones(3))
    first = inspect.getsourcelines(f)[1]
    wanted = {
        "add0": (1, "x + 2.5"), "sin1": (1, "rt.sin(y)"), "mul2": (1, "(x + 2.5) * rt.sin(y)"), "sum3": (1, "x.sum(0)"),
        "sub4": (1, "(x + 2.5) * rt.sin(y) - x.sum(0)"), "slice5": (2, "total[0]"), "abs6": (2, "abs(total)"),
        "amax7": (2, "abs(total).amax()"), "div8": (2, "total[0] / abs(total).amax()"),
    }
    assert list(found) == list(wanted)
    for name, (line, text) in wanted.items():
        span = found[name]
        assert Path(span.file).name == HERE and span.line == first + line, name
        assert span.text == text == quoted(span), name
        assert span.end_column - span.column + 1 == len(text)
        assert span.place == f"{HERE}:{span.line}:{span.column}"


def test_spans_of_lines_with_other_scripts() -> None:
    def f(x: Any) -> Any:
        größe, 온도 = x * 2, "𝜋≈3"; y = größe + 1.0  # noqa: E702
        return rt.where(y > 2, y, größe) if 온도 else None

    found = spans(f, rt.ones(3))
    for name, text in (("mul0", "x * 2"), ("add1", "größe + 1.0"), ("gt2", "y > 2"),
                       ("where3", "rt.where(y > 2, y, größe)")):
        assert found[name].text == text == quoted(found[name]), name


def test_spans_of_expressions_over_several_lines() -> None:
    def f(x: Any) -> Any:
        y = (
            rt.exp(x)
            + rt.cos(
                x * 2
            )
        )
        return (y
                .sum())

    found = spans(f, rt.ones(3))
    first = inspect.getsourcelines(f)[1]
    assert [(s.line - first, s.text) for s in found.values()] == [
        (2, "rt.exp(x)"), (4, "x * 2"), (3, "rt.cos("), (2, "rt.exp(x)"), (8, "sum()")]
    for span in found.values():
        assert quoted(span) == span.text


def test_spans_of_compositions_helpers_and_methods() -> None:
    def helper(z: Any) -> Any:
        return z * z

    def f(x: Any) -> Any:
        a = rt.softmax(x, 0)
        b = helper(a)
        b += 1
        return b.mean()

    graph = rt.compile(f).specialize(rt.ones(3)).graph
    texts = [node.span.text for node in graph.nodes]
    assert set(texts) == {"rt.softmax(x, 0)", "z * z", "b += 1", "b.mean()"}
    assert texts.count("rt.softmax(x, 0)") >= 4, "a composition's operations point at its call"
    again = parse(str(graph))
    assert [n.span.text for n in again.nodes] == texts
    assert [n.span.column for n in again.nodes] == [n.span.column for n in graph.nodes]


def test_guards_bear_the_place_of_the_look() -> None:
    def f(x: Any) -> Any:
        if x.sum() > 1:
            return x * math.sqrt(x.mean().item())
        return x

    s = rt.compile(f).specialize(rt.ones(3))
    assert [g.note.split(" | ")[1] for g in s.guards] == ["x.sum() > 1", "math.sqrt(x.mean().item())"]
    assert all(HERE in g.note for g in s.guards)


def test_spans_of_code_without_source() -> None:
    space: dict[str, Any] = {"rt": rt}
    exec(compile("def f(x):\n    return rt.sin(x) + 1\n", "<made up>", "exec"), space)
    found = spans(space["f"], rt.ones(2))
    assert [(s.line, s.file) for s in found.values()] == [(2, "<made up>")] * 2
    graph = rt.compile(space["f"]).specialize(rt.ones(2)).graph
    assert same_graph(parse(str(graph)), graph)


def test_notes_with_any_text_read_back() -> None:
    x = input_node("x", f64[2])
    for origin in (Span("a b.py", 3, 4, 9, 'x["#@ | :"] # not code'), Span("ü.py", 1, 1, 1, ""), "vjp mul2",
                   "remat a: b",
                   Span("C:\\dir\\f.py", 10, 2, 7, "x + 1")):
        node = Node(CATALOGUE["exp"], (x,), (), f64[2], "a", origin)
        graph = Graph("g", (x,), (node,), (node,))
        again = parse(str(graph)).nodes[0]
        assert again.note == node.note
        assert parse(str(parse(str(graph)))).nodes[0].note == node.note


# ---- damage

HEAD = '@graph(kind="trace", of="f")\ndef f(x: f64[2]):\n'

DAMAGED = [
    ("not python at all {", "line", None), (HEAD + "    a: f64[2] = op.exp(x\n    return (a,)", "line", None),
    ("def f(x: f64[2]):\n    return (x,)", "@graph", 1),
    (HEAD.replace("x: f64[2]", "x") + "    return (x,)", "no type", 2),
    (HEAD + "    a: f64[2] = op.nothing(x)\n    return (a,)", "no op 'nothing'", 3),
    (HEAD + "    a: f64[2] = op.exp(y)\n    return (a,)", "not defined above", 3),
    (HEAD + "    a: f64[2] = op.exp(a)\n    return (a,)", "not defined above", 3),
    (HEAD + "    a: f64[2] = op.exp(x, x)\n    return (a,)", "operands", 3),
    (HEAD + "    a: f64[2] = op.exp(x, axis=0)\n    return (a,)", "unexpected", 3),
    (HEAD + "    a: f64[()] = op.sum(x)\n    return (a,)", "misses 'axis'", 3),
    (HEAD + "    a: f64[2] = op.exp(x)\n    a: f64[2] = op.exp(x)\n    return (a,)", "twice", 4),
    (HEAD + "    x: f64[2] = op.exp(x)\n    return (x,)", "twice", 3),
    (HEAD + "    a: q64[2] = op.exp(x)\n    return (a,)", "no type", 3),
    (HEAD + "    a: f64[-2] = op.exp(x)\n    return (a,)", "no type", 3),
    (HEAD + "    a: f64['2'] = op.exp(x)\n    return (a,)", "no type", 3),
    (HEAD + "    a: f64[2] = op.mul(x, 'two')\n    return (a,)", "name or a number", 3),
    (HEAD + "    a: f64[2] = op.mul(x, 2 ** 9)\n    return (a,)", "no value", 3),
    (HEAD + "    a = op.exp(x)\n    return (a,)", "neither", 3),
    (HEAD + "    a: f64[2] = exp(x)\n    return (a,)", "expected", 3),
    (HEAD + "    a: f64[2] = x\n    return (a,)", "expected", 3),
    (HEAD + "    a: f64[2]\n    return (x,)", "expected", 3),
    (HEAD + "    x.y: f64[2] = op.exp(x)\n    return (x,)", "expected", 3),
    (HEAD + "    return x", "tuple", 3), (HEAD + "    return", "tuple", 3),
    (HEAD + "    op.guard(1.0, True)\n    return (x,)", "node", 3),
    (HEAD + "    op.guard(x)\n    return (x,)", "guard", 3),
    (HEAD + "    op.guard(x, open('f'))\n    return (x,)", "no value", 3),
    (HEAD + "    print(x)\n    return (x,)", "guard", 3), (HEAD + "    import os\n    return (x,)", "neither", 3),
    (HEAD + "    while True: pass", "neither", 3), ("import os", "only graphs", 1), ("x = 1", "only graphs", 1),
    ("class A: pass", "only graphs", 1),
    ('@graph(kind="forward", of="f")\ndef f(x: f64[2]):\n    return (x,)', "saved", 3),
    ('@graph(kind="forward", of="f")\ndef f(x: f64[2]):\n    return x, (1.0,)', "saved", 3),
    ("", "found 0", None), ("# retape-ir 2\n" + HEAD + "    return (x,)", "version", None),
]


@pytest.mark.parametrize(("text", "why", "line"), DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_texts_are_refused(text: str, why: str, line: int | None) -> None:
    with pytest.raises(BadFile) as caught:
        parse(text)
    message = str(caught.value)
    assert why in message and message.startswith("RT601 BadFile: ") and "fix" in message
    assert isinstance(caught.value, ValueError)
    if line is not None:
        assert dict(caught.value.facts)["line"] == str(line), message


def test_every_truncation_and_every_lost_line_is_refused_or_valid() -> None:
    """Damage raises `BadFile` and nothing else, whatever it hits."""
    lines = EXAMPLE.splitlines()
    for drop in range(len(lines)):
        _refused_or_read("\n".join(lines[:drop] + lines[drop + 1 :]))
    for end in range(0, len(EXAMPLE), 3):
        _refused_or_read(EXAMPLE[:end])
    for position in range(0, len(EXAMPLE), 2):
        for character in "(,]x#'\n":
            _refused_or_read(EXAMPLE[:position] + character + EXAMPLE[position + 1 :])


def _refused_or_read(text: str) -> None:
    try:
        graph = parse(text)
    except BadFile as error:
        assert "RT601" in str(error)
    else:
        str(graph)


@pytest.mark.parametrize("text", [
    HEAD + "    a: f64[__import__('os').system('touch {0}')] = op.exp(x)\n    return (a,)",
    HEAD + "    a: f64[2] = op.mul(x, open('{0}', 'w').fileno())\n    return (a,)",
    HEAD + "    a: f64[2] = op.exp(x).__class__.mro()[1].__subclasses__()\n    return (a,)",
    "open('{0}', 'w')\n" + HEAD + "    return (x,)",
    "@graph(kind=open('{0}', 'w'), of='f')\ndef f(x: f64[2]):\n    return (x,)",
    HEAD.replace("f64[2]", "open('{0}', 'w')") + "    return (x,)",
    HEAD.replace("x: f64[2]", "x: f64[2] = open('{0}', 'w')") + "    return (x,)",
    HEAD + "    a: f64[2] = op.constant(data=Array([open('{0}', 'w')], f64[2]))\n    return (a,)",
    "@open('{0}', 'w')\n" + HEAD + "    return (x,)",
])
def test_nothing_of_a_file_is_executed(text: str, tmp_path: Path) -> None:
    target = tmp_path / "written"
    with contextlib.suppress(BadFile):
        parse(text.replace("{0}", str(target)))
    assert not target.exists()


# ---- the verifier


def broken(change: Callable[[Graph], Graph], why: str, line: str = "") -> None:
    graph = parse(EXAMPLE)
    verify(graph)
    with pytest.raises(IRError) as caught:
        verify(change(graph))
    text = str(caught.value)
    assert why in text and text.startswith("RT602 IRError: graph `f` is not valid"), text
    assert isinstance(caught.value, ValueError) and "fix" in text
    if line:  # the window quotes the broken line and marks it
        assert f"> {line}: " in text or f"> <{line}: " in text, text


def changed(node: Node, **changes: Any) -> Node:
    fields = ("op", "inputs", "attrs", "type", "name", "origin")
    return Node(**{field: changes.get(field, getattr(node, field)) for field in fields})


def with_node(graph: Graph, position: int, **changes: Any) -> Graph:
    nodes = list(graph.nodes)
    old = nodes[position]
    nodes[position] = changed(old, **changes)
    moved = {old: nodes[position]}
    for i in range(position + 1, len(nodes)):
        before = nodes[i]
        inputs = tuple(moved.get(o, o) if isinstance(o, Node) else o for o in before.inputs)
        nodes[i] = changed(before, inputs=inputs)
        moved[before] = nodes[i]
    return graph.map_roots(nodes, lambda o: moved.get(o, o) if isinstance(o, Node) else o)


def test_the_verifier_finds_a_use_before_a_definition() -> None:
    def swapped(graph: Graph) -> Graph:
        nodes = list(graph.nodes)
        nodes[1], nodes[2] = nodes[2], nodes[1]
        return replace(graph, nodes=tuple(nodes))

    broken(swapped, "`mul1` is read before it is defined", "mean2")


def test_the_verifier_finds_a_foreign_node() -> None:
    stranger = input_node("stranger", f64[2, 2])
    broken(lambda g: with_node(g, 1, inputs=(stranger, 2.0)), "`stranger` is read before it is defined", "mul1")
    broken(lambda g: replace(g, outputs=(stranger,)), "`stranger` leaves the graph")
    broken(lambda g: replace(g, guards=(Guard(stranger, 1.0),)), "`stranger` leaves the graph")
    broken(lambda g: replace(g, saved=(stranger,)), "`stranger` leaves the graph")


def test_the_verifier_finds_wrong_types() -> None:
    broken(lambda g: with_node(g, 0, type=f64[2, 3]), "its type is f64[2, 2], not f64[2, 3]", "add0")
    broken(lambda g: with_node(g, 1, type=f32[2, 2]), "its type is", "mul1")
    broken(lambda g: with_node(g, 2, type=f64[1]), "its type is f64[()]", "mean2")
    broken(lambda g: with_node(g, 3, type=f64[()]), "its type is b1[()]", "gt3")


def test_the_verifier_finds_duplicate_names() -> None:
    broken(lambda g: with_node(g, 1, name="add0"), "the name `add0` is given twice", "add0")
    broken(lambda g: with_node(g, 1, name="x"), "the name `x` is given twice")
    broken(lambda g: replace(g, inputs=(g.inputs[0], input_node("x", f64[()]))), "is given twice")


def test_the_verifier_finds_wrong_attributes() -> None:
    broken(lambda g: with_node(g, 2, attrs=((0, 1),)), "takes the attributes", "mean2")
    broken(lambda g: with_node(g, 0, attrs=(1,)), "takes the attributes", "add0")
    broken(lambda g: with_node(g, 2, attrs=((0, 5), False)), "dim 5", "mean2")


def test_the_verifier_finds_operands_that_do_not_fit() -> None:
    y = input_node("y", f64[3])
    broken(lambda g: with_node(replace(g, inputs=(*g.inputs, y)), 1, inputs=(g.nodes[0], y)), "can't broadcast", "mul1")
    n = input_node("n", i64[2, 2])
    broken(lambda g: with_node(replace(g, inputs=(*g.inputs, n)), 1, inputs=(g.nodes[0], n)), "float64 and int64",
           "mul1")


def test_the_verifier_finds_a_wrong_number_of_operands() -> None:
    with pytest.raises(IRError):
        verify(with_node(parse(EXAMPLE), 0, inputs=parse(EXAMPLE).inputs[:0]))


def test_the_verifier_returns_sound_graphs() -> None:
    graph = parse(EXAMPLE)
    assert verify(graph) is graph
    joint = differentiate(graph)
    for part in partition(joint):
        assert verify(part) is part


# ---- parts of the IR


def test_printing_aligns_origins_up_to_a_limit() -> None:
    lines = EXAMPLE.splitlines()
    assert len({line.index("#@") for line in lines if "#@" in line}) == 1
    assert print_graph(parse(EXAMPLE)) == EXAMPLE


def test_nodes_and_graphs_show_themselves() -> None:
    graph = parse(EXAMPLE)
    assert repr(graph) == EXAMPLE and len(graph) == 4
    assert repr(graph.nodes[0]) == "<add0: f64[2, 2] = add>"
    assert graph.find("mean2") is graph.nodes[2] and graph.find("x") is graph.inputs[0]
    with pytest.raises(KeyError):
        graph.find("nothing")
    assert graph.nodes[2].attr("axis") == (0, 1)
    with pytest.raises(ValueError):
        graph.nodes[2].attr("nothing")


def test_the_interpreter_checks_its_inputs() -> None:
    graph = parse(EXAMPLE)
    with pytest.raises(TypeError, match="takes 2 inputs"):
        graph(np.ones((2, 2)))
    value, three = graph(np.ones((2, 2)), 2.0)
    assert value == 6.0 and three == 3


def test_guards_compare_values() -> None:
    x = input_node("x", f64[()])
    assert Guard(x, math.nan).holds(np.array(math.nan)) and Guard(x, 2).holds(np.array(2))
    assert not Guard(x, 0.0).holds(np.array(-0.0)) and not Guard(x, True).holds(np.array(False))
    data = Array([1.0, 2.0], f64[2])
    assert Guard(x, data).holds(np.array([1.0, 2.0])) and not Guard(x, data).holds(np.array([1.0, 3.0]))
