"""Numbers that Python takes out of tensors (`x.item()`, `x.tolist()`) and computes with, in compiled functions."""

from __future__ import annotations

import itertools
import json
import math
import operator
import struct
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import agree, same

import retape as rt

VALUES = (0.75, -2.5, 3.25, 0.0, -0.0, 100.0, 0.75)
WHOLE = (3, -7, 0, 12, 1, -1, 3)


def equal(found: Any, wanted: Any, place: Any) -> None:
    """Results of equal types; floats up to rounding, NaN is NaN, zeros have signs."""
    assert type(found) is type(wanted), f"{place}: {found!r} against {wanted!r}"
    if isinstance(wanted, float):
        assert (math.isnan(found) and math.isnan(wanted)) or math.isclose(found, wanted, rel_tol=1e-14), place
        assert math.copysign(1, found) == math.copysign(1, wanted) or math.isnan(wanted), place
    elif isinstance(wanted, (tuple, list)):
        for a, b in zip(found, wanted, strict=True):
            equal(a, b, place)
    elif isinstance(wanted, (rt.Tensor, dict)):
        same(found, wanted, str(place), 1e-14)
    else:
        assert found == wanted, place


def tried(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except (ArithmeticError, ValueError, TypeError) as error:
        return type(error).__name__, str(error)


REALS = {
    "quotient": (lambda x, k: x / k, 2), "reciprocal": (lambda x, k: x * (1 / k if k else 1.0), 2),
    "number": (lambda x, k: k, 1), "sums": (lambda x, k: (k + 1, 1 - k, 2.5 * k, k - 0.5, -k, +k, abs(k)), 1),
    "chain": (lambda x, k: sum(k * i for i in range(5)) / 7, 1), "squared": (lambda x, k: k**2, 2),
    "product": (lambda x, k: x * k + k * k, 1), "floor": (lambda x, k: (k // 0.5, k % 0.75, divmod(k, 3)), 1),
    "compared": (lambda x, k: (k > 1, k <= -1, k == 0.75, k != k), 4), "branch": (lambda x, k: x if k > 0 else -x, 2),
    "truth": (lambda x, k: x if k else x * 2, 2), "clipped": (lambda x, k: min(max(k, -1.0), 1.0), 3),
    "list": (lambda x, k: [k, (k * 2, {"k": k / 3})], 1), "types": (lambda x, k: (isinstance(k, float), k * 1.0), 1),
    "whole": (lambda x, k: (round(k) * 2, math.floor(k) + 1, math.ceil(k), math.trunc(k)), 1),
    "rebound": (lambda x, k: (x.add_(1.0), k, x + k), 1),
    "wide": (lambda x, k: (x.float() * k, (x.float() + 1).double() * k), 1),
    "weak": (lambda x, k: (rt.ones(2, dtype=rt.int64) * k, rt.ones(2) + k, rt.where(x > 0, k, 0.0)), 1),
    "made": (lambda x, k: (rt.tensor(k), rt.full((2,), k), rt.tensor(k, dtype=rt.float64)), 1),
    "written": (lambda x, k: (x.clone().fill_(k), x.clone().mul_(k), rt.clamp(x, max=k)), 1),
    "set": (lambda x, k: x.clone().index_fill(0, rt.tensor([0]), k), 1),
    "functions": (lambda x, k: (rt.exp(x * k), rt.add(x, k, alpha=2), rt.lerp(x, x + 1, k), rt.exp(k * 0.01)), 1),
    "numpy": (lambda x, k: (np.exp(x * k), np.add(x, k)), 1), "scalars": (lambda x, k: x * (np.float64(2.0) * k), 1),
    "numpy functions": (lambda x, k: (x * np.exp(-k), np.sqrt(k * k) * x, x * np.hypot(k, 2.0), bool(np.isnan(k))), 1),
    "python": (lambda x, k: (math.exp(k / 50), f"{k:.3f}", str(k), hash(k), int(k), complex(k),
                            struct.pack("d", k)), 6),
    "refused": (lambda x, k: (json.dumps(k), str(Decimal(k))), 6),
    "root": (lambda x, k: abs(k) ** 0.5, 6), "power": (lambda x, k: (k * k + 1) ** -1.5, 1),
    "unused": (lambda x, k: x * 2, 1), "rounded": (lambda x, k: round(k, 1), 6),
    "formatted": (lambda x, k: f"{int(k):d} {k}", 6),
}


@pytest.mark.parametrize("name", REALS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_floats(name: str, dtype: str) -> None:
    body, traces = REALS[name]

    def f(x: Any) -> Any:
        return body(x, x[0].item())

    compiled = rt.compile(f)
    for value in VALUES:
        x, y = (rt.tensor([value, 0.5], dtype=dtype) for _ in range(2))
        equal(tried(compiled, x), tried(f, y), (name, value))
        same(x, y, name)
    assert compiled.traces <= traces


INTEGERS = {
    "sums": (lambda n, k: (k + 1, 1 - k, 3 * k, -k, abs(k), k * k, ~k), 1),
    "divided": (lambda n, k: (k / 4, k // 3, k % 3, divmod(k, -2), 1 / 3 * k), 1),
    "powers": (lambda n, k: (k**0, k**2, k**3), 1),
    "negative": (lambda n, k: k**-2 if k else 0, 6), "float": (lambda n, k: (k * 0.5, k + 1.0, k - 2.5), 1),
    "tensor": (lambda n, k: (n * k, n + k, n / 2 * k, rt.ones(2) * k, rt.tensor(k), rt.full((2,), k)), 1),
    "compared": (lambda n, k: (k > 2, k == 1, k % 2 == 0, k < 2.5), 6), "truth": (lambda n, k: 1 if k else 2, 2),
    "very": (lambda n, k: (list(range(k)), k & 1, k << 1, f"{k}", hash(k), [1, 2, 3][k % 3], int(k), float(k)), 6),
    "types": (lambda n, k: isinstance(k, int) and k + 1, 1), "round": (lambda n, k: (round(k), math.floor(k) * 2), 1),
    "large": (lambda n, k: (k * 2**40 * 2**40, k + 2**70, k * 1e300, k - 2**62), 6),
    "index": (lambda n, k: rt.arange(4)[k % 4], 6), "sizes": (lambda n, k: rt.ones(abs(k)), 6),
}


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_whole_numbers(name: str, dtype: str) -> None:
    body, traces = INTEGERS[name]

    def f(n: Any) -> Any:
        return body(n, n.item())

    compiled = rt.compile(f)
    for value in WHOLE:
        equal(tried(compiled, rt.tensor(value, dtype=dtype)), tried(f, rt.tensor(value, dtype=dtype)), (name, value))
    assert compiled.traces <= traces


@pytest.mark.parametrize("op", ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lt", "le", "eq", "ne"])
@pytest.mark.parametrize("swapped", [False, True])
def test_edges(op: str, swapped: bool) -> None:
    """Whatever values numbers have, results and errors are Python's."""
    compute = getattr(operator, op)
    words = (2**63 - 1, -(2**63), 2**31, 2**53 + 1, 2**62, 0, -3, 5)
    doubles = (math.inf, -math.inf, math.nan, 0.0, -0.0, 1e308, 5e-324, -2.5, 3.0)
    for kinds in (("float64", "float64"), ("int64", "int64"), ("int64", "float64")):
        def f(x: Any, y: Any) -> Any:
            return tried(compute, *((y.item(), x.item()) if swapped else (x.item(), y.item())))

        compiled = rt.compile(f, budget=1000)
        sets = [words if kind == "int64" else doubles for kind in kinds]
        for a, b in itertools.product(*sets):
            if op == "pow" and isinstance(b, int) and isinstance(a, int) and max(abs(a), abs(b)) > 5:
                continue
            x, y = (rt.tensor(v, dtype=kind) for v, kind in zip((a, b), kinds, strict=True))
            for _ in range(2):
                equal(compiled(x, y), f(x, y), (op, a, b))


@pytest.mark.parametrize("other", [2**63, -(2**70), 2**53 + 1, math.inf, math.nan, True, 1.5, np.float64(0.3),
                                   np.float32(0.3), np.int64(3), 1j])
def test_edges_of_constants(other: Any) -> None:
    operators = operator.add, operator.mul, operator.truediv, operator.eq
    for op, kind in itertools.product(operators, ("int64", "float64")):
        def f(x: Any, op: Any = op) -> Any:
            return op(x.item(), other), op(other, x.item())

        compiled = rt.compile(lambda x, f=f: f(x))
        for value in (1, 3, -4):
            x = rt.tensor(value, dtype=kind)
            for (a, b) in zip(compiled(x), f(x), strict=True):
                assert a == b or (a != a and b != b), (op, value)


def test_lists() -> None:
    def f(x: Any, n: Any) -> Any:
        values, counts = x.tolist(), n.tolist()
        return x * sum(values[0]) + values[1][0] / 2, values, [c + 1 for c in counts], x[0, :1].item()

    compiled = rt.compile(f)
    rng = np.random.default_rng(0)
    for _ in range(4):
        x, n = rt.from_numpy(rng.standard_normal((2, 3))), rt.from_numpy(rng.integers(0, 9, 3))
        equal(compiled(x, n), f(x, n), "lists")
    assert compiled.traces == 1


def test_many_elements_are_refused() -> None:
    with pytest.raises(rt.errors.UnsupportedOp, match="65 elements"):
        rt.compile(lambda x: x.tolist())(rt.ones(65))


def test_state() -> None:
    """Numbers that are kept: in variables, attributes, lists and dicts, of arguments too."""
    def make() -> Any:
        losses: list[Any] = []
        o = SimpleNamespace(seen=[])
        w = rt.tensor([1.0, 2.0], dtype=rt.float64, requires_grad=True)

        def step(x: Any, notes: Any) -> Any:
            w.grad = None
            loss = ((w - x) ** 2).sum()
            loss.backward()
            with rt.no_grad():
                w.sub_(0.1 * w.grad)
            losses.append(loss.item())
            o.seen.append((loss.item(), "x"))
            notes["n"] = loss.item() + 1
            return loss.item()

        notes: dict[str, Any] = {}
        return step, lambda i: (rt.tensor([0.5 * i, 1.0], dtype=rt.float64), notes), \
            lambda: [losses, o.seen, w, [type(v) for v in losses], notes]

    agree(make, calls=5, traces=2)


class Meter:
    """What training loops keep of their losses."""

    def __init__(self) -> None:
        self.total, self.count, self.last = 0.0, 0, None
        self.history: list[float] = []

    def step(self, x: Any) -> Any:
        loss = (x * x).sum().item()
        self.total += loss
        self.count += 1
        self.last = loss
        self.history.append(loss)
        return self.total / self.count


class Again(Meter):
    def step(self, x: Any) -> Any:
        if x[0] > 1:
            self.__init__()  # type: ignore[misc]
        return super().step(x), sum(self.history)


@pytest.mark.parametrize("kind", [Meter, Again])
def test_a_meter(kind: Any) -> None:
    eager, counted = kind(), kind()
    step = rt.compile(counted.step)
    rng = np.random.default_rng(2)
    for number in range(8):
        x = rng.uniform(0, 1, 4)
        x[0] += number == 5
        equal(step(rt.from_numpy(x)), eager.step(rt.from_numpy(x)), number)
        assert vars(counted).keys() >= vars(eager).keys()
        for name, value in vars(eager).items():
            equal(getattr(counted, name), value, (name, number))
    assert kind is Again or step.traces <= 3


def test_a_number_that_is_read_before_a_write() -> None:
    def make() -> Any:
        x = rt.tensor(1.5, dtype=rt.float64)

        def f(y: Any) -> Any:
            before = x.item()
            x.add_(y.sum())
            return before, x.item(), before + x.item()

        return f, lambda i: (rt.tensor([float(i), 0.25], dtype=rt.float64),), lambda: [x]

    agree(make, calls=5, traces=1)


def test_no_gradient_flows_through_a_number() -> None:
    def f(x: Any) -> Any:
        return (x * x.sum().item()).sum()

    compiled = rt.compile(f)
    for scale in (1.0, 2.0, 3.0):
        found = []
        for g in (compiled, f):
            x = rt.tensor([scale, 0.5], requires_grad=True)
            g(x).backward()
            found.append(x.grad)
        same(found[0], found[1], "gradient")
    assert compiled.traces == 1


def test_extents_and_numbers() -> None:
    def f(x: Any) -> Any:
        mean = x.sum().item() / len(x)
        return x * mean + len(x) * mean, mean * x.shape[0], len(x) - x.sum().item(), len(x) > mean

    compiled = rt.compile(f)
    for n in (3, 4, 5, 6, 7):
        x = rt.ones(n, dtype=rt.float64) * 0.5
        equal(compiled(x), f(x), n)
    assert compiled.traces == 2


SIZES = {
    "draws": lambda x, k: (rt.rand(k), rt.randn(2 * k + 1, 2), rt.rand(1)), "ones": lambda x, k: rt.ones(k, 2) * k,
    "slices": lambda x, k: (x[:k], x[k:], x[k - 1 :: 2]), "shape": lambda x, k: x[: k * 2].reshape(k, 2).sum(1) / k,
    "permuted": lambda x, k: x[:k][rt.randperm(k)], "element": lambda x, k: x[k] * 2,
    "with a mask": lambda x, k: x[x > 0] * rt.rand(k), "like": lambda x, k: rt.randn_like(x[x > 0]) + x[:k],
    "dropout": lambda x, k: rt.nn.functional.dropout(x[x > 0], 0.4) * rt.rand(k),
    "made whole": lambda x, k: rt.rand(int(k)), "range": lambda x, k: [x[i] for i in range(k)],
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_that_values_decide(name: str) -> None:
    """Numbers as extents, of draws too: pieces for new ones are made from the second trace."""
    body = SIZES[name]

    def f(x: Any) -> Any:
        return body(x, (x > 0).sum().item())

    compiled, rng = rt.compile(f), np.random.default_rng(1)
    for seed, count in enumerate([3, 5, 4, 9, 2, 6, 1, 0, 7, 3, 8, 5]):
        x = rt.from_numpy(rng.permutation(np.where(np.arange(20) < count, 1.0, -1.0) * rng.uniform(0.5, 1.5, 20)))
        results = []
        for function in (compiled, f):
            rt.manual_seed(seed)
            results.append((tried(function, x), rt.rand(2).tolist()))
        equal(results[0], results[1], (name, count))
    assert compiled.traces <= (12 if name in ("made whole", "range") else 5)


def test_while_a_number_is_large() -> None:
    def f(x: Any) -> Any:
        total, steps = 0.0, 0
        while (size := x.norm().item()) > 1:
            x, total, steps = x / (1 + size / 4), total + size, steps + 1
        return x, total, steps

    compiled = rt.compile(f)
    for scale in (0.5, 3.0, 3.1, 3.2, 9.0, 9.1, 0.6):
        x = rt.ones(3, dtype=rt.float64) * scale
        equal(compiled(x), f(x), scale)
    assert compiled.traces <= 4


def test_what_cannot_do_with_recorded_numbers_is_told() -> None:
    f = rt.compile(lambda x: json.dumps(x.item()))
    assert [f(rt.tensor(v)) for v in (1.5, 2.5, 1.5)] == ["1.5", "2.5", "1.5"]
    assert "numbers out of tensors are looks" in f.explain() and "TypeError" in f.explain()


def test_printed_numbers(capsys: Any) -> None:
    def f(x: Any) -> Any:
        rt.debug.print("{:.2f} {}", x.sum().item(), x.long()[0].item() + 1)
        return x

    compiled = rt.compile(f)
    for value in (1.0, 2.0, 4.0):
        compiled(rt.tensor([value, 0.5]))
    assert capsys.readouterr().out == "1.50 2\n2.50 3\n4.50 5\n" and compiled.traces == 1


def test_escaped_numbers_are_what_they_were() -> None:
    kept: set[Any] = set()

    def f(x: Any) -> Any:
        kept.add((0, x.sum().item(),))
        return x

    rt.compile(f)(rt.tensor([1.5, 2.0]))
    ((_, number),) = kept
    assert number == 3.5 and number * 2 == 7.0 and rt.ones(1) * number == 3.5 and f"{number}" == "3.5"


STEPS = ["a = a * k", "k = k + 0.5 * j", "k = 2.0 - k", "j = j + k * k", "k = k / (1.0 + abs(j))", "n = n + 2",
         "n = n * 3 - 1", "j = float(n % 5) if n > 2 else k", "a = a + n", "k = max(k, j)", "if k > j: a = a - 1.0",
         "k = (a * a).sum().item() / 8", "j = a.mean().item()", "n = (a > 0).sum().item()", "n = -n // 2",
         "kept.append(k)", "o.k = j - k", "j = o.k * 0.5", "d['n'] = n", "a = a / (k * k + 1)", "k, j = j, k",
         "a = a.clamp(max=k)", "n = round(k)", "k = n / 4", "a[0] = k", "k = (k * k + 1) ** 0.5", "j = sum(a.tolist())"]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(STEPS), min_size=2, max_size=9))
def test_random_programs(steps: list[str]) -> None:
    source = "\n    ".join(["def f(x):", "a = x * 1", "k, j, n = x[0].item(), x[1].item(), (x > 0).sum().item()",
                            *steps, "return a, k, j, n"])

    def make() -> Any:
        space: dict[str, Any] = {"kept": [], "o": SimpleNamespace(k=1.0), "d": {"n": 1}}
        exec(compile(source, "<steps>", "exec"), space)
        rng = np.random.default_rng(len(steps))
        inputs = [rng.uniform(-1.5, 1.5, 4) for _ in range(5)]
        state = [space["kept"], vars(space["o"]), space["d"]]
        return space["f"], lambda i: (rt.from_numpy(inputs[i].copy()),), lambda: state

    agree(make, calls=5, rtol=1e-9)
