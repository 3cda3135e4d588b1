"""What compiled calls write to arguments and captured tensors is computed in their memory, where nothing can fail."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retape as rt
from retape.codegen.program import Program

N = 1000


def array(seed: int = 0, *shape: int) -> Any:
    return np.random.default_rng(seed).uniform(0.5, 1.5, shape or (N,))


def tensor(seed: int = 0, *shape: int) -> Any:
    return rt.from_numpy(array(seed, *shape))


def program(function: Any, *arguments: Any) -> Program:
    """The program of a function after two of its calls have done what eager ones do."""
    compiled = rt.compile(function)
    for call in range(3):
        ours, wanted = ([rt.from_numpy(a.numpy() + call) for a in arguments] for _ in range(2))
        found, expected = compiled(*ours), function(*wanted)
        for one, other in zip([*ours, *_tensors(found)], [*wanted, *_tensors(expected)], strict=True):
            np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-12, err_msg=f"call {call}")
    assert compiled.traces == 1
    known = compiled.specialize(*arguments)._code.program
    assert isinstance(known, Program)
    return known


def _tensors(found: Any) -> list[Any]:
    return [] if found is None else [found] if isinstance(found, rt.Tensor) else list(found)


def sgd(p: Any, g: Any) -> None:
    p.sub_(g * 0.1)


def momentum(p: Any, g: Any, m: Any) -> None:
    m.mul_(0.9).add_(g)
    p.sub_(m * 0.1)


def adam(p: Any, g: Any, m: Any, v: Any) -> None:
    m.mul_(0.9).add_(0.1 * g)
    v.mul_(0.999).add_(0.001 * g * g)
    p.sub_(0.01 * m / (v.sqrt() + 1e-8))


def twice(x: Any) -> Any:
    x.mul_(2)
    x[3] = 7
    x[10:20] += 1
    return x.sum()


def returned(x: Any, y: Any) -> Any:
    x.add_(y)
    return x


@pytest.mark.parametrize(("function", "count", "written"), [
    (sgd, 2, 1), (momentum, 3, 2), (adam, 4, 3), (twice, 1, 1), (returned, 2, 1),
    (lambda x: x[100:200].mul_(2), 1, 1), (lambda x, y: x[1:-1].add_(y[1:-1] * y[2:]), 2, 1),
    (lambda x: x.view(10, 100).mul_(3), 1, 1),
    (lambda x, y: (x.add_(1), y.mul_(2)), 2, 2), (lambda x: x.__setitem__(slice(0, 5), 0.0), 1, 1),
    (lambda x, y: x.__setitem__(slice(0, 5), y[3:8]), 2, 1), (lambda x: x.__setitem__(x > 1, 0.0), 1, 1),
], ids=str)
def test_no_copies(function: Any, count: int, written: int) -> None:
    """A call takes no memory beside its inputs, but for sums."""
    known = program(function, *(tensor(seed) for seed in range(count)))
    assert len(known.overwritten) == written
    assert known.memory["peak"] <= 64


def test_a_step_is_one_kernel() -> None:
    known = program(adam, *(tensor(seed) for seed in range(4)))
    assert [len(part.tape.rows) for part in known._plan] == [1]
    text = known.kernels[0].source
    assert text.startswith("def kernel(p_m, p_g, p_v, p_p, ") and text.count("p_m[i0]") == text.count("p_p[i0]") == 2


def stencil(x: Any) -> None:
    x[1:-1] = 0.5 * (x[2:] + x[:-2])


def sweeps(x: Any) -> None:
    for _ in range(3):
        x[1:-1] = 0.5 * (x[2:] + x[:-2])


@pytest.mark.parametrize("function", [stencil, sweeps])
def test_what_reads_elsewhere_is_computed_beside(function: Any) -> None:
    known = program(function, tensor())
    assert known.overwritten == [0] and known.memory["outputs"] == 0
    assert known.memory["workspace"] <= (N + 6) * 8


def test_a_product_is_added_in_place() -> None:
    def step(w: Any, x: Any, y: Any) -> None:
        w.sub_(x @ y)

    known = program(step, tensor(0, 30, 40), tensor(1, 30, 20), tensor(2, 20, 40))
    assert known.overwritten == [0] and known.memory["peak"] == 0


def old_elements(x: Any) -> Any:
    before = x.clone()
    x.add_(1)
    return before


def old_part(x: Any) -> Any:
    before = x[10:20].clone()
    x.add_(1)
    return before


def shifted(x: Any) -> Any:
    x.copy_(x.flip(0) * 2)


def scanned(x: Any) -> None:
    x.copy_(x.cumsum(0))


def turned(x: Any) -> None:
    y = x.view(20, 50)
    x.view(50, 20).copy_(y.T * 2)


def factor(x: Any) -> None:
    y = x.view(25, 40)
    x.view(40, 25).copy_(y.T @ y[:, :25])


def normalised(x: Any) -> None:
    y = x.view(10, 100)
    y.div_(y.sum(1, keepdim=True))


def both_ways(x: Any, y: Any) -> None:
    z = x + y
    x.copy_(z * y)
    y.copy_(z * 3)


def exchanged(x: Any, y: Any) -> None:
    z = x.clone()
    x.copy_(y)
    y.copy_(z)


def turned_and_added(x: Any, y: Any) -> None:
    z = x.flip(0)
    x.add_(y)
    y.add_(z)


def neighbours(x: Any) -> None:
    x[1:] += x[:-1]


def two_parts(x: Any) -> None:
    low, high = x[:500] * 2, x[500:] * 3
    x[:500] = high
    x[500:] = low


def one_value(x: Any, y: Any) -> Any:
    z = x * 2
    x.copy_(z)
    y.copy_(z)
    return z


def late_read(x: Any, y: Any) -> Any:
    z = y * 2
    w = x + 1
    x.copy_(z)
    return w, x[3:9], x.clone()


@pytest.mark.parametrize("function", [
    old_elements, old_part, shifted, scanned, turned, factor, normalised, neighbours, two_parts,
    lambda x: x.view(10, 100).T.mul_(3)])
def test_reads_come_before_writes(function: Any) -> None:
    program(function, tensor())


@pytest.mark.parametrize("function", [both_ways, exchanged, turned_and_added, one_value, late_read])
def test_reads_come_before_writes_of_two(function: Any) -> None:
    program(function, tensor(), tensor(1))


def test_results_have_memory_of_their_own() -> None:
    def f(x: Any, y: Any) -> Any:
        z = x * 2
        y.copy_(z)
        return z, y.clone(), y.detach() * 1, y

    compiled = rt.compile(f)
    for _ in range(3):
        x, y = tensor(), tensor(1)
        *others, same = compiled(x, y)
        assert same is y
        for other in others:
            assert not np.shares_memory(other.numpy(), y.numpy())
            np.testing.assert_array_equal(other.numpy(), x.numpy() * 2)


def test_numbers_are_results_too() -> None:
    def f(x: Any) -> Any:
        x.mul_(2)
        return x, x.sum().item()

    compiled = rt.compile(f)
    for _ in range(3):
        x = tensor()
        same, total = compiled(x)
        assert same is x and type(total) is float
        np.testing.assert_allclose(total, 2 * array().sum())


# ---- calls that fail


def test_an_index_is_checked_before_anything_is_written() -> None:
    def step(table: Any, x: Any, where: Any) -> None:
        x.sub_(table[where] * 0.5)
        table.mul_(2)

    compiled = rt.compile(step)
    where = rt.tensor(np.arange(N) % 7)
    for _ in range(2):
        compiled(tensor(0, 700), tensor(1), where)
    known = compiled.specialize(tensor(0, 700), tensor(1), where)._code.program
    assert known.overwritten == [0] and len(known._plan) == 3  # `x` is computed where the index is looked at
    table, x = tensor(0, 700), tensor(1)
    wrong = where.clone()
    wrong[5] = N + 3
    with pytest.raises(IndexError, match="out of bounds"):
        compiled(table, x, wrong)
    np.testing.assert_array_equal(table.numpy(), array(0, 700))
    np.testing.assert_array_equal(x.numpy(), array(1))
    compiled(table, x, where)
    np.testing.assert_array_equal(table.numpy(), 2 * array(0, 700))


@pytest.mark.parametrize("n", [20, 70])  # a kernel, LAPACK
def test_a_matrix_that_is_singular_fails_before_anything_is_written(n: int) -> None:
    def step(a: Any, x: Any) -> None:
        x.mul_(2)
        a.sub_(rt.linalg.inv(a))

    compiled = rt.compile(step)
    regular = rt.from_numpy(array(3, n, n) + n * np.eye(n))
    for _ in range(2):
        compiled(regular.clone(), tensor())
    assert len(compiled.specialize(regular, tensor())._code.program.overwritten) == 2
    singular, x = rt.zeros(n, n, dtype=rt.float64), tensor()
    with pytest.raises(Exception, match="singular"):
        compiled(singular, x)
    assert not singular.numpy().any()
    np.testing.assert_array_equal(x.numpy(), array())


def test_a_read_only_array_leaves_all_others_alone() -> None:
    compiled = rt.compile(lambda x, y: (x.add_(1), y.add_(1))[0])
    for _ in range(2):
        compiled(array(), array(1))
    x, y = array(), array(1)
    y.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        compiled(x, y)
    np.testing.assert_array_equal(x, array())
    np.testing.assert_array_equal(y, array(1))


def test_looking_changes_nothing() -> None:
    compiled = rt.compile(adam)
    state = [tensor(seed) for seed in range(4)]
    for _ in range(2):
        assert compiled.specialize(*state).memory["peak"] == 0
    for seed, one in enumerate(state):
        np.testing.assert_array_equal(one.numpy(), array(seed))


def test_values_that_python_looks_at_decide_before_anything_is_written() -> None:
    def step(x: Any) -> None:
        x.mul_(2)
        if x.sum() > 3000:
            x.sub_(1)

    compiled = rt.compile(step)
    for start in (1.0, 1.2, 2.0, 2.2, 0.5):
        x = rt.full((N,), start, dtype=rt.float64)
        compiled(x)
        np.testing.assert_array_equal(x.numpy(), np.full(N, start * 2 - (start * 2 > 3)))


# ---- memory that is shared, other layouts, threads


def test_arguments_that_overlap() -> None:
    def step(x: Any, y: Any) -> None:
        x.add_(y)
        x.mul_(y)

    compiled = rt.compile(step)
    for offset in (0, 0, 3, -3, N, 0):
        one, other = array(0, 3 * N), array(0, 3 * N)
        for function, memory in ((compiled, one), (step, other)):
            whole = rt.from_numpy(memory)
            function(whole[N : 2 * N], whole[N + offset : 2 * N + offset])
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("layout", [
    lambda a: a[::2], lambda a: a.reshape(20, 100).T, lambda a: a.reshape(20, 100)[3:9, 5:50], lambda a: a[::-1]])
def test_other_layouts(layout: Any) -> None:
    compiled = rt.compile(lambda x: x.mul_(2).add_(1))
    for _ in range(3):
        memory = array(0, 2000)
        wanted = memory.copy()
        part = layout(wanted)
        part[...] = part * 2 + 1
        compiled(layout(memory))
        np.testing.assert_allclose(memory, wanted, rtol=1e-15)


def test_calls_from_several_threads() -> None:
    compiled = rt.compile(momentum)
    states = [[tensor(seed + 10 * k, 20_000) for seed in range(3)] for k in range(4)]
    wanted = [[s.clone() for s in state] for state in states]
    compiled(*(tensor(seed, 20_000) for seed in range(3)))

    def run(state: list[Any]) -> None:
        for _ in range(30):
            compiled(*state)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, states))
    for state, own in zip(states, wanted, strict=True):
        for _ in range(30):
            momentum(*own)
        for one, other in zip(state, own, strict=True):
            np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-10)


def test_backward_knows_of_the_write() -> None:
    """A tensor whose elements backward needs isn't overwritten unseen, and those it keeps are the old ones."""
    w = tensor(1)
    w.requires_grad = True

    def f(x: Any) -> Any:
        y = (x.clone() * w).sum()
        x.add_(1)
        return y

    compiled = rt.compile(f)
    for _ in range(3):
        x = tensor()
        (found,) = rt.autograd.grad(compiled(x), w)
        np.testing.assert_array_equal(found.numpy(), array())
        np.testing.assert_array_equal(x.numpy(), array() + 1)
    loss = rt.compile(lambda x: (x * w * w).sum())(tensor())
    again = rt.compile(lambda: w.mul_(2))
    with rt.no_grad():
        again()
        again()
    np.testing.assert_array_equal(w.detach().numpy(), 4 * array(1))
    with pytest.raises(RuntimeError, match="RT104"):
        loss.backward()


# ---- temporaries


def rows(x: Any) -> Any:
    y = x.clone()
    for i in range(20):
        y[i] = y[i] * 2 + x[i]
    return y


def prefix(x: Any) -> Any:
    y = x.clone()
    for i in range(1, 20):
        y[i] = y[i - 1] * 0.5 + y[i]
    return y


def columns(x: Any) -> Any:
    y = x * 1.5
    for i in range(1, 19):
        y[:, i] += y[:, i - 1] + y[:, i + 1]
    return y


@pytest.mark.parametrize("function", [rows, prefix, columns])
def test_slices_of_temporaries(function: Any) -> None:
    """One array for the result, which every write changes where it lies."""
    known = program(function, tensor(0, 20, 100))
    assert known.memory["outputs"] == 20 * 100 * 8 and known.memory["workspace"] <= 100 * 8 + 128


# ---- programs that write here and there

PART = st.sampled_from(["0:50", "50:100", "10:60", "20:70", "0:100:2", "1:100:2"])
NAME = st.sampled_from(["x", "y", "z"])
WRITE = st.one_of(
    st.builds(lambda a, i, b, j: f"{a}[{i}] = {b}[{j}] * 1.5", NAME, PART, NAME, PART),
    st.builds(lambda a, i, b, j: f"{a}[{i}] += {b}[{j}]", NAME, PART, NAME, PART),
    st.builds(lambda a, i: f"{a}[{i}] *= 0.5", NAME, PART),
    st.builds(lambda a, b: f"{a}.add_({b})", NAME, NAME),
    st.builds(lambda a, b: f"{a}.copy_({b}.flip(0))", NAME, NAME),
    st.builds(lambda a, b: f"{a}.mul_({b}.sum() * 0.01)", NAME, NAME),
    st.builds(lambda a, b: f"{a} = {b} + 1.0" if a == "z" else f"z = {b}.clone()", NAME, NAME),
    st.builds(lambda a, b: f"{a}.view(10, 10).sub_({b}.view(10, 10) @ {b}.view(10, 10) * 0.01)", NAME, NAME),
    st.builds(lambda a, i: f"kept.append({a}[{i}] * 1.0)", NAME, PART),
    st.builds(lambda a: f"kept.append({a}.clone())", NAME),
)


@given(st.lists(WRITE, min_size=1, max_size=8))
@settings(max_examples=40, deadline=None)
def test_programs(lines: list[str]) -> None:
    scope: dict[str, Any] = {}
    body = "\n".join(f"    {line}" for line in lines)
    exec(f"def f(x, y):\n    z = x * y\n    kept = []\n{body}\n    return [z, *kept]", scope)
    compiled = rt.compile(scope["f"])
    for call in range(2):
        ours, wanted = ([tensor(call, 100), tensor(5, 100)] for _ in range(2))
        found, expected = compiled(*ours), scope["f"](*wanted)
        for number, (one, other) in enumerate(zip([*ours, *found], [*wanted, *expected], strict=True)):
            np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-9, atol=1e-9, err_msg=f"{number}\n{body}")
