"""Reshapes that move out of the way of fusion, as texts before and after."""

from __future__ import annotations

import pytest
from hypothesis import given
from programs import Program, programs
from support import examples
from test_passes import becomes, graph
from test_random_programs import agree, traced

from retape.ir import verify
from retape.ir.passes import MARKERS, hoist_reshapes, simplify

MOVED = {
    "above, where dims are split": ("x: f64[6, 4], y: f64[4], z: f64[6, 1]", """
        a: f64[6, 4] = op.sub(x, y)
        b: f64[6, 4] = op.mul(a, z)
        c: f64[2, 3, 4] = op.reshape(b, shape=(2, 3, 4))
        d: f64[2, 4] = op.sum(c, axis=(1,))
        return (d,)""", """
        p: f64[2, 3, 4] = op.reshape(x, shape=(2, 3, 4))
        q: f64[1, 1, 4] = op.reshape(y, shape=(1, 1, 4))
        a: f64[2, 3, 4] = op.sub(p, q)
        r: f64[2, 3, 1] = op.reshape(z, shape=(2, 3, 1))
        b: f64[2, 3, 4] = op.mul(a, r)
        d: f64[2, 4] = op.sum(b, axis=(1,))
        return (d,)"""),
    "below operations and sums, where dims are merged": ("x: f64[5, 2, 3], z: f64[5, 2, 1]", """
        a: f64[5, 2, 3] = op.mul(x, z)
        b: f64[5, 6] = op.reshape(a, shape=(5, 6))
        c: f64[5, 6] = op.neg(b)
        d: f64[6] = op.sum(c, axis=(0,))
        return (d,)""", """
        a: f64[5, 2, 3] = op.mul(x, z)
        c: f64[5, 2, 3] = op.neg(a)
        d: f64[2, 3] = op.sum(c, axis=(0,))
        e: f64[6] = op.reshape(d, shape=(6,))
        return (e,)"""),
    "two values that were reshaped alike": ("x: f64[2, 3]", """
        a: f64[2, 3] = op.exp(x)
        b: f64[6] = op.reshape(a, shape=(6,))
        c: f64[6] = op.reshape(x, shape=(6,))
        d: f64[6] = op.add(b, c)
        return (d,)""", """
        a: f64[2, 3] = op.exp(x)
        d: f64[2, 3] = op.add(a, x)
        e: f64[6] = op.reshape(d, shape=(6,))
        return (e,)"""),
}

LEFT = {
    "the value is read in its own shape too": ("x: f64[2, 3], y: f64[6]", """
        a: f64[2, 3] = op.exp(x)
        b: f64[6] = op.reshape(a, shape=(6,))
        c: f64[6] = op.mul(b, y)
        return (c, a)"""),
    "an operand has no such shape": ("x: f64[2, 3], y: f64[2, 1], z: f64[6]", """
        a: f64[2, 3] = op.mul(x, y)
        b: f64[6] = op.reshape(a, shape=(6,))
        c: f64[6] = op.mul(b, z)
        return (c,)"""),
    "a value computed in the same loop would have to be stored": ("x: f64[2, 3], y: f64[6]", """
        a: f64[2, 3] = op.exp(x)
        b: f64[2, 3] = op.sin(a)
        c: f64[6] = op.reshape(b, shape=(6,))
        d: f64[6] = op.mul(c, y)
        return (d, a)"""),
    "part of a merged dim is summed": ("x: f64[2, 3, 4]", """
        a: f64[2, 3, 4] = op.exp(x)
        b: f64[2, 6, 2] = op.reshape(a, shape=(2, 6, 2))
        c: f64[2, 6] = op.sum(b, axis=(2,))
        return (c, a)"""),
    "only a product reads it": ("x: f64[6], y: f64[2, 4]", """
        a: f64[6] = op.exp(x)
        b: f64[3, 2] = op.reshape(a, shape=(3, 2))
        c: f64[3, 4] = op.matmul(b, y)
        return (c,)"""),
}


@pytest.mark.parametrize("name", MOVED)
def test_reshapes_move(name: str) -> None:
    parameters, before, after = MOVED[name]
    becomes(hoist_reshapes, before, after, parameters)


@pytest.mark.parametrize("name", LEFT)
def test_reshapes_stay(name: str) -> None:
    parameters, body = LEFT[name]
    before = graph(body, parameters=parameters)
    assert hoist_reshapes(before) is before


@examples(80)
@given(programs(most=25))
def test_meaning_is_kept(program: Program) -> None:
    tensors = program.tensors()
    wanted = [t._data for t in program(*tensors)]
    before = simplify(traced(program), MARKERS)
    after = verify(hoist_reshapes(before))
    assert hoist_reshapes(after) is after or len(hoist_reshapes(after)) == len(after)
    for found, expected in zip(after(*[t._data for t in tensors]), wanted, strict=True):
        agree(found, expected, program.has_f32, "hoisted")
