"""Sums of one array at many places are read from that array with zeros around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import retape as rt
from retape.codegen.lower import lower
from retape.ir import Graph, parse, same_graph, verify
from retape.ir.passes import margins, read_margins

HEAD = '@graph(kind="trace", of="t")\ndef g(x: f64[10], y: f64[10]):\n'
RNG = np.random.default_rng(0)


def graph(lines: list[str]) -> Graph:
    return verify(parse(HEAD + "\n".join(f"    {line}" for line in lines) + "\n"))


def embeds(starts: list[int], values: list[str]) -> list[str]:
    """The sum of 8 numbers at places of 10, as text."""
    lines = ["v: f64[8] = op.slice(y, index=(slice(0, 8, 1),))", "w: f64[8] = op.sin(v)",
             "u: f64[8] = op.mul(w, 3.0)", "s: f64[8] = op.mul(w, v)"]
    for number, (start, value) in enumerate(zip(starts, values, strict=True)):
        index = f"(slice({start}, {start + 8}, 1),)"
        lines.append(f"a{number}: f64[10] = op.embed({value}, shape=(10,), index={index})")
    lines.append("t0: f64[10] = op.add(x, a0)")
    lines += [f"t{n}: f64[10] = op.add(t{n - 1}, a{n})" for n in range(1, len(starts))]
    return [*lines, f"return (t{len(starts) - 1},)"]


def test_read_margins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(margins, "LEAST", 3)
    found = verify(read_margins(graph(embeds([0, 1, 2, 1], ["w", "u", "w", "s"]))))
    wanted = graph([
        "v: f64[8] = op.slice(y, index=(slice(0, 8, 1),))", "w: f64[8] = op.sin(v)", "s: f64[8] = op.mul(w, v)",
        "m: f64[12] = op.embed(w, shape=(12,), index=(slice(2, 10, 1),))",
        "a0: f64[10] = op.slice(m, index=(slice(2, 12, 1),))", "b: f64[10] = op.slice(m, index=(slice(1, 11, 1),))",
        "a1: f64[10] = op.mul(b, 3.0)", "a2: f64[10] = op.slice(m, index=(slice(0, 10, 1),))",
        "a3: f64[10] = op.embed(s, shape=(10,), index=(slice(1, 9, 1),))",
        "t0: f64[10] = op.add(x, a0)", "t1: f64[10] = op.add(t0, a1)", "t2: f64[10] = op.add(t1, a2)",
        "t3: f64[10] = op.add(t2, a3)", "return (t3,)"])
    assert same_graph(found, wanted), f"\n{found}\nis not\n{wanted}"
    assert read_margins(found) is found


@pytest.mark.parametrize("values", [["w", "w", "s", "s"], ["w", "u"]], ids=["of several", "few"])
def test_sums_that_stay_as_they_are(values: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(margins, "LEAST", 3)
    before = graph(embeds([0, 1, 2, 0][: len(values)], values))
    assert read_margins(before) is before


def test_margins_that_would_be_large_are_not_laid_out() -> None:
    """Where an array with margins in one dim is 1.9 times as large, that with margins in two is 3.6 times."""
    for rank, changes in ((1, True), (2, False)):
        shape, small = "[" + ", ".join(["100"] * rank) + "]", "(10, " + "1, " * (rank - 1) + ")"
        lines = [f"v: f64[{small[1:-3]}] = op.reshape(x, shape={small})"]
        for n in range(10):
            index = ", ".join([f"slice({9 * n}, {9 * n + 10}, 1)", f"slice({10 * n}, {10 * n + 1}, 1)"][:rank])
            lines.append(f"a{n}: f64{shape} = op.embed(v, shape=({shape[1:-1]},), index=({index},))")
        before = graph([*lines, f"return ({', '.join(f'a{n}' for n in range(10))},)"])
        assert (read_margins(before) is not before) == changes


def filtered(taps: int, dims: int) -> Callable[[Any], Any]:
    """A filter of a padded array, written with slices."""
    weights = np.random.default_rng(1).random((taps,) * dims)

    def run(x: Any) -> Any:
        padded = rt.nn.functional.pad(x, (taps // 2,) * (2 * dims))
        total = 0.0
        for place in np.ndindex(weights.shape):
            window = tuple(slice(p, p + extent) for p, extent in zip(place, x.shape, strict=True))
            total = total + float(weights[place]) * padded[window]
        return (total ** 3).sum()

    return run


@pytest.mark.parametrize(("taps", "dims"), [(7, 2), (3, 2), (15, 1), (3, 3)])
def test_the_gradient_of_a_filter_lays_out_one_array(taps: int, dims: int) -> None:
    x = RNG.standard_normal((200, 30, 20)[:dims] if dims < 3 else (12, 10, 11))
    gradient = rt.compile(rt.func.grad(filtered(taps, dims)))
    leaf = rt.from_numpy(x, requires_grad=True)
    filtered(taps, dims)(leaf).backward()
    for _ in range(2):
        np.testing.assert_allclose(gradient(x), leaf.grad.numpy(), rtol=1e-11, atol=1e-11)
    large = [b for b in lower(gradient.specialize(x).graph).buffers if b.numel >= x.size]
    assert len(large) <= 9  # the padded array, that with margins, results of kernels: not one for each weight
