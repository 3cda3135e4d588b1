"""Making tensors: values, element types, sharing of memory, random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import retape as rt


@pytest.mark.parametrize(("data", "dtype", "shape"), [
    (1, "int64", ()), (1.5, "float32", ()), (True, "bool", ()), ([1, 2], "int64", (2,)), ([1, 2.5], "float32", (2,)),
    ([[True], [False]], "bool", (2, 1)), ([], "float32", (0,)), ([[], []], "float32", (2, 0)), ((1, 2), "int64", (2,)),
    (np.float32(2), "float32", ()), (np.arange(3, dtype=np.int16), "int16", (3,)), (np.ones(2), "float64", (2,)),
    (1 + 2j, "complex64", ()), ([True, 2], "int64", (2,)),
], ids=repr)
def test_tensor(data: Any, dtype: str, shape: tuple[int, ...]) -> None:
    x = rt.tensor(data)
    assert (x.dtype.name, x.shape) == (dtype, shape) and x.is_leaf and not x.requires_grad
    np.testing.assert_array_equal(x._data, np.array(data).astype(dtype))
    assert rt.tensor(data, dtype=rt.float64).dtype is rt.float64 if dtype != "complex64" else True


def test_tensor_copies_and_the_others_share() -> None:
    a = np.arange(3.0)
    assert not np.shares_memory(rt.tensor(a)._data, a)
    assert np.shares_memory(rt.from_numpy(a)._data, a)
    assert np.shares_memory(rt.as_tensor(a)._data, a)
    t = rt.from_numpy(a)
    assert rt.as_tensor(t) is t and rt.as_tensor(t, dtype=rt.float32).dtype is rt.float32
    assert not np.shares_memory(rt.tensor(t)._data, a)
    x = rt.ones(2, requires_grad=True)
    assert not rt.tensor(x).requires_grad and rt.tensor(x, requires_grad=True).is_leaf
    assert rt.Tensor([1.0, 2.0]).tolist() == [1.0, 2.0]
    assert rt.from_numpy(a, requires_grad=True).requires_grad


@pytest.mark.parametrize(("parts", "dtype", "wanted"), [
    ([rt.tensor(1.0), rt.tensor(2.0)], "float32", [1.0, 2.0]),
    ([rt.tensor(1.0, dtype=rt.float64), 2.5], "float64", [1.0, 2.5]), ([rt.tensor(1), 2.5], "float32", [1.0, 2.5]),
    ([np.ones(2), np.zeros(2)], "float64", [[1.0, 1.0], [0.0, 0.0]]), ([np.float64(1), 2.0], "float64", [1.0, 2.0]),
    ([np.float32(1), 2.0], "float32", [1.0, 2.0]), ([[rt.tensor([1, 2])], [np.arange(2)]], "int64",
                                                    [[[1, 2]], [[0, 1]]])], ids=repr)
def test_nested_tensors_and_arrays_become_one(parts: Any, dtype: str, wanted: Any) -> None:
    made = rt.tensor(parts)
    assert made.dtype.name == dtype and made.tolist() == wanted
    found = rt.compile(lambda: rt.tensor(parts) * 1)
    assert found().tolist() == found().tolist() == wanted and found().dtype.name == dtype


def test_a_tensor_of_arguments_is_one_trace() -> None:
    f = rt.compile(lambda x, k: rt.tensor([[x.sum(), k], [1.0, 2]]))
    for call in range(3):
        x = rt.ones(2, dtype=rt.float64) * call
        assert f(x, 0.5 * call).tolist() == [[2.0 * call, 0.5 * call], [1.0, 2.0]]
    assert f.traces == 1


@pytest.mark.parametrize("bad", [["a"], [None], object(), [[1], [2, 3]], np.array(["x"]), np.zeros(2, np.float16)],
                         ids=repr)
def test_what_is_no_tensor(bad: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        rt.tensor(bad)


def test_filled() -> None:
    for made, shape in ((rt.zeros(2, 3), (2, 3)), (rt.zeros((2, 3)), (2, 3)), (rt.zeros([2]), (2,)), (rt.zeros(()), ()),
                        (rt.zeros(0), (0,)), (rt.zeros(2, 0), (2, 0))):
        assert made.shape == shape and made.dtype is rt.float32 and not made._data.any()
    assert rt.ones(2, dtype=rt.int64).dtype is rt.int64 and rt.ones(2, requires_grad=True).requires_grad
    assert rt.full((2, 2), 7).dtype is rt.int64 and rt.full((2,), 0.5).dtype is rt.float32
    assert rt.full((), True).dtype is rt.bool and rt.full((2,), 1, dtype=rt.float64).tolist() == [1.0, 1.0]
    x = rt.ones(2, 3, dtype=rt.float64)
    assert rt.zeros_like(x).dtype is rt.float64 and rt.ones_like(x, dtype=rt.int64).tolist() == [[1] * 3] * 2
    assert rt.full_like(x, 3).tolist() == [[3.0] * 3] * 2 and rt.full_like(x, 3).dtype is rt.float64
    value = rt.tensor(2.0, requires_grad=True)
    rt.full((3,), value).sum().backward()
    assert value.grad.item() == 3.0


def test_counted() -> None:
    assert rt.arange(3).tolist() == [0, 1, 2] and rt.arange(3).dtype is rt.int64
    assert rt.arange(1, 4).tolist() == [1, 2, 3] and rt.arange(5, 0, -2).tolist() == [5, 3, 1]
    assert rt.arange(3.0).dtype is rt.float32 and rt.arange(0, 1, 0.25).tolist() == [0.0, 0.25, 0.5, 0.75]
    assert rt.arange(3, dtype=rt.float64).dtype is rt.float64 and rt.arange(3, 0).shape == (0,)
    assert rt.arange(rt.tensor(3)).tolist() == [0, 1, 2]
    np.testing.assert_allclose(rt.linspace(0, 1, 5)._data, np.linspace(0, 1, 5))
    assert rt.linspace(2, 3, 1).tolist() == [2.0] and rt.linspace(0, 1, 3).dtype is rt.float32
    long = rt.linspace(-1, 1, 101, dtype=rt.float64)
    np.testing.assert_allclose(long._data, np.linspace(-1, 1, 101), atol=1e-15)
    assert long[-1].item() == 1.0, "the end is exact"
    assert rt.eye(2).tolist() == [[1.0, 0.0], [0.0, 1.0]] and rt.eye(2, 3).shape == (2, 3) and rt.eye(0).shape == (0, 0)
    assert rt.eye(2, 0).shape == (2, 0)


def test_random_numbers() -> None:
    rt.manual_seed(3)
    first = [rt.randn(3), rt.rand(2, 2), rt.randint(10, size=(4,)), rt.randperm(5), rt.randn_like(rt.ones(2)),
             rt.rand(())]
    rt.manual_seed(3)
    again = [rt.randn(3), rt.rand(2, 2), rt.randint(10, size=(4,)), rt.randperm(5), rt.randn_like(rt.ones(2)),
             rt.rand(())]
    for a, b in zip(first, again, strict=True):
        assert a.dtype is b.dtype and a.tolist() == b.tolist()
    assert rt.randn(3).tolist() != first[0].tolist()
    generator = rt.Generator(5)
    x = rt.randn(4, generator=generator)
    assert rt.randn(4, generator=rt.Generator().manual_seed(5)).tolist() == x.tolist()
    many = rt.randn(20_000, dtype=rt.float64)
    assert abs(many.mean().item()) < 0.05 and abs(many.std().item() - 1) < 0.05
    uniform = rt.rand(20_000)
    assert uniform.min().item() >= 0 and uniform.max().item() < 1 and uniform.dtype is rt.float32
    assert set(rt.randint(2, 4, (100,)).tolist()) == {2, 3}
    assert sorted(rt.randperm(6).tolist()) == list(range(6))
    assert rt.randn(2, requires_grad=True).requires_grad and rt.rand_like(rt.ones(2,
                                                                                  dtype=rt.float64)).dtype is rt.float64


def test_element_types() -> None:
    assert rt.float is rt.float32 and rt.double is rt.float64 and rt.long is rt.int64 and rt.int is rt.int32
    assert repr(rt.float32) == "retape.float32" and rt.float32.itemsize == 4 and rt.float32.is_floating_point
    assert not rt.int64.is_floating_point and rt.complex64.is_differentiable
    x = rt.tensor([1.7, -1.7])
    assert x.long().tolist() == [1, -1] and x.int().dtype is rt.int32 and x.bool().tolist() == [True, True]
    assert x.double().dtype is rt.float64 and x.to(rt.float64).dtype is rt.float64 and x.to(x.dtype) is x
    assert x.type_as(rt.ones(1, dtype=rt.float64)).dtype is rt.float64
    for spec in ("float64", "f64", np.float64, np.dtype("float64"), float):
        assert rt.ones(1, dtype=spec).dtype is rt.float64, spec
    with pytest.raises(TypeError):
        rt.ones(1, dtype="float16")


def test_creation_inside_compiled_functions() -> None:
    def f(x: Any) -> Any:
        return (x + rt.arange(3), x * rt.tensor([1.0, 2.0, 3.0]), rt.zeros_like(x), rt.full((2,), x.sum()),
                rt.eye(3) @ x, rt.linspace(0, 1, 3) * x, rt.tensor(x) * 2, rt.ones(3, requires_grad=True) * x)

    compiled = rt.compile(f)
    x = rt.tensor([1.0, -2.0, 0.5])
    for _ in range(3):
        for found, wanted in zip(compiled(x), f(x), strict=True):
            assert found.dtype is wanted.dtype
            np.testing.assert_allclose(found._data, wanted._data, rtol=1e-6)
    assert compiled.traces == 1


def test_default_dtype_is_part_of_a_trace() -> None:
    f = rt.compile(lambda x: (x + rt.ones(2), rt.tensor([0.1, 0.2])))
    x = rt.ones(2)
    assert [t.dtype for t in f(x)] == [rt.float32] * 2
    assert [t.dtype for t in f(x)] == [rt.float32] * 2
    rt.set_default_dtype(rt.float64)
    for _ in range(2):
        assert [t.dtype for t in f(x)] == [rt.float64] * 2
