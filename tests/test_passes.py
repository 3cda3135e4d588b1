"""Passes as texts before and after, compared up to the names of values."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import retape as rt
from retape.ir import CATALOGUE, Graph, GraphBuilder, Node, f64, input_node, parse, parse_module, same_graph, verify
from retape.ir.passes import (
    MARKERS,
    backward_graph,
    collect_embeds,
    collect_products,
    differentiate,
    eliminate_dead,
    group_embeds,
    localise_parts,
    partition,
    share_views,
    simplify,
    unfold_products,
)


def graph(body: str, kind: str = "trace", parameters: str = "x: f64[2, 3]") -> Graph:
    """A graph from the lines of its body."""
    lines = "\n".join(f"    {line.strip()}" for line in body.strip().splitlines())
    return verify(parse(f'@graph(kind="{kind}", of="t")\ndef g({parameters}):\n{lines}\n'))


def becomes(run: Callable[[Graph], Graph], before: str, after: str, parameters: str = "x: f64[2, 3]") -> None:
    found, wanted = verify(run(graph(before, parameters=parameters))), graph(after, parameters=parameters)
    assert same_graph(found, wanted), f"\n{found}\nis not\n{wanted}"
    assert same_graph(verify(run(found)), wanted), "a second run changes something"


# ---- simplify

SIMPLIFY = {
    "identities": ("""
        a: f64[2, 3] = op.mul(x, 1.0)
        b: f64[2, 3] = op.mul(1, a)
        c: f64[2, 3] = op.div(b, 1.0)
        d: f64[2, 3] = op.sub(c, 0.0)
        e: f64[2, 3] = op.pow(d, 1)
        f: f64[2, 3] = op.neg(e)
        g: f64[2, 3] = op.neg(f)
        h: f64[2, 3] = op.exp(g)
        return (h,)""", """
        h: f64[2, 3] = op.exp(x)
        return (h,)"""),
    "an embed that fills the whole in its order": ("""
        a: f64[2, 1, 3] = op.slice(x, index=(slice(0, 2, 1), None))
        b: f64[2, 1, 3] = op.exp(a)
        c: f64[2, 3] = op.embed(b, shape=(2, 3), index=(slice(0, 2, 1), None))
        return (c,)""", """
        a: f64[2, 1, 3] = op.slice(x, index=(slice(0, 2, 1), None))
        b: f64[2, 1, 3] = op.exp(a)
        c: f64[2, 3] = op.reshape(b, shape=(2, 3))
        return (c,)"""),
    "an embed that turns around, and one of a part": ("""
        a: f64[2, 3] = op.embed(x, shape=(2, 3), index=(slice(1, None, -1),))
        b: f64[3, 3] = op.embed(x, shape=(3, 3), index=(slice(0, 2, 1),))
        return (a, b)""", """
        a: f64[2, 3] = op.embed(x, shape=(2, 3), index=(slice(1, None, -1),))
        b: f64[3, 3] = op.embed(x, shape=(3, 3), index=(slice(0, 2, 1),))
        return (a, b)"""),
    "bools are counted as integers": ("""
        a: b1[2, 3] = op.gt(x, 0.0)
        b: i64[2] = op.sum(a, axis=(1,))
        return (b,)""", """
        a: b1[2, 3] = op.gt(x, 0.0)
        c: i64[2, 3] = op.cast(a, dtype=i64)
        b: i64[2] = op.sum(c, axis=(1,))
        return (b,)"""),
    "a slice in its own place": ("""
        a: f64[2, 3] = op.exp(x)
        b: f64[3] = op.slice(a, index=(1,))
        c: f64[2, 3] = op.slice_scatter(a, b, index=(1,))
        d: f64[2, 3] = op.slice_scatter(c, b, index=(0,))
        return (d,)""", """
        a: f64[2, 3] = op.exp(x)
        b: f64[3] = op.slice(a, index=(1,))
        d: f64[2, 3] = op.slice_scatter(a, b, index=(0,))
        return (d,)"""),
    "signs of zero stay": ("""
        a: f64[2, 3] = op.add(x, 0.0)
        b: f64[2, 3] = op.mul(a, 0.0)
        c: f64[2, 3] = op.sub(0.0, b)
        return (c,)""", """
        a: f64[2, 3] = op.add(x, 0.0)
        b: f64[2, 3] = op.mul(a, 0.0)
        c: f64[2, 3] = op.sub(0.0, b)
        return (c,)"""),
    "powers": ("""
        a: f64[2, 3] = op.pow(x, 2)
        b: f64[2, 3] = op.pow(x, 3.0)
        c: f64[2, 3] = op.pow(x, 0.5)
        d: f64[2, 3] = op.pow(x, -1)
        e: f64[2, 3] = op.pow(x, 2.5)
        return (a, b, c, d, e)""", """
        a: f64[2, 3] = op.mul(x, x)
        b: f64[2, 3] = op.mul(a, x)
        c: f64[2, 3] = op.sqrt(x)
        d: f64[2, 3] = op.div(1.0, x)
        e: f64[2, 3] = op.pow(x, 2.5)
        return (a, b, c, d, e)"""),
    "times minus one": ("""
        a: f64[2, 3] = op.mul(x, -1.0)
        return (a,)""", """
        a: f64[2, 3] = op.neg(x)
        return (a,)"""),
    "the same twice": ("""
        a: f64[2, 3] = op.sin(x)
        b: f64[2, 3] = op.sin(x)
        c: f64[2, 3] = op.mul(a, b)
        d: f64[2, 3] = op.mul(a, b)
        e: f64[2, 3] = op.add(c, d)
        return (e,)""", """
        a: f64[2, 3] = op.sin(x)
        c: f64[2, 3] = op.mul(a, a)
        e: f64[2, 3] = op.add(c, c)
        return (e,)"""),
    "literals that differ by type or sign are not the same": ("""
        a: f64[2, 3] = op.mul(x, 2)
        b: f64[2, 3] = op.mul(x, 2.0)
        c: f64[2, 3] = op.add(x, 0.0)
        d: f64[2, 3] = op.add(x, -0.0)
        return (a, b, c, d)""", """
        a: f64[2, 3] = op.mul(x, 2)
        b: f64[2, 3] = op.mul(x, 2.0)
        c: f64[2, 3] = op.add(x, 0.0)
        d: f64[2, 3] = op.add(x, -0.0)
        return (a, b, c, d)"""),
    "constants become literals": ("""
        a: f64[2, 3] = op.full(shape=(2, 3), value=3.0, dtype=f64)
        b: f64[2, 3] = op.mul(x, a)
        return (b,)""", """
        b: f64[2, 3] = op.mul(x, 3.0)
        return (b,)"""),
    "views of constants": ("""
        a: f64[6] = op.full(shape=(6,), value=3.0, dtype=f64)
        b: f64[2, 3] = op.reshape(a, shape=(2, 3))
        c: f64[3, 2] = op.permute(b, axes=(1, 0))
        d: f64[1, 2] = op.slice(c, index=(slice(0, 1, 1),))
        return (d,)""", """
        d: f64[1, 2] = op.full(shape=(1, 2), value=3.0, dtype=f64)
        return (d,)"""),
    "views of views": ("""
        a: f64[6] = op.reshape(x, shape=(6,))
        b: f64[3, 2] = op.reshape(a, shape=(3, 2))
        c: f64[2, 3] = op.permute(b, axes=(1, 0))
        d: f64[3, 2] = op.permute(c, axes=(1, 0))
        e: f64[3, 2] = op.reshape(d, shape=(3, 2))
        f: f64[3, 2] = op.exp(e)
        return (f,)""", """
        b: f64[3, 2] = op.reshape(x, shape=(3, 2))
        f: f64[3, 2] = op.exp(b)
        return (f,)"""),
    "a cast to the same type": ("""
        a: f64[2, 3] = op.cast(x, dtype=f64)
        b: f32[2, 3] = op.cast(a, dtype=f32)
        return (b,)""", """
        b: f32[2, 3] = op.cast(x, dtype=f32)
        return (b,)"""),
    "a cast and back loses digits": ("""
        a: f32[2, 3] = op.cast(x, dtype=f32)
        b: f64[2, 3] = op.cast(a, dtype=f64)
        return (b,)""", """
        a: f32[2, 3] = op.cast(x, dtype=f32)
        b: f64[2, 3] = op.cast(a, dtype=f64)
        return (b,)"""),
    "a choice that is known": ("""
        a: f64[2, 3] = op.exp(x)
        b: f64[2, 3] = op.where(True, x, a)
        c: f64[2, 3] = op.sin(b)
        return (c,)""", """
        c: f64[2, 3] = op.sin(x)
        return (c,)"""),
    "a sum over nothing": ("""
        a: f64[2, 3] = op.sum(x, axis=())
        b: f64[2, 3] = op.exp(a)
        return (b,)""", """
        b: f64[2, 3] = op.exp(x)
        return (b,)"""),
}


@pytest.mark.parametrize("name", SIMPLIFY)
def test_simplify(name: str) -> None:
    becomes(simplify, *SIMPLIFY[name])


def test_simplify_reads_expanded_operands_unexpanded() -> None:
    becomes(simplify, """
        a: f64[2, 3] = op.expand(s, shape=(2, 3))
        b: f64[2, 3] = op.mul(x, a)
        c: f64[2, 3] = op.expand(r, shape=(2, 3))
        d: f64[2, 3] = op.add(b, c)
        return (d,)""", """
        b: f64[2, 3] = op.mul(x, s)
        d: f64[2, 3] = op.add(b, r)
        return (d,)""", "x: f64[2, 3], s: f64[()], r: f64[2, 1]")


def test_simplify_computes_before_it_expands() -> None:
    becomes(simplify, """
        a: f64[2, 3] = op.expand(s, shape=(2, 3))
        b: f64[2, 3] = op.exp(a)
        c: f64[2, 3] = op.mul(b, 2.0)
        return (c,)""", """
        b: f64[()] = op.exp(s)
        c: f64[()] = op.mul(b, 2.0)
        d: f64[2, 3] = op.expand(c, shape=(2, 3))
        return (d,)""", "s: f64[()]")


def test_simplify_keeps_element_types() -> None:
    """A literal takes the type of the tensors it meets; a constant tensor has its own."""
    before = graph("""
        a: f32[2] = op.full(shape=(2,), value=2.0, dtype=f32)
        b: f32[2] = op.mul(n, a)
        c: i64[2] = op.full(shape=(2,), value=3, dtype=i64)
        d: i64[2] = op.mul(i, c)
        return (b, d)""", parameters="n: f32[2], i: i64[2]")
    after = verify(simplify(before))
    arrays = np.array([1.5, 2.5], np.float32), np.array([1, 2])
    for a, b in zip(before(*arrays), after(*arrays), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_simplify_keeps_guards_and_inputs() -> None:
    before = graph("""
        a: f64[()] = op.sum(x, axis=(0, 1))
        b: f64[()] = op.mul(a, 1.0)
        c: b1[()] = op.gt(b, 0.0)
        d: f64[2, 3] = op.exp(x)
        op.guard(c, True)
        return (d,)""", parameters="x: f64[2, 3], unused: f64[()]")
    after = verify(simplify(before))
    assert [n.op.name for n in after.nodes] == ["sum", "gt", "exp"]
    assert len(after.guards) == 1 and after.guards[0].node.op.name == "gt" and after.guards[0].value is True
    assert [n.name for n in after.inputs] == ["x", "unused"]


def test_simplify_folds_literals_alone() -> None:
    builder = GraphBuilder()
    assert builder.mul(3.0, 2.0) == 6.0 and builder.exp(0.0) == 1.0 and not builder.nodes


# ---- eliminate_dead, markers


def test_eliminate_dead() -> None:
    becomes(eliminate_dead, """
        a: f64[2, 3] = op.exp(x)
        b: f64[2, 3] = op.sin(a)
        c: f64[2, 3] = op.cos(b)
        d: f64[2, 3] = op.mul(a, 2.0)
        return (d,)""", """
        a: f64[2, 3] = op.exp(x)
        d: f64[2, 3] = op.mul(a, 2.0)
        return (d,)""")


def test_eliminate_dead_keeps_what_guards_and_saved_values_need() -> None:
    text = """
        a: f64[2, 3] = op.exp(x)
        b: f64[()] = op.sum(a, axis=(0, 1))
        c: f64[2, 3] = op.sin(x)
        d: f64[2, 3] = op.cos(x)
        op.guard(b, 2.0)
        return d, (c,)"""
    before = graph(text, "forward")
    assert eliminate_dead(before) is before


def erase_markers(graph: Graph) -> Graph:
    return simplify(graph, MARKERS)


def test_markers_are_erased() -> None:
    becomes(erase_markers, """
        a: f64[2, 3] = op.clone(x)
        b: f64[2, 3] = op.detach(a)
        c: f64[2, 3] = op.opaque(b, name='Exp')
        d: f64[2, 3] = op.exp(c)
        e: f64[2, 3] = op.clone(d)
        return (e, b)""", """
        d: f64[2, 3] = op.exp(x)
        return (d, x)""")


def test_collect_embeds_along_any_dim() -> None:
    becomes(collect_embeds, """
        a: f64[3, 4] = op.embed(y, shape=(3, 4), index=(slice(0, 3, 1), 2))
        b: f64[3, 4] = op.embed(z, shape=(3, 4), index=(slice(0, 3, 1), 0))
        c: f64[3, 4] = op.add(a, b)
        return (c,)""", """
        c: f64[3, 4] = op.embed_sum(y, z, shape=(3, 4), indices=((slice(0, 3, 1), 2), (slice(0, 3, 1), 0)))
        return (c,)""", "y: f64[3], z: f64[3]")


def test_collect_embeds() -> None:
    parameters = "x: f64[2, 3], y: f64[3], z: f64[3], w: f64[3]"
    becomes(collect_embeds, """
        a: f64[4, 3] = op.embed(y, shape=(4, 3), index=(0,))
        b: f64[4, 3] = op.embed(z, shape=(4, 3), index=(2,))
        c: f64[4, 3] = op.add(a, b)
        d: f64[4, 3] = op.embed(w, shape=(4, 3), index=(1,))
        e: f64[4, 3] = op.add(d, c)
        f: f64[4, 3] = op.exp(e)
        return (f,)""", """
        e: f64[4, 3] = op.embed_sum(y, z, w, shape=(4, 3), indices=((0,), (2,), (1,)))
        f: f64[4, 3] = op.exp(e)
        return (f,)""", parameters)
    becomes(collect_embeds, """
        a: f64[4, 3] = op.embed(y, shape=(4, 3), index=(0,))
        b: f64[4, 3] = op.embed(z, shape=(4, 3), index=(2,))
        c: f64[4, 3] = op.add(a, b)
        d: f64[3] = op.sum(c, axis=(0,), keepdims=False)
        e: f64[4, 3] = op.embed(d, shape=(4, 3), index=(1,))
        f: f64[4, 3] = op.embed(w, shape=(4, 3), index=(3,))
        g: f64[4, 3] = op.add(e, f)
        return (g,)""", """
        c: f64[4, 3] = op.embed_sum(y, z, shape=(4, 3), indices=((0,), (2,)))
        d: f64[3] = op.sum(c, axis=(0,), keepdims=False)
        g: f64[4, 3] = op.embed_sum(d, w, shape=(4, 3), indices=((1,), (3,)))
        return (g,)""", parameters)


def test_group_embeds() -> None:
    """Also where what is embedded is such a sum itself, and beside other terms."""
    parameters = "x: f64[4, 6], u: f64[3], v: f64[3], w: f64[3]"
    becomes(group_embeds, """
        a: f64[6] = op.embed(u, shape=(6,), index=(slice(0, 3, 1),))
        b: f64[4, 6] = op.embed(a, shape=(4, 6), index=(1,))
        c: f64[4, 6] = op.add(b, x)
        d: f64[6] = op.embed(v, shape=(6,), index=(slice(3, 6, 1),))
        e: f64[6] = op.embed(w, shape=(6,), index=(slice(0, 3, 1),))
        f: f64[6] = op.add(d, e)
        g: f64[4, 6] = op.embed(f, shape=(4, 6), index=(1,))
        h: f64[4, 6] = op.add(c, g)
        return (h,)""", """
        d: f64[6] = op.embed(v, shape=(6,), index=(slice(3, 6, 1),))
        s: f64[3] = op.add(u, w)
        a: f64[6] = op.embed(s, shape=(6,), index=(slice(0, 3, 1),))
        f: f64[6] = op.add(a, d)
        g: f64[4, 6] = op.embed(f, shape=(4, 6), index=(1,))
        h: f64[4, 6] = op.add(g, x)
        return (h,)""", parameters)


@pytest.mark.parametrize("body", ["""
        a: f64[4, 6] = op.embed(u, shape=(4, 6), index=(1, slice(0, 3, 1)))
        b: f64[4, 6] = op.embed(v, shape=(4, 6), index=(1, slice(3, 6, 1)))
        c: f64[4, 6] = op.add(a, b)
        return (c,)""", """
        a: f64[4, 6] = op.embed(u, shape=(4, 6), index=(1, slice(0, 3, 1)))
        b: f64[4, 6] = op.embed(v, shape=(4, 6), index=(1, slice(0, 3, 1)))
        c: f64[4, 6] = op.add(a, b)
        return (c, a)""", """
        a: f64[4] = op.embed(u, shape=(4,), index=(slice(0, 3, 1),))
        b: f64[4] = op.embed(v, shape=(4,), index=(slice(0, 3, 1),))
        c: f64[4] = op.add(a, b)
        return (c,)""", """
        a: f64[4, 6] = op.embed(u, shape=(4, 6), index=(1, slice(0, 3, 1)))
        b: f64[4, 6] = op.embed(v, shape=(4, 6), index=(1, slice(0, 3, 1)))
        c: f64[4, 6] = op.add(a, a)
        d: f64[4, 6] = op.add(c, b)
        return (d,)"""], ids=["apart", "read", "large", "twice"])
def test_sums_of_embeds_that_stay_as_they_are(body: str) -> None:
    before = graph(body, parameters="u: f64[3], v: f64[3]")
    assert group_embeds(before) is before


def test_collect_products_adds_to_the_result() -> None:
    parameters = "x: f64[9, 9], y: f64[9, 9], z: f64[9, 9]"
    becomes(collect_products, """
        a: f64[9, 9] = op.matmul(x, y)
        b: f64[9, 9] = op.matmul(y, z)
        c: f64[9, 9] = op.mul(b, 2.0)
        d: f64[9, 9] = op.sub(a, c)
        e: f64[9, 9] = op.sub(d, z)
        f: f64[9, 9] = op.matmul(x, z)
        g: f64[9, 9] = op.permute(f, axes=(1, 0))
        h: f64[9, 9] = op.add(e, g)
        return (h,)""", """
        zt: f64[9, 9] = op.permute(z, axes=(1, 0))
        xt: f64[9, 9] = op.permute(x, axes=(1, 0))
        a: f64[9, 9] = op.matmul(x, y)
        b: f64[9, 9] = op.matmul_add(a, y, z, scale=-2.0)
        c: f64[9, 9] = op.matmul_add(b, zt, xt)
        d: f64[9, 9] = op.sub(c, z)
        return (d,)""", parameters)
    becomes(collect_products, """
        a: f64[9, 9] = op.matmul(x, y)
        b: f64[9, 9] = op.exp(z)
        c: f64[9, 9] = op.sub(b, a)
        return (c,)""", """
        b: f64[9, 9] = op.exp(z)
        c: f64[9, 9] = op.matmul_add(b, x, y, scale=-1.0)
        return (c,)""", parameters)
    becomes(collect_products, """
        a: f64[9, 9] = op.matmul(x, y)
        b: f64[9, 9] = op.neg(a)
        return (b,)""", """
        b: f64[9, 9] = op.matmul_add(0.0, x, y, scale=-1.0)
        return (b,)""", parameters)


def test_collect_products_joins_thin_operands() -> None:
    parameters = "x: f64[2, 9], y: f64[2, 9], u: f64[5, 2, 9], v: f64[9, 1]"
    becomes(collect_products, """
        xt: f64[9, 2] = op.permute(x, axes=(1, 0))
        a: f64[9, 9] = op.matmul(xt, y)
        yt: f64[9, 2] = op.permute(y, axes=(1, 0))
        b: f64[9, 9] = op.matmul(yt, x)
        c: f64[9, 9] = op.add(a, b)
        return (c,)""", """
        left: f64[4, 9] = op.cat(x, y)
        lt: f64[9, 4] = op.permute(left, axes=(1, 0))
        right: f64[4, 9] = op.cat(y, x)
        c: f64[9, 9] = op.matmul(lt, right)
        return (c,)""", parameters)
    # slices of one array lie side by side already, in whatever order they are read
    becomes(collect_products, """
        p: f64[2, 9] = op.slice(u, index=(3,))
        pt: f64[9, 2] = op.permute(p, axes=(1, 0))
        a: f64[9, 9] = op.matmul(pt, x)
        q: f64[2, 9] = op.slice(u, index=(2,))
        qt: f64[9, 2] = op.permute(q, axes=(1, 0))
        b: f64[9, 9] = op.matmul(qt, y)
        c: f64[9, 9] = op.add(a, b)
        return (c,)""", """
        part: f64[2, 2, 9] = op.slice(u, index=(slice(2, 4, 1),))
        left: f64[4, 9] = op.reshape(part, shape=(4, 9))
        lt: f64[9, 4] = op.permute(left, axes=(1, 0))
        right: f64[4, 9] = op.cat(y, x)
        c: f64[9, 9] = op.matmul(lt, right)
        return (c,)""", parameters)


def test_collect_products_sums_a_batch() -> None:
    becomes(collect_products, """
        xt: f64[7, 5, 3] = op.permute(x, axes=(0, 2, 1))
        a: f64[7, 5, 4] = op.matmul(xt, y)
        b: f64[5, 4] = op.sum(a, axis=(0,))
        return (b,)""", """
        left: f64[21, 5] = op.reshape(x, shape=(21, 5))
        right: f64[21, 4] = op.reshape(y, shape=(21, 4))
        lt: f64[5, 21] = op.permute(left, axes=(1, 0))
        b: f64[5, 4] = op.matmul(lt, right)
        return (b,)""", "x: f64[7, 3, 5], y: f64[7, 3, 4]")


def test_unfold_products() -> None:
    becomes(unfold_products, """
        a: f64[9, 2, 4] = op.matmul(x, y)
        b: f64[2, 2] = op.matmul(u, v)
        return (a, b)""", """
        rows: f64[9, 2, 1, 3] = op.reshape(x, shape=(9, 2, 1, 3))
        yt: f64[4, 3] = op.permute(y, axes=(1, 0))
        columns: f64[1, 4, 3] = op.reshape(yt, shape=(1, 4, 3))
        terms: f64[9, 2, 4, 3] = op.mul(rows, columns)
        a: f64[9, 2, 4] = op.sum(terms, axis=(3,))
        b: f64[2, 2] = op.mul(u, v)
        return (a, b)""", "x: f64[9, 2, 3], y: f64[3, 4], u: f64[2, 1], v: f64[1, 2]")
    few = "a: f64[3, 2, 4] = op.matmul(x, y)\nreturn (a,)"
    becomes(unfold_products, few, few, "x: f64[3, 2, 3], y: f64[3, 4]")


@pytest.mark.parametrize("body", [
    # read twice; a scaled product that a kernel reads anyhow; integers; another shape; products that are results
    """
        a: f64[9, 9] = op.matmul(x, y)
        b: f64[9, 9] = op.matmul(y, x)
        c: f64[9, 9] = op.add(a, b)
        d: f64[9, 9] = op.mul(a, c)
        return (d,)""", """
        a: f64[9, 9] = op.matmul(x, y)
        b: f64[9, 9] = op.mul(a, 3.0)
        c: f64[9, 9] = op.exp(b)
        return (c,)""", """
        a: i64[9, 9] = op.matmul(i, i)
        b: i64[9, 9] = op.matmul(i, i)
        c: i64[9, 9] = op.add(a, b)
        return (c,)""", """
        a: f64[9, 1] = op.matmul(x, v)
        b: f64[9, 9] = op.matmul(x, y)
        c: f64[9, 9] = op.add(a, b)
        return (c,)""", """
        a: f64[9, 9] = op.matmul(x, y)
        b: f64[9, 9] = op.matmul(y, x)
        c: f64[9, 9] = op.add(a, b)
        return (c, a, b)""",
])
def test_collect_products_leaves_other_sums(body: str) -> None:
    parameters = "x: f64[9, 9], y: f64[9, 9], v: f64[9, 1], i: i64[9, 9]"
    becomes(collect_products, body, body, parameters)


@pytest.mark.parametrize("body", [
    # one position twice; a sum that is read twice; parts that are slices; one embed added to itself
    """
        a: f64[4, 3] = op.embed(y, shape=(4, 3), index=(0,))
        b: f64[4, 3] = op.embed(z, shape=(4, 3), index=(0,))
        c: f64[4, 3] = op.add(a, b)
        return (c,)""", """
        a: f64[4, 3] = op.embed(y, shape=(4, 3), index=(0,))
        b: f64[4, 3] = op.embed(z, shape=(4, 3), index=(1,))
        c: f64[4, 3] = op.add(a, b)
        return (c, a)""", """
        a: f64[4, 3] = op.embed(x, shape=(4, 3), index=(slice(0, 2, 1),))
        b: f64[4, 3] = op.embed(x, shape=(4, 3), index=(slice(2, 4, 1),))
        c: f64[4, 3] = op.add(a, b)
        return (c,)""", """
        a: f64[4, 3] = op.embed(y, shape=(4, 3), index=(0,))
        b: f64[4, 3] = op.add(a, a)
        return (b,)"""], ids=["position", "shared", "slices", "itself"])
def test_sums_of_embeds_that_are_left_alone(body: str) -> None:
    before = graph(body, parameters="x: f64[2, 3], y: f64[3], z: f64[3]")
    assert collect_embeds(before) is before


def test_passes_do_nothing_to_graphs_without_work() -> None:
    before = graph("a: f64[2, 3] = op.exp(x)\nreturn (a,)")
    assert eliminate_dead(before) is before
    assert all(a is b for a, b in zip(simplify(before, MARKERS).nodes, before.nodes, strict=True))


# ---- differentiate and partition


def test_share_views() -> None:
    """Also views of equal views, and what leaves the graph; other operations stay as they are."""
    becomes(share_views, """
        a: f64[3] = op.slice(x, index=(0,))
        b: f64[3] = op.exp(a)
        c: f64[3] = op.slice(x, index=(0,))
        d: f64[3] = op.exp(c)
        e: f64[3, 1] = op.reshape(a, shape=(3, 1))
        f: f64[3, 1] = op.reshape(c, shape=(3, 1))
        g: f64[3] = op.slice(x, index=(1,))
        h: f64[3, 1] = op.add(e, f)
        return (b, d, g, h, c)""", """
        a: f64[3] = op.slice(x, index=(0,))
        b: f64[3] = op.exp(a)
        d: f64[3] = op.exp(a)
        e: f64[3, 1] = op.reshape(a, shape=(3, 1))
        g: f64[3] = op.slice(x, index=(1,))
        h: f64[3, 1] = op.add(e, e)
        return (b, d, g, h, a)""")
    before = graph("a: f64[3] = op.slice(x, index=(0,))\nb: f64[3] = op.slice(x, index=(1,))\nreturn (a, b)")
    assert share_views(before) is before


def test_a_slice_that_every_step_reads_has_one_cotangent() -> None:
    def call(x: Any) -> Any:
        h = x[0]
        for _ in range(20):
            h = h * x[1] / (1.0 + h * h) + x[2:4].sum(0)
        return h.sum()

    x = np.random.default_rng(0).standard_normal((5, 7))
    strict = rt.compile(call, numerics="strict").specialize(rt.tensor(x, requires_grad=True))
    fused = rt.compile(call).specialize(rt.tensor(x, requires_grad=True))
    embeds = [[node.op.name for node in s.backward.nodes].count("embed") for s in (strict, fused)]
    assert embeds == [41, 3]  # in the order of eager execution, and once for each slice
    given = rt.tensor(x, requires_grad=True)
    call(given).backward()
    for numerics, bound in (("strict", 0.0), ("default", 1e-12)):
        found = rt.func.grad(rt.compile(call, numerics=numerics))(x)
        np.testing.assert_allclose(found, given.grad.numpy(), rtol=bound, atol=bound)


def derivative(body: str, parameters: str = "x: f64[2, 3]") -> Any:
    return differentiate(graph(body, parameters=parameters))


def matches(found: Graph, wanted: str) -> None:
    expected = verify(parse(wanted))
    assert same_graph(verify(found), expected), f"\n{found}\nis not\n{expected}"


def test_the_example_of_the_design() -> None:
    f = rt.compile(lambda x: ((x + 2.0) ** 2 * 3.0).mean())
    s = f.specialize(rt.ones(2, 2, dtype=rt.float64, requires_grad=True))
    matches(s.forward, """
@graph(kind="forward", of="ex.f")
def f_fwd(x: f64[2, 2]):
    add0: f64[2, 2] = op.add(x, 2.0)
    pow1: f64[2, 2] = op.pow(add0, 2)
    mul2: f64[2, 2] = op.mul(pow1, 3.0)
    mean3: f64[()] = op.mean(mul2, axis=(0, 1))
    return mean3, (x,)
""")
    matches(s.backward, """
@graph(kind="backward", of="ex.f")
def f_bwd(d_mean3: f64[()], x: f64[2, 2]):
    add0: f64[2, 2] = op.add(x, 2.0)
    t4: f64[()] = op.div(d_mean3, 4.0)
    d_mul2: f64[2, 2] = op.expand(t4, shape=(2, 2))
    d_pow1: f64[2, 2] = op.mul(d_mul2, 3.0)
    t5: f64[2, 2] = op.mul(add0, 2.0)
    d_add0: f64[2, 2] = op.mul(d_pow1, t5)
    return (d_add0,)
""")
    assert {"vjp mean3", "vjp mul2", "vjp pow1", "remat add0"} <= {n.note for n in s.backward.nodes}


def test_broadcasts_are_summed_back() -> None:
    joint = derivative("""
        a: f64[2, 3] = op.mul(x, y)
        b: f64[2, 3] = op.add(a, z)
        return (b,)""", "x: f64[2, 3], y: f64[3], z: f64[2, 1]")
    matches(backward_graph(joint), """
@graph(kind="backward", of="t")
def g_bwd(d_b: f64[2, 3], x: f64[2, 3], y: f64[3], z: f64[2, 1]):
    d_z: f64[2, 1] = op.sum(d_b, axis=(1,), keepdims=True)
    d_x: f64[2, 3] = op.mul(d_b, y)
    t: f64[2, 3] = op.mul(d_b, x)
    d_y: f64[3] = op.sum(t, axis=(0,))
    return (d_x, d_y, d_z)
""")


def test_cotangents_accumulate_and_paths_without_influence_stay_out() -> None:
    joint = derivative("""
        a: f64[2, 3] = op.exp(x)
        b: f64[2, 3] = op.detach(a)
        c: f64[2, 3] = op.mul(a, b)
        d: f64[2, 3] = op.floor(c)
        e: f64[2, 3] = op.add(c, d)
        return (e,)""", "x: f64[2, 3], y: f64[2], n: i64[2]")
    assert [n.name for n in joint.wrt] == ["x", "y"] and joint.connected == (True, False)
    found = simplify(backward_graph(joint))
    matches(found, """
@graph(kind="backward", of="t")
def g_bwd(d_e: f64[2, 3], x: f64[2, 3], y: f64[2], n: i64[2]):
    a: f64[2, 3] = op.exp(x)
    b: f64[2, 3] = op.detach(a)
    d_a: f64[2, 3] = op.mul(d_e, b)
    d_x: f64[2, 3] = op.mul(d_a, a)
    zeros: f64[2] = op.full(shape=(2,), value=0.0, dtype=f64)
    return (d_x, zeros)
""")


def test_what_is_dear_is_saved_and_what_is_cheap_is_computed_again() -> None:
    joint = derivative("""
        a: f64[200, 300] = op.mul(x, 2.0)
        b: f64[200, 300] = op.tanh(a)
        c: f64[200, 300] = op.add(b, 1.0)
        d: f64[200, 300] = op.mul(c, c)
        return (d,)""", "x: f64[200, 300]")
    forward, backward = partition(joint)
    verify(forward)
    verify(backward)
    assert [n.name for n in forward.saved] == ["b"]
    assert forward.kind == "forward" and backward.kind == "backward"
    recomputed = [n.op.name for n in backward.nodes if n.note.startswith("remat")]
    assert recomputed == ["add"] and "tanh" not in [n.op.name for n in backward.nodes]


def test_two_outputs_and_integer_outputs() -> None:
    joint = derivative("""
        a: f64[2] = op.sum(x, axis=(1,))
        b: i64[2] = op.argmax(x, axis=(1,))
        c: f64[2, 3] = op.sin(x)
        return (a, b, c, c, x)""")
    assert len(joint.cotangents) == 4
    whole = verify(backward_graph(joint))
    x = np.arange(6.0).reshape(2, 3)
    seeds = [np.ones(2), np.full((2, 3), 2.0), np.full((2, 3), 3.0), np.full((2, 3), 5.0)]
    (found,) = whole(*seeds, x)
    np.testing.assert_allclose(found, 1 + 5 * np.cos(x) + 5)


def test_differentiate_with_respect_to_some_inputs() -> None:
    g = graph("a: f64[2, 3] = op.mul(x, y)\nreturn (a,)", parameters="x: f64[2, 3], y: f64[2, 3]")
    joint = differentiate(g, [g.inputs[1]])
    assert joint.wrt == (g.inputs[1],) and len(joint.gradients) == 1
    forward, backward = partition(joint)
    assert [n.name for n in forward.saved] == ["x"]
    assert [n.name for n in backward.inputs] == ["d_a", "x"]


def test_derivatives_of_derivatives_have_unique_names() -> None:
    g = graph("a: f64[2, 3] = op.mul(x, x)\nb: f64[2, 3] = op.tanh(a)\nreturn (b,)")
    for _ in range(4):
        g = verify(simplify(verify(backward_graph(differentiate(g)))))
    assert len({n.name for n in (*g.inputs, *g.nodes)}) == len(g.inputs) + len(g.nodes)


def test_names_that_are_given_by_numbers_differ() -> None:
    """`log2` and 1 is `log` and 21; names asked for later are none that were given before."""
    builder = GraphBuilder(consing=False)
    value: Any = input_node("x", f64[2])
    for number in range(30):
        value = builder.log2(value) if number in (1, 12) else builder.log(value)
    names = [node.name for node in builder.nodes]
    assert len({*names}) == 30 and "log21" in names[:2] and "log212" in names
    asked = [builder.unique(wanted) for wanted in ("log5", "log21", "fresh", "log30")]
    names += [*asked, builder.log(value).name]
    assert len({*names}) == 35 and asked[2:] == ["fresh", "log30"]
    last = builder.nodes[-1]
    builder.rename([(last, "log6")])
    assert last.name == names[-1]


# ---- linear time: counts of work, and no recursion


def chain(count: int) -> Graph:
    builder = GraphBuilder()
    x = input_node("x", f64[2])
    builder.reserve([x])
    value: Any = x
    for i in range(count):
        value = builder.sin(value) if i % 3 == 0 else builder.mul(value, x) if i % 3 == 1 else builder.add(value, 0.5)
    return Graph("chain", (x,), tuple(builder.nodes), (value,), "trace", "chain")


@pytest.mark.parametrize("run", [
    simplify, eliminate_dead, erase_markers, lambda g: backward_graph(differentiate(g)),
    lambda g: partition(differentiate(g)), verify, lambda g: parse(str(g)), lambda g: same_graph(g, g),
    lambda g: g(np.array([0.1, 0.2])),
], ids=["simplify", "eliminate_dead", "erase_markers", "differentiate", "partition", "verify", "text", "same_graph",
        "interpreter"])
def test_long_graphs_pass_without_recursion(run: Any) -> None:
    g = chain(20_000)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(200)
    try:
        run(g)
    finally:
        sys.setrecursionlimit(limit)


def lines_run(run: Callable[[], object]) -> int:
    """How many lines of retape's code a call runs."""
    count = 0

    def local(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return local

    def outer(frame: Any, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        return local if "/ir/" in name or "/codegen/" in name else None

    before = sys.gettrace()
    sys.settrace(outer)
    try:
        run()
    finally:
        sys.settrace(before)
    return count


def lowered(g: Graph) -> Any:
    from retape.codegen.lower import lower

    return lower(g)


@pytest.mark.parametrize("run", [simplify, eliminate_dead, lambda g: partition(differentiate(g)), lowered,
                                 lambda g: lowered(partition(differentiate(g))[1])],
                         ids=["simplify", "eliminate_dead", "partition", "lower", "lower backward"])
def test_work_grows_with_the_number_of_nodes(run: Any) -> None:
    small, large = chain(600), chain(2400)
    assert lines_run(lambda: run(large)) < 4.6 * lines_run(lambda: run(small))


def test_work_on_wide_graphs_grows_with_the_number_of_nodes() -> None:
    """Many values that live side by side and meet in one sum, and one value with many readers."""
    def fan(count: int) -> Graph:
        builder = GraphBuilder()
        x = input_node("x", f64[100])
        builder.reserve([x])
        parts = [builder.sin(builder.mul(x, float(i))) for i in range(count)]
        sums = [builder.sum(p, axis=(0,)) for p in parts]
        total = sums[0]
        for s in sums[1:]:
            total = builder.add(total, s)
        return Graph("fan", (x,), tuple(builder.nodes), (total,), "trace", "fan")

    def everything(g: Graph) -> None:
        lowered(g)
        lowered(backward_graph(differentiate(g)))

    small, large = fan(100), fan(400)
    assert lines_run(lambda: everything(large)) < 4.8 * lines_run(lambda: everything(small))


def test_graphs_are_immutable() -> None:
    g = chain(3)
    for thing, name in ((g, "nodes"), (g.nodes[0], "type"), (g.nodes[0].type, "shape")):
        with pytest.raises((AttributeError, TypeError)):
            setattr(thing, name, ())
    before = str(g)
    simplify(g)
    partition(differentiate(g))
    assert str(g) == before


def test_a_module_of_passes_results_reads_back() -> None:
    from retape.ir import print_module

    g = chain(9)
    forward, backward = partition(differentiate(g))
    again = parse_module(print_module(g, forward, backward))
    assert [same_graph(a, b) for a, b in zip(again.values(), (g, forward, backward), strict=True)] == [True] * 3
    assert all(isinstance(n, Node) and n.op is CATALOGUE[n.op.name] for n in again[g.name].nodes)


def test_small_parts_are_added_in_their_place() -> None:
    """A part that is nearly the whole stays a sum, and so does one that something else reads."""
    before = """
        a: f64[2, 90] = op.exp(x)
        b: f64[3] = op.slice(y, index=(0, slice(0, 3, 1)))
        c: f64[2, 90] = op.embed(b, shape=(2, 90), index=(1, slice(4, 7, 1)))
        d: f64[2, 90] = op.add(a, c)
        e: f64[90] = op.slice(y, index=(0,))
        f: f64[2, 90] = op.embed(e, shape=(2, 90), index=(1,))
        g: f64[2, 90] = op.add(f, d)
        return (g,)"""
    after = """
        a: f64[2, 90] = op.exp(x)
        b: f64[3] = op.slice(y, index=(0, slice(0, 3, 1)))
        p: f64[3] = op.slice(a, index=(1, slice(4, 7, 1)))
        q: f64[3] = op.add(p, b)
        d: f64[2, 90] = op.slice_scatter(a, q, index=(1, slice(4, 7, 1)))
        e: f64[90] = op.slice(y, index=(0,))
        f: f64[2, 90] = op.embed(e, shape=(2, 90), index=(1,))
        g: f64[2, 90] = op.add(f, d)
        return (g,)"""
    becomes(lambda given: eliminate_dead(localise_parts(given)), before, after, "x: f64[2, 90], y: f64[2, 90]")
