"""`x[index]` and `x[index] = value` against NumPy: values, gradients, sharing of memory, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import examples

import retape as rt

BASE = np.arange(60.0).reshape(3, 4, 5)
I = np.array  # noqa: E741

BASIC: list[Any] = [
    0, -1, (1, 2), (1, -2, 3), slice(None), slice(1, 3), slice(None, None, 2), slice(None, None, -1), slice(5, 1), ...,
    (..., 0), (0, ...), (slice(1), ..., slice(2, 4)), None, (None, 0), (0, None, ..., None), (slice(-2, None), 1),
    (slice(3, 0, -2), slice(None), slice(-1, None, -3)), (), np.int64(1), (slice(0, 0), 2), (slice(10), slice(-10, 10)),
]
ADVANCED: list[Any] = [
    I([0, 2]), I([[0, 1], [2, 2]]), I([-1, 0, -3]), (I([0, 1]), I([1, 3])), (I([0, 2]), I([1, -1]), I([4, 0])),
    (slice(None), I([0, 3])), (slice(None), slice(None), I([1, 1, 0])), (slice(0, 2), I([[0], [3]])), (0, I([1, 2])),
    (I([0, 1]), slice(None), slice(1, 3)), (I([0, 1]), 2), (I([0, 2]), ...), [0, 2], ([0, 1], [2, 3]),
    I([], dtype=np.int64), I([0, 1], dtype=np.int32), (I([[0], [1]]), I([0, 2, 3])), BASE > 30,
    (slice(None), I([True, False] * 2)),
    BASE[:, 0, 0] > 10, (slice(None), BASE[0] > 7), np.ones(3, bool), np.zeros(3, bool),
]


def as_tensors(index: Any) -> Any:
    if isinstance(index, np.ndarray):
        return rt.tensor(index)
    return tuple(map(as_tensors, index)) if isinstance(index, tuple) else index


def label(index: Any) -> str:
    return repr(index).replace("\n", "")[:50]


@pytest.mark.parametrize("index", BASIC, ids=label)
def test_basic_indices_are_views(index: Any) -> None:
    x = rt.from_numpy(BASE.copy(), requires_grad=True)
    found = x[index]
    np.testing.assert_array_equal(found._data, BASE[index])
    assert found.shape == BASE[index].shape
    if found.numel():
        assert np.shares_memory(found._data, x._data)
    assert rt.autograd.gradcheck(lambda t: t[index] * 2, (x,))
    f = rt.compile(lambda t: t[index] * 2)
    for _ in range(2):
        np.testing.assert_array_equal(f(x)._data, BASE[index] * 2)
        (g,) = rt.autograd.grad(f(x).sum(), x)
        wanted = np.zeros_like(BASE)
        wanted[index] += 2
        np.testing.assert_array_equal(g._data, wanted)


@pytest.mark.parametrize("index", ADVANCED, ids=label)
def test_index_arrays_and_masks_copy(index: Any) -> None:
    x = rt.from_numpy(BASE.copy(), requires_grad=True)
    wanted = np.zeros_like(BASE)
    np.add.at(wanted, index if not isinstance(index, list) else (index,), 3.0)
    for given_index in (index, as_tensors(index)):
        found = x[given_index]
        assert found.shape == BASE[index].shape
        np.testing.assert_array_equal(found._data, BASE[index])
        assert not np.shares_memory(found._data, x._data)
        (g,) = rt.autograd.grad((found * 3).sum(), x)
        np.testing.assert_array_equal(g._data, wanted)


@pytest.mark.parametrize("index", ADVANCED, ids=label)
def test_index_arrays_compiled(index: Any) -> None:
    tensors = as_tensors(index)
    f = rt.compile(lambda t: t[tensors] * 3)
    x = rt.from_numpy(BASE.copy(), requires_grad=True)
    wanted = np.zeros_like(BASE)
    np.add.at(wanted, index if not isinstance(index, list) else (index,), 3.0)
    for _ in range(2):
        out = f(x)
        np.testing.assert_array_equal(out._data, BASE[index] * 3)
        (g,) = rt.autograd.grad(out.sum(), x)
        np.testing.assert_array_equal(g._data, wanted)


@pytest.mark.parametrize("index", BASIC + ADVANCED, ids=label)
def test_writes_without_recording(index: Any) -> None:
    for value in (7.0, np.asarray(BASE[index] * 2)):
        x, wanted = rt.from_numpy(BASE.copy()), BASE.copy()
        x[as_tensors(index)] = rt.from_numpy(value) if isinstance(value, np.ndarray) else value
        wanted[index] = value
        np.testing.assert_array_equal(x._data, wanted)
        assert x._version[0] == 1


@pytest.mark.parametrize("index", BASIC, ids=label)
def test_recorded_writes_to_slices(index: Any) -> None:
    v = rt.from_numpy(np.asarray(BASE[index] * 2.0), requires_grad=True)
    x = rt.from_numpy(BASE.copy(), requires_grad=True)

    def write(x: Any, v: Any) -> Any:
        y = x * 1
        y[index] = v * 3
        return y * y

    wanted = BASE.copy()
    wanted[index] = BASE[index] * 6
    for function in (write, rt.compile(write)):
        for _ in range(2):
            out = function(x, v)
            np.testing.assert_array_equal(out._data, wanted**2)
            gx, gv = rt.autograd.grad(out.sum(), (x, v))
            kept = 2 * BASE
            kept[index] = 0
            np.testing.assert_array_equal(gx._data, kept)
            np.testing.assert_array_equal(gv._data, 6 * wanted[index])


def test_recorded_writes_to_masks() -> None:
    def write(x: Any) -> Any:
        y = x * 1
        y[y > 30] = 0.0
        y[y < 5] = x[0, 0, 0] + 1.0
        return y

    x = rt.from_numpy(BASE.copy(), requires_grad=True)
    wanted = BASE.copy()
    wanted[wanted > 30] = 0
    wanted[wanted < 5] = 1.0
    for function in (write, rt.compile(write)):
        for _ in range(2):
            np.testing.assert_array_equal(function(x)._data, wanted)
            (g,) = rt.autograd.grad(function(x).sum(), x)
            assert float(g[0, 0, 0]) == (wanted == 1.0).sum() and float(g[2, 0, 0]) == 0.0


def test_recorded_writes_through_index_arrays_work_or_are_refused() -> None:
    x = rt.from_numpy(np.arange(4.0), requires_grad=True)
    y = x * 1
    try:
        y[rt.tensor([0, 2])] = 9.0
    except TypeError as error:
        assert "RT301" in str(error) and y.tolist() == [0.0, 1.0, 2.0, 3.0]
    else:
        (g,) = rt.autograd.grad(y.sum(), x)
        assert g.tolist() == [0.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize("index", [3, -4, (0, 4), (0, 0, 5), (0, 0, 0, 0), I([0, 3]), (I([0]), I([-5])),
                                   (slice(None), I([4]))],
                         ids=label)
def test_indices_out_of_bounds(index: Any) -> None:
    x = rt.from_numpy(BASE.copy())
    with pytest.raises(IndexError, match="RT204") as caught:
        x[as_tensors(index)]
    assert "test_indexing.py:" in str(caught.value)
    with pytest.raises(IndexError):
        x[as_tensors(index)] = 1.0
    np.testing.assert_array_equal(x._data, BASE)
    assert x._version[0] == 0


@pytest.mark.parametrize("index", [1.5, "a", I([0.5]), (I([0, 1]), slice(None), I([0, 1])), rt.tensor(1.0),
                                   np.ones((2, 4), bool)],
                         ids=label)
def test_things_that_are_no_index(index: Any) -> None:
    x = rt.from_numpy(BASE.copy())
    try:
        found = x[index]
    except (TypeError, IndexError):
        return
    np.testing.assert_array_equal(found._data, BASE[index])  # what is taken is taken as NumPy takes it


def test_tensors_as_numbers_in_an_index() -> None:
    x = rt.from_numpy(BASE)
    i = rt.tensor(1)
    np.testing.assert_array_equal(x[i]._data, BASE[1])
    np.testing.assert_array_equal(x[i : i + 2, i]._data, BASE[1:3, 1])
    f = rt.compile(lambda t, n: t[n] * 2)
    for n in (0, 1, 2, 1, -1):
        np.testing.assert_array_equal(f(x, rt.tensor(n))._data, BASE[n] * 2)


def test_parts_side_by_side() -> None:
    x = rt.from_numpy(BASE.copy(), requires_grad=True)
    for found, wanted in (
        (rt.take_along_dim(x, rt.tensor([[[0, 4]]] * 3), 2), np.take_along_axis(BASE, I([[[0, 4]]] * 3), 2)),
        (x.gather(1, rt.tensor([[[3, 0]], [[1, 1]]])), np.take_along_axis(BASE[:2, :, :2], I([[[3, 0]], [[1, 1]]]), 1)),
        (x.index_select(1, rt.tensor([3, 0])), BASE[:, [3, 0]]), (x.narrow(2, 1, 3), BASE[:, :, 1:4]),
        (rt.cat(x.split(2, 1), 1), BASE), (rt.stack(x.unbind(0)), BASE), (rt.cat(x.chunk(2, 2), 2), BASE),
        (rt.cat(x.split([1, 3], 1), 1), BASE),
    ):
        np.testing.assert_array_equal(found._data, wanted)
        assert found.requires_grad


SLICES = st.builds(slice, *[st.none() | st.integers(-6, 6)] * 2, st.none() | st.integers(-3, 3).filter(bool))


@examples(150)
@given(st.lists(st.integers(-3, 2) | SLICES | st.none() | st.just(...), max_size=5))
def test_any_basic_index(entries: list[Any]) -> None:
    index = tuple(entries)
    x = rt.from_numpy(BASE.copy(), requires_grad=True)
    try:
        wanted = BASE[index]
    except IndexError:
        with pytest.raises(IndexError):
            x[index]
        return
    found = x[index]
    assert found.shape == wanted.shape
    np.testing.assert_array_equal(found._data, wanted)
    (g,) = rt.autograd.grad(found.sum(), x)
    ones = np.zeros_like(BASE)
    ones[index] = 1
    np.testing.assert_array_equal(g._data, ones)


def test_compiled_code_checks_every_index_array() -> None:
    """Several index arrays are one index into flattened dims: an overflow of one must not reach the next row."""
    f = rt.compile(lambda x, i, j: x[i, j])
    x = rt.from_numpy(BASE[0])
    assert f(x, rt.tensor([0, 3]), rt.tensor([1, -1])).tolist() == [1.0, 19.0]
    assert f(x, rt.tensor([2, -4]), rt.tensor([-5, 4])).tolist() == [10.0, 4.0]
    for i, j in (([0, 0], [0, 5]), ([1, 1], [-6, 0]), ([4, 0], [0, 0]), ([-5, 0], [0, 0])):
        with pytest.raises(IndexError, match="RT204"):
            f(x, rt.tensor(i), rt.tensor(j))
    assert f(x, rt.tensor([0, 3]), rt.tensor([1, -1])).tolist() == [1.0, 19.0]
    assert f.traces == 1


def test_integers_beside_index_arrays_select_as_in_torch() -> None:
    x = rt.from_numpy(BASE)
    i = rt.tensor([1, 2])
    assert x[0, :, i].shape == (4, 2)  # NumPy would put the index first
    np.testing.assert_array_equal(x[0, :, i]._data, BASE[0][:, [1, 2]])
    np.testing.assert_array_equal(x[i, 1:3, 0]._data, BASE[[1, 2]][:, 1:3, 0])
    np.testing.assert_array_equal(x[-1, 1:, i]._data, BASE[-1][1:][:, [1, 2]])
