"""Random programs over shapes: a trace made from a template is the one that would have been taken."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given, note
from hypothesis import strategies as st
from support import examples

import retape as rt
from retape.ir import same_graph, verify

Step = tuple[str, int, int, int]

NUMBERS: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": lambda a, b: a * b % 50, "floor": operator.floordiv,
    "mod": operator.mod, "least": min, "most": max, "negated": lambda a, b: -a, "ratio": operator.truediv,
    "root": lambda a, b: abs(a) ** 0.5, "rounded": lambda a, b: round(a / 3), "larger": lambda a, b: 1 if a > b else 2,
    "even": lambda a, b: 3 if a % 2 == 0 else 1, "float": lambda a, b: a * 0.5,
}
TENSORS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "from": lambda x, a, b: x[a:], "to": lambda x, a, b: x[:a], "between": lambda x, a, b: x[a:b],
    "every": lambda x, a, b: x[::2] if a > b else x.flip(0), "one": lambda x, a, b: x[a],
    "flat": lambda x, a, b: x.reshape(-1), "rows": lambda x, a, b: x.reshape(a, -1), "lined": lambda x, a, b: x.reshape(
        len(x), -1), "sum": lambda x, a, b: x.sum(0), "mean": lambda x, a, b: x.mean(0, keepdim=True),
    "scaled": lambda x, a, b: x * a, "divided": lambda x, a, b: x / (abs(b) + 1), "counted": lambda x, a, b:
        rt.arange(len(x)) + x.reshape(len(x), -1)[:, :1].T, "apart": lambda x, a, b: x[1:] - x[:-1],
    "twice": lambda x, a, b: rt.cat([x, x * 2]), "turned": lambda x, a, b: x.T if x.ndim == 2 else x,
    "rolled": lambda x, a, b: rt.roll(x, 1, 0), "padded": lambda x, a, b: rt.nn.functional.pad(x, (1, abs(a) % 5)),
    "running": lambda x, a, b: x.cumsum(0), "windows": lambda x, a, b: x.unfold(0, 2, 1), "chunk": lambda x, a, b:
        x.chunk(2)[-1], "part": lambda x, a, b: x.narrow(0, 1, len(x) // 2), "square": lambda x, a, b: x @ x.T,
    "zeros": lambda x, a, b: rt.zeros(len(x), 2).sum(1) + x.sum(), "wide": lambda x, a, b: x[:, None] * x[None],
    "largest": lambda x, a, b: x.amax(0), "steep": lambda x, a, b: rt.func.grad(lambda v: (v[1:] * v[:-1]).sum())(x),
    "slope": lambda x, a, b: rt.func.grad(lambda v: (v * v).mean() / len(v))(x), "set": lambda x, a, b: _set(x, a),
    "repeated": lambda x, a, b: x.expand(2, *x.shape), "triangle": lambda x, a, b: rt.tril(x) if x.ndim == 2 else x,
    "sorted": lambda x, a, b: x.sort(0).values, "taken": lambda x, a, b: x[rt.arange(len(x)) // 2],
    "pooled": lambda x, a, b: rt.nn.functional.max_pool1d(x.reshape(1, 1, -1), 2), "noise": lambda x, a, b:
        x + rt.rand(len(x), *x.shape[1:]), "held": lambda x, a, b: x if x.sum() > 1 else x * 3,
}


def _set(x: Any, start: Any) -> Any:
    x = x * 1
    x[start:] = 0.25
    return x


def play(steps: list[Step], x: Any, y: Any) -> Any:
    """Run a program: each step takes a tensor and two numbers made so far."""
    tensors, numbers = [x, y], [x.shape[0], len(y), 2, 3, x.numel()]
    for name, i, j, k in steps:
        a, b = numbers[j % len(numbers)], numbers[k % len(numbers)]
        if name in NUMBERS:
            numbers.append(NUMBERS[name](a, b))
        elif name == "both":
            tensors.append(tensors[i % len(tensors)] + tensors[j % len(tensors)])
        else:
            tensors.append(TENSORS[name](tensors[i % len(tensors)], *(n if isinstance(n, int) else 2 for n in (a, b))))
    return tensors[2:], numbers[5:]


def attempt(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        return error


STEPS = st.lists(st.tuples(st.sampled_from([*NUMBERS, *TENSORS, *TENSORS, "both"]), *[st.integers(0, 20)] * 3),
                 min_size=1, max_size=8)
SIZES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.booleans()), min_size=3, max_size=6)


def arguments(n: int, m: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(n + 10 * m)
    return rt.from_numpy(rng.uniform(-1, 1, (n, 3))), rt.from_numpy(rng.uniform(-1, 1, (m, 2)))


@examples(60)
@given(STEPS, SIZES)
def test_traces_from_templates_are_those_that_would_be_taken(steps: list[Step], sizes: Any) -> None:
    compiled = rt.compile(lambda x, y: play(steps, x, y))
    for n, m, alike in sizes:
        given_ = arguments(n, n if alike else m)
        rt.manual_seed(1)
        wanted = attempt(lambda given_=given_: play(steps, *given_))
        rt.manual_seed(1)
        before = compiled.traces
        known = attempt(lambda given_=given_: compiled.specialize(*given_))
        if isinstance(wanted, BaseException):
            assert type(known) is type(wanted), (known, wanted)
            continue
        assert not isinstance(known, BaseException), known
        note(f"{n, m, alike}: {compiled.traces - before} traces\n{known.explain()}\n{known.graph}")
        fresh = rt.compile(lambda x, y: play(steps, x, y)).specialize(*given_)
        assert same_graph(verify(known.graph), fresh.graph)
        plan = [value for kind, value in known.plan if kind == "value"]
        assert plan == wanted[1] and all(type(v) in (int, float) for v in plan)
