"""The short way into compiled code: which calls take it, and that it gives what the general way gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import same

import retape as rt
from retape.codegen.native import alike
from retape.codegen.native.player import player
from retape.group import Group


@pytest.fixture
def general(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Grows by one with each call that takes the general way."""
    calls: list[int] = []
    run = Group.run

    def counted(self: Group, *given: Any) -> Any:
        calls.append(1)
        return run(self, *given)

    monkeypatch.setattr(Group, "run", counted)
    yield calls


@dataclass
class Layer:
    w: Any
    b: Any


class Pair(NamedTuple):
    first: Any
    second: Any


class Adam:
    """Parameters in a list, a step counter, a rate that decays."""

    def __init__(self, parameters: list[Any]) -> None:
        self.parameters, self.t, self.rate = parameters, 0, 0.1
        self.m = [rt.zeros_like(p) for p in parameters]
        self.v = [rt.zeros_like(p) for p in parameters]

    def zero_grad(self) -> None:
        for p in self.parameters:
            p.grad = None

    @rt.no_grad()
    def step(self) -> None:
        self.t += 1
        self.rate *= 0.99
        for p, m, v in zip(self.parameters, self.m, self.v, strict=True):
            m *= 0.9
            m += 0.1 * p.grad
            v *= 0.999
            v += 0.001 * p.grad * p.grad
            p -= self.rate * (m / (1 - 0.9**self.t)) / ((v / (1 - 0.999**self.t)).sqrt() + 1e-8)


def training(size: int) -> Any:
    rng = np.random.default_rng(size)
    parameters = [rt.tensor(rng.standard_normal(shape), requires_grad=True) for shape in ((size, size), (size,))]
    optimiser = Adam(parameters)

    def step(x: Any, y: Any) -> Any:
        optimiser.zero_grad()
        loss = ((rt.tanh(x @ parameters[0]) + parameters[1] - y) ** 2).mean()
        loss.backward()
        optimiser.step()
        return loss

    data = [rt.tensor(a) for a in rng.standard_normal((20, 2, 5, size))]
    return step, lambda i: tuple(data[i]), lambda: [parameters, optimiser.m, optimiser.v, optimiser.t, optimiser.rate]


def containers(size: int) -> Any:
    rng = np.random.default_rng(0)
    data = [[rt.tensor(a) for a in four] for four in rng.standard_normal((20, 4, size))]

    def f(tree: Any, *rest: Any, scale: float = 2.0) -> Any:
        layer, pair = tree["layers"]
        tree["seen"] = pair.first * scale
        rest[0].append(layer.w)
        return Layer(layer.w * scale, layer.b + sum(rest[1:])), [Pair(pair.second, 3), {"a": (pair.first - 1,)}], None

    def arguments(i: int) -> tuple[Any, ...]:
        a, b, c, d = data[i]
        return {"layers": (Layer(a, b), Pair(c, d)), "name": "x", "none": None, 1: True}, [a], 2.0, i + 0.5

    return f, arguments, list


def captured(size: int) -> Any:
    rng = np.random.default_rng(0)
    world = {f"w{i}": rt.tensor(a) for i, a in enumerate(rng.standard_normal((30, size)))}
    held, log = {"last": rt.zeros(size), "calls": 0}, [rt.zeros(size)]

    def f(x: Any) -> Any:
        total = x
        for w in world.values():
            total = total + w * x
        held["last"], held["calls"] = total, held["calls"] + 1
        log[0] = total * 2
        return total, held["calls"], world["w3"]

    data = [rt.tensor(a) for a in rng.standard_normal((20, size))]
    return f, lambda i: (data[i],), lambda: [held, log]


def written(size: int) -> Any:
    x, y = np.arange(float(size)), np.ones((2, size))

    def f(a: Any, b: Any) -> Any:
        a += b[0]
        b[1] *= 0.5
        return b[1]

    return f, lambda i: (x, y), lambda: [x, y]


def drawn(size: int) -> Any:
    generator = rt.Generator().manual_seed(3)

    def f(x: Any) -> Any:
        return x + rt.rand(size, generator=generator)

    return f, lambda i: (rt.ones(size),), lambda: [rt.rand(1, generator=generator)]


def branching(size: int) -> Any:
    state = {"n": 0, "big": rt.zeros(size)}

    def f(x: Any) -> Any:
        if x.sum() > 0:
            state["n"] += 1
            state["big"] = state["big"] + x
            return x * 2
        return state["big"] - x

    data = [rt.tensor(a) for a in np.random.default_rng(1).standard_normal((20, size))]
    return f, lambda i: (data[i],), lambda: [state]


def differentiated(size: int) -> Any:
    w = rt.tensor(np.arange(1.0, size + 1), requires_grad=True)

    def f(x: Any) -> Any:
        return (rt.tanh(w * x)).sum(), w

    return f, lambda i: (rt.tensor(np.arange(size) * 0.1 * i),), lambda: [w]


class Exchange:
    """Names lead elsewhere in one call, and what they led to is changed."""

    def __init__(self, size: int) -> None:
        self.items, self.named = [rt.zeros(size)], {"old": rt.zeros(size), "more": rt.ones(size)}
        self.log, self.a, self.b = [rt.zeros(size)], rt.ones(size), rt.zeros(size)
        self.a.grad, self.b.grad = rt.ones(size) * 5, rt.ones(size) * 7

    def step(self, x: Any) -> Any:
        items, named, log = self.items, self.named, self.log
        self.items, self.named, self.log = [x * 2], {"old": x + 1, "more": x * 3}, [x]
        items[0] = x + 3
        log.append(x)
        named["old"] = x + 2
        del named["more"]
        self.a.grad, self.b.grad = self.b.grad, self.a.grad
        self.a, self.b = self.b, self.a
        return x + self.a


def exchanged(size: int) -> Any:
    world, seen = Exchange(size), list[Any]()
    data = [rt.tensor(a) for a in np.random.default_rng(1).standard_normal((20, size))]

    def arguments(i: int) -> Any:
        seen.extend([world.items, world.named, world.log])
        return (data[i],)

    return world.step, arguments, lambda: [seen, world.items, world.named, world.log, world.a, world.b]


def counted(size: int) -> Any:
    calls, step = 0, 0.5

    def f(x: Any, scale: float = 2.0) -> Any:
        nonlocal calls, step
        calls += 1
        step = step * 0.5 + calls
        return x * step * scale, calls

    return f, lambda i: (rt.ones(size),), lambda: [calls, step]


WORLDS: list[Callable[[int], Any]] = [training, containers, captured, written, drawn, branching, differentiated,
                                          exchanged, counted]


@pytest.mark.parametrize("size", [4, 20])  # arrays of at most 64 elements are written at the end
@pytest.mark.parametrize("make", WORLDS)
def test_calls_of_all_kinds_take_the_short_way(make: Callable[[int], Any], size: int, general: list[int]) -> None:
    rt.set_default_dtype(rt.float64)
    (eager, given_eager, state_eager), (plain, given_plain, state_plain) = make(size), make(size)
    f = rt.compile(plain)
    for call in range(20):
        a, b = given_eager(call), given_plain(call)
        before, traces = len(general), f.traces
        wanted, found = eager(*a), f(*b)
        same(found, wanted, f"call {call}")
        same(b, a, f"arguments {call}", 1e-10)
        same(state_plain(), state_eager(), f"state {call}", 1e-10)
        if call > 6:
            assert len(general) == before and f.traces == traces, f"call {call}"


def test_versions_count_and_backward_refuses_as_in_general(general: list[int]) -> None:
    rt.set_default_dtype(rt.float64)
    w = rt.ones(3, requires_grad=True)
    x = rt.ones(3)

    @rt.compile
    def step(x: Any) -> Any:
        loss = (w * x).sum()
        loss.backward()
        x += 1
        return loss

    for _ in range(5):
        version = x._version[0]
        loss = step(x)
        assert x._version[0] == version + 1
        with pytest.raises(rt.errors.SecondBackward):
            loss.backward()
    assert len(general) == 2  # without `.grad`, and with it


def test_what_changes_between_calls_is_seen(general: list[int]) -> None:
    class Model:
        def __init__(self) -> None:
            self.w, self.b, self.mode, self.parts = rt.ones(3), np.ones(3), "a", [rt.ones(3)]

        def __call__(self, x: Any) -> Any:
            return x * self.w + rt.from_numpy(self.b) * (2 if self.mode == "a" else 3) + sum(self.parts)

    model = Model()
    f = rt.compile(lambda x: model(x))
    x = rt.tensor([1.0, 2.0, 3.0])
    changes: list[Callable[[], Any]] = [
        lambda: setattr(model, "w", rt.ones(3) * 2), lambda: setattr(model, "w", rt.ones(1) * 3),
        lambda: setattr(model, "w", rt.ones(3, requires_grad=True)), lambda: setattr(model, "b", np.ones(3, "f4")),
        lambda: setattr(model, "b", np.arange(6.0)[::2]), lambda: setattr(model, "mode", "b"),
        lambda: model.parts.append(rt.ones(3)), lambda: model.parts.__setitem__(0, 2.5),
        lambda: setattr(model, "w", rt.ones(3).requires_grad_()), lambda: setattr(model, "b", np.zeros((2, 3)))]
    for change in changes:
        for _ in range(4):
            same(f(x), model(x), "before", 1e-6)
        before = len(general)
        same(f(x), model(x), "known", 1e-6)
        assert len(general) == before
        change()


def test_memory_that_is_shared_later_takes_the_eager_way() -> None:
    f = rt.compile(lambda x, y: x.add_(y))
    memory = np.arange(200.0)
    plain = memory.copy()
    for begin, other in ((0, 100), (0, 100), (0, 100), (0, 50), (0, 100), (60, 0), (30, 130)):
        f(memory[begin : begin + 60], memory[other : other + 60])
        x, y = rt.from_numpy(plain[begin : begin + 60]), rt.from_numpy(plain[other : other + 60])
        x.add_(y)
        np.testing.assert_array_equal(memory, plain)
    memory.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        f(memory[:60], memory[100:160])


def test_calls_of_several_forms_keep_their_short_ways(general: list[int]) -> None:
    f = rt.compile(lambda x, y=2.0, *, scale=1.0: x * y * scale)
    x, t = np.ones(3), rt.ones(3)
    forms: list[Callable[[], Any]] = [lambda: f(x), lambda: f(t, 3.0), lambda: f(x, y=4.0), lambda: f(x, scale=5.0),
                                      lambda: f(y=1.0, x=t), lambda: f(np.ones((2, 2)))]
    wanted = [2.0, 3.0, 4.0, 10.0, 1.0, 2.0]
    for _ in range(3):
        assert [float(form()[0] if form().ndim == 1 else form()[0, 0]) for form in forms] == wanted
    before = len(general)
    assert [float(form().sum()) for form in forms] == [6.0, 9.0, 12.0, 30.0, 3.0, 8.0]
    assert len(general) == before


def test_dataclasses_are_results_of_every_call() -> None:
    f = rt.compile(lambda x: Layer(x + 1, [Pair(x * 2, x)]))
    for _ in range(5):
        found = f(np.ones(3))
        assert type(found) is Layer and type(found.b[0]) is Pair
        np.testing.assert_array_equal(found.w, 2.0)


def test_an_array_beside_tensors_is_returned_as_it_was_given() -> None:
    compiled = rt.compile(lambda t, a: (t * a, {"same": a}))
    array = np.arange(3.0)
    for _ in range(4):  # traced, the general way, the short way
        product, kept = compiled(rt.ones(3), array)
        assert type(product) is rt.Tensor and kept["same"] is array


def test_one_tensor_twice_is_one_object() -> None:
    def f(x: Any) -> Any:
        y = x + 1
        return y, y

    g = rt.compile(f)
    for _ in range(5):
        a, b = g(rt.ones(3))
        assert a is b


BIG = np.zeros(4000)
VIEWS: list[Callable[[Any], Any]] = [lambda a: a, lambda a: a[:2], lambda a: a[:, ::2], lambda a: a.T,
                                     lambda a: a[::-1], lambda a: a[:0]]
ARRAYS = st.lists(st.tuples(st.integers(0, 300), st.sampled_from(VIEWS)), min_size=1, max_size=4)


def _arrays(places: Any) -> tuple[Any, ...]:
    return tuple(view(BIG[10 * at : 10 * at + 60].reshape(6, 10)) for at, view in places)


def _kind(array: Any) -> Any:
    return array.dtype, array.shape, None if array.flags.c_contiguous else array.strides


@given(ARRAYS, ARRAYS, st.lists(st.booleans(), min_size=4, max_size=4))
def test_native_and_documented_checks_of_types_and_memory_agree(first: Any, second: Any, written: list[bool]) -> None:
    arrays, others = _arrays(first), _arrays(second)
    writes = written[: len(arrays)]
    words = alike.signature([_kind(a) for a in arrays], writes, [True] * len(arrays))
    checks = [player().fits, alike.documented_fits]
    seen = [np.zeros(len(arrays), np.int64) for _ in checks]
    for found in (arrays, others, arrays):
        if len(found) != len(arrays):
            for check, known in zip(checks, seen, strict=True):
                with pytest.raises(TypeError):
                    check(words, known, found)
            continue
        apart = not any(np.may_share_memory(a, b) for i, a in enumerate(found) for j, b in enumerate(found)
                        if i != j and (writes[i] or writes[j]))
        wanted = apart and [_kind(a) for a in found] == [_kind(a) for a in arrays]
        assert [check(words, known, found) for check, known in zip(checks, seen, strict=True)] == [wanted] * 2


def test_checks_look_at_alignment_types_and_whether_memory_may_be_written() -> None:
    array = np.zeros(4)
    words = alike.signature([_kind(array)], [True], [True])
    fixed, unaligned = np.zeros(4), np.zeros(33, np.uint8)[1:].view(np.float64)
    fixed.flags.writeable = False
    for check in (player().fits, alike.documented_fits):
        seen = np.zeros(1, np.int64)
        assert check(words, seen, (np.ones(4),))
        for other in (fixed, unaligned, np.zeros(4, np.float32), np.zeros(4, ">f8"), np.zeros(5), np.zeros((4, 1)),
                      np.zeros(8)[::2], np.zeros(4).view(type("Own", (np.ndarray,), {}))):
            assert not check(words, seen, (other,))
