"""Calls as users write them: what is called, how arguments reach it, and what comes back as it was found."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import retape as rt


def arrays(*seeds: int) -> list[Any]:
    return [np.random.default_rng(seed).uniform(-1, 1, 3) for seed in seeds]


@pytest.mark.parametrize("tensors", [True, False])
@pytest.mark.parametrize("used", [True, False])
def test_an_array_found_by_name_is_returned_itself(tensors: bool, used: bool) -> None:
    first, second = arrays(0, 1)
    held = SimpleNamespace(array=first)

    def f(x: Any) -> Any:
        return held.array, {"k": [held.array]}, x * held.array if used else x

    compiled = rt.compile(f)
    for array in (first, first, second, second, first):
        held.array = array
        for change in (0.0, 1.0):
            array[0] += change
            x = rt.ones(3, dtype=rt.float64) if tensors else np.ones(3)
            a, b, y = compiled(x)
            assert a is array and b["k"][0] is array
            np.testing.assert_array_equal(np.asarray(y), np.asarray(f(x)[2]))


def test_an_array_found_by_name_in_a_call_that_looks_at_values() -> None:
    first, second = arrays(0, 1)
    held = SimpleNamespace(array=first)
    compiled = rt.compile(lambda x: (held.array, x * held.array if x.sum() > 0 else x - held.array))
    for number, array in enumerate((first, first, second, second, first, second)):
        held.array = array
        x = rt.full((3,), 1.0 if number % 3 else -1.0, dtype=rt.float64)
        found, y = compiled(x)
        assert found is array
        np.testing.assert_allclose(y.numpy(), array if number % 3 else -1.0 - array)


class Layer:
    def __init__(self, seed: int) -> None:
        self.w = rt.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (3, 2))).requires_grad_()
        self.calls = 0

    def __call__(self, x: Any) -> Any:
        self.calls += 1
        return x @ self.w


class Pair:
    def __init__(self) -> None:
        self.layers = [Layer(0), Layer(1)]

    def __call__(self, x: Any) -> Any:
        return sum(layer(x) for layer in self.layers)


class Scaled:
    """A decorator with a number and a tensor of its own."""

    def __init__(self, f: Any) -> None:
        functools.update_wrapper(self, f)
        self.f, self.rate, self.shift = f, 2.0, rt.ones(3)

    def __call__(self, x: Any) -> Any:
        return self.f(x) * self.rate + self.shift


def test_decorators_that_are_objects_have_state() -> None:
    scaled = Scaled(lambda x: x * x)
    compiled = rt.compile(scaled)
    for rate in (2.0, 2.0, 3.0, 4.0, 2.0):
        scaled.rate, scaled.shift = rate, rt.full((3,), rate)
        assert compiled(rt.ones(3)).tolist() == [2 * rate] * 3
    assert compiled.traces == 2


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: functools.partial(model)])
@pytest.mark.parametrize("make", [lambda: Layer(0), Pair])
def test_objects_with_a_call_are_compiled(make: Any, wrap: Any) -> None:
    model, other = make(), make()
    compiled = rt.compile(wrap(model))
    for seed in range(4):
        x = rt.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (4, 3)))
        if seed == 3:  # a parameter is another now
            for each in (model, other):
                (each if isinstance(each, Layer) else each.layers[1]).w = Layer(7).w
        found, wanted = compiled(x), other(x)
        np.testing.assert_allclose(found.detach().numpy(), wanted.detach().numpy(), 1e-12)
        found.sum().backward()
        wanted.sum().backward()
        for a, b in zip(getattr(model, "layers", [model]), getattr(other, "layers", [other]), strict=True):
            assert a.calls == b.calls
            np.testing.assert_allclose(a.w.grad.numpy(), b.w.grad.numpy(), 1e-12)
    assert compiled.traces == 2  # `calls` is a number from its second value on


def injects(f: Any) -> Any:
    @functools.wraps(f)
    def call(x: Any) -> Any:
        return f(x, 2.0)

    return call


def sets_a_default(f: Any) -> Any:
    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("scale", 3.0)
        return f(*args, **kwargs)

    return call


def takes_more(f: Any) -> Any:
    @functools.wraps(f)
    def call(*args: Any, negate: bool = False, **kwargs: Any) -> Any:
        return -f(*args, **kwargs) if negate else f(*args, **kwargs)

    return call


@pytest.mark.parametrize(("decorator", "keywords"), [(injects, {}), (sets_a_default, {}), (takes_more, {}),
                                                     (takes_more, {"negate": True}),
                                                     (takes_more, {"negate": True, "scale": 4.0})])
def test_decorators_may_take_other_arguments(decorator: Any, keywords: dict[str, Any]) -> None:
    @decorator
    def f(x: Any, scale: float = 1.0) -> Any:
        return x * scale

    compiled = rt.compile(f)
    for seed in range(3):
        x = rt.from_numpy(arrays(seed)[0])
        np.testing.assert_array_equal(compiled(x, **keywords).numpy(), f(x, **keywords).numpy())
    assert compiled.traces == 1
    assert compiled.specialize(x, **keywords).graph.inputs[0].name == "x"


def test_wrong_arguments_are_refused_by_the_function_s_name() -> None:
    @rt.compile
    def scaled(x: Any, *, scale: float = 1.0) -> Any:
        return x * scale

    scaled(rt.ones(2))
    with pytest.raises(TypeError, match=r"scaled\(\) too many positional arguments"):
        scaled(rt.ones(2), 2.0)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"scaled\(\) got an unexpected keyword argument 'rate'"):
        scaled(rt.ones(2), rate=2.0)
    with pytest.raises(TypeError, match=r"scaled\(\) missing a required argument: 'x'"):
        scaled()


@pytest.mark.parametrize("array", [np.ones(3, ">f8"), np.ones(3, np.float16), np.array(["a"]), np.array([None])])
def test_arrays_that_tensors_have_no_type_for_are_refused_with_the_line(array: Any) -> None:
    f = rt.compile(lambda x, a: x * a)
    with pytest.raises(rt.errors.UnsupportedOp, match="can't be recorded") as caught:
        f(rt.ones(3), array)  # here
    assert "test_calls.py" in str(caught.value) and "astype" in str(caught.value)
    assert f(rt.ones(3), np.ones(3)).tolist() == [1.0, 1.0, 1.0]


def test_a_missed_call_tries_each_short_way_once() -> None:
    f = rt.compile(lambda x: x * 2)
    for extent in (2, 2, 2, 3, 3, 3):
        f(rt.ones(extent, requires_grad=extent == 3))
    tried: list[int] = []

    def counted(number: int, entry: Any) -> Any:
        return lambda *given: tried.append(number) or entry(*given)

    f._entries = [counted(number, entry) for number, entry in enumerate(f._entries)]
    f._entry = f._entries[0]
    f(rt.ones(2, dtype=rt.float64))
    assert len(f._entries) >= 2 and sorted(tried) == list(range(len(tried)))


class Listed(list[Any]):
    def total(self, x: Any) -> Any:
        return x * len(self) + sum(self)


CONTAINERS: dict[str, tuple[Callable[[], Any], Callable[[Any, float], Any], Callable[[Any, Any], Any]]] = {
    "set": (set, lambda held, k: held.add(k), lambda x, held: x * len(held) + (1.0 if 3.0 in held else 0.0)),
    "deque": (collections.deque, lambda held, k: held.append(k), lambda x, held: x * len(held) + sum(held)),
    "list": (Listed, lambda held, k: held.append(k), lambda x, held: x * len(held) + sum(held)),
    "entries": (lambda: Listed([1.0]), lambda held, k: held.__setitem__(0, k), lambda x, held: x * held[0]),
    "tensors": (Listed, lambda held, k: held.append(rt.full((3,), k)), lambda x, held: x * len(held) + sum(held)),
    "many": (lambda: Listed([rt.ones(3)] * 70), lambda held, k: held.append(rt.full((3,), k)),
             lambda x, held: x * len(held) + sum(held)),
    "default": (lambda: collections.defaultdict(float, a=1.0), lambda held, k: held.__setitem__(str(k), k),
                lambda x, held: x * len(held) + sum(held.values())),
    "counter": (lambda: collections.Counter("ab"), lambda held, k: held.update("a"), lambda x, held: x * held["a"]),
    "ordered": (lambda: collections.OrderedDict(a=1.0), lambda held, k: held.__setitem__(str(k), k),
                lambda x, held: x * (2.0 if "3.0" in held else 3.0)),
}


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("bound", [False, True])
def test_containers_of_other_kinds_in_arguments_are_seen_as_they_are(name: str, bound: bool) -> None:
    """Also where a compiled function is bound to one."""
    make, change, function = CONTAINERS[name]
    held = make()
    compiled = rt.compile(functools.partial(function, held=held) if bound else function)
    for call in range(8):
        if call in (2, 3, 6):
            change(held, float(call))
        x = rt.full((3,), float(call))
        found = compiled(x) if bound else compiled(x, held)
        np.testing.assert_allclose(found.numpy(), function(x, held).numpy(), 1e-6)


def test_methods_of_containers_see_what_these_hold() -> None:
    held = Listed([1.0])
    compiled = rt.compile(held.total)
    for call in range(6):
        if call in (2, 4):
            held.append(float(call))
        assert compiled(rt.ones(2)).tolist() == held.total(rt.ones(2)).tolist()
