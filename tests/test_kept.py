"""Programs on disk: equal graphs are lowered once, others never share one, and all that is shown is the user's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import reread

import retape as rt
from retape.codegen import cache, compile_graph, identity, kept
from retape.codegen import lower as lowering
from retape.codegen.lower import lower
from retape.codegen.lowered import (
    Chunks,
    Division,
    Emitted,
    HostStep,
    KernelStep,
    Lowered,
    PanelStep,
    ProductStep,
)
from retape.codegen.packing import pack, unpack
from retape.codegen.views import Buffer, View
from retape.ir import CATALOGUE, Graph, f32, f64, parse
from retape.ir.fingerprint import Untold, decoded, encoded, fingerprint
from retape.ir.ops.elementwise import function
from retape.ir.types import Array, set_default_float

X = np.linspace(0.5, 2.0, 300)


@pytest.fixture
def lowerings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Graph]]:
    """The graphs that are lowered, with an empty cache."""
    found: list[Graph] = []

    def counted(graph: Graph, *options: Any) -> Any:
        found.append(graph)
        return lower(graph, *options)

    monkeypatch.setenv(cache.FOLDER, str(tmp_path / "kept"))
    monkeypatch.setattr(lowering, "lower", counted)
    cache._open.cache_clear()
    yield found
    cache._open.cache_clear()


def programs(folder: Path) -> list[Path]:
    return sorted((folder / "kept").glob("*.program"))


def graph_of(function: Callable[..., Any], *arrays: Any) -> Graph:
    return rt.compile(function).specialize(*arrays).graph


# ---- what is equal and what isn't


def told(body: str, types: str = "x: f64[3, 4], y: f64[3, 4]") -> str | None:
    """The fingerprint of a graph that is written down."""
    lines = "\n".join(f"    {line}" for line in body.split("; "))
    kind = "forward" if "(x,)" in body else "trace"
    return fingerprint(parse(f'@graph(kind="{kind}", of="")\ndef f({types}):\n{lines}'))


def test_names_places_and_seen_values_are_no_part_of_it() -> None:
    def f(x: Any) -> Any:
        y = rt.exp(x)
        return y * 2.0 if y.sum() > 0 else y

    def g(other: Any) -> Any:

        called = other.exp()
        if (rt.sum(called) > 0):
            called = called * 2.0
        return called

    assert fingerprint(graph_of(f, X)) == fingerprint(graph_of(g, X + 1.0)) is not None
    a = "a: f64[3, 4] = op.add(x, y); return (a,)"
    b = "other: f64[3, 4] = op.add(u, v); return (other,)"
    assert told(a) == told(b, "u: f64[3, 4], v: f64[3, 4]")


GRAPHS = [
    ("a: f64[3, 4] = op.add(x, y); return (a,)",),
    ("a: f64[3, 4] = op.add(y, x); return (a,)",),
    ("a: f64[3, 4] = op.sub(x, y); return (a,)",),
    ("a: f64[3, 4] = op.add(x, x); return (a,)",),
    ("a: f64[3, 4] = op.add(x, y); return a, a",),
    ("a: f64[3, 4] = op.add(x, y); return a, x",),
    ("a: f64[3, 4] = op.add(x, y); return a, (x,)",),
    ("a: f64[3, 4] = op.add(x, y); return a, 1.0",),
    ("a: f64[3, 4] = op.add(x, y); return a, 1",),
    ("a: f64[3, 4] = op.add(x, y); return a, True",),
    ("a: f64[3, 4] = op.add(x, y); return a, 0.0",),
    ("a: f64[3, 4] = op.add(x, y); return a, -0.0",),
    ("a: f64[3, 4] = op.add(x, 1.0); return (a,)",),
    ("a: f64[3, 4] = op.add(x, 1); return (a,)",),
    ("a: f64[3, 4] = op.add(x, 2.0); return (a,)",),
    ("a: f32[3, 4] = op.add(x, y); return (a,)", "x: f32[3, 4], y: f32[3, 4]"),
    ("a: f64[4, 3] = op.add(x, y); return (a,)", "x: f64[4, 3], y: f64[4, 3]"),
    ("a: f64[3, 4] = op.add(x, y); return (a,)", "x: f64[3, 4], y: f64[3, 4].strided(1, 3)"),
    ("a: f64[3, 4] = op.add(x, y); return (a,)", "x: f64[3, 4], y: float"),
    ("a: f64[3] = op.sum(x, axis=(1,)); return (a,)",),
    ("a: f64[4] = op.sum(x, axis=(0,)); return (a,)",),
    ("a: f64[3, 1] = op.sum(x, axis=(1,), keepdims=True); return (a,)",),
    ("a: f64[2] = op.constant(data=Array([1.0, 2.0], f64[2])); return (a,)",),
    ("a: f64[2] = op.constant(data=Array([1.0, 3.0], f64[2])); return (a,)",),
    ("a: f64[2, 4] = op.slice(x, index=(slice(0, 2, 1),)); return (a,)",),
    ("a: f64[2, 4] = op.slice(x, index=(slice(1, 3, 1),)); return (a,)",),
    ("a: f64[2, 4] = op.slice(x, index=(slice(0, 3, 2),)); return (a,)",),
]


def test_all_that_decides_a_program_is_a_part_of_it() -> None:
    found = [told(*graph) for graph in GRAPHS]
    assert None not in found and len(set(found)) == len(GRAPHS)
    graph = graph_of(lambda x: x * 2.0, X)
    options = [fingerprint(graph), fingerprint(graph, False), fingerprint(graph, True), fingerprint(graph, 1)]
    assert len(set(options)) == 4
    set_default_float(f64)
    assert fingerprint(graph) != options[0]
    set_default_float(f32)
    assert fingerprint(graph) == options[0]


def test_attributes_come_back_as_they_were() -> None:
    values = [1, 1.0, True, None, "text", -0.0, 2j, (1, (2.0, "x")), [1, (2,)], slice(1, None, 2), f64,
              (slice(0, 3, 1),)]
    for value in values:
        back = decoded(encoded(value))
        assert repr(back) == repr(value) and type(back) is type(value)
    for value in (np.int64(1), np.float64(2.0), object(), Array([1.0], f64[1]), {1: 2}, (1, np.float32(2.0))):
        with pytest.raises(Untold):
            encoded(value)


def test_a_users_operation_has_no_fingerprint(lowerings: list[Graph], tmp_path: Path) -> None:
    op = function("doubled_sine", lambda x: 2.0 * np.sin(x), lambda b, ct, x: b.mul(ct, b.mul(b.cos(x), 2.0)),
                  form="2*sin(x)", kernel="to_{t}(2.0) * vm_sin_{t}({x})", doc="A user's.")
    try:
        graph = parse('@graph(kind="trace", of="")\ndef f(x: f64[300]):\n'
                      "    a: f64[300] = op.doubled_sine(x)\n    return (a,)")
        assert fingerprint(graph) is None
        for count in (1, 2):
            np.testing.assert_allclose(compile_graph(graph)([X])[0], 2.0 * np.sin(X), rtol=1e-14)
            assert len(lowerings) == count and not programs(tmp_path)
    finally:
        del CATALOGUE[op.name], rt.Tensor.doubled_sine


# ---- found again


LOOP = """
import json, sys
import numpy as np
import retape as rt

@rt.compile
def steps(x, n):
    for _ in range(n):
        x = rt.tanh(x) * 1.01 + 0.1
    return x

@rt.compile
def branches(x):
    while x.sum() < 1000.0:
        x = x * 2.0
    return rt.linalg.pinv(x[:4].reshape(2, 2)), x

x = np.linspace(0.5, 2.0, 300)
found = []
for _ in range(2):
    y = steps(rt.from_numpy(x, requires_grad=True), 5)
    leaf = rt.from_numpy(x, requires_grad=True)
    steps(leaf, 5).sum().backward()
    found = [y.tolist(), leaf.grad.tolist(), *[a.tolist() for a in branches(x)]]
store = rt.codegen.cache.current()
print(json.dumps([found, "retape.codegen.lower" in sys.modules, store.hits, store.misses]))
"""


def run(folder: Path) -> Any:
    done = subprocess.run([sys.executable, "-c", LOOP], env={**os.environ, cache.FOLDER: str(folder)}, text=True,
                          capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_second_process_lowers_nothing(tmp_path: Path) -> None:
    """Values, derivatives, trees with host steps: another process loads the programs of the first."""
    first, second = run(tmp_path / "kept"), run(tmp_path / "kept")
    assert first[0] == second[0] and first[1:3] == [True, 0] and second[1] is False and second[3] == 0
    assert len(programs(tmp_path)) >= 4


def test_an_equal_graph_is_lowered_once(lowerings: list[Graph], tmp_path: Path) -> None:
    for number in range(3):
        compiled = rt.compile(lambda x: (rt.exp(x) * 3.0).sum())
        assert compiled(X) == pytest.approx(compiled(X)) and len(lowerings) == 1, number
    assert len(programs(tmp_path)) == 1
    rt.compile(lambda x: (rt.exp(x) * 3.0).sum(), numerics="strict").specialize(X)._code.program  # noqa: B018
    assert len(lowerings) == 2 and len(programs(tmp_path)) == 2


def test_other_sources_find_nothing(lowerings: list[Graph], monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of(lambda x: rt.sin(x) + x, X)
    compile_graph(graph)
    try:
        for change in ("source_hash", "version_of"):
            with monkeypatch.context() as patch:
                patch.setattr(identity, change, lambda *_: "another")
                kept.sources.cache_clear()
                lowerings.clear()
                for _ in range(2):
                    compile_graph(graph)
                assert len(lowerings) == 1
    finally:
        kept.sources.cache_clear()
    lowerings.clear()
    compile_graph(graph)
    assert not lowerings


def test_programs_for_extents_that_vary_are_not_kept(lowerings: list[Graph], tmp_path: Path) -> None:
    graph = graph_of(lambda x: x * 2.0, X)
    count = len(programs(tmp_path))
    lowerings.clear()
    kept.prepared(graph, stored=1, varied=True)
    assert len(lowerings) == 1 and len(programs(tmp_path)) == count


def test_what_is_no_program_is_made_anew(lowerings: list[Graph], tmp_path: Path) -> None:
    """Files whose hashes are right, but that hold something else."""
    import pickle

    graph = graph_of(lambda x: rt.sin(x) + x, X)
    wanted = compile_graph(graph)([X])[0]
    [path] = programs(tmp_path)
    good = path.read_bytes()
    for content in (b"", b"nonsense", pickle.dumps(os.getcwd), good[:40]):
        cache.current().store(path.stem, cache.Entry("program", content), "program")
        lowerings.clear()
        np.testing.assert_array_equal(compile_graph(graph)([X])[0], wanted)
        assert len(lowerings) == 1 and path.read_bytes() == good


def test_nothing_is_kept_without_a_cache(
    lowerings: list[Graph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cache.unused():
        graph = graph_of(lambda x: rt.sin(x) + x, X)
        lowerings.clear()
        compile_graph(graph)
        compile_graph(graph)
    monkeypatch.setenv(cache.FOLDER, "off")
    compile_graph(graph)
    assert len(lowerings) == 3 and not programs(tmp_path)


# ---- constants


def test_large_constants_are_kept_shortly(lowerings: list[Graph], tmp_path: Path) -> None:
    """What the graph holds already, or what is one number, takes no room."""
    def f(x: Any) -> Any:
        table = rt.tensor([float(i * i % 97) for i in range(20_000)], dtype=rt.float64)
        return table @ rt.ones(20_000, 3, dtype=rt.float64) + rt.arange(20_000) @ rt.ones(20_000).long() + x

    graph = graph_of(f, X[:3])
    answers = [compile_graph(graph)([X[:3]])[0] for _ in range(2)]
    np.testing.assert_array_equal(*answers)
    assert len(lowerings) == 1
    np.testing.assert_allclose(answers[0], f(rt.from_numpy(X[:3]))._data, rtol=1e-12)
    [path] = programs(tmp_path)
    assert path.stat().st_size < 20_000 * 8 * 1.2 + 4000


# ---- looking at it


def module(tmp_path: Path, name: str, lines: int) -> Any:
    """A function from a file of its own, `lines` further down."""
    path = tmp_path / f"{name}.py"
    path.write_text("\n" * lines + f"""
import retape as rt
def {name}(first):
    {name}_tail = rt.exp(first) * 2.0
    return rt.linalg.inv({name}_tail.reshape(2, 2) - 2.0), {name}_tail
""")
    scope: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), scope)
    return rt.compile(scope[name])


def test_what_is_shown_is_of_the_trace_that_is_looked_at(lowerings: list[Graph], tmp_path: Path) -> None:
    x = np.array([2.0, 1.0, 1.0, 2.0])
    shown, errors = [], []
    for number, name in enumerate(("older", "newer")):
        found = module(tmp_path, name, 7 * number)
        s = found.specialize(x)
        s._code.program  # noqa: B018
        assert len(lowerings) == 1
        shown.append([kernel.source for kernel in s._code.program.kernels])
        with pytest.raises(rt.errors.RetapeError) as caught:
            s._code.program([np.zeros(4)])
        errors.append(str(caught.value))
        lowerings[1:] = []
    assert "older.py:5" in errors[0] and "newer.py:12" in errors[1]
    assert "older.py:4" in "".join(shown[0]) and "newer.py:11" in "".join(shown[1])
    moved = [text.replace("older", "newer").replace(":4:", ":11:").replace(":5:", ":12:") for text in shown[0]]
    assert moved == shown[1]
    assert rt.compile(lambda x: x * 1.0).specialize(x).memory["inputs"] == 32


def test_nothing_of_a_program_is_forgotten() -> None:
    """Whoever adds a field sees to it that `packing` tells it, and that it comes back."""
    kinds = Lowered, HostStep, ProductStep, KernelStep, PanelStep, Chunks, Division, Emitted, View, Buffer
    assert {kind.__name__: " ".join(kind.__annotations__) for kind in kinds} == {
        "Lowered": "graph strict steps inputs outputs final buffers status offsets workspace beside",
        "HostStep": "node operands result", "ProductStep": "operands arguments batch", "KernelStep": "emitted chunks",
        "PanelStep": "product kernel reads rows lanes scratch", "Chunks": "size count strides",
        "Division": "grain chunk work partial",  # the last for lowering alone, as are walks
        "Emitted": "source labels operands pointers views ints extent division walks",
        "View": "buffer shape strides offset", "Buffer": "dtype numel kind constant"}


def test_host_steps_know_their_operation(lowerings: list[Graph]) -> None:
    graph = graph_of(lambda x: rt.linalg.pinv(x.reshape(2, 2) * 2.0), np.array([2.0, 1.0, 1.0, 2.0]))
    forms = lower(graph), reread(lower(graph))
    hosts = [[step for step in form.steps if isinstance(step, HostStep)] for form in forms]
    for a, b in zip(*hosts, strict=True):
        assert (a.node.op, a.node.attrs, a.node.type, a.node.name, a.node.note) == \
            (b.node.op, b.node.attrs, b.node.type, b.node.name, b.node.note)
    assert hosts[0] and pack(lower(graph)) == pack(reread(lower(graph)))


@pytest.mark.parametrize("folder", ["", "kept"])
def test_long_programs_hold_nothing_of_what_lowered_them(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lowerings: list[Graph]
) -> None:
    """They are made anew from what would be kept of them, with or without a cache; they read like others."""
    def f(x: Any, y: Any) -> None:
        for _ in range(12):
            x.add_(rt.tanh(y * x[::-1]))

    def called() -> tuple[Any, list[str]]:
        x, compiled = X.copy(), rt.compile(f)
        for _ in range(3):
            compiled(x, X)
        return x, [kernel.source for kernel in compiled.specialize(x, X).kernels]

    wanted = called()
    monkeypatch.setenv(cache.FOLDER, str(tmp_path / "other") if folder else "")
    monkeypatch.setattr(kept, "MANY", 0)
    cache._open.cache_clear()
    made: list[Any] = []
    monkeypatch.setattr(kept, "unpack", lambda *given: made.append(given) or unpack(*given))
    found = called()
    assert made
    np.testing.assert_array_equal(found[0], wanted[0])
    assert found[1] == wanted[1] and "tanh" in "".join(found[1])
