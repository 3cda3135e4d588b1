"""What is done once although it is met often: counts, no times."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from programs import Program, programs
from support import examples, loops_only

import retape as rt
from retape.codegen import reuse
from retape.codegen.emit import emit
from retape.codegen.lower import lower
from retape.codegen.lowered import Emitted, KernelStep
from retape.ir import CATALOGUE, Graph, GraphBuilder, Op, f32, f64, input_node
from retape.ir import builder as builder_module
from retape.ir.collection import RARE, paused, rarely, set_aside
from retape.ir.passes import differentiate, partition


@pytest.fixture
def inferred(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each op's type rule is asked."""
    counts: Counter[str] = Counter()
    for name in ("sin", "mul", "sum", "pow"):
        op = CATALOGUE[name]

        def infer(*given: Any, op: Op = op, rule: Any = op.infer) -> Any:
            counts[op.name] += 1
            return rule(*given)

        monkeypatch.setitem(CATALOGUE, name, replace(op, infer=infer))
    return counts


def test_a_type_is_inferred_once_for_each_op_types_and_attributes(inferred: Counter[str]) -> None:
    b = GraphBuilder()
    x, y = input_node("x", f64[2, 3]), input_node("y", f32[2, 3])
    for i in range(20):
        x = b.sin(b.mul(x, x)) if i % 2 else b.sin(x)
    b.sin(y)
    assert inferred == {"sin": 2, "mul": 1}
    types = [b.sum(x, axis=(axis,), keepdims=False).type for axis in (0, 1, 0)]
    assert [str(t) for t in types] == ["f64[3]", "f64[2]", "f64[3]"]
    assert inferred["sum"] == 2
    assert b.pow(x, 2).type is b.pow(x, 2.5).type  # equal types are one object
    assert inferred["pow"] == 2  # a literal counts with its value and its kind


def test_operations_whose_keys_have_one_hash_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder_module, "hash", lambda key: 1, raising=False)
    b, x = GraphBuilder(), input_node("x", f64[2])
    first, second = b.sin(x), b.cos(x)
    assert first.op.name == "sin" and second.op.name == "cos"
    assert b.sin(x) is first  # the one that is in the table is found
    assert b.known(second, second.inputs) is not first and b.known(first, first.inputs) is first


def test_collections_are_held_back_inside_and_as_before_outside() -> None:
    before = gc.get_threshold()
    try:
        gc.set_threshold(500, 7, 8)
        with rarely:
            assert gc.get_threshold() == RARE
            with paused, rarely:
                assert gc.get_threshold()[0] == 0
            assert gc.get_threshold() == RARE
        assert gc.get_threshold() == (500, 7, 8)
        for own in ((900, 7, 8), (0, 7, 8)):
            with rarely:
                gc.set_threshold(*own)  # what is set inside stays
                with paused:
                    assert gc.get_threshold() == own
            assert gc.get_threshold() == own
        for own in ((0, 7, 8), (RARE[0] + 1, 7, 8)):  # no collections at all, or rarer ones
            gc.set_threshold(*own)
            with rarely, paused:
                assert gc.get_threshold() == own
            assert gc.get_threshold() == own
        gc.set_threshold(500, 7, 8)
        with pytest.raises(ZeroDivisionError), paused:
            _ = 1 / 0
        assert gc.get_threshold() == (500, 7, 8)
    finally:
        gc.set_threshold(*before)


def test_what_is_made_while_collections_are_held_back_is_old_afterwards() -> None:
    kept: list[list[int]] = []
    assert gc.get_freeze_count() == 0
    with paused:
        kept += [[i] for i in range(5000)]
    assert gc.get_count()[0] < 5000 and len(gc.get_objects(generation=0)) < 1000
    assert gc.get_freeze_count() == 0
    ring: list[Any] = []
    with paused:
        ring.append(ring)
    found = weakref.ref(kept_alive := _Node(ring))
    kept_alive.self = kept_alive
    del kept_alive, ring
    gc.collect()
    assert found() is None  # garbage is found all the same


def test_what_was_there_before_is_set_aside_from_collections() -> None:
    assert gc.get_freeze_count() == 0
    with set_aside:
        assert gc.get_freeze_count() > 1000
        with set_aside:
            pass
        assert gc.get_freeze_count() > 1000
        with paused:
            pass
        assert gc.get_freeze_count() > 1000
        inner = _Node(None)
        inner.self, found = inner, weakref.ref(inner)
        del inner
        gc.collect()
        assert found() is None
    assert gc.get_freeze_count() == 0
    gc.freeze()
    try:
        with set_aside:
            pass
        assert gc.get_freeze_count() > 1000  # what a user has frozen stays so
    finally:
        gc.unfreeze()


class _Node:
    """Something that can be referred to weakly, and to itself."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.self: Any = None


@contextmanager
def compared_with_direct_text(shared: dict[Any, Any] | None = None) -> Iterator[list[Emitted]]:
    """Every kernel is also written by `emit` itself, and must be the same; gives them all.

    `shared` holds the templates of all programs meanwhile, so that one meets the structures of the others.
    """
    found: list[Emitted] = []
    real = reuse.Emitter.emit

    def checked(self: Any, group: Any, views: Any, stored: Any, inlined: Any) -> Emitted:
        if shared is not None:
            self.templates = shared
        kernel = real(self, group, views, stored, inlined)
        direct = emit(group, views, stored, inlined, self.status)
        for name in ("source", "pointers", "views", "ints", "extent"):
            assert getattr(kernel, name) == getattr(direct, name), f"{name}\n{direct.source}"
        found.append(kernel)
        return kernel

    reuse.Emitter.emit = checked  # type: ignore[method-assign]
    try:
        yield found
    finally:
        reuse.Emitter.emit = real  # type: ignore[method-assign]


TEMPLATES: dict[Any, Any] = {}  # of all examples of the test below


@examples(200)
@given(programs(most=25))
def test_reused_text_is_what_would_be_written(program: Program) -> None:
    graph = rt.compile(lambda *inputs: program(*inputs)).specialize(*program.tensors()).graph
    with loops_only(), compared_with_direct_text(TEMPLATES):
        lower(graph)
        for part in partition(differentiate(graph)):
            lower(part)


def unrolled(steps: int) -> Graph:
    """A recurrence over the rows of an array, written back row by row."""
    def call(w: Any, x: Any) -> Any:
        h, rows = x[0], []
        for t in range(1, steps):
            h = rt.tanh(x[t] * w + h) - x[t - 1 : t + 1].mean(axis=0)
            h = h / (1.0 + (h * h).sum())
            rows.append(h)
        return rt.stack(rows)

    arrays = np.ones(5), np.random.default_rng(0).standard_normal((steps, 5))
    return rt.compile(call).specialize(*arrays).graph


def test_an_unrolled_loop_has_as_many_texts_as_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def counted(*given: Any) -> Emitted:
        kernel = emit(*given)
        written.append(kernel.source)
        return kernel

    monkeypatch.setattr(reuse, "emit", counted)
    counts = []
    for steps in (48, 96):  # in both, what a round reads of the array is a small part of it
        for graph in (unrolled(steps), *partition(differentiate(unrolled(steps)))):
            written.clear()
            with compared_with_direct_text() as kernels:
                lower(graph)
            assert len(kernels) > 1.5 * steps
            counts.append(len(written))
    assert counts[:3] == counts[3:]
    assert max(counts) < 24


def test_what_comes_before_a_loop_makes_no_long_kernel() -> None:
    """The first round differs from the others, and so does what stands before: they are cut off where the loop begins
    to repeat."""
    def call(x: Any) -> Any:
        y = rt.exp(x) * x
        for _ in range(300):
            y = rt.sin(y) + x
        return y

    graph = rt.compile(call).specialize(rt.tensor(np.linspace(0.1, 1.0, 100), requires_grad=True)).graph
    for part in (graph, *partition(differentiate(graph))):
        lowered = lower(part)
        lengths = [step.emitted.source.count("\n") for step in lowered.steps if isinstance(step, KernelStep)]
        assert max(lengths) < 150 and len(lengths) < 25
        assert len({step.emitted.source for step in lowered.steps if isinstance(step, KernelStep)}) < 6


def test_tracing_and_passes_leave_no_cycles_behind() -> None:
    """While collections are held back, a cycle would keep whole graphs and their values alive."""
    def call(w: Any, x: Any) -> Any:
        h = x[0]
        for t in range(1, 6):
            h = rt.tanh(x[t] * w + h) / (1.0 + (h * h).sum())
        return (h * h).sum()

    arrays = np.ones(5), np.random.default_rng(0).standard_normal((6, 5))
    for function in (call, rt.func.value_and_grad(call)):
        compiled = rt.compile(function)
        enabled = gc.isenabled()
        gc.collect()
        gc.disable()
        try:
            compiled(*arrays)
            assert gc.collect() == 0
            graph = compiled.specializations[0].graph
            kept = [graph, *partition(differentiate(graph))]
            assert gc.collect() == 0
            kept += [lower(g) for g in kept]
            assert gc.collect() == 0
        finally:
            if enabled:
                gc.enable()
