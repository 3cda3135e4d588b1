"""Rows shared among threads: equal results whatever their number, and callers that come all at once, fork and leave."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import retape as rt
from retape.codegen import division, kept, program
from retape.codegen.lower import lower
from retape.codegen.lowered import KernelStep
from retape.codegen.native import Tape, blas_threads, build, intrinsics
from retape.codegen.native.pool import Pool, pool
from retape.ir.errors import RetapeError

rng = np.random.default_rng(7)
INDEX = rng.integers(0, 9, 40000)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = rt.get_num_threads()
    yield
    rt.set_num_threads(before)


@pytest.fixture
def eager_to_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs compiled now share rows that would be too small."""
    for name, value in (("GRAIN", 1.0), ("CHUNK", 1.0), ("COMBINING", 1.0)):
        monkeypatch.setattr(division, name, value)
    monkeypatch.setattr(kept, "sources", lambda: "these constants")  # not those that were kept for others
    monkeypatch.setattr(program, "WAKING", 0.0)


KINDS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "elementwise": (lambda x: rt.tanh(x) * rt.exp(-x * x), rng.standard_normal(150003)),
    "elementwise f32": (lambda x: rt.sin(x) * x, rng.standard_normal(300001).astype("f")),
    "broadcast": (lambda x: rt.exp(x[:, None] - x[None, :]), rng.standard_normal(401)),
    "short rows": (lambda x: rt.exp(x[:, :3]) * 2.0, rng.standard_normal((70001, 5))),
    "row sums": (lambda x: (x * rt.sin(x)).sum(dim=1), rng.standard_normal((701, 301))),
    "softmax": (lambda x: rt.softmax(x, 1), rng.standard_normal((512, 400))),
    "sum": (lambda x: (x * rt.sin(x)).sum(), rng.standard_normal(300007)),
    "sum f32": (lambda x: (x * rt.sin(x)).sum(), rng.standard_normal(600007).astype("f")),
    "mean of rows": (lambda x: rt.exp(x[:, ::2]).mean(), rng.standard_normal((903, 400))),
    "largest": (lambda x: rt.exp(x).amax(), rng.standard_normal(300007)),
    "product": (lambda x: (1 + x * 1e-6).prod(), rng.standard_normal(900007)),
    "column sums": (lambda x: rt.exp(x).sum(dim=0), rng.standard_normal((3001, 40))),
    "column means": (lambda x: rt.exp(x).mean(dim=0), rng.standard_normal((3001, 40))),
    "smallest of columns": (lambda x: rt.exp(x).amin(dim=0), rng.standard_normal((3001, 40))),
    "sums over the middle": (lambda x: rt.exp(x).sum(dim=1), rng.standard_normal((50, 200, 30))),
    "sum of integers": (lambda x: (rt.exp(x) * 10).long().sum(), rng.standard_normal(300007)),
    "gather": (lambda x: rt.exp(x[INDEX]), rng.standard_normal(9)),
    "scatter": (lambda x: rt.zeros(9, dtype=rt.float64).scatter_add(0, rt.tensor(INDEX), rt.exp(x)),
                rng.standard_normal(40000)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_results_are_those_of_one_thread(kind: str) -> None:
    function, x = KINDS[kind]
    compiled = rt.compile(function)
    slope = rt.compile(rt.func.grad(lambda x: function(x).sum() if kind != "sum of integers" else x.sum()))
    eager = np.asarray(function(rt.tensor(x))._data)
    results = []
    regions_before = pool().get("regions")
    for threads in (1, 2, 3, 5):
        rt.set_num_threads(threads)
        results += [(np.asarray(compiled(x)), np.asarray(slope(x))) for _ in range(3)]
    for result in results[2:]:  # the first is eager's
        np.testing.assert_array_equal(result[0], results[1][0])
        np.testing.assert_array_equal(result[1], results[1][1])
    np.testing.assert_allclose(results[1][0], eager, rtol=2e-5 if x.dtype == np.float32 else 1e-10)
    assert pool().get("regions") > regions_before


PRODUCTS: dict[str, Any] = {
    "rows": ((513, 200), (200, 100)), "columns": ((90, 200), (200, 900)), "a column": ((5000, 100), (100, 1)),
    "a row": ((1, 900), (900, 800)), "a batch": ((30, 90, 80), (30, 80, 70)), "vectors": ((3000, 200), (200,)),
    "long sums": ((20, 30007), (30007, 30)), "a long row": ((1, 9007), (9007, 90)),
}


@pytest.mark.parametrize("kind", PRODUCTS)
def test_products_are_those_of_one_thread(kind: str) -> None:
    left, right = (rng.standard_normal(shape) for shape in PRODUCTS[kind])
    rt.set_num_threads(4)  # how a product is cut is decided when it is compiled
    product = rt.compile(lambda a, b: rt.exp(0.01 * (a @ b)))
    product(left, right)
    wanted = np.asarray(product(left, right))
    np.testing.assert_allclose(wanted, np.exp(0.01 * (left @ right)), rtol=1e-11)
    for threads in (1, 2, 3, 5):
        rt.set_num_threads(threads)
        for _ in range(3):
            np.testing.assert_array_equal(product(left, right), wanted)


def test_products_from_many_threads_leave_openblas_as_it_was() -> None:
    hold = blas_threads.hold()
    assert hold is not None
    hold.set(2)
    rt.set_num_threads(3)
    product = rt.compile(lambda a, b: (a @ b).sum(dim=0))
    left, right = rng.standard_normal((200, 150)), rng.standard_normal((150, 160))
    wanted = (product(left, right), product(left, right))[1]
    with ThreadPoolExecutor(8) as users:
        assert all((result == wanted).all() for result in users.map(lambda _: product(left, right), range(2000)))
    assert hold.get() == 2 and hold.state[0] == 0


def test_workers_take_shares_of_a_row() -> None:
    source = "def k(p0, p1, lo, hi):\n    for i in range(lo, hi):\n        p1[i] = p0[i] * 2.0 + to_f64(i)\n"
    kernel = build(source, "k", ["f64", "f64"], 0, intrinsics(True))
    x, y = rng.random(1_000_003), np.empty(1_000_003)
    rows = np.array([[kernel.address, 0, 0, 0, x.size, 1024]])
    call = Tape(rows, 2, np.zeros(1), kernel).bind([0, 1])
    rt.set_num_threads(3)
    before = sum(pool().shares())
    for _ in range(2000):
        y[:] = np.nan
        call((x, y))
        np.testing.assert_array_equal(y, x * 2.0 + np.arange(x.size))
        if sum(pool().shares()) >= before + 10:
            break
    assert sum(pool().shares()) >= before + 10
    names = {thread.name for thread in threading.enumerate()}
    assert {"retape-1", "retape-2"} <= names


@pytest.mark.parametrize(("lo", "hi", "grain"), [
    (0, 10, 5), (3, 14, 5), (0, 9, 5), (7, 7, 1), (0, 1000, 1), (5, 4, 1),
])
def test_every_iteration_is_done_once(lo: int, hi: int, grain: int) -> None:
    kernel = build("def k(p0, lo, hi):\n    for i in range(lo, hi):\n        p0[i] = p0[i] + 1\n", "k", ["i64"], 0,
                   intrinsics(True))
    call = Tape(np.array([[kernel.address, 0, 0, lo, hi, grain]] * 30), 1, np.zeros(1), kernel).bind([0])
    wanted = np.zeros(1000, np.int64)
    wanted[lo:hi] = 30
    rt.set_num_threads(4)
    for _ in range(50):
        done = np.zeros(1000, np.int64)
        call((done,))
        np.testing.assert_array_equal(done, wanted)


@pytest.mark.usefixtures("eager_to_share")
def test_many_callers_at_once() -> None:
    function = rt.compile(lambda x, k: (rt.exp(x) * k, (x * x).sum()))
    x = np.linspace(-1.0, 1.0, 3000)
    wanted = [np.asarray(value) for value in (function(x, 1.0), function(x, 1.0))[1]]
    rt.set_num_threads(3)
    before = pool().get("regions")
    wrong: list[Any] = []

    def caller(number: int) -> None:
        scale = float(2**number)
        for _ in range(12500):
            values, total = function(x, scale)
            if total != wanted[1] or values[0] != wanted[0][0] * scale or not (values == wanted[0] * scale).all():
                wrong.append((number, values, total))

    callers = [threading.Thread(target=caller, args=(number,)) for number in range(8)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert not wrong
    assert pool().get("regions") > before


@pytest.mark.usefixtures("eager_to_share")
def test_inside_pools_of_the_users() -> None:
    inner = rt.compile(lambda x: rt.exp(x).sum(dim=0))
    x = rng.standard_normal((200, 30))
    wanted = (inner(x), inner(x))[1]
    rt.set_num_threads(3)

    def outer(number: int) -> bool:
        with ThreadPoolExecutor(2) as users:
            return all((result == wanted).all() for result in users.map(lambda _: inner(x), range(20)))

    with ThreadPoolExecutor(4) as users:
        assert all(users.map(outer, range(20)))


@pytest.mark.usefixtures("eager_to_share")
def test_a_bad_index_in_any_share_is_an_error() -> None:
    function = rt.compile(lambda x, i: rt.exp(x[i]))
    x, index = np.arange(5.0), np.zeros(20000, np.int64)
    rt.set_num_threads(3)
    for _ in range(3):
        np.testing.assert_array_equal(function(x, index), np.ones(20000))
    for place in (0, 9999, 19999, 12345):
        bad = index.copy()
        bad[place] = 5
        for _ in range(20):
            with pytest.raises(IndexError, match="out of bounds"):
                function(x, bad)
        np.testing.assert_array_equal(function(x, index), np.ones(20000))


def test_what_cannot_be_cut_runs_whole() -> None:
    padded = rt.compile(lambda x: rt.func.grad(lambda y: (y[3:] * y[3:]).sum())(x))
    x = rng.standard_normal(400_000)
    for threads in (1, 4):
        rt.set_num_threads(threads)
        for _ in range(3):
            result = padded(x)
            np.testing.assert_array_equal(result[:3], 0.0)
            np.testing.assert_array_equal(result[3:], 2 * x[3:])


def test_a_column_of_a_large_array_is_shared() -> None:
    """Elements that lie far apart take a line of memory each, and are counted so."""
    def grain(function: Any, x: Any) -> int:
        (step,) = lower(rt.compile(function).specialize(x).graph).steps
        assert isinstance(step, KernelStep)
        return step.emitted.division.grain

    x = rng.standard_normal((16384, 16))
    assert 2 * grain(lambda x: x[:, 3] * 2.0, x) <= 16384 < 2 * grain(lambda x: x * 2.0, x[:, 3].copy())


@pytest.mark.parametrize(("value", "said"), [
    (0, "set_num_threads expects a positive integer"), (-3, "set_num_threads expects a positive integer"),
    (2.5, "set_num_threads expects an int, but got float"), ("2", "set_num_threads expects an int, but got str"),
    (True, "set_num_threads expects an int, but got bool"),
])
def test_wrong_numbers_of_threads(value: Any, said: str) -> None:
    before = rt.get_num_threads()
    with pytest.raises(RetapeError, match="RT505") as caught:
        rt.set_num_threads(value)
    assert said in str(caught.value) and isinstance(caught.value, RuntimeError) and "fix" in str(caught.value)
    assert rt.get_num_threads() == before


def test_the_number_is_kept() -> None:
    for threads in (1, 3, np.int64(2)):
        rt.set_num_threads(threads)
        assert rt.get_num_threads() == threads and type(rt.get_num_threads()) is int


def test_no_threads_from_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started, regions make do with those there are."""
    alone = Pool()
    alone.take(0, 0)
    monkeypatch.setattr(alone, "_turns", lambda: 1)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    alone.use(4)
    alone._start()
    assert alone.get("wanted") == alone.get("workers") == 0 and not alone.threads


# ---- whole processes


def run(script: str, *, status: int = 0, **environment: str) -> str:
    """The output of a script in a process of its own, which must end."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(script)], capture_output=True,
        text=True, timeout=120, check=False, env={**os.environ, **environment},
    )
    assert done.returncode == status, done.stderr
    return done.stdout


SETUP = """
import os, sys, threading, time
import numpy as np, retape as rt
f = rt.compile(lambda x: ((x * rt.sin(x)).sum(), rt.exp(x)))
x = np.linspace(0, 3, 400001)
def cores():
    return len([t for t in threading.enumerate() if t.name.startswith("retape-")])
def right(got, wanted):
    return got[0] == wanted[0] and (got[1] == wanted[1]).all()
rt.set_num_threads(3)
"""


def test_no_thread_for_small_programs() -> None:
    assert run(SETUP + """
small = np.linspace(0, 3, 3000)
for _ in range(100): f(small)
print(cores(), end=" ")
f(x); f(x)
print(cores())
rt.set_num_threads(5); f(x); print(cores())
rt.set_num_threads(2); f(x); print(cores())
""") == "0 2\n4\n4\n"


def test_one_thread_stays_one() -> None:
    assert run(SETUP + "rt.set_num_threads(1)\nfor _ in range(5): f(x)\nprint(cores())") == "0\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork_beside_products() -> None:
    assert run(SETUP + """
from retape.codegen.native import blas_threads
a = np.ones((300, 300))
g = rt.compile(lambda a: a @ a)
g(a), g(a)
blas_threads.hold().set(2)
going = True
def caller():
    while going: assert (g(a) == 300).all()
callers = [threading.Thread(target=caller, daemon=True) for i in range(3)]
for c in callers: c.start()
for round in range(10):
    time.sleep(0.003)
    child = os.fork()
    if not child:
        hold = blas_threads.hold()
        ok = hold.get() == 2 and hold.state[0] == 0 and (g(a) == 300).all() and hold.get() == 2
        os._exit(0 if ok else 7)
    assert os.waitpid(child, 0)[1] == 0
going = False
for c in callers: c.join()
print(blas_threads.hold().get())
""") == "2\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork_in_the_middle() -> None:
    assert run(SETUP + """
f(x); wanted = f(x)
going, calls, wrong = True, [0] * 4, []
def caller(i):
    while going:
        if not right(f(x), wanted): wrong.append(i)
        calls[i] += 1
callers = [threading.Thread(target=caller, args=(i,), daemon=True) for i in range(4)]
for c in callers: c.start()
for round in range(10):
    child = os.fork()
    if not child:
        ok = cores() == 0 and all(right(f(x), wanted) for _ in range(20)) and cores() == 2
        g = rt.compile(lambda x: rt.cos(x) + round)
        g(x)
        ok = ok and np.allclose(g(x), np.cos(x) + round)
        os._exit(0 if ok else 7)
    assert os.waitpid(child, 0)[1] == 0
    before = sum(calls)
    while sum(calls) < before + 8: time.sleep(0.001)
going = False
for c in callers: c.join()
print(wrong, cores())
""") == "[] 2\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_collects_garbage_though_another_thread_held_it_back() -> None:
    assert run(SETUP + """
import gc
from retape.ir.collection import paused, rarely, set_aside
before = gc.get_threshold()
inside, leave = threading.Event(), threading.Event()
def hold():
    with paused, rarely, set_aside:
        inside.set()
        leave.wait()
holder = threading.Thread(target=hold)
holder.start()
inside.wait()
with rarely:
    child = os.fork()
    own = gc.get_threshold()
if not child:
    os._exit(0 if own[0] > before[0] and gc.get_threshold() == before and not gc.get_freeze_count() else 7)
held = gc.get_threshold()[0]
leave.set()
holder.join()
print(os.waitpid(child, 0)[1], held, gc.get_threshold() == before, gc.get_freeze_count())
""") == "0 0 True 0\n"


def test_leaving_while_threads_are_busy() -> None:
    for _ in range(3):
        run(SETUP + """
f(x)
def caller():
    while True: f(x)
for i in range(2): threading.Thread(target=caller, daemon=True).start()
for i in range(10): f(x)
""")
    assert run(SETUP + """
import atexit
def late():
    print(right(f(x), wanted))
atexit.register(late)
f(x); wanted = f(x)
sys.exit(5)
""", status=5) == "True\n"


def test_the_environment_decides_first() -> None:
    script = "import retape as rt; print(rt.get_num_threads())"
    assert run(script, RETAPE_NUM_THREADS="3") == "3\n"
    assert int(run(script, RETAPE_NUM_THREADS="")) == (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    assert "RT505" in run(script.replace("print(rt.get_num_threads())", """
try: rt.get_num_threads()
except RuntimeError as error: print(error)
"""), RETAPE_NUM_THREADS="many")
