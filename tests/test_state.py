"""State that compiled functions see and change: closures, globals, attributes, containers, arguments."""

from __future__ import annotations

import itertools
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pytest
from worlds import World, agree, same

import retape as rt


def tensor(*shape: int, seed: int = 0, requires_grad: bool = False) -> Any:
    return rt.from_numpy(np.random.default_rng(seed).uniform(-1.0, 1.0, shape), requires_grad=requires_grad)


def one(call: int) -> tuple[Any, ...]:
    return (tensor(3, seed=call),)


# ---- state that the function itself changes


class Cell:
    """A recurrent cell that keeps its state."""

    gain: ClassVar[float] = 1.5

    def __init__(self) -> None:
        self.weight = tensor(3, 3, seed=1)
        self.state = tensor(3, seed=2)
        self.steps = 0

    def __call__(self, x: Any) -> Any:
        self.state = rt.tanh(self.weight @ self.state + x) * self.gain
        return self.state * 2


def rebound_attribute() -> World:
    cell = Cell()
    return (lambda x: cell(x)), one, lambda: [cell.state, cell.steps]


def first_set() -> World:
    """An attribute that the first call sets."""
    class Running:
        def update(self, x: Any) -> Any:
            if not hasattr(self, "mean"):
                self.mean = x * 1
            else:
                self.mean = self.mean * 0.9 + x * 0.1
            return self.mean

    running = Running()
    return (lambda x: running.update(x)), one, lambda: running.mean


def nonlocal_tensor() -> World:
    total = rt.zeros(3, dtype=rt.float64)

    def add(x: Any) -> Any:
        nonlocal total
        total = total + x
        return total

    return add, one, lambda: total


def nonlocal_tuple() -> World:
    hidden = (tensor(3, seed=5), [tensor(3, seed=6)])

    def step(x: Any) -> Any:
        nonlocal hidden
        h, (c,) = hidden
        hidden = (h + x, [c * h])
        return hidden[0].sum()

    return step, one, lambda: hidden


def dict_state() -> World:
    state = {"m": rt.zeros(3, dtype=rt.float64), "norm": None}

    def step(x: Any) -> Any:
        state["m"] = state["m"] * 0.5 + x
        state["norm"] = state["m"].norm()
        return state["m"] + 0

    return step, one, lambda: state


def list_entries() -> World:
    parts = [tensor(3, seed=1), tensor(3, seed=2)]

    def step(x: Any) -> Any:
        parts[0], parts[1] = parts[1], parts[0] + x
        return parts[0] * parts[1]

    return step, one, lambda: parts


def appended() -> World:
    history: list[Any] = []

    def step(x: Any) -> Any:
        history.append(x.sum())
        history.append({"x": x * 2, "name": "x"})
        return x * 3

    return step, one, lambda: history


def counted() -> World:
    count = 0

    def step(x: Any) -> Any:
        nonlocal count
        count += 1
        return x * count

    return step, one, lambda: count


def memoised() -> World:
    cache: dict[int, Any] = {}

    def fib(n: int, x: Any) -> Any:
        if n not in cache:
            cache[n] = x if n < 2 else fib(n - 1, x) + fib(n - 2, x)
        return cache[n]

    def step(x: Any) -> Any:
        cache.clear()
        return fib(7, x)

    return step, one, lambda: [cache[key] for key in sorted(cache)]


def popped() -> World:
    stack = [tensor(3, seed=i) for i in range(6)]
    return (lambda x: stack.pop() * x), one, lambda: stack


def number_kept() -> World:
    best = [0.0]

    def step(x: Any, rate: float) -> Any:
        best[0] = rate * 2
        return x * rate

    return step, lambda call: (tensor(3, seed=call), 0.5 + call), lambda: best


@pytest.mark.parametrize(("make", "traces"), [
    (rebound_attribute, 1), (first_set, 2), (nonlocal_tensor, 1), (nonlocal_tuple, 1), (dict_state, 2),
    (list_entries, 1), (appended, 1), (counted, 2), (memoised, 2), (popped, 5), (number_kept, None)],
    ids=lambda v: getattr(v, "__name__", None))
def test_changed_state(make: Callable[[], World], traces: int | None) -> None:
    agree(make, 5, traces=traces)


# ---- state that is changed between calls


class Model:
    power = 1

    def __init__(self) -> None:
        self.layers = [tensor(3, seed=1, requires_grad=True), tensor(3, seed=2, requires_grad=True)]
        self.scale = 2.0
        self.bias: Any = None
        self.table = {"a": tensor(3, seed=3)}

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = rt.tanh(x * layer) * self.scale
        x = x**self.power
        return x + self.table["a"] if self.bias is None else x + self.bias


def quintuple(x: Any) -> Any:
    return x * 5


EDITS: dict[str, Callable[[Model], Any]] = {
    "scalar": lambda m: setattr(m, "scale", 3.0), "rebound": lambda m: m.layers.__setitem__(0, tensor(3, seed=7)),
    "appended": lambda m: m.layers.append(tensor(3, seed=8)), "popped": lambda m: len(m.layers) > 1 and m.layers.pop(),
    "bias": lambda m: setattr(m, "bias", tensor(3, seed=9)), "in place": lambda m: m.table["a"].mul_(2),
    "new dict": lambda m: setattr(m, "table", {"a": tensor(3, seed=4)}), "one twice": lambda m: m.layers.append(
        m.layers[0]), "new list": lambda m: setattr(m, "layers", [tensor(3, seed=11)]),
    "float32": lambda m: m.table.__setitem__("a", tensor(3).float()), "again": lambda m: setattr(m, "scale", 2.0),
    "class attribute": lambda m: setattr(Model, "power", Model.power % 3 + 1),
    "shape": lambda m: m.table.__setitem__("a", tensor(1)), "no grad": lambda m: m.layers[0].requires_grad_(False),
    "method": lambda m: setattr(m, "forward", quintuple),
}


@pytest.mark.parametrize("first", list(EDITS))
def test_edits_between_calls(first: str) -> None:
    def make() -> World:
        model, Model.power = Model(), 1
        edits = iter(itertools.cycle([EDITS[first], *EDITS.values()]))

        def arguments(call: int) -> tuple[Any, ...]:
            if call % 3 == 2:
                next(edits)(model)
            return one(call)

        return (lambda x: model.forward(x)), arguments, lambda: vars(model)

    agree(make, 48)


def test_a_captured_tensor_that_is_also_an_argument() -> None:
    w = tensor(3, seed=1)
    f = rt.compile(lambda x: x * w)
    for x in (w, tensor(3, seed=2), w, tensor(3, seed=3)):
        same(f(x), x * w, "product")
    g = rt.compile(lambda x: x * w)
    for x in (tensor(3, seed=2), w, tensor(3, seed=3)):
        same(g(x), x * w, "product")


# ---- arguments


@dataclass
class Particle:
    position: Any
    velocity: Any
    mass: float = 1.0
    tags: list[str] = field(default_factory=list)

    def energy(self) -> Any:
        return 0.5 * self.mass * (self.velocity ** 2).sum()


@dataclass(frozen=True)
class Pair:
    a: Any
    b: Any


Named = namedtuple("Named", "x y")


def test_dataclasses_as_arguments_and_results() -> None:
    def make() -> World:
        def step(p: Particle, dt: float) -> Any:
            v = p.velocity - p.position * dt
            return Particle(p.position + v * dt, v, p.mass), Pair(p.energy(), Named(v, [p.mass])), p.tags

        return step, lambda call: (Particle(tensor(3, seed=call), tensor(3, seed=9 + call), 2.0, ["a"]), 0.1), list

    compiled = agree(make, 5, gradients=False)
    assert compiled.traces == 1


CONTAINERS: dict[str, Callable[[Any], Any]] = {
    "dict entry": lambda d: d.__setitem__("w", d["w"] * 2), "dict new": lambda d: d.__setitem__("n", d["w"].sum()),
    "list append": lambda d: d["l"].append(d["w"] + 1), "list item": lambda d: d["l"].__setitem__(0, d["w"] * 3),
    "pop": lambda d: d.pop("w") * 2, "field": lambda d: setattr(d["p"], "mass", 3.0),
    "field tensor": lambda d: setattr(d["p"], "position", d["p"].position + d["w"]), "clear": lambda d: d["l"].clear(),
    "swap": lambda d: d["l"].reverse(), "in place": lambda d: d["w"].add_(1), "array": lambda d: d["a"].add_(1)
    if isinstance(d["a"], rt.Tensor) else d["a"].__iadd__(1),
}


@pytest.mark.parametrize("name", list(CONTAINERS))
def test_containers_in_arguments_are_changed(name: str) -> None:
    def make() -> World:
        def arguments(call: int) -> tuple[Any, ...]:
            return ({"w": tensor(3, seed=call), "l": [tensor(3, seed=1), tensor(3, seed=2)], "a": np.ones(3),
                     "p": Particle(tensor(3), tensor(3, seed=4))},)

        return CONTAINERS[name], arguments, list

    agree(make, 4, traces=1)


def test_defaults_keywords_and_methods() -> None:
    class Affine:
        def __init__(self, gain: float) -> None:
            self.gain = gain
            self.shift = tensor(3, seed=4)

        @rt.compile
        def apply(self, x: Any, *rest: Any, power: int = 2, table: Any = (1.0, 2.0), **named: Any) -> Any:
            total = x ** power * self.gain + self.shift * table[0]
            for part in (*rest, *named.values()):
                total = total + part
            return total

    a, b = Affine(2.0), Affine(3.0)
    x = tensor(3)
    plain = Affine.__dict__["apply"].function
    for _ in range(3):
        for thing, args, kwargs in ((a, (x,), {}), (b, (x,), {}), (a, (x, x), {"power": 3}), (b, (x,), {"other": x}),
                                    (a, (x,), {"table": (5.0,)})):
            same(thing.apply(*args, **kwargs), plain(thing, *args, **kwargs), "method")
        a.gain += 1
        b.shift = b.shift * 2


def test_nested_compiled_functions() -> None:
    def make() -> World:
        w = tensor(3, seed=1, requires_grad=True)
        inner = rt.compile(lambda x: rt.tanh(x * w))

        @rt.compile
        def middle(x: Any) -> Any:
            w.data.mul_(0.9)
            return inner(x) + inner(x * 2)

        return (lambda x: middle(x) * inner(x)), one, lambda: w

    agree(make, 4, traces=1)


def test_large_containers() -> None:
    def make() -> World:
        table = [tensor(3, seed=i) for i in range(100)]
        numbers = [float(i) for i in range(200)]

        def arguments(call: int) -> tuple[Any, ...]:
            if call == 2:
                numbers[150] = -1.0
            if call == 4:
                table[99] = tensor(3, seed=999)
            return one(call)

        return (lambda x: x * table[99] + numbers[150] * len(table)), arguments, list

    agree(make, 7)


def test_objects_with_slots() -> None:
    class Slotted:
        __slots__ = ("gain", "weight")

    def make() -> World:
        thing = Slotted()
        thing.gain, thing.weight = 2.0, tensor(3, seed=1)

        def arguments(call: int) -> tuple[Any, ...]:
            if call == 2:
                thing.gain = 3.0
            return one(call)

        def step(x: Any) -> Any:
            thing.weight = thing.weight + x * thing.gain
            return thing.weight * 1

        return step, arguments, lambda: [thing.gain, thing.weight]

    agree(make, 5, traces=2)
