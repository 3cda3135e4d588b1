"""Ints and floats as inputs: found by name or given, changed by the function or between calls, in few traces."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from math import exp
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from worlds import numbers, same

import retape as rt
from retape.entry import MISS
from retape.ir.extents import Extents
from retape.ir.recipes import condition, recipe


class Adam:
    """As one writes it by hand: a step counter, a decaying rate."""

    def __init__(self, w: Any) -> None:
        self.w, self.m, self.v = w, rt.zeros_like(w), rt.zeros_like(w)
        self.t, self.lr = 0, 0.1

    def step(self, g: Any) -> Any:
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * g
        self.v = 0.999 * self.v + 0.001 * g * g
        mean, square = self.m / (1 - 0.9**self.t), self.v / (1 - 0.999**self.t)
        self.w = self.w - self.lr * mean / (rt.sqrt(square) + 1e-8)
        self.lr *= 0.999
        return (self.w * self.w).sum()


@pytest.mark.parametrize("numerics", ["default", "strict"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_thousand_steps_of_adam(numerics: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    start, slopes = rng.standard_normal(6), rng.standard_normal((1000, 6))
    eager, other = (Adam(rt.tensor(start, dtype=dtype)) for _ in range(2))
    step = rt.compile(other.step, numerics=numerics)
    for slope in slopes:
        g = rt.tensor(slope, dtype=dtype)
        wanted, found = eager.step(g), step(g)
        assert (other.t, other.lr) == (eager.t, eager.lr) and type(other.t) is int and type(other.lr) is float
        if numerics == "strict":
            assert found._data == wanted._data and (other.w._data == eager.w._data).all()
    np.testing.assert_allclose(other.w._data, eager.w._data, rtol=1e-12 if dtype == "float64" else 2e-4)
    assert step.traces <= 3


def worlds(make: Callable[[], tuple[Any, Any, Any]], calls: int, traces: int, rtol: float = 1e-12) -> Any:
    """Call a function of a state that changes between calls, in an eager and a compiled world."""
    (eager, change, state), (plain, change_too, state_too) = make(), make()
    f = rt.compile(plain)
    for call in range(calls):
        x = np.linspace(-1.0, 2.0, 4) + 0.01 * call
        same(numbers(f(x.copy())), numbers(eager(rt.from_numpy(x.copy()))), f"call {call}", rtol)
        same(state_too(), state(), f"call {call}, state")
        assert list(map(type, state_too())) == list(map(type, state()))
        change(call)
        change_too(call)
    assert f.traces <= traces, f"{f.traces} traces"
    return f


def holder(body: Callable[[Any, Any], Any], change: Callable[[Any, int], Any] = lambda o, call: None,
           **fields: Any) -> Callable[[], tuple[Any, Any, Any]]:
    def make() -> tuple[Any, Any, Any]:
        o = SimpleNamespace(**{k: v.copy() if isinstance(v, (list, dict)) else v for k, v in fields.items()})
        return lambda x: body(o, x), lambda call: change(o, call), lambda: [o.__dict__[k] for k in sorted(vars(o))]

    return make


def counter(o: Any, x: Any) -> Any:
    o.t += 1
    return x * o.t - 2**o.t % 7 + x / o.t + o.t // 3


def periodic(o: Any, x: Any) -> Any:
    o.t += 1
    return x * 2 if o.t % 10 == 0 else x + o.t


def schedule(o: Any, x: Any) -> Any:
    o.lr *= 0.99
    if o.lr < 0.5:
        o.lr = 0.5
    return x * o.lr


def kinds(o: Any, x: Any) -> Any:
    return x * (isinstance(o.t, int) + 2 * isinstance(o.lr, float) + 4 * isinstance(o.t, bool)) * (o.t + o.lr)


def entries(o: Any, x: Any) -> Any:
    o.d["n"] += 2
    o.items[1] = o.items[1] * 0.5 + o.d["n"]
    return x * o.d["n"] + o.items[1] + o.items[0]


def exchanged(o: Any, x: Any) -> Any:
    o.t, o.u = o.u, o.t + 1
    return x * o.t - o.u


def kept(o: Any, x: Any) -> Any:
    o.t += 1
    o.log.append(o.t * 0.5)
    o.last, o.both = o.lr, (o.t, [o.lr * 2])
    return x * o.lr, o.t, {"lr": o.lr, "half": o.t / 2}


def in_tensors(o: Any, x: Any) -> Any:
    o.t += 1
    made = rt.full((4,), o.t, dtype=rt.float64) + rt.tensor(o.lr) + rt.sqrt(o.lr) + rt.where(x > o.lr, o.lr, o.t)
    return made + x.clamp(min=-o.lr, max=o.t) + (abs(x) + 1) ** o.t + o.lr ** x + rt.maximum(x, rt.tensor(o.t))


def looks_and_numbers(o: Any, x: Any) -> Any:
    o.t += 1
    if x.sum() * o.t > 100:
        return x * o.t
    return x[x > 0].sum() * o.t + len(x[x > 0.5])


def gradients(o: Any, x: Any) -> Any:
    o.t += 1
    y = x * 1
    y.requires_grad_()
    ((y * o.t) ** 2 * o.lr + y**o.t).sum().backward()
    return y.grad


def negative(o: Any, x: Any) -> Any:
    o.t -= 1
    return x * o.t + o.t // 4 + o.t % 4 + abs(o.t) + x * -o.t + o.t**3


def with_items(o: Any, x: Any) -> Any:
    o.t += 1
    k = x.sum().item()
    n = (x > 0).sum().item()
    o.seen = k * o.t + n * o.lr
    if k > o.t * 0.25:
        o.lr *= 0.5
    return x * (k * o.t) + k / o.t + o.lr**2 * n + n * o.t // 2 + (n + o.t) % 3 - o.t / (n + 1) + o.seen


def warmed_up(o: Any, x: Any) -> Any:
    o.t += 1
    o.lr = 0.1 * math.sqrt(1 - 0.999**o.t) / (1 - 0.9**o.t) * (1 + math.cos(math.pi * o.t / 50)) + exp(-o.t)
    return x * o.lr


class Pair(NamedTuple):
    first: int
    second: float


def in_tuples(o: Any, x: Any) -> Any:
    t, (rate, step) = o.state
    o.state = (t + step, (rate * 0.5, step))
    o.pair = o.pair._replace(second=o.pair.second + 1)
    return x * t + rate * o.pair.first * o.pair.second


PROGRAMS = [
    (holder(counter, t=0), 30, 2), (holder(periodic, t=0), 60, 3), (holder(schedule, lr=1.0), 100, 4),
    (holder(kinds, lambda o, c: vars(o).update(t=c * c, lr=c / 7), t=5, lr=0.25), 8, 2),
    (holder(entries, d={"n": 1}, items=[1.5, 2.0]), 20, 2), (holder(exchanged, t=1, u=5), 20, 2),
    (holder(kept, lambda o, c: setattr(o, "lr", 1 / (c + 2)), t=0, lr=0.5, log=[], last=0.0, both=None), 20, 4),
    (holder(in_tensors, lambda o, c: setattr(o, "lr", 1 / (c + 2)), t=0, lr=0.6), 12, 2),
    (holder(warmed_up, t=0, lr=0.0), 60, 3), (holder(looks_and_numbers, t=0), 60, 4),
    (holder(with_items, t=0, lr=0.5, seen=0.0), 30, 8),
    (holder(gradients, lambda o, c: setattr(o, "lr", o.lr + 1), t=0, lr=0.5), 12, 2),
    (holder(in_tuples, state=(0, (1.0, 2)), pair=Pair(3, 0.5)), 12, 2), (holder(negative, t=3), 12, 4),
]


@pytest.mark.parametrize(("make", "calls", "traces"), PROGRAMS)
def test_numbers_found_by_name(make: Any, calls: int, traces: int) -> None:
    worlds(make, calls, traces)


def test_variables_and_globals() -> None:
    def make() -> tuple[Any, Any, Any]:
        lr, count = 0.5, 0

        def f(x: Any) -> Any:
            nonlocal lr, count
            global RATE
            lr *= 0.9
            count += 1
            RATE = RATE * 0.5 + count
            return x * lr + count + RATE

        def state() -> list[Any]:
            return [lr, count, space["RATE"]]

        space = {"RATE": 2.0, "rt": rt}
        f = type(f)(f.__code__, space, "f", (), f.__closure__)
        return f, lambda call: space.__setitem__("RATE", 1.0 / (call + 1)), state

    worlds(make, 40, 2)


def test_slots_and_class_attributes() -> None:
    def make() -> tuple[Any, Any, Any]:
        class Slots:
            __slots__ = ("rate", "t")
            shared = 1

        o = Slots()
        o.t, o.rate = 0, 1.0

        def f(x: Any) -> Any:
            o.t += 1
            o.rate *= 0.5
            Slots.shared += 3
            return x * o.t * o.rate + Slots.shared

        return f, lambda call: None, lambda: [o.t, o.rate, Slots.shared]

    worlds(make, 20, 2)


def test_what_asks_for_the_number_is_a_guard_of_it() -> None:
    o = SimpleNamespace(t=1, names=["a", "b", "c", "d", "e"], scale=2.0)
    seen = []

    @rt.compile
    def f(x: Any) -> Any:
        for i in range(o.t):
            x = x + i
        seen.append(o.names[o.t])
        return x * float(f"{o.scale:.1f}")

    for t in (1, 2, 3, 1, 2, 3, 4, 4):
        o.t = t
        assert f(np.zeros(1))[0] == sum(range(t)) * 2.0
    assert f.traces == 4
    for scale in (2.0, 3.0, 4.0, 3.0):
        o.scale = scale
        assert f(np.zeros(1))[0] == sum(range(4)) * scale


def test_a_number_that_becomes_another_kind() -> None:
    o = SimpleNamespace(k=1)
    f = rt.compile(lambda x: x * o.k + isinstance(o.k, float))
    for k in (1, 2, 3, 0.5, 0.25, True, False, "", math.nan, math.inf, -math.inf, 0.125, 7, 2**70, None, 4):
        o.k = k
        if k is None or k == "":
            with pytest.raises(TypeError):
                f(np.ones(2))
            continue
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(f(np.ones(2)), np.ones(2) * k + isinstance(k, float))
    o.k = 2**62
    for _ in range(3):
        o.k *= 2
        np.testing.assert_array_equal(f(np.ones(2)), np.ones(2) * o.k)


def test_a_function_that_tells_numbers_apart_compares_them() -> None:
    o = SimpleNamespace(k=1)

    def f(x: Any) -> Any:
        return x * np.ones(3)[o.k % 3] * {1: 1, 2: 4, 3: 9, 4: 16}[o.k]

    g = rt.compile(f)
    for k in (1, 2, 3, 4, 1, 2):
        o.k = k
        assert g(np.ones(1))[0] == k * k
    assert g.traces == 4


def test_a_failed_call_leaves_numbers_alone() -> None:
    o = SimpleNamespace(t=0, lr=1.0)

    @rt.compile
    def f(x: Any) -> Any:
        o.t += 1
        o.lr *= 0.5
        if o.t > 3:
            raise KeyError("late")
        return x * o.t

    for t in (1, 2, 3):
        assert f(np.ones(1))[0] == t
    for _ in range(2):
        with pytest.raises(KeyError):
            f(np.ones(1))
        assert (o.t, o.lr) == (3, 0.125) and type(o.t) is int


def test_numbers_in_checked_functions_and_prints(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("RETAPE_CHECK", "1")
    o = SimpleNamespace(t=0, lr=1.0)

    @rt.compile
    def f(x: Any) -> Any:
        o.t += 1
        o.lr *= 0.5
        rt.debug.print("{} {}", o.t, o.lr)
        return x * o.t * o.lr

    for t in range(1, 6):
        assert f(np.ones(1))[0] == t * 0.5**t
        assert capsys.readouterr().out == f"{t} {0.5**t}\n"
    assert o.t == 5 and f.traces == 2


def test_a_class_tells_of_the_methods_of_its_instances() -> None:
    class Rule:
        def __init__(self, rate: float) -> None:
            self.rate = rate

        @rt.compile
        def step(self, x: Any) -> Any:
            return x * self.rate

    assert Rule.step.traces == 0 and "0 trace(s)" in Rule.step.explain()
    rules = [Rule(0.5), Rule(0.25)]
    for rule in rules:
        for n in (2, 3, 4):
            rule.rate *= 2
            assert rule.step(np.ones(n))[0] == rule.rate
    assert Rule.step.traces == sum(rule.step.traces for rule in rules) == 4
    assert len(Rule.step.specializations) == 6 and Rule.step.explain().count("3 trace(s)") == 2


def test_explain_shows_numbers_and_their_guards() -> None:
    o = SimpleNamespace(t=0)

    @rt.compile
    def f(x: Any) -> Any:
        o.t += 1
        return x * 2 if o.t > 3 else x + o.t

    for _ in range(4):
        f(np.ones(2))
    text = f.explain()
    assert "for all n = o_t" in text and "n + 1 <= 3" in text and "n + 1 > 3" in text


def test_extents_that_are_kept_are_ints() -> None:
    o = SimpleNamespace(n=0, log=[])

    @rt.compile
    def f(x: Any) -> Any:
        o.n = x.shape[0] * 2
        o.log.append(len(x))
        return x * 2

    for n in (3, 4, 5, 6):
        f(np.ones(n))
        assert o.n == 2 * n and type(o.n) is int and o.log[-1] == n and type(o.log[-1]) is int
    assert f.traces == 2


def test_threads_see_numbers_not_formulas() -> None:
    o = SimpleNamespace(lr=1.0)
    f = rt.compile(lambda x, k: x * o.lr + k)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            for k in range(25):
                assert f(np.ones(2), str(k).isdigit())[0] in (o.lr + 1, *(1 + 0.5 * i for i in range(1, 60)))
        except BaseException as error:  # told below
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for i in range(40):
        o.lr = 0.5 * (i + 1)
    for thread in threads:
        thread.join()
    assert not errors and type(o.lr) is float


def test_numpys_functions_of_numbers() -> None:
    o = SimpleNamespace(t=1)
    f = rt.compile(lambda x: x * np.sqrt(o.t) + np.log(o.t) * x + np.add(o.t, 1) * np.multiply(x, o.t))
    for t in (1, 2, 3, 4, 3):
        o.t = t
        np.testing.assert_allclose(f(np.ones(2)), np.sqrt(t) + np.log(t) + (t + 1) * t, rtol=1e-14)
    assert f.traces == 4
    f = rt.compile(lambda x, n: x * np.sqrt(n) + math.log2(len(x)) * np.cos(n))
    for n in range(3, 20):
        np.testing.assert_allclose(f(np.ones(n), n), np.sqrt(n) + np.log2(n) * np.cos(n), rtol=1e-14)
    assert f.traces == 2 and math.sqrt(4) == 2 and type(math.sqrt).__name__ == "builtin_function_or_method"


def test_recipes_are_pythons_arithmetic() -> None:
    extents = Extents()
    n, x = extents.symbol("n", 5, None), extents.symbol("x", 0.75, None)
    sources = dict(zip(extents.symbols, "nx", strict=True))
    formulas: list[Callable[[Any, Any], Any]] = [
        lambda n, x: n * n * 3 - n + 7, lambda n, x: (n + 1) // 3 - n % 4 * -2, lambda n, x: x**n - 1 / (n + 10),
        lambda n, x: -x * 2 + n, lambda n, x: math.floor(x * n) + round(x) - math.ceil(x), lambda n, x: n / 7 // x,
        lambda n, x: (2 ** (n % 5)) * x, lambda n, x: (n - 3) ** 11 - (x - 1e-3) % 0.25, lambda n, x: x + -math.inf]
    for formula in formulas:
        number = formula(n, x)
        made = recipe(extents, number._form, sources)
        for values in ({"n": 5, "x": 0.75}, {"n": -8, "x": 1.5}, {"n": 10**15, "x": 0.1}, {"n": 0, "x": -2.5}):
            assert made.value(values.__getitem__) == formula(values["n"], values["x"])
    extents = Extents()
    n = extents.symbol("n", 5, None)
    assert n % 3 == 2 and n * n > 20 and not n / 2 < 2.5
    holds = condition(extents, extents.relations.values(), {extents.symbols[0]: "n"})
    assert [k for k in range(-20, 21) if holds.value({"n": k}.__getitem__)] == [
        k for k in range(-20, 21) if k % 3 == 2 and k * k > 20 and k / 2 >= 2.5]


# ---- ints in arguments


def powers(x: Any, n: Any) -> Any:
    return x * n + (abs(x) + 1) ** n - 2.0**n + n // 3 - n % 4


def cut(x: Any, n: Any) -> Any:
    return x[: n % 5].sum() + x[n % 3] + rt.zeros(n % 4).sum(), rt.ones(n % 3 + 1) * n, n + 1


def unrolled(x: Any, n: Any) -> Any:
    for i in range(n % 6):
        x = x + i * n
    return x


def branched(x: Any, n: Any) -> Any:
    if n > 25:
        return x * n
    return {"x": x - n, "kind": isinstance(n, int) and not isinstance(n, bool), "half": n / 2}


def drawn(x: Any, n: Any) -> Any:
    return rt.rand(n % 7 + 1, dtype=rt.float64) * n + x.sum()


def nested(x: Any, p: Any) -> Any:
    p["steps"] += 1
    p["log"].append(p["n"] * 2)
    return x * p["n"] + p["steps"]


@pytest.mark.parametrize(("function", "traces"), [(powers, 2), (cut, 12), (unrolled, 7), (branched, 3), (drawn, 3)])
def test_ints_in_arguments(function: Any, traces: int) -> None:
    f = rt.compile(function)
    for n in [*range(2, 51), 1, 0, -1, -7, 30, 3]:
        x = np.linspace(-1.0, 2.0, 8) + n
        rt.manual_seed(abs(n))
        wanted = function(rt.from_numpy(x), n)
        rt.manual_seed(abs(n))
        same(numbers(f(x, n)), numbers(wanted), f"{n}")
    assert f.traces <= traces, f.traces


def test_ints_in_containers_of_arguments() -> None:
    f = rt.compile(nested)
    worlds = [{"n": 2, "steps": 0, "log": []}, {"n": 2, "steps": 0, "log": []}]
    for n in range(20):
        for world in worlds:
            world["n"] = n * n
            world["log"].clear()
        x = np.linspace(0, 1, 3)
        same(numbers(f(x, worlds[0])), numbers(nested(rt.from_numpy(x), worlds[1])), f"{n}")
        assert worlds[0] == worlds[1] and type(worlds[0]["steps"]) is int
    assert f.traces <= 3


def test_ints_and_extents_vary_together() -> None:
    f = rt.compile(lambda x, n: (x * n / len(x) + n * x.shape[0]).sum())
    for n in range(40):
        for rows in (3, 4, 5, 6):
            x = np.linspace(1, 2, rows)
            np.testing.assert_allclose(f(x, n), (x * n / rows + n * rows).sum(), rtol=1e-13)
    assert f.traces <= 4 and len(f.specializations) <= 8


def test_ints_of_any_size_and_kind() -> None:
    f = rt.compile(lambda x, n: x * n + (n > 0))
    for n in (1, 2, 3, 2**53 + 1, -(2**62), 2**63, 2**70, True, False, 4, 10**30, 5):
        np.testing.assert_array_equal(f(np.ones(2), n), np.ones(2) * n + (n > 0))
    g = rt.compile(lambda x, n: x + n * n)
    for n in (1, 2, 3, 2**40, 5, -(2**31)):
        if abs(n) < 2**31:
            assert (g(np.zeros(2, np.int64), n) == n * n).all()
        else:
            np.testing.assert_array_equal(g(np.ones(2), n), np.ones(2) + n * n)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8", "bool", "complex64"])
def test_ints_in_arguments_are_promoted_as_pythons(dtype: str) -> None:
    x = np.array([0, 1, 1, 3]).astype(dtype)
    calls: list[Callable[[Any, Any], Any]] = [
        lambda x, n: x * n, lambda x, n: n - x, lambda x, n: x / n, lambda x, n: rt.where(x == n, n, x),
        lambda x, n: x == n, lambda x, n: rt.full((2,), n), lambda x, n: rt.tensor([n, 1]), lambda x, n: x + n * 0.5]
    for number, call in enumerate(calls):
        f = rt.compile(call)
        for n in (2, 3, 5, 6):
            wanted = call(rt.from_numpy(x), n)._data
            found = f(x, n)
            assert found.dtype == wanted.dtype, number
            np.testing.assert_allclose(found, wanted, rtol=1e-6)
        assert f.traces == 2


def test_ints_that_are_inputs_take_the_short_way() -> None:
    f = rt.compile(lambda x, n, m: x * n + 1 / (n - 3) + len(x) * n if n < 40 else x[:m])
    calls = [(np.ones(size), n, m) for n in (5, 6, 7, 8, 41, 42, 43) for m in (2, 3) for size in (4, 5, 6)]
    for x, n, m in calls * 3:
        wanted = x * n + 1 / (n - 3) + len(x) * n if n < 40 else x[:m]
        np.testing.assert_allclose(f(x, n, m), wanted, rtol=1e-14)
        if f._entry is not None:
            taken = f._entry((x, n, m), {})
            assert taken is MISS or (taken == f(x, n, m)).all()
    f(np.ones(4), 9, 2)
    assert f._entry is not None and f._entry((np.ones(4), 10, 2), {}) is not MISS
    assert all(f._entry((np.ones(4), n, 2), {}) is MISS for n in (3, 41, True))
    with pytest.raises(ZeroDivisionError):
        f(np.ones(4), 3, 2)


def test_ints_that_an_element_type_does_not_hold_are_errors() -> None:
    def g(x: Any, n: Any) -> Any:
        return x * n

    f = rt.compile(g)
    x = np.array([1, 2], np.uint8)
    for n in (2, 3, 4, 300, 5, -1, 255, 256, 2):
        if 0 <= n < 256:
            assert f(x, n).dtype == np.uint8 and (f(x, n) == x * np.uint8(n)).all()
            continue
        with pytest.raises(OverflowError) as wanted:
            g(rt.from_numpy(x), n)
        with pytest.raises(OverflowError, match=str(wanted.value)):
            f(x, n)


def test_derivatives_with_ints() -> None:
    f = rt.compile(lambda x, n: ((x * n) ** 2 / (n + 1)).sum() + (x**n).sum())
    for n in range(2, 20):
        x = rt.tensor([0.5, 1.5], dtype=rt.float64, requires_grad=True)
        f(x, n).backward()
        wanted = 2 * n * n * x._data / (n + 1) + n * x._data ** (n - 1)
        np.testing.assert_allclose(x.grad._data, wanted, rtol=1e-12)
    assert f.traces == 2
