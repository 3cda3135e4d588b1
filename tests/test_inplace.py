"""Writes in place, to tensors and through views: values as NumPy has them, gradients as differences give them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, note
from hypothesis import strategies as st
from support import examples

import retape as rt

X = np.random.default_rng(0).uniform(0.5, 1.5, (3, 4))
W = np.random.default_rng(1).uniform(0.5, 1.5, (3, 4))

# how a view is taken, of tensors and arrays alike
VIEWS: list[tuple[str, Callable[[Any], Any]]] = [
    ("all", lambda y: y), ("row", lambda y: y[1]), ("column", lambda y: y[:, 2]), ("element", lambda y: y[0, -1]),
    ("steps", lambda y: y[::2, 1:]), ("back", lambda y: y[::-1]), ("transposed", lambda y: y.T),
    ("flat", lambda y: y.reshape(-1)), ("part of transposed", lambda y: y.T[1:3]), ("row of row", lambda y: y[1:][0]),
    ("deep", lambda y: y.reshape(4, 3).T[::2][:, 1]), ("new axis", lambda y: y[None, 1:2]),
]
# what is written: the view and a like-shaped part of W
WRITES: list[tuple[str, Callable[[Any, Any], Any]]] = [
    ("imul", lambda v, w: v.__imul__(2.0)), ("iadd", lambda v, w: v.__iadd__(w)),
    ("isub", lambda v, w: v.__isub__(w * 2)),
    ("idiv", lambda v, w: v.__itruediv__(w)),
]


@pytest.mark.parametrize(("view", "write"), [(v, w) for _, v in VIEWS for _, w in WRITES],
                         ids=[f"{v}-{w}" for v, _ in VIEWS for w, _ in WRITES])
def test_writes_through_views(view: Any, write: Any) -> None:
    def run(x: Any, w: Any) -> Any:
        y = x * 1
        write(view(y), view(w))
        return y * y

    if np.ndim(view(X)) == 0:  # NumPy's elements are no views
        changed = X.copy()
        changed[0, -1] = write(np.array(X[0, -1]), W[0, -1])
        wanted = changed * changed
    else:
        wanted = run(X, W)
    x, w = rt.from_numpy(X.copy(), requires_grad=True), rt.from_numpy(W.copy(), requires_grad=True)
    np.testing.assert_allclose(run(x, w)._data, wanted, rtol=1e-14)
    assert rt.autograd.gradcheck(run, (x, w))
    assert rt.autograd.gradgradcheck(run, (x, w))
    gradients = rt.autograd.grad(run(x, w).sum(), (x, w), allow_unused=True)
    compiled = rt.compile(run)
    for _ in range(2):
        np.testing.assert_allclose(compiled(x, w)._data, wanted, rtol=1e-13)
        for a, b in zip(rt.autograd.grad(compiled(x, w).sum(), (x, w), allow_unused=True), gradients, strict=True):
            np.testing.assert_allclose(0 if a is None else a._data, 0 if b is None else b._data, rtol=1e-12)
    np.testing.assert_array_equal(x._data, X)
    np.testing.assert_array_equal(w._data, W)


def test_a_view_follows_its_own_write() -> None:
    x = rt.from_numpy(X.copy(), requires_grad=True)
    y = x * 1
    v = y[1]
    v *= 3
    assert v.requires_grad and np.shares_memory(v._data, y._data)
    (v.sum() + y.sum()).backward()
    wanted = np.ones_like(X)
    wanted[1] = 6
    np.testing.assert_array_equal(x.grad._data, wanted)


def test_a_view_written_under_no_grad_changes_the_base() -> None:
    x = rt.from_numpy(X.copy(), requires_grad=True)
    with rt.no_grad():
        x[0] *= 0.0
        x.T[1] += 1.0
    wanted = X.copy()
    wanted[0] = 0
    wanted[:, 1] += 1
    np.testing.assert_array_equal(x._data, wanted)
    assert x.is_leaf and x.requires_grad


def test_views_of_leaves_are_not_written() -> None:
    x = rt.from_numpy(X.copy(), requires_grad=True)
    for write in (lambda: x[0].mul_(2), lambda: x.T.add_(1), lambda: x.reshape(-1).__setitem__(0, 3.0)):
        with pytest.raises(RuntimeError, match="RT108"):
            write()
    np.testing.assert_array_equal(x._data, X)
    assert x._version[0] == 0


def test_a_stale_view_is_refused_or_right() -> None:
    """A view taken before its base was written: its values are the new ones, its history would be the old."""
    x = rt.from_numpy(X.copy(), requires_grad=True)
    y = x * 1
    v = y[0]
    y *= 5
    np.testing.assert_array_equal(v._data, X[0] * 5)
    try:
        (g,) = rt.autograd.grad((v * 1).sum(), x)
    except TypeError as error:
        assert "RT301" in str(error) and "test_inplace.py:" in str(error)
    else:
        wanted = np.zeros_like(X)
        wanted[0] = 5
        np.testing.assert_array_equal(g._data, wanted)


def test_expanded_views_are_not_written_in_silence() -> None:
    x = rt.from_numpy(X[:, :1].copy(), requires_grad=True)
    y = x * 1
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        y.expand(3, 4).mul_(2)
    np.testing.assert_array_equal(y._data, X[:, :1])
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        rt.from_numpy(X[:, :1].copy()).expand(3, 4).mul_(2)


def test_overlapping_copies() -> None:
    x = rt.arange(6.0)
    x[1:] = x[:-1]
    assert x.tolist() == [0.0, 0.0, 1.0, 2.0, 3.0, 4.0]
    x = rt.arange(6.0)
    x.copy_(x.flip(0))
    assert x.tolist() == [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]
    f = rt.compile(lambda t: _shift(t * 1))
    for _ in range(3):
        assert f(rt.arange(6.0)).tolist() == [0.0, 0.0, 1.0, 2.0, 3.0, 4.0]


def _shift(y: Any) -> Any:
    y[1:] = y[:-1]
    return y


INDEX = st.sampled_from([(slice(None), 1), (0,), (slice(1, None),), (slice(None, None, -1), slice(0, 3)),
                         (slice(0, 2), 2),
                         (1, slice(None, None, 2)), ()])
STEP = st.tuples(st.sampled_from(["none", "T", "flip", "slice"]), INDEX,
                 st.sampled_from(["mul", "add", "set", "setitem", "neg", "addself"]), st.floats(-2, 2))


def carried_out(steps: Any, x: Any, w: Any) -> Any:
    """The steps on `x * 1`, for arrays and tensors alike."""
    y = x * 1
    for kind, index, write, number in steps:
        v = y.T if kind == "T" else y[::-1] if kind == "flip" else y
        u = w.T if kind == "T" else w[::-1] if kind == "flip" else w
        if kind == "slice":
            v, u = v[1:], u[1:]
            index = tuple(0 if i == 2 or i == 1 else i for i in index)
        elif kind == "T":
            index = tuple(i for i in index)
        if write == "setitem":
            v[index] = u[index] * number
            continue
        part, other = v[index], u[index]
        if write == "mul":
            part *= number
        elif write == "add":
            part += other
        elif write == "set":
            part[...] = other * other
        elif write == "neg":
            part *= -1.0
        else:
            part += part * 0.5
    return y


@examples(100)
@given(st.lists(STEP, min_size=1, max_size=5))
def test_random_sequences_of_writes(steps: Any) -> None:
    wanted = carried_out(steps, X, W)
    x, w = rt.from_numpy(X.copy(), requires_grad=True), rt.from_numpy(W.copy(), requires_grad=True)
    note(str(steps))
    found = carried_out(steps, x, w)
    np.testing.assert_allclose(found._data, wanted, rtol=1e-13)
    (gx, gw) = rt.autograd.grad((found * found).sum(), (x, w), allow_unused=True)
    direction = np.random.default_rng(2).standard_normal((2, 3, 4))
    step = 1e-6

    def value(h: float) -> float:
        return float((carried_out(steps, X + h * direction[0], W + h * direction[1]) ** 2).sum())

    stated = sum(float((g._data * d).sum()) for g, d in zip((gx, gw), direction, strict=True) if g is not None)
    measured = (value(step) - value(-step)) / (2 * step)
    assert abs(stated - measured) <= 1e-5 * max(1.0, abs(measured))
    compiled = rt.compile(lambda a, b: carried_out(steps, a, b))
    for _ in range(2):
        np.testing.assert_allclose(compiled(x, w)._data, wanted, rtol=1e-13)
        for a, b in zip(rt.autograd.grad((compiled(x, w) ** 2).sum(), (x, w), allow_unused=True), (gx, gw),
                        strict=True):
            np.testing.assert_allclose(0 if a is None else a._data, 0 if b is None else b._data, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_parts_of_complex_numbers_are_views(compiled: bool, requires_grad: bool) -> None:
    """`z.real` and `z.imag` share memory with z: writes to them are writes to z, with its history."""
    def f(z: Any) -> Any:
        w = z.clone() if requires_grad else z
        w.real.mul_(2.0)
        w[1:].real[0] = 5.0
        w.imag.sub_(1.0)
        w.imag[0] = w.real[2]
        return (w * rt.tensor([1.0, 2.0, 3.0], dtype=rt.float64)).abs().square().sum(), w

    run = rt.compile(f) if compiled else f
    for seed in range(3):
        rng = np.random.default_rng(seed)
        z = np.asarray(rng.uniform(-1, 1, 3) + 1j * rng.uniform(-1, 1, 3))
        if seed == 2:
            z[2] = complex(0.5, np.inf)
        tensor = rt.from_numpy(z.copy()).requires_grad_(requires_grad)
        found, written = run(tensor)
        wanted = z.copy()
        wanted.real *= 2.0
        wanted[1] = complex(5.0, wanted[1].imag)
        wanted.imag -= 1.0
        wanted[0] = complex(wanted[0].real, wanted[2].real)
        np.testing.assert_array_equal(written.detach().numpy(), wanted)
        if not requires_grad:
            np.testing.assert_array_equal(tensor.numpy(), wanted)
        if seed == 2:  # an infinite part
            continue
        np.testing.assert_allclose(found.item(), (np.abs(wanted * [1, 2, 3]) ** 2).sum(), 1e-12)
        if requires_grad:
            found.backward()
            weight = np.array([1.0, 4.0, 9.0])  # of w.real and w.imag in the sum of squares
            gradient = 2 * weight * wanted
            parts = 2 * gradient.real, gradient.imag.copy()
            parts[0][1] = 0.0  # overwritten
            parts[0][2] += 2 * gradient.imag[0]
            parts[1][0] = 0.0
            np.testing.assert_allclose(tensor.grad.numpy(), parts[0] + 1j * parts[1], 1e-12)


def test_parts_of_complex_numbers_count_writes() -> None:
    z = rt.tensor([1.0 + 2.0j, 3.0 - 1.0j], requires_grad=True)
    w = z * 1
    out = (w * w).abs().sum()
    w.real.add_(1.0)
    with pytest.raises(rt.errors.SavedTensorModified):
        out.backward()


def test_complex_numbers_of_infinite_parts() -> None:
    for run in (rt.complex, rt.compile(lambda x, y: rt.complex(x, y))):
        for _ in range(2):
            found = run(rt.tensor([1.0, np.inf]), rt.tensor(np.inf)).numpy()
            np.testing.assert_array_equal(found.real, np.array([1.0, np.inf]))
            np.testing.assert_array_equal(found.imag, np.array([np.inf, np.inf]))
    assert rt.complex(rt.ones(2, dtype=rt.float64), rt.ones(2)).dtype is rt.complex128
