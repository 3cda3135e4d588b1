"""Random programs: all executions agree in values and gradients, text reads back, passes keep what graphs mean."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from hypothesis import given, note
from hypothesis import strategies as st
from programs import F64, I64, Program, programs
from support import examples, executions, loops_only, run_unjitted

import retape as rt
from retape.ir import Graph, parse, print_module, same_graph, verify
from retape.ir.passes import MARKERS, backward_graph, differentiate, eliminate_dead, partition, simplify


def compiled_form(program: Program) -> Any:
    def run(*inputs: Any) -> Any:
        return program(*inputs)

    return rt.compile(run)


def traced(program: Program) -> Graph:
    """The program's graph, as the tracer records it."""
    return compiled_form(program).specialize(*program.tensors()).graph


def agree(found: Any, wanted: Any, loose: bool, what: str, atol: float = 0.0) -> None:
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.dtype == wanted.dtype and found.shape == wanted.shape, what
    if found.dtype.kind in "bi":
        np.testing.assert_array_equal(found, wanted, what)
    else:
        scale = max(1.0, float(np.abs(wanted).max(initial=0.0)))
        rtol = 2e-3 if loose or found.dtype == np.float32 else 1e-9
        np.testing.assert_allclose(found, wanted, rtol, rtol * scale + atol, err_msg=what)


def executions_agree(program: Program, tiny: bool = True) -> None:
    """Eager execution and all forms of the program's graph give the same."""
    tensors = program.tensors()
    wanted = [t._data for t in program(*tensors)]
    graph = verify(traced(program))
    note(str(graph))
    arrays = [t._data for t in tensors]
    used = {node.name: position for position, node in enumerate(graph.inputs)}
    assert len(used) == len(arrays)
    for name, results in executions(graph, arrays, tiny).items():
        for number, (found, expected) in enumerate(zip(results, wanted, strict=True)):
            if name == "interpreter":
                np.testing.assert_array_equal(found, expected, err_msg=f"{name}, output {number}")
            agree(found, expected, program.has_f32, f"{name}, output {number}")


@examples(200)
@given(programs(most=25))
def test_four_executions_agree(program: Program) -> None:
    executions_agree(program)


@examples(120)
@given(programs(most=20), st.booleans())
def test_gradients_agree(program: Program, loops: bool) -> None:
    """Eager and compiled; and the compiled call changes nothing of its arguments."""
    with loops_only() if loops else contextlib.nullcontext():
        _gradients_agree(program)


def _gradients_agree(program: Program) -> None:
    tensors = program.tensors(requires_grad=True)
    compiled = compiled_form(program)
    rng = np.random.default_rng(1)
    weights: list[Any] = []

    def gradients(function: Any) -> list[Any]:
        outputs = function(*tensors)
        loss: Any = rt.tensor(0.0, dtype=F64)
        for number, out in enumerate(outputs):
            if len(weights) <= number:
                weights.append(np.asarray(rng.standard_normal(out.shape)))
            if out.requires_grad:
                loss = loss + (out * rt.from_numpy(weights[number])).sum()
        wanted = [t for t in tensors if t.requires_grad]
        if not loss.requires_grad:
            return [None] * len(wanted)
        return list(rt.autograd.grad(loss, wanted, allow_unused=True))

    eager = gradients(program)
    note(repr(program))
    for run in ("traced", "compiled", "compiled again"):
        found = gradients(compiled)
        for part, expected in zip(found, eager, strict=True):
            if part is None or expected is None:  # None and zeros both say: no influence
                other = part if expected is None else expected
                assert other is None or not np.any(other._data), run
            else:
                agree(part._data, expected._data, program.has_f32, run)
    assert compiled.traces == 1
    for tensor, array in zip(tensors, program.arrays, strict=True):
        np.testing.assert_array_equal(tensor._data, array)
        assert tensor.grad is None and tensor._version[0] == 0


@examples(200)
@given(programs(dtypes=(F64, I64), most=15))
def test_gradients_against_differences(program: Program) -> None:
    if program.has_f32 and any(rt.float32 in step[2] for step in program.steps):
        return
    if any(name == "detach" for name, _, _ in program.steps):
        return  # differences see through it
    tensors = program.tensors(requires_grad=True)
    rng = np.random.default_rng(1)
    wanted = [t for t in tensors if t.requires_grad]
    outputs = [o for o in program(*tensors) if o.dtype is F64 and o.requires_grad]
    weights = [np.asarray(rng.standard_normal(o.shape)) for o in outputs]
    if not outputs:
        return
    found = rt.autograd.grad(outputs, wanted, [rt.from_numpy(w) for w in weights], allow_unused=True)
    directions = [np.asarray(rng.standard_normal(t.shape)) for t in wanted]
    stated = sum(float((g._data * d).sum()) for g, d in zip(found, directions, strict=True) if g is not None)
    positions = [i for i, o in enumerate(program(*tensors)) if o.dtype is F64 and o.requires_grad]

    def value(step: float) -> float:
        rest = iter(directions)
        moved = [rt.from_numpy(t._data + step * next(rest)) if t.requires_grad else t for t in tensors]
        results = program(*moved)
        return sum(float((results[i]._data * w).sum()) for i, w in zip(positions, weights, strict=True))

    note(repr(program))
    # a kink within a step spoils a difference, but not at every step size
    measured = [(value(h) - value(-h)) / (2 * h) for h in (1e-5, 1e-6, 1e-7)]
    assert min(abs(m - stated) for m in measured) <= 1e-4 + 1e-4 * abs(stated), (stated, measured)


@examples(200)
@given(programs(most=25))
def test_text_reads_back_and_runs(program: Program) -> None:
    graph = traced(program)
    arrays = [t._data for t in program.tensors()]
    graphs = [graph, simplify(graph)]
    if any(node.type.dtype.is_differentiable for node in graph.inputs):
        joint = differentiate(graph)
        graphs += [*partition(joint), backward_graph(joint)]
    for each in graphs:
        text = str(each)
        again = verify(parse(text))
        assert same_graph(again, each) and same_graph(each, again)
        assert str(again) == text
    for each in graphs[:2]:  # a printed module is Python that runs
        scope: dict[str, Any] = {}
        with np.errstate(all="ignore"):
            exec(compile(print_module(each), "<module>", "exec"), scope)
            results = scope[each.name](*arrays)
        for found, expected in zip(results, each(*arrays), strict=True):
            np.testing.assert_array_equal(found, expected)


@examples(200)
@given(programs(most=25))
def test_passes_keep_the_meaning(program: Program) -> None:
    graph = verify(traced(program))
    arrays = [t._data for t in program.tensors()]
    wanted = graph(*arrays)
    note(str(graph))
    for run in (simplify, eliminate_dead, lambda g: simplify(g, MARKERS), lambda g: simplify(simplify(g), MARKERS)):
        changed = verify(run(graph))
        assert [n.name for n in changed.inputs] == [n.name for n in graph.inputs]
        for found, expected in zip(changed(*arrays), wanted, strict=True):
            agree(found, expected, program.has_f32, str(changed))
        assert same_graph(run(changed), run(run(changed)))
    assert len(simplify(graph)) <= len(graph) + 8


@examples(120)
@given(programs(dtypes=(F64, I64), most=15))
def test_derivative_graphs_agree(program: Program) -> None:
    """Forward and backward graph, the whole backward graph, and their simplified forms, by interpreter and kernels."""
    graph = traced(program)
    if not any(node.type.dtype.is_differentiable for node in graph.inputs):
        return
    arrays = [t._data for t in program.tensors()]
    joint = differentiate(graph)
    forward, backward = (verify(g) for g in partition(joint))
    whole = verify(backward_graph(joint))
    rng = np.random.default_rng(6)
    seeds = [np.asarray(rng.standard_normal(c.type.shape)).astype(c.type.dtype.numpy) for c in joint.cotangents]
    outputs, saved = forward(*arrays)
    saved = [np.array(s, order="C") for s in saved]  # graph inputs are row-major
    for found, expected in zip(outputs, graph(*arrays), strict=True):
        np.testing.assert_array_equal(found, expected)
    wanted = whole(*seeds, *arrays)
    note(f"{forward}\n{backward}\n{whole}")
    runs = {
        "partitioned": backward(*seeds, *saved),
        "simplified": verify(simplify(backward))(*seeds, *saved),
        "whole simplified": verify(simplify(whole))(*seeds, *arrays),
        "tiny unjitted": run_unjitted(backward, [*seeds, *saved]),
        "whole tiny unjitted": run_unjitted(whole, [*seeds, *arrays]),
    }
    with loops_only():
        runs |= {
            "unjitted": run_unjitted(backward, [*seeds, *saved]),
            "whole unjitted": run_unjitted(whole, [*seeds, *arrays]),
        }
    for name, results in runs.items():
        for found, expected in zip(results, wanted, strict=True):
            agree(found, expected, program.has_f32, name, 1e-9)
