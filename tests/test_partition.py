"""What the forward graph saves: the minimum cut against all choices, and the flow against SciPy's."""

from __future__ import annotations

import importlib
from itertools import chain, combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow
from support import examples

import retape as rt
from retape.ir import Graph, GraphBuilder, Node, f64, input_node, verify
from retape.ir.passes import backward_graph, differentiate, partition, share_views
from retape.ir.passes.cut import ENDLESS, Network

rules = importlib.import_module("retape.ir.passes.partition")

SIZES = (1, 50, 2000)
STEPS = ("add", "mul", "div", "tanh", "exp", "neg", "sum", "expand")


@st.composite
def graphs(draw: st.DrawFn, most: int = 7) -> Graph:
    """A few operations of different prices on vectors of one length."""
    size = draw(st.sampled_from(SIZES))
    b = GraphBuilder()
    inputs = [input_node(f"x{i}", f64[size]) for i in range(2)]
    b.reserve(inputs)
    values: list[Any] = list(inputs)
    for _ in range(draw(st.integers(1, most))):
        step = draw(st.sampled_from(STEPS))
        a, c = (values[-1 - draw(st.integers(0, min(3, len(values) - 1)))] for _ in range(2))
        if step in ("add", "mul", "div"):
            values.append(getattr(b, step)(a, c))
        elif step == "sum":
            values.append(b.sum(a, axis=(0,), keepdims=True))
        elif step == "expand":
            values.append(b.expand(a, shape=(size,)))
        else:
            values.append(getattr(b, step)(a))
    return verify(Graph("g", tuple(inputs), tuple(b.nodes), (values[-1],), "trace", "g"))


def price(graph: Graph, read: set[Node], kept: set[Node]) -> float:
    """What backward and forward pay together for a choice, said once more in plain words."""
    total, stack, seen = sum(map(rules.storage, kept)), [n for n in read if n not in kept], set()
    loads: dict[Node, int] = {}
    while stack:
        node = stack.pop()
        if node in seen or node in graph.inputs:
            continue
        seen.add(node)
        total += rules.work(node)
        for parent in node.parents():
            if parent in graph.inputs and parent not in read:
                loads[parent] = loads.get(parent, 0) + node.type.nbytes
            if parent not in kept:
                stack.append(parent)
    return total + sum(rules.LOADED * min(size, node.type.nbytes) for node, size in loads.items())


@examples(150)
@given(graphs(), st.data())
def test_no_choice_is_cheaper(graph: Graph, data: st.DataObject) -> None:
    read = set(data.draw(st.lists(st.sampled_from([*graph.inputs, *graph.nodes]), min_size=1, unique=True)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, "FAR", ENDLESS)
        found = price(graph, read, rules.worth_saving(graph, read))
    choices = chain.from_iterable(combinations(graph.nodes, k) for k in range(len(graph.nodes) + 1))
    least = min(price(graph, read, set(choice)) for choice in choices)
    # an input may be counted twice that two groups read which have nothing else in common
    twice = sum(rules.LOADED * node.type.nbytes for node in graph.inputs if node not in read)
    assert least <= found <= least + twice < ENDLESS


@examples(100)
@given(graphs(most=25), st.sampled_from([2, 5, 1000]))
def test_the_parts_give_the_whole_derivative(graph: Graph, largest: int) -> None:
    joint = differentiate(graph)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, "LARGEST", largest)
        forward, backward = map(verify, partition(joint))
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(0.5, 1.5, node.type.shape) for node in graph.inputs]
    seeds = [rng.standard_normal(node.type.shape) for node in joint.cotangents]
    _, saved = forward(*arrays)
    for a, b in zip(backward(*seeds, *saved), backward_graph(joint)(*seeds, *arrays), strict=True):
        np.testing.assert_array_equal(a, b)
    free = ("pointwise", "view", "source")
    assert all(node.op.kind in free for node in backward.nodes if node.note.startswith("remat"))


@examples(100)
@given(st.integers(3, 9), st.data())
def test_flow_is_scipys(count: int, data: st.DataObject) -> None:
    node = st.integers(0, count - 1)
    edges = data.draw(st.dictionaries(st.tuples(node, node).filter(lambda e: e[0] != e[1]), st.integers(0, 20),
                                      max_size=30))
    network = Network()
    for _ in range(count - 2):
        network.node()
    dense = np.zeros((count, count), np.int32)
    for (start, end), capacity in edges.items():
        network.edge(start, end, capacity)
        dense[start, end] = capacity
    near = network.source_side()
    crossing = sum(capacity for (start, end), capacity in edges.items() if near[start] and not near[end])
    assert near[0] and not near[1]
    assert crossing == maximum_flow(csr_array(dense), 0, 1).flow_value


def test_a_cut_through_endless_edges_is_refused() -> None:
    network = Network()
    network.edge(0, 1, ENDLESS)
    with pytest.raises(ValueError, match="endless"):
        network.source_side()


def saved_bytes(function: Any, *tensors: Any) -> int:
    s = rt.compile(function).specialize(*tensors)
    return sum(node.type.nbytes for node in s.forward.saved if node.name not in {n.name for n in s.graph.inputs})


def test_one_value_is_saved_from_which_others_follow() -> None:
    """Each of three products is read; all follow from the one exponential by an addition."""
    x = rt.ones(10_000, dtype=rt.float64, requires_grad=True)

    def f(x: Any) -> Any:
        e = x.exp()
        a, b, c = e + 1.0, e + 2.0, e - 3.0
        return (a * a * b * b * c * c).sum()

    assert saved_bytes(f, x) == 80_000


def test_a_narrow_value_is_saved_rather_than_wide_ones() -> None:
    """A row's means are saved, not what is made of them and the input."""
    x = rt.ones(100, 1000, dtype=rt.float64, requires_grad=True)
    assert saved_bytes(lambda x: ((x - x.mean(dim=1, keepdim=True)) ** 2).sum(), x) == 800


def test_what_is_far_is_saved() -> None:
    """A long chain of cheap steps, each of which is read, would be stored in backward if nothing of it were saved."""
    x = rt.ones(1000, dtype=rt.float64, requires_grad=True)

    def f(x: Any) -> Any:
        y = x
        for _ in range(200):
            y = (y + 0.5) * x
        return y.sum()

    between = 400 / (saved_bytes(f, x) / 8000)  # steps
    assert 6 * rules.FAR < between < 10 * rules.FAR


def test_steps_that_read_the_same_slices_are_equal_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice of an input costs nothing to have: it doesn't make one problem of all the steps that read it."""
    solved: list[int] = []
    cheapest = rules._cheapest

    def counted(values: Any, sizes: Any) -> list[int]:
        solved.append(len(values))
        found: list[int] = cheapest(values, sizes)
        return found

    monkeypatch.setattr(rules, "_cheapest", counted)
    counts = []
    for steps in (40, 80):
        def call(x: Any, steps: int = steps) -> Any:
            h, total = x[0], 0.0
            for _ in range(steps):
                gate = rt.sigmoid(h * x[1] + x[2])
                h = gate * h + (1.0 - gate) * rt.tanh(h * x[3] + 0.5)
                total = total + (h * h).sum()
            return total

        solved.clear()
        graph = rt.compile(call).specialize(rt.ones(4, 20, dtype=rt.float64, requires_grad=True)).graph
        partition(differentiate(share_views(graph)))
        counts.append((len(solved), max(solved)))
    assert counts[0] == counts[1] and counts[0][1] < 100
