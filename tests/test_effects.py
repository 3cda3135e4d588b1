"""Effects of compiled functions: writes in place, `.grad`, whole training steps; and calls that fail change nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from worlds import World, agree, same

import retape as rt
from retape.ir import parse, same_graph, verify

RNG = np.random.default_rng(0)


def array(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(-1.0, 1.0, shape)


def tensor(*shape: int, seed: int = 0, requires_grad: bool = False) -> Any:
    return rt.from_numpy(array(*shape, seed=seed), requires_grad=requires_grad)


# ---- training steps


def regression() -> tuple[list[Any], Any]:
    w, b = tensor(3, 4, seed=1, requires_grad=True), tensor(4, seed=2, requires_grad=True)

    def loss(x: Any, y: Any) -> Any:
        return ((rt.tanh(x @ w + b) - y) ** 2).mean()

    return [w, b], loss


def batch(call: int) -> tuple[Any, ...]:
    return tensor(5, 3, seed=10 + call), tensor(5, 4, seed=20 + call)


def sgd() -> World:
    parameters, loss = regression()

    def step(x: Any, y: Any, rate: float) -> Any:
        for p in parameters:
            p.grad = None
        value = loss(x, y)
        value.backward()
        with rt.no_grad():
            for p in parameters:
                p -= rate * p.grad
        return value.detach()

    return step, lambda call: (*batch(call), 0.1 / (call + 1)), lambda: parameters


def momentum() -> World:
    parameters, loss = regression()
    speed = [rt.zeros_like(p) for p in parameters]

    def step(x: Any, y: Any) -> Any:
        value = loss(x, y)
        value.backward()
        with rt.no_grad():
            for p, v in zip(parameters, speed, strict=True):
                v.mul_(0.9).add_(p.grad)
                p.sub_(v * 0.05)
                p.grad.zero_()
        return value.item() if False else value

    return step, batch, lambda: [parameters, speed]


class Adam:
    """As people write it: state in dicts and attributes, the step's number in a tensor."""

    def __init__(self, parameters: list[Any]) -> None:
        self.parameters = parameters
        self.state = {i: {"m": rt.zeros_like(p), "v": rt.zeros_like(p)} for i, p in enumerate(parameters)}
        self.t = rt.tensor(0.0, dtype=rt.float64)

    def zero_grad(self) -> None:
        for p in self.parameters:
            p.grad = None

    @rt.no_grad()
    def step(self, rate: float = 1e-2) -> None:
        self.t += 1
        for i, p in enumerate(self.parameters):
            s = self.state[i]
            s["m"].mul_(0.9).add_(0.1 * p.grad)
            s["v"].mul_(0.999).add_(0.001 * p.grad * p.grad)
            p -= rate * (s["m"] / (1 - 0.9**self.t)) / ((s["v"] / (1 - 0.999**self.t)).sqrt() + 1e-8)


def adam() -> World:
    parameters, loss = regression()
    optimiser = Adam(parameters)

    def step(x: Any, y: Any) -> Any:
        optimiser.zero_grad()
        value = loss(x, y)
        value.backward()
        optimiser.step()
        return value.detach()

    return step, batch, lambda: [parameters, optimiser.state, optimiser.t]


def data_idiom() -> World:
    parameters, loss = regression()

    def step(x: Any, y: Any) -> Any:
        value = loss(x, y)
        value.backward()
        for p in parameters:
            p.data -= 0.1 * p.grad.data
            p.grad.data.zero_()
        return value.detach()

    return step, batch, lambda: parameters


def data_assigned() -> World:
    parameters, loss = regression()

    def step(x: Any, y: Any) -> Any:
        for p in parameters:
            p.grad = None
        value = loss(x, y)
        value.backward()
        for p in parameters:
            p.data = p.data - 0.1 * p.grad
        return value.detach()

    return step, batch, lambda: parameters


def accumulation() -> World:
    parameters, loss = regression()

    def step(x: Any, y: Any) -> Any:
        loss(x, y).backward()
        (loss(x * 2, y) * 0.5).backward()
        return [p.grad.abs().sum() for p in parameters]

    return step, batch, lambda: parameters


def penalty() -> World:
    """A gradient of a gradient's norm, accumulated with its graph."""
    parameters, loss = regression()

    def step(x: Any, y: Any) -> Any:
        for p in parameters:
            p.grad = None
        grads = rt.autograd.grad(loss(x, y), parameters, create_graph=True)
        total = loss(x, y) + sum((g * g).sum() for g in grads)
        total.backward()
        with rt.no_grad():
            for p in parameters:
                p -= 0.1 * p.grad
        return total.detach()

    return step, batch, lambda: parameters


def argument_parameters() -> World:
    """Parameters and moments given as arguments."""
    parameters, _ = regression()

    def step(weights: Any, x: Any, y: Any) -> Any:
        value = ((rt.tanh(x @ weights["w"] + weights["b"]) - y) ** 2).mean()
        for p in weights.values():
            p.grad = None
        value.backward()
        with rt.no_grad():
            for p in weights.values():
                p.add_(p.grad * -0.1)
        return value.detach()

    return step, lambda call: ({"w": parameters[0], "b": parameters[1]}, *batch(call)), lambda: parameters


@pytest.mark.parametrize(("make", "traces"), [
    (sgd, 1), (momentum, 2), (adam, 1), (data_idiom, 2), (data_assigned, 1), (accumulation, 2), (penalty, 1),
    (argument_parameters, 1)], ids=lambda v: getattr(v, "__name__", None))
def test_training_steps(make: Any, traces: int) -> None:
    agree(make, 6, traces=traces)


# ---- writes


def written(write: Any, *shape: int, requires_grad: bool = False, returns: Any = None) -> Any:
    def make() -> World:
        captured = tensor(*shape, seed=3)

        def function(x: Any) -> Any:
            kept = write(x, captured)
            return kept if returns is None else returns(x, captured)

        return function, lambda call: (tensor(*shape, seed=call),), lambda: captured

    return make


def swap(x: Any, w: Any) -> None:
    old = x.clone()
    x.copy_(w)
    w.copy_(old)


def gauss_seidel(x: Any, w: Any) -> None:
    for i in range(1, x.shape[0] - 1):
        x[i] = 0.5 * (x[i - 1] + x[i + 1])


def stale_views(x: Any, w: Any) -> Any:
    row, turned = x[1], x.T
    x.mul_(2)
    row.add_(1)
    return row + 0, turned * 1, x.detach()[0] * 3


def through_detach(x: Any, w: Any) -> Any:
    y = x.detach()
    z = x.data
    y.add_(1)
    z.mul_(2)
    x[0] = 7
    return y * 1, z * 1, x * 1


def own_reads(x: Any, w: Any) -> Any:
    before = w.sum()
    w.add_(x)
    middle = w.sum()
    w.mul_(0.5)
    return before, middle, w.sum(), w


WRITES = {
    "add_": lambda x, w: x.add_(1), "setitem": lambda x, w: x.__setitem__(0, 1.0), "captured": lambda x, w: w.mul_(x),
    "view": lambda x, w: x[1:].mul_(3), "view of view": lambda x, w: x.T[1:].T[0].add_(w[0, 1:]),
    "zero_": lambda x, w: x.zero_(),
    "copy_": lambda x, w: w.copy_(x), "swap": swap, "gauss seidel": gauss_seidel, "stale views": stale_views,
    "through detach": through_detach, "own reads": own_reads, "returned view": lambda x, w: x.mul_(2)[1:],
    "returned earlier view": lambda x, w: (x[0], x.add_(1), w[1])[0], "reshape": lambda x, w: x.reshape(-1).sub_(1),
    "mask": lambda x, w: x.__setitem__(x > 0, -1.0), "steps": lambda x, w: x[::2].copy_(w[:2]),
    "both": lambda x, w: (x.add_(w), w.add_(x), x.mul_(w))[0],
}


@pytest.mark.parametrize("name", list(WRITES))
def test_writes(name: str) -> None:
    agree(written(WRITES[name], 4, 3), 4, traces=1)


@pytest.mark.parametrize("name", [n for n in WRITES if n not in ("through detach", "stale views", "swap")])
def test_writes_to_arrays(name: str) -> None:
    """Arrays given as arguments are written as tensors are; eager functions get tensors over them."""
    def make(compiled: bool) -> World:
        captured = tensor(4, 3, seed=3)
        write = WRITES[name]

        def function(x: Any) -> Any:
            return write(x if compiled or isinstance(x, rt.Tensor) else rt.from_numpy(x), captured)

        return function, lambda call: (array(4, 3, seed=call),), lambda: captured

    function, arguments, state = make(True)
    eager, _, eager_state = make(False)
    compiled = rt.compile(function)
    for call in range(4):
        given, wanted = arguments(call), arguments(call)
        compiled(*given)
        eager(*wanted)
        same(given[0], wanted[0], f"call {call}")
        same(state(), eager_state(), f"call {call}")


def test_a_returned_view_shares_the_written_memory() -> None:
    f = rt.compile(lambda x: x.mul_(2)[1:])
    for _ in range(3):
        x = tensor(4)
        part = f(x)
        part.zero_()
        assert x.tolist()[1:] == [0.0, 0.0, 0.0] and x.tolist()[0] != 0


def test_running_statistics() -> None:
    def make() -> World:
        mean, gain = rt.zeros(3, dtype=rt.float64), tensor(3, seed=1, requires_grad=True)

        def norm(x: Any) -> Any:
            with rt.no_grad():
                mean.mul_(0.9).add_(0.1 * x.mean(0))
            return (x - mean) * gain

        return norm, lambda call: (tensor(5, 3, seed=call, requires_grad=True),), lambda: [mean, gain]

    agree(make, 5, traces=1)


def test_histories_are_taken_over() -> None:
    """A write that autograd sees gives an argument a history, also in compiled code."""
    def make() -> World:
        w = tensor(3, seed=1, requires_grad=True)

        def function(x: Any) -> Any:
            x.mul_(w)
            x.add_(1)
            return x.sum()

        return function, lambda call: (tensor(3, seed=call),), lambda: w

    agree(make, 4, traces=1)
    for function in (make()[0], rt.compile(make()[0])):
        for _ in range(3):
            x = tensor(3)
            function(x)
            assert x.requires_grad and not x.is_leaf
            (g,) = rt.autograd.grad((x * x).sum(), x)
            np.testing.assert_allclose(g._data, 2 * x._data)


def test_backward_from_results_that_were_freed_raises_as_eager_does() -> None:
    def step(w: Any) -> Any:
        loss = (w * w).sum()
        loss.backward()
        return loss

    f = rt.compile(step)
    for _ in range(3):
        w = tensor(3, requires_grad=True)
        loss = f(w)
        assert loss.requires_grad
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()


def test_backward_over_a_written_value_raises_as_eager_does() -> None:
    buffer = tensor(3, seed=5)

    def function(w: Any) -> Any:
        y = w * buffer
        buffer.add_(1)
        return y.sum()

    f = rt.compile(function)
    for _ in range(3):
        w = tensor(3, requires_grad=True)
        with pytest.raises(RuntimeError, match="RT104"):
            f(w).backward()


def test_saved_arguments_that_are_written_afterwards() -> None:
    f = rt.compile(lambda w, x: (w * x).sum())
    for _ in range(3):
        w, x = tensor(3, requires_grad=True), tensor(3, seed=1)
        out = f(w, x)
        x.add_(1)
        with pytest.raises(RuntimeError, match="RT104"):
            out.backward()


# ---- memory that arguments share


@pytest.mark.parametrize("pair", [
    lambda x: (x, x), lambda x: (x, x[1:3]), lambda x: (x[:3], x[1:]), lambda x: (x, x.detach()), lambda x: (x[::2], x),
    lambda x: (x, rt.from_numpy(x._data)), lambda x: (x.data, x)],
    ids=["same", "part", "overlap", "detach", "steps", "array", "data"])
def test_arguments_that_share_memory(pair: Any) -> None:
    def function(a: Any, b: Any) -> Any:
        a.mul_(2)
        total = b.sum()
        b.add_(1)
        return total + a.sum()

    f = rt.compile(function)
    for call in range(6):
        x, y = tensor(4, seed=call), tensor(4, seed=call)
        if call % 2:  # in between, arguments of the same types that share nothing
            found, wanted = f(x, tensor(4, seed=9)), function(y, tensor(4, seed=9))
        else:
            found, wanted = f(*pair(x)), function(*pair(y))
        same(found, wanted, f"call {call}")
        same(x, y, f"call {call}")


def test_parameters_in_one_buffer() -> None:
    def make() -> World:
        flat = tensor(12)
        parts = [flat[:4], flat[4:].reshape(2, 4)]

        def function(x: Any) -> Any:
            y = (parts[1] @ parts[0]).sum() * x
            for part in parts:
                part.mul_(0.5)
            return y

        return function, lambda call: (tensor(seed=call),), lambda: flat

    agree(make, 4)


# ---- calls that fail


def test_a_failed_call_changes_nothing() -> None:
    w, table = tensor(3, requires_grad=True), tensor(5)

    def function(x: Any, i: Any) -> Any:
        (w * x).sum().backward()
        x.add_(1)
        table.zero_()
        if x.sum() > 100:
            raise ArithmeticError("too large")
        return table[i] + x

    f = rt.compile(function)
    good, bad = rt.tensor([0, 1, 2]), rt.tensor([0, 1, 7])
    for first in (True, False):
        for x, i, error in ((tensor(3) + 1000, good, ArithmeticError), (tensor(3), bad, IndexError)):
            before = (x.tolist(), table.tolist(), x._version[0], table._version[0],
                      w.grad if w.grad is None else w.grad.tolist())
            with pytest.raises(error):
                f(x, i)
            assert before == (x.tolist(), table.tolist(), x._version[0], table._version[0],
                              w.grad if w.grad is None else w.grad.tolist()), first
        f(tensor(3), good)


def test_specialize_has_no_effects() -> None:
    w = tensor(3)
    f = rt.compile(lambda x: w.add_(x))
    f.specialize(tensor(3, seed=1))
    assert w.tolist() == tensor(3).tolist() and w._version[0] == 0
    f(tensor(3, seed=1))
    assert w._version[0] == 1


# ---- the IR's side


def test_effects_in_text_interpreter_and_verifier() -> None:
    w = tensor(3)
    f = rt.compile(lambda x: (w.add_(x), x.mul_(2))[0] * 3)
    graph = f.specialize(tensor(3, seed=1)).graph
    assert str(graph).count("op.write(") == 2
    assert same_graph(parse(str(graph)), verify(graph))
    x, y = array(3, seed=1), array(3)
    (result,) = graph(x, y)
    np.testing.assert_allclose(y, array(3) + array(3, seed=1))
    np.testing.assert_allclose(x, 2 * array(3, seed=1))
    np.testing.assert_allclose(result, y * 3)


# ---- random draws


def drawn(function: Any) -> Any:
    def make() -> World:
        generator = rt.Generator(7)
        weights = tensor(4, seed=1, requires_grad=True)
        return (lambda x: function(x, weights, generator)), lambda call: (tensor(4, seed=call),), \
            lambda: rt.rand(2, generator=generator).tolist()

    return make


def several(x: Any, w: Any, g: Any) -> Any:
    noise = rt.randn(4, dtype=rt.float64)
    keep = rt.rand(4) < 0.7
    return (w + noise) * keep * x, rt.randint(0, 10, (3,)), rt.randperm(4)[0]


def seeded_inside(x: Any, w: Any, g: Any) -> Any:
    rt.manual_seed(3)
    a = rt.rand(4)
    g.manual_seed(4)
    return a + rt.rand(4, generator=g) * x + rt.rand(4, generator=rt.Generator(5))


def branched(x: Any, w: Any, g: Any) -> Any:
    if rt.rand() < 0.5:
        return x * rt.rand(4)
    return x + rt.randn(4, generator=g)


def rejection(x: Any, w: Any, g: Any) -> Any:
    count = 0
    while rt.rand() < 0.6:
        count += 1
    return x * count


DRAWS = {
    "several": several, "seeded inside": seeded_inside, "branched": branched, "rejection": rejection,
    "given generator": lambda x, w, g: x + rt.randn(4, generator=g), "unused": lambda x, w, g: (rt.rand(3), x * 2)[1],
    "like": lambda x, w, g: (w * rt.rand_like(x)).sum(), "noisy write": lambda x, w, g: x.add_(rt.rand(4)),
    "in a transform": lambda x, w, g: rt.func.grad(lambda v: ((v + rt.rand(4)) ** 2).sum())(x),
}


@pytest.mark.parametrize("name", list(DRAWS))
def test_random_draws(name: str) -> None:
    """The same numbers in the same order, and generators left where eager calls leave them."""
    agree(drawn(DRAWS[name]), 12)


def test_a_failed_call_draws_nothing() -> None:
    f = rt.compile(lambda x, i: (x + rt.rand(3))[i])
    for i in ([0], [5], [1], [7]):
        rt.manual_seed(1)
        if i[0] < 3:
            f(tensor(3), rt.tensor(i))
            continue
        with pytest.raises(IndexError):
            f(tensor(3), rt.tensor(i))
        found = rt.rand(1).tolist()
        rt.manual_seed(1)
        assert found == rt.rand(1).tolist()


# ---- a trace that was taken without a call


def test_what_specialize_traced_takes_histories_over() -> None:
    def make() -> Any:
        w = tensor(3, seed=1, requires_grad=True)

        def function(x: Any) -> Any:
            x.mul_(w)
            return x.sum()

        return function, w

    eager, a = make()
    plain, b = make()
    f = rt.compile(plain)
    f.specialize(tensor(3, seed=5))
    for call in range(3):
        x, y = tensor(3, seed=call), tensor(3, seed=call)
        found, wanted = f(x), eager(y)
        assert x.requires_grad and x.grad_fn is not None
        (found + x.sum()).backward()
        (wanted + y.sum()).backward()
        same(b.grad, a.grad, f"call {call}")
    assert f.traces == 1


def test_specialize_takes_rebound_entries_back() -> None:
    state = {"m": tensor(3, seed=1), "k": 1}
    before = dict(state)

    def step(x: Any) -> Any:
        state["m"] = state["m"] * 0.5 + x
        state["k"] = 2
        state["new"] = x * 1
        return state["m"] + 0

    f = rt.compile(step)
    f.specialize(tensor(3))
    assert list(state) == list(before) and all(state[key] is before[key] for key in before)
    same(f(tensor(3)), before["m"] * 0.5 + tensor(3), "result")
    assert state["k"] == 2


def test_a_call_that_fails_takes_rebound_entries_back() -> None:
    state = {"m": tensor(3, seed=1)}
    before = state["m"]

    def step(x: Any) -> Any:
        state["m"] = state["m"] * 0.5
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        rt.compile(step)(tensor(3))
    assert state["m"] is before


def test_containers_in_arguments_are_changed_past_the_budget() -> None:
    def step(x: Any, parts: list[Any], words: dict[str, Any]) -> Any:
        parts.append(x.sum())
        words["n"] = words["a"]
        words["inner"].append(1)
        return x * int(x.sum())

    f = rt.compile(step, budget=2)
    with pytest.warns(rt.errors.GuardExplosion):
        for n in range(5):
            table = np.array([1.0])
            parts, words = [table], {"a": table, "inner": [0]}
            f(rt.tensor([float(n)]), parts, words)
            assert len(parts) == 2 and parts[0] is table and words["inner"] == [0, 1], n
            assert float(parts[1]) == n and words["n"] is table, n


def test_specialize_past_the_budget_changes_nothing() -> None:
    def step(x: Any) -> Any:
        x.add_(1.0)
        return x * int(x.sum())

    f = rt.compile(step, budget=1)
    f(rt.tensor([1.0]))
    x = rt.tensor([5.0])
    with pytest.raises(TypeError, match="RT301"):
        f.specialize(x)
    assert x.tolist() == [5.0] and x._version[0] == 0


def test_a_name_that_led_to_a_view_of_another() -> None:
    """A trace that took a captured tensor as a view of another one holds only while it is."""
    def make() -> World:
        box: dict[str, Any] = {"whole": tensor(3, 3, seed=1), "other": tensor(3, seed=2)}
        box["part"] = box["whole"][0]

        def function(x: Any) -> Any:
            a = x @ box["whole"]
            box["part"].copy_(a.mean(0))
            return a

        def arguments(call: int) -> Any:
            box["part"] = box["whole"][0] if call % 4 < 2 else box["other"]
            return (tensor(2, 3, seed=call),)

        return function, arguments, lambda: box

    agree(make, 12, gradients=False)


def test_names_that_led_to_one_tensor_part_again() -> None:
    def make() -> World:
        box = {"read": tensor(3, seed=1), "written": tensor(3, seed=2)}
        own = dict(box)

        def function(x: Any) -> Any:
            box["written"].mul_(0.5)
            return x + box["read"]

        def arguments(call: int) -> Any:
            box["written"] = box["read"] if call % 3 == 1 else own["written"]
            return (tensor(3, seed=call),)

        return function, arguments, lambda: [box, own]

    agree(make, 9)
