"""Eager semantics: torch's, cell by cell of the tutorial and corner by corner."""

from __future__ import annotations

import copy
import gc
import json
import math
import pickle
import re
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import retape as rt
from retape.ir import DTYPES, promote
from retape.ir.builder import NUMPY
from retape.ir.types import TensorType
from retape.tracer.gradnode import GradNode

F64 = rt.float64


def leaf(*values: float) -> Any:
    return rt.tensor(list(values), dtype=F64, requires_grad=True)


# ---- the tutorial


def test_the_tutorial_cells() -> None:
    x = rt.ones(2, 2, requires_grad=True)
    assert repr(x) == "tensor([[1., 1.],\n        [1., 1.]], requires_grad=True)"
    y = x + 2
    assert repr(y) == "tensor([[3., 3.],\n        [3., 3.]], grad_fn=<AddBackward0>)"
    assert re.fullmatch(r"<AddBackward0 at 0x[0-9a-f]+>", repr(y.grad_fn))
    assert x.grad_fn is None
    z = y * y * 3
    out = z.mean()
    assert f"{z} {out}" == ("tensor([[27., 27.],\n        [27., 27.]], grad_fn=<MulBackward0>) "
                            "tensor(27., grad_fn=<MeanBackward0>)")
    a = rt.randn(2, 2)
    a = a * 3
    assert a.requires_grad is False
    assert a.requires_grad_(True) is a
    assert a.requires_grad is True
    b = a * a
    assert re.search(r"grad_fn=<MulBackward0>\)$", repr(b))
    out.backward()
    assert repr(x.grad) == "tensor([[4.5000, 4.5000],\n        [4.5000, 4.5000]])"
    with pytest.raises(RuntimeError) as caught:
        out.backward()
    assert str(caught.value).startswith(
        "Trying to backward through the graph a second time, but the buffers have already been freed. "
        "Specify retain_graph=True when calling backward the first time.")


def test_the_tutorial_vector_jacobian_cells() -> None:
    rt.manual_seed(1)
    x = rt.randn(3, requires_grad=True)
    y = x * 2
    while y.data.norm() < 1000:
        y = y * 2
    factor = float(y._data[0] / x._data[0])
    with pytest.raises(RuntimeError, match="implicitly created only for scalar outputs"):
        y.backward()
    v = rt.tensor([0.1, 1.0, 0.0001], dtype=rt.float)
    y.backward(v)
    np.testing.assert_allclose(x.grad._data, np.float32([0.1, 1.0, 0.0001]) * factor, rtol=1e-6)
    assert x.requires_grad and (x**2).requires_grad
    with rt.no_grad():
        assert not (x**2).requires_grad
    y = x.detach()
    assert not y.requires_grad and bool(x.eq(y).all())


@pytest.mark.parametrize(("name", "make"), [
    ("Add", lambda x: x + 1), ("Sub", lambda x: x - 1), ("Mul", lambda x: x * 2), ("Div", lambda x: x / 2),
    ("Pow", lambda x: x**2), ("Neg", lambda x: -x), ("Exp", lambda x: x.exp()), ("Log", rt.log), ("Sin", rt.sin),
    ("Tanh", rt.tanh), ("Relu", rt.relu), ("Sum", rt.sum), ("Mean", rt.mean), ("Sqrt", rt.sqrt), ("Abs", abs),
    ("Clone", lambda x: x.clone()), ("Sigmoid", rt.sigmoid), ("Permute", lambda x: x.permute(1, 0)),
    ("Cat", lambda x: rt.cat([x, x])), ("Where", lambda x: rt.where(x > 0, x, 1.0)), ("Cumsum", lambda x: x.cumsum(0)),
    ("Expand", lambda x: x.expand(2, 2, 2)), ("Prod", rt.prod), ("Amax", lambda x: x.amax(0)),
    ("Maximum", lambda x: rt.maximum(x, x * 2)), ("Erf", rt.erf), ("Expm1", rt.expm1), ("Slice", lambda x: x[:1]),
])
def test_grad_fn_is_named_as_in_torch(name: str, make: Any) -> None:
    out = make(rt.ones(2, 2, requires_grad=True))
    assert type(out.grad_fn).__name__ == out.grad_fn.name() == f"{name}Backward0"
    assert f"grad_fn=<{name}Backward0>" in repr(out)


# ---- printing

PRINTS = json.loads((Path(__file__).parent / "data" / "torch_prints.json").read_text())


@pytest.mark.parametrize(("source", "text"), PRINTS, ids=[source for source, _ in PRINTS])
def test_prints_as_torch_does(source: str, text: str) -> None:
    found = eval(source, {"rt": rt, "float": float})
    assert repr(found) == str(found) == text.replace("torch.", "retape.")


def test_formatting() -> None:
    x = rt.tensor(2.5)
    assert f"{x:.2f}" == "2.50"
    assert f"{x}" == "tensor(2.5000)"
    assert "%s" % (rt.tensor([1]),) == "tensor([1])"  # noqa: UP031


# ---- backward


def test_gradients_accumulate() -> None:
    x = leaf(1.0, 2.0)
    for count in (1, 2, 3):
        (x * x).sum().backward()
        assert x.grad.tolist() == [2.0 * count, 4.0 * count]
    first = x.grad
    (x * 3).sum().backward()
    assert x.grad is first, "torch accumulates in place"
    x.grad = None
    (x * 3).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0] and first.tolist() == [9.0, 15.0]
    x.grad.zero_()
    (x * 3).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]
    assert not x.grad.requires_grad and x.grad.grad_fn is None


def test_a_tensor_used_many_times() -> None:
    x = leaf(3.0)
    y = x * x + x * x * x + x
    (y * y).sum().backward()
    d = 2 * (9 + 27 + 3) * (6 + 27 + 1)
    assert x.grad.tolist() == [float(d)]


def test_diamonds_run_each_node_once() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(60):  # 2**60 paths
        y = y + y
    y.backward(rt.tensor([1.0], dtype=F64))
    assert x.grad.tolist() == [2.0**60]


def test_slices_add_up_in_one_array(monkeypatch: pytest.MonkeyPatch) -> None:
    """No array of zeros is made for each slice; what other operations have given, and still hold, isn't written to."""
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("an array as large as the whole, for a part")

    def f(x: Any) -> Any:
        y = x * 2
        parts = [y[i].sum() * (i + 1) for i in range(3)]
        return sum(parts) + (y * y).sum() + y[1:, None, ::2].sum() + y[0, 1] * 3 + y.T[2].sum() + y[...].sum() + (
            y[:, 1:] * y[:, :-1]).sum()

    x = rt.tensor([[0.5, -1.0, 2.0, 3.0], [1.0, 4.0, -2.0, 0.25], [3.0, 0.5, 1.5, -1.0]], dtype=rt.float64,
                  requires_grad=True)
    (wanted,) = rt.autograd.grad(f(x), x, create_graph=True)
    y = x * 2
    both = y + 0
    seed = rt.ones(3, 4, dtype=rt.float64)
    monkeypatch.setattr(NUMPY, "embed", refuse, raising=False)
    (found,) = rt.autograd.grad(f(x), x)
    np.testing.assert_allclose(found.numpy(), wanted.detach().numpy(), rtol=1e-15)
    found, other = rt.autograd.grad([both, y[0]], [x, both], [seed, seed[0]])
    np.testing.assert_array_equal(found.numpy(), [[4.0] * 4, [2.0] * 4, [2.0] * 4])
    np.testing.assert_array_equal(other.numpy(), seed.numpy())
    np.testing.assert_array_equal(seed.numpy(), np.ones((3, 4)))


def test_long_chains_do_not_recurse() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(20_000):
        y = y + 1e-6
    y.sum().backward()
    assert x.grad.tolist() == [1.0]
    del y
    gc.collect()


def test_retain_graph() -> None:
    x = leaf(2.0)
    y = (x**3).sum()
    y.backward(retain_graph=True)
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [36.0]
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()
    assert x.grad.tolist() == [36.0]


def test_freeing_concerns_only_nodes_that_saved_something() -> None:
    x = leaf(2.0)
    y = (x + 1).sum()
    y.backward()
    y.backward()  # nothing was saved, as in torch
    assert x.grad.tolist() == [2.0]
    shared = x * x
    shared.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        (shared * 2).sum().backward()


def test_create_graph_gives_higher_derivatives() -> None:
    x = leaf(2.0)
    y = (x**4).sum()
    (g,) = rt.autograd.grad(y, x, create_graph=True)
    (h,) = rt.autograd.grad(g.sum(), x, create_graph=True)
    (k,) = rt.autograd.grad(h.sum(), x)
    assert [float(v) for v in (g, h, k)] == [32.0, 48.0, 48.0]
    assert g.requires_grad and h.requires_grad and not k.requires_grad
    y = (x**3).sum()
    y.backward(create_graph=True)
    x.grad.sum().backward()
    assert float(x.grad) == 12.0 + 12.0


def test_gradients_do_not_share_memory() -> None:
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    seed = rt.tensor([1.0, 1.0], dtype=F64)
    (x + y).backward(seed)
    x.grad += 5
    assert y.grad.tolist() == [1.0, 1.0] and seed.tolist() == [1.0, 1.0]


def test_grad_returns_instead_of_accumulating() -> None:
    x, y, z = leaf(1.0), leaf(2.0), leaf(5.0)
    out = (x * y).sum()
    assert [g.tolist() for g in rt.autograd.grad(out, [x, y], retain_graph=True)] == [[2.0], [1.0]]
    assert x.grad is None and y.grad is None
    with pytest.raises(RuntimeError, match="RT105"):
        rt.autograd.grad(out, [x, z], retain_graph=True)
    found = rt.autograd.grad(out, [x, z], allow_unused=True)
    assert found[0].tolist() == [2.0] and found[1] is None
    outs = [x * 2, x * y]
    (g,) = rt.autograd.grad(outs, x, [rt.tensor([3.0], dtype=F64), rt.tensor([1.0], dtype=F64)])
    assert g.tolist() == [8.0]


def test_grad_with_respect_to_intermediate_results() -> None:
    x = leaf(2.0)
    h = x * x
    y = (h * h * 3).sum()
    dh, dx = rt.autograd.grad(y, [h, x])
    assert dh.tolist() == [24.0] and dx.tolist() == [96.0]
    h = x * x
    (itself,) = rt.autograd.grad(h, h)
    assert itself.tolist() == [1.0]
    (itself,) = rt.autograd.grad(x, x)
    assert itself.tolist() == [1.0]


def test_grad_of_an_intermediate_does_not_need_what_lies_below_it() -> None:
    x = leaf(2.0)
    h = x * x
    rt.autograd.grad(h.sum(), x)  # frees h's own saved values
    (g,) = rt.autograd.grad((h + h).sum(), h)
    assert g.tolist() == [2.0]


def test_backward_with_a_gradient_argument() -> None:
    x = leaf(1.0, 2.0, 3.0)
    (x * x).backward(rt.tensor([1.0, 10.0, 100.0], dtype=F64))
    assert x.grad.tolist() == [2.0, 40.0, 600.0]
    y = x.sum()
    y.backward(rt.tensor(2.0, dtype=F64))
    assert x.grad.tolist() == [4.0, 42.0, 602.0]
    one = leaf(3.0)
    (one * 2).backward()  # one element, though not 0-dim
    assert one.grad.tolist() == [2.0]


def test_several_outputs_at_once() -> None:
    x = leaf(2.0)
    rt.autograd.backward([x * 3, x * x], [rt.tensor([1.0], dtype=F64), rt.tensor([10.0], dtype=F64)])
    assert x.grad.tolist() == [43.0]


# ---- modes


def test_grad_modes() -> None:
    x = leaf(1.0)
    with rt.no_grad():
        assert not rt.is_grad_enabled()
        y = x * 2
        with rt.enable_grad():
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
        made = rt.ones(2, requires_grad=True)
        assert made.requires_grad
    assert rt.is_grad_enabled() and not y.requires_grad and y.grad_fn is None

    @rt.no_grad()
    def f(t: Any) -> Any:
        """Its doc."""
        return t * 2

    assert not f(x).requires_grad and rt.is_grad_enabled() and f.__doc__ == "Its doc."
    with rt.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad
    rt.set_grad_enabled(False)
    try:
        assert not (x * 2).requires_grad
    finally:
        rt.set_grad_enabled(True)
    with pytest.raises(ZeroDivisionError), rt.no_grad():
        1 / 0  # noqa: B018
    assert rt.is_grad_enabled()


def test_grad_modes_are_of_the_thread() -> None:
    seen: list[bool] = []
    with rt.no_grad():
        thread = threading.Thread(target=lambda: seen.append(rt.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_a_mode_object_can_be_nested_in_itself() -> None:
    mode = rt.no_grad()
    with mode, rt.enable_grad(), mode:
        assert not rt.is_grad_enabled()
    assert rt.is_grad_enabled()


# ---- leaves, detach, data


def test_leaves() -> None:
    x = leaf(1.0)
    assert x.is_leaf and x.grad is None
    y = x * 2
    assert not y.is_leaf and y.requires_grad
    assert rt.ones(2).is_leaf and (rt.ones(2) * 2).is_leaf
    with pytest.raises(RuntimeError, match="leaf variables"):
        y.requires_grad_(False)
    x.requires_grad_(False)
    assert not (x * 2).requires_grad
    with pytest.raises(RuntimeError, match="RT106"):
        rt.arange(3).requires_grad_()
    with pytest.raises(RuntimeError, match="RT106"):
        rt.tensor([1, 2], requires_grad=True)
    x.requires_grad = True
    assert (x * 2).requires_grad


def test_in_place_writes_to_leaves_are_refused() -> None:
    x = leaf(1.0)
    for write in (lambda: x.add_(1), lambda: x.__setitem__(0, 5.0), lambda: x.zero_(), lambda: x.__iadd__(1)):
        with pytest.raises(RuntimeError, match="RT108"):
            write()
    assert x.tolist() == [1.0] and x._version[0] == 0
    with rt.no_grad():
        x += 1
        x.mul_(3)
    assert x.tolist() == [6.0] and x.is_leaf and x.requires_grad
    x.data.add_(1)
    x.data[0] = 9.0
    assert x.tolist() == [9.0]


def test_detach_and_data_share_memory() -> None:
    x = leaf(1.0, 2.0)
    for other in (x.detach(), x.data):
        assert not other.requires_grad and other.is_leaf
        assert np.shares_memory(other._data, x._data)
    x.data = rt.tensor([5.0, 6.0], dtype=F64)
    assert x.tolist() == [5.0, 6.0] and x.requires_grad
    y = (x * 2).detach_()
    assert y.is_leaf and not y.requires_grad


def test_detach_cuts_gradients() -> None:
    x = leaf(3.0)
    (x * x.detach()).sum().backward()
    assert x.grad.tolist() == [3.0]
    with pytest.raises(RuntimeError, match="does not require grad and does not have a grad_fn"):
        x.detach().sum().backward()


# ---- in-place operations and versions


def test_in_place_operations_are_differentiated() -> None:
    x = leaf(1.0, 2.0)
    y = x * 1
    before = y
    y += 3
    y *= 2
    y.sub_(x).div_(4.0)
    assert y is before and type(y.grad_fn).__name__ == "DivBackward0"
    y.sum().backward()
    assert x.grad.tolist() == [0.25, 0.25]


def test_slices_are_written_and_differentiated() -> None:
    x, v = leaf(1.0, 2.0, 3.0, 4.0), leaf(10.0, 20.0)
    y = x * x
    y[1:3] = v * 3
    y[0] = 7.0
    (y * rt.arange(4)).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0, 0.0, 24.0]
    assert v.grad.tolist() == [3.0, 6.0]
    z = x * 1
    z[z > 2.5] = 0.0
    (g,) = rt.autograd.grad(z.sum(), x)
    assert g.tolist() == [1.0, 1.0, 0.0, 0.0]


def test_a_modified_saved_tensor_is_noticed() -> None:
    x = leaf(1.0, 2.0)
    w = rt.tensor([3.0, 4.0], dtype=F64)
    y = (x * w).sum()
    w += 1
    with pytest.raises(RuntimeError, match="RT104"):
        y.backward()
    assert x.grad is None
    h = x.exp()
    y = (h * h).sum()
    h.add_(1)
    with pytest.raises(RuntimeError, match="RT104"):
        y.backward()
    z = x + 1
    out = (z * 2).sum()
    z += 1  # multiplication by a number saves nothing
    out.backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_views_share_version_counters() -> None:
    x = leaf(1.0, 2.0)
    base = x * 1
    out = (base * base).sum()
    with rt.no_grad():
        base[0:1].add_(1)
    with pytest.raises(RuntimeError, match="RT104"):
        out.backward()
    w = rt.tensor([3.0, 4.0], dtype=F64)
    out = (x * w).sum()
    w.reshape(2, 1).T[0].mul_(2.0)
    assert w.tolist() == [6.0, 8.0]
    with pytest.raises(RuntimeError, match="RT104"):
        out.backward()
    out = (x * w).sum()
    w.data.add_(1)  # `.data` has a counter of its own
    out.backward()


def test_writes_through_views_show_in_the_base() -> None:
    x = rt.zeros(2, 3)
    x[0] += 1
    x.T[2] = 5
    x.reshape(-1)[0] = 9
    x[:, 1:2].mul_(3)
    assert x.tolist() == [[9.0, 3.0, 5.0], [0.0, 0.0, 5.0]]


def test_in_place_keeps_shape_and_type() -> None:
    x = rt.ones(3)
    with pytest.raises(RuntimeError):
        x += rt.ones(2, 3)
    with pytest.raises((RuntimeError, TypeError)):
        n = rt.arange(3)
        n += 0.5
    n = rt.arange(3)
    n += 2
    assert n.dtype is rt.int64 and n.tolist() == [2, 3, 4]
    x += rt.ones(3, dtype=F64)
    assert x.dtype is rt.float32 and x.tolist() == [2.0, 2.0, 2.0]
    x.copy_(rt.arange(3))
    x.fill_(2.5)
    assert x.tolist() == [2.5] * 3


# ---- hooks


def test_hooks_see_and_replace_gradients() -> None:
    x = leaf(1.0, 2.0)
    seen: list[Any] = []
    handle = x.register_hook(lambda g: seen.append(g.tolist()))
    y = x * 3
    y.register_hook(lambda g: g * 10)
    y.sum().backward()
    assert seen == [[30.0, 30.0]] and x.grad.tolist() == [30.0, 30.0]
    handle.remove()
    handle.remove()
    x.register_hook(lambda g: g + 1)
    x.grad = None
    (x * 2).sum().backward()
    assert seen == [[30.0, 30.0]] and x.grad.tolist() == [3.0, 3.0]
    (g,) = rt.autograd.grad((x * 2).sum(), x)
    assert g.tolist() == [3.0, 3.0]
    with pytest.raises(RuntimeError, match="hook"):
        rt.ones(2).register_hook(print)


def test_several_hooks_run_in_order() -> None:
    x = leaf(1.0)
    y = x * 2
    y.register_hook(lambda g: g + 1)
    y.register_hook(lambda g: g * 5)
    y.sum().backward()
    assert x.grad.tolist() == [20.0]


def test_hooks_run_once_on_the_sum() -> None:
    x = leaf(1.0)
    y = x * 2
    calls: list[float] = []
    y.register_hook(lambda g: calls.append(float(g)))
    (y * 3 + y * 4).sum().backward()
    assert calls == [7.0]


def test_hooks_are_differentiable_with_create_graph() -> None:
    x = leaf(2.0)
    y = x * x
    handle = y.register_hook(lambda g: g * g)
    (g,) = rt.autograd.grad((y * y).sum(), x, create_graph=True)  # (2y)^2 * 2x = 8x^5
    assert float(g) == 256.0
    handle.remove()  # it would act on the second pass, too
    (h,) = rt.autograd.grad(g.sum(), x)
    assert float(h) == 640.0


def test_retain_grad() -> None:
    x = leaf(2.0)
    y = x * x
    y.retain_grad()
    assert y.grad is None
    (y * 3).sum().backward()
    assert y.grad.tolist() == [3.0] and x.grad.tolist() == [12.0]
    x.retain_grad()  # no effect on a leaf
    z = x * 2
    (z * z).sum().backward()
    assert z.grad is None


# ---- Functions


class Exp(rt.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (y,) = ctx.saved_tensors
        return grad * y


class MulAdd(rt.autograd.Function):
    """Two results, a number among the arguments, and gradients left out."""

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any, k: float, flag: bool = True) -> Any:
        ctx.save_for_backward(x, y)
        ctx.k = k
        return x * y * k, x + y

    @staticmethod
    def backward(ctx: Any, g0: Any, g1: Any) -> Any:
        x, y = ctx.saved_tensors
        return g0 * y * ctx.k + g1, (g0 * x * ctx.k + g1 if ctx.needs_input_grad[1] else None), None, None


def test_functions() -> None:
    x = leaf(0.5, 1.0)
    y = Exp.apply(x)
    assert repr(y).endswith("grad_fn=<ExpBackward>)")
    assert re.fullmatch(r"<ExpBackward at 0x[0-9a-f]+>", repr(y.grad_fn))
    (y * 2).sum().backward()
    np.testing.assert_allclose(x.grad._data, 2 * np.exp([0.5, 1.0]))
    assert rt.autograd.gradcheck(Exp.apply, (x,))
    assert rt.autograd.gradgradcheck(Exp.apply, (x,))


def test_functions_of_several_results() -> None:
    x, y = leaf(2.0), leaf(3.0)
    a, b = MulAdd.apply(x, y, 10.0, True)
    (a + 2 * b).sum().backward()
    assert x.grad.tolist() == [32.0] and y.grad.tolist() == [22.0]
    x.grad = None
    a, b = MulAdd.apply(x, y.detach(), 10.0, True)
    b.sum().backward()  # the other cotangent is zeros
    assert x.grad.tolist() == [1.0]
    assert rt.autograd.gradcheck(lambda p, q: MulAdd.apply(p, q, 2.0, True), (x, y))
    assert rt.autograd.gradgradcheck(lambda p, q: MulAdd.apply(p, q, 2.0, True), (x, y))


def test_functions_to_third_order() -> None:
    x = leaf(0.5)
    y = Exp.apply(x * 2).sum()
    for order in (1, 2, 3):
        (g,) = rt.autograd.grad(y, x, create_graph=True)
        assert float(g) == pytest.approx(2.0**order * math.exp(1.0))
        y = g.sum()


def test_mark_non_differentiable() -> None:
    class Sorted(rt.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            index = rt.tensor(np.argsort(x.detach().numpy()))
            floats = x * 0
            ctx.mark_non_differentiable(index, floats)
            ctx.save_for_backward(index)
            return x[index], index, floats

        @staticmethod
        def backward(ctx: Any, grad: Any, _: Any, __: Any) -> Any:
            (index,) = ctx.saved_tensors
            out = rt.zeros(*grad.shape, dtype=grad.dtype)
            out[index] = grad
            return out

    x = leaf(3.0, 1.0, 2.0)
    values, index, floats = Sorted.apply(x)
    assert values.requires_grad and not index.requires_grad and not floats.requires_grad
    assert values.tolist() == [1.0, 2.0, 3.0] and index.tolist() == [1, 2, 0]
    (values * rt.tensor([1.0, 10.0, 100.0], dtype=F64)).sum().backward()
    assert x.grad.tolist() == [100.0, 1.0, 10.0]


def test_functions_that_err() -> None:
    class Wrong(rt.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any) -> Any:
            return x * y

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad

    x, y = leaf(1.0), leaf(2.0)
    with pytest.raises(RuntimeError, match="incorrect number of gradients"):
        Wrong.apply(x, y).sum().backward()
    assert x.grad is None

    class WrongShape(Wrong):
        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return rt.ones(3, dtype=F64), None

    with pytest.raises(RuntimeError, match="shape"):
        WrongShape.apply(x, y).sum().backward()

    class Missing(rt.autograd.Function):
        pass

    with pytest.raises(NotImplementedError):
        Missing.apply(x)


def test_functions_notice_changed_saved_tensors() -> None:
    x = leaf(1.0)
    w = rt.tensor([2.0], dtype=F64)
    out = MulAdd.apply(x, w, 1.0, True)[0].sum()
    w += 1
    with pytest.raises(RuntimeError, match="RT104"):
        out.backward()
    y = Exp.apply(x)
    out = y.sum()
    y.add_(1)
    with pytest.raises(RuntimeError, match="RT104"):
        out.backward()


def test_functions_that_hand_an_input_through() -> None:
    class Scale(rt.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad * 10

    x = leaf(1.0)
    y = Scale.apply(x)
    assert y is not x and not y.is_leaf
    y.sum().backward()
    assert x.grad.tolist() == [10.0]
    with rt.no_grad():
        assert not Scale.apply(x).requires_grad


# ---- gradcheck


def test_gradcheck_finds_wrong_derivatives() -> None:
    class WrongExp(Exp):
        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            (y,) = ctx.saved_tensors
            return grad * y * 1.001

    x = leaf(0.5, 1.0)
    with pytest.raises(AssertionError, match="gradcheck"):
        rt.autograd.gradcheck(WrongExp.apply, (x,), rtol=1e-4)
    assert rt.autograd.gradcheck(WrongExp.apply, (x,), rtol=1e-4, raise_exception=False) is False

    class WrongSecond(Exp):
        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            (y,) = ctx.saved_tensors
            return grad * y.detach()  # right at first order only

    assert rt.autograd.gradcheck(WrongSecond.apply, (x,))
    with pytest.raises(AssertionError, match="gradcheck"):
        rt.autograd.gradgradcheck(WrongSecond.apply, (x,))

    class NoGradient(Exp):
        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return None

    with pytest.raises(AssertionError):
        rt.autograd.gradcheck(NoGradient.apply, (x,))

    class NaN(Exp):
        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad * math.nan

    with pytest.raises(AssertionError):
        rt.autograd.gradcheck(NaN.apply, (x,))


def test_gradcheck_of_several_inputs_and_outputs() -> None:
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    assert rt.autograd.gradcheck(lambda a, b: (a * b, (a / b).sum(), [a - b]), (x, y))
    assert rt.autograd.gradgradcheck(lambda a, b: (a * b, (a / b).sum()), (x, y))


# ---- element types


def test_default_dtype() -> None:
    assert rt.get_default_dtype() is rt.float32
    assert rt.tensor(1.0).dtype is rt.ones(2).dtype is rt.randn(2).dtype is rt.arange(1.0).dtype is rt.float32
    assert rt.tensor(1).dtype is rt.arange(3).dtype is rt.int64 and rt.tensor(True).dtype is rt.bool
    rt.set_default_dtype(rt.float64)
    assert rt.tensor(1.0).dtype is rt.ones(2).dtype is rt.linspace(0, 1, 3).dtype is rt.float64
    assert rt.tensor([1, 2.5]).dtype is rt.float64
    assert rt.full((2,), 1.5).dtype is rt.float64 and rt.full((2,), 1).dtype is rt.int64
    assert (rt.arange(3) * 1.5).dtype is rt.float64
    assert (rt.arange(3) / 2).dtype is rt.float64
    assert rt.arange(3).float().dtype is rt.float32
    with pytest.raises(TypeError):
        rt.set_default_dtype(rt.int64)


# what torch 2.13 gives: element types by position in DTYPES, for (vector, vector), (vector, 0-dim), (0-dim, 0-dim)
PROMOTION = [
    [[0, 0, 0], [1, 1, 1], [2, 2, 2], [3, 3, 3], [4, 4, 4], [5, 5, 5], [6, 6, 6], [7, 7, 7], [8, 8, 8], [9, 9, 9]],
    [[1, 1, 1], [1, 1, 1], [3, 1, 3], [3, 1, 3], [4, 1, 4], [5, 1, 5], [6, 6, 6], [7, 7, 7], [8, 8, 8], [9, 9, 9]],
    [[2, 2, 2], [3, 2, 3], [2, 2, 2], [3, 2, 3], [4, 2, 4], [5, 2, 5], [6, 6, 6], [7, 7, 7], [8, 8, 8], [9, 9, 9]],
    [[3, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3], [4, 3, 4], [5, 3, 5], [6, 6, 6], [7, 7, 7], [8, 8, 8], [9, 9, 9]],
    [[4, 4, 4], [4, 4, 4], [4, 4, 4], [4, 4, 4], [4, 4, 4], [5, 4, 5], [6, 6, 6], [7, 7, 7], [8, 8, 8], [9, 9, 9]],
    [[5, 5, 5], [5, 5, 5], [5, 5, 5], [5, 5, 5], [5, 5, 5], [5, 5, 5], [6, 6, 6], [7, 7, 7], [8, 8, 8], [9, 9, 9]],
    [[6, 6, 6], [6, 6, 6], [6, 6, 6], [6, 6, 6], [6, 6, 6], [6, 6, 6], [6, 6, 6], [7, 6, 7], [8, 8, 8], [9, 8, 9]],
    [[7, 7, 7], [7, 7, 7], [7, 7, 7], [7, 7, 7], [7, 7, 7], [7, 7, 7], [7, 7, 7], [7, 7, 7], [9, 9, 9], [9, 9, 9]],
    [[8, 8, 8], [8, 8, 8], [8, 8, 8], [8, 8, 8], [8, 8, 8], [8, 8, 8], [8, 8, 8], [9, 8, 9], [8, 8, 8], [9, 8, 9]],
    [[9, 9, 9], [9, 9, 9], [9, 9, 9], [9, 9, 9], [9, 9, 9], [9, 9, 9], [9, 9, 9], [9, 9, 9], [9, 9, 9], [9, 9, 9]],
]
# for each element type: vector with True, 1, 1.5, 1j; 0-dim with these; vector divided by these; sum, prod, cumsum; sin
SCALARS = {
    "bool": (["bool", "int64", "float32", "complex64"], ["bool", "int64", "float32", "complex64"],
        ["float32", "float32", "float32", "complex64"], ["int64", "int64", "int64"], "float32"),
    "uint8": (["uint8", "uint8", "float32", "complex64"], ["uint8", "uint8", "float32", "complex64"],
        ["float32", "float32", "float32", "complex64"], ["int64", "int64", "int64"], "float32"),
    "int8": (["int8", "int8", "float32", "complex64"], ["int8", "int8", "float32", "complex64"],
        ["float32", "float32", "float32", "complex64"], ["int64", "int64", "int64"], "float32"),
    "int16": (["int16", "int16", "float32", "complex64"], ["int16", "int16", "float32", "complex64"],
        ["float32", "float32", "float32", "complex64"], ["int64", "int64", "int64"], "float32"),
    "int32": (["int32", "int32", "float32", "complex64"], ["int32", "int32", "float32", "complex64"],
        ["float32", "float32", "float32", "complex64"], ["int64", "int64", "int64"], "float32"),
    "int64": (["int64", "int64", "float32", "complex64"], ["int64", "int64", "float32", "complex64"],
        ["float32", "float32", "float32", "complex64"], ["int64", "int64", "int64"], "float32"),
    "float32": (["float32", "float32", "float32", "complex64"], ["float32", "float32", "float32", "complex64"],
        ["float32", "float32", "float32", "complex64"], ["float32", "float32", "float32"], "float32"),
    "float64": (["float64", "float64", "float64", "complex128"], ["float64", "float64", "float64", "complex128"],
        ["float64", "float64", "float64", "complex128"], ["float64", "float64", "float64"], "float64"),
    "complex64": (["complex64", "complex64", "complex64", "complex64"],
                  ["complex64", "complex64", "complex64", "complex64"],
        ["complex64", "complex64", "complex64", "complex64"], ["complex64", "complex64", "complex64"], "complex64"),
    "complex128": (["complex128", "complex128", "complex128", "complex128"],
                   ["complex128", "complex128", "complex128", "complex128"],
        ["complex128", "complex128", "complex128", "complex128"], ["complex128", "complex128", "complex128"],
        "complex128"),
}


@pytest.mark.parametrize("a", range(len(DTYPES)), ids=lambda i: DTYPES[i].name)
def test_promotion_of_tensors(a: int) -> None:
    for b, expected in enumerate(PROMOTION[a]):
        for (left, right), wanted in zip((((2,), (2,)), ((2,), ()), ((), ())), expected, strict=True):
            x = rt.ones(*left, dtype=DTYPES[a])
            y = rt.ones(*right, dtype=DTYPES[b])
            what = f"{DTYPES[a]}{left} + {DTYPES[b]}{right}"
            assert (x + y).dtype is DTYPES[wanted], what
            assert (y + x).dtype is DTYPES[wanted], what
            assert promote((TensorType(DTYPES[a], left), TensorType(DTYPES[b], right))) is DTYPES[wanted], what
            assert rt.where(rt.tensor(True), x, y).dtype is DTYPES[wanted], what


@pytest.mark.parametrize("name", SCALARS)
def test_promotion_with_numbers(name: str) -> None:
    dtype = getattr(rt, name)
    vector, single, quotient, reduced, sine = SCALARS[name]
    x, y = rt.ones(2, dtype=dtype), rt.ones((), dtype=dtype)
    for value, a, b, c in zip((True, 1, 1.5, 1j), vector, single, quotient, strict=True):
        assert (x + value).dtype.name == (value + x).dtype.name == a, value
        assert (y + value).dtype.name == b, value
        assert (x / value).dtype.name == c, value
    assert [t.dtype.name for t in (x.sum(), x.prod(), x.cumsum(0))] == reduced
    assert rt.sin(x).dtype.name == sine


def test_gradients_keep_their_leaf_s_type() -> None:
    x = rt.ones(2, requires_grad=True)
    y = rt.ones(2, dtype=F64, requires_grad=True)
    (x * y).sum().backward()
    assert x.grad.dtype is rt.float32 and y.grad.dtype is F64
    n = rt.ones((), requires_grad=True)
    (n * rt.ones(3, dtype=F64)).sum().backward()
    assert n.grad.dtype is rt.float32 and n.grad.shape == ()


# ---- memory


def nodes() -> int:
    gc.collect()
    return sum(isinstance(o, GradNode) for o in gc.get_objects())


def test_dropping_a_result_frees_its_graph() -> None:
    before = nodes()
    x = rt.ones(100, requires_grad=True)
    y = x
    for _ in range(50):
        y = rt.tanh(y * 1.01)
    reference = weakref.ref(y.grad_fn)
    assert reference() is not None
    del y
    assert reference() is None, "no cycle keeps the graph until the collector runs"
    assert nodes() == before
    for _ in range(3):
        loss = (x * x).sum()
        loss.backward()
    del loss
    assert nodes() == before


def test_saved_outputs_make_no_cycles() -> None:
    gc.disable()
    try:
        x = leaf(1.0)
        for make in (lambda: x.exp(), lambda: x.sigmoid(), lambda: Exp.apply(x), lambda: x.amax(), lambda: x / 2 / x):
            y = make()
            reference = weakref.ref(y.grad_fn)
            y.sum().backward(retain_graph=True)
            (g,) = rt.autograd.grad(y.sum(), x, create_graph=True)
            del y, g
            assert reference() is None
    finally:
        gc.enable()


def test_backward_frees_saved_values() -> None:
    x = leaf(1.0)
    h = rt.ones(1, dtype=F64) * 3
    array = weakref.ref(h._data)
    y = x * h
    del h
    assert array() is not None
    y.sum().backward()
    assert array() is None
    assert y.grad_fn is not None


def test_compiled_results_free_their_graph() -> None:
    f = rt.compile(lambda t: rt.sin(t) * t)
    x = leaf(1.0)
    f(x), f(x)
    before = nodes()
    y = f(x)
    (g,) = rt.autograd.grad(y.sum(), x, create_graph=True)
    assert nodes() > before
    del y, g
    assert nodes() == before


# ---- odds and ends of Tensor


def test_numbers_and_conversions() -> None:
    x = rt.tensor(2.5)
    assert (x.item(), float(x), int(x), bool(x), complex(x)) == (2.5, 2.5, 2, True, 2.5 + 0j)
    assert [10, 20, 30][rt.tensor(1)] == 20
    with pytest.raises(RuntimeError, match="ambiguous"):
        bool(rt.ones(2))
    with pytest.raises(RuntimeError, match="ambiguous"):
        bool(rt.ones(0))
    with pytest.raises((RuntimeError, ValueError)):
        rt.ones(2).item()
    with pytest.raises(TypeError):
        len(x)
    with pytest.raises(TypeError):
        iter(x)
    with pytest.raises(TypeError):
        [1, 2][rt.tensor(1.0)]
    assert rt.tensor([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
    assert len(rt.ones(3, 2)) == 3 and [float(r.sum()) for r in rt.ones(3, 2)] == [2.0] * 3
    with pytest.raises(RuntimeError, match="detach"):
        leaf(1.0).numpy()
    shared = rt.ones(2)
    shared.numpy()[0] = 5
    assert shared.tolist() == [5.0, 1.0]
    assert hash(shared) == hash(shared) and len({shared, rt.ones(2)}) == 2


def test_shape_facts() -> None:
    x = rt.ones(2, 3, 4)
    assert (x.shape, x.size(), x.size(1), x.ndim, x.dim(), x.numel()) == ((2, 3, 4), (2, 3, 4), 3, 3, 3, 24)
    assert x.stride() == (12, 4, 1) and x.T.stride() == (1, 4, 12)
    assert x.is_contiguous() and not x.T.is_contiguous() and x.T.contiguous().is_contiguous()
    assert x.element_size() == 4 and x.data_ptr() == x._data.ctypes.data
    with pytest.raises(RuntimeError, match="view"):
        x.T.view(24)


def test_copies() -> None:
    x = leaf(1.0, 2.0)
    y = copy.deepcopy(x)
    assert y.requires_grad and y.tolist() == x.tolist() and not np.shares_memory(x._data, y._data)
    z = pickle.loads(pickle.dumps(x))
    assert z.requires_grad and z.tolist() == x.tolist() and z.dtype is F64
    for broken in (copy.deepcopy, pickle.dumps):
        with pytest.raises(RuntimeError, match="leaf"):
            broken(x * 2)
    assert pickle.loads(pickle.dumps(rt.float64)) is rt.float64


def test_operands_of_other_kinds() -> None:
    x = rt.ones(2)
    for bad in ("text", None, object(), [1, 2]):
        with pytest.raises(TypeError):
            x + bad
        with pytest.raises(TypeError):
            rt.add(x, bad)
    assert (x + np.float64(1)).dtype is rt.float32
    assert (x + np.ones(2)).dtype is F64
    assert isinstance(np.ones(2) * x, rt.Tensor) and isinstance(np.float32(2) * x, rt.Tensor)
    assert (1 - x).tolist() == [0.0, 0.0] and (2**x).tolist() == [2.0, 2.0] and (1 / x).tolist() == [1.0, 1.0]
    assert (7 // x).tolist() == [7.0, 7.0] and (7 % (x * 4)).tolist() == [3.0, 3.0]


def test_torch_agrees_with_the_recorded_tables() -> None:
    torch = pytest.importorskip("torch")
    for source, text in PRINTS:
        assert repr(eval(source.replace("rt.", "torch."), {"torch": torch, "float": float})) == text
