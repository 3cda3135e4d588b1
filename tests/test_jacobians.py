"""Jacobians and Hessians: against differences, each other, and what is known in closed form; eager and compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import retape as rt
from retape.ir.errors import InvalidOperands

P = np.array([1.5, 0.7, 0.3])
T = np.linspace(0.0, 2.0, 7)
JACOBIANS = pytest.mark.parametrize("jacobian", [rt.func.jacrev, rt.func.jacfwd])
MANNER = pytest.mark.parametrize("manner", [lambda f: f, rt.compile], ids=["eager", "compiled"])


def curve(p: Any, t: Any) -> Any:
    return p[0] * rt.exp(-p[1] * rt.as_tensor(t)) + p[2]


def called(manner: Any, function: Any, *args: Any) -> Any:
    made = manner(function)
    made(*args)
    return made(*args)


@JACOBIANS
@MANNER
def test_a_jacobian_is_what_calculus_says(jacobian: Any, manner: Any) -> None:
    found = called(manner, jacobian(curve), P, T)
    e = np.exp(-P[1] * T)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, np.stack([e, -P[0] * T * e, np.ones(7)], 1), rtol=1e-14)


@JACOBIANS
@MANNER
def test_blocks_have_the_shape_of_the_result_and_that_of_the_argument(jacobian: Any, manner: Any) -> None:
    g = np.random.default_rng(0)
    a, x = g.normal(size=(2, 3)), g.normal(size=(3, 4))
    by_a, by_x = called(manner, jacobian(lambda a, x: rt.as_tensor(a) @ x, (0, 1)), a, x)
    np.testing.assert_allclose(by_a, np.einsum("ik,lj->ijkl", np.eye(2), x), atol=1e-15)
    np.testing.assert_allclose(by_x, np.einsum("ik,jl->ijkl", a, np.eye(4)), atol=1e-15)


@JACOBIANS
@MANNER
def test_structures_of_results_and_arguments_are_kept(jacobian: Any, manner: Any) -> None:
    def model(parameters: Any, x: Any) -> Any:
        y = parameters["w"] * x
        return {"sum": y.sum(), "parts": (y, parameters["b"] + 0.0)}

    given = {"w": np.array([1.0, 2.0]), "b": np.array(3.0)}
    found = called(manner, jacobian(model), given, np.array([4.0, 5.0]))
    np.testing.assert_array_equal(found["sum"]["w"], [4.0, 5.0])
    np.testing.assert_array_equal(found["sum"]["b"], 0.0)
    np.testing.assert_array_equal(found["parts"][0]["w"], np.diag([4.0, 5.0]))
    np.testing.assert_array_equal(found["parts"][0]["b"], np.zeros(2))
    np.testing.assert_array_equal(found["parts"][1]["w"], np.zeros(2))
    np.testing.assert_array_equal(found["parts"][1]["b"], 1.0)


@JACOBIANS
def test_what_comes_besides_is_handed_on(jacobian: Any) -> None:
    matrix, kept = jacobian(lambda x: (x ** 2, (x.sum(), "name")), has_aux=True)(np.array([1.0, 2.0]))
    np.testing.assert_array_equal(matrix, np.diag([2.0, 4.0]))
    assert kept == (3.0, "name")


@pytest.mark.parametrize("transform", [rt.func.grad, rt.func.jacrev, rt.func.jacfwd])
def test_what_comes_besides_has_no_history_of_the_transform(transform: Any) -> None:
    outer = rt.tensor(2.0, requires_grad=True)
    _, (inner, other) = transform(lambda x: ((x * x).sum(), (x * 2.0, x * outer)), has_aux=True)(rt.ones(2))
    assert not inner.requires_grad
    assert other.requires_grad


@JACOBIANS
def test_tensors_in_give_tensors_that_can_be_differentiated_on(jacobian: Any) -> None:
    x = rt.tensor([0.3, 0.4], dtype=rt.float64, requires_grad=True)
    matrix = jacobian(lambda x: rt.sin(x))(x)
    assert isinstance(matrix, rt.Tensor)
    matrix.sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), -np.sin([0.3, 0.4]), rtol=1e-15)


@JACOBIANS
def test_constants_have_jacobians_of_zeros(jacobian: Any) -> None:
    np.testing.assert_array_equal(jacobian(lambda x: rt.ones(2))(P), np.zeros((2, 3)))
    assert jacobian(lambda x: (x + 1)[:0])(P).shape == (0, 3)


@JACOBIANS
def test_a_result_without_tensors_is_refused(jacobian: Any) -> None:
    with pytest.raises(InvalidOperands, match="has_aux=True"):
        jacobian(lambda x: (x, "name"))(P)


def rosenbrock(x: Any) -> Any:
    return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()


@MANNER
@pytest.mark.parametrize("hessian", [rt.func.hessian, lambda f: rt.func.jacfwd(rt.func.jacrev(f)),
                                     lambda f: rt.func.jacrev(rt.func.grad(f)),
                                     lambda f: rt.func.jacrev(rt.func.jacfwd(f))])
def test_hessians_of_every_making_agree(hessian: Any, manner: Any) -> None:
    from scipy.optimize import rosen_hess

    x = np.array([0.5, -1.0, 2.0, 0.1])
    np.testing.assert_allclose(called(manner, hessian(rosenbrock), x), rosen_hess(x), rtol=1e-13)


@MANNER
def test_blocks_of_a_hessian(manner: Any) -> None:
    (aa, ab), (ba, bb) = called(manner, rt.func.hessian(lambda a, b: (a ** 2 * b).sum(), (0, 1)), P, P + 1)
    for found, diagonal in ((aa, 2 * (P + 1)), (ab, 2 * P), (ba, 2 * P), (bb, 0 * P)):
        np.testing.assert_allclose(found, np.diag(diagonal), rtol=1e-15)


def test_newton_with_a_hessian_is_one_program_for_new_data() -> None:
    def step(w: Any, x: Any, y: Any) -> Any:
        def loss(w: Any) -> Any:
            z = x @ w
            return rt.nn.functional.softplus(z).sum() - y @ z + 0.5 * (w ** 2).sum()

        return w - rt.linalg.solve(rt.func.hessian(loss)(w), rt.func.grad(loss)(w))

    g, compiled = np.random.default_rng(1), rt.compile(step)
    for _ in range(3):
        x, y, w = g.normal(size=(50, 4)), (g.random(50) < 0.5).astype(float), np.zeros(4)
        p = np.full(50, 0.5)
        expected = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + np.eye(4), x.T @ (y - p))
        np.testing.assert_allclose(compiled(w, x, y), expected, rtol=1e-12)
    assert compiled.traces == 1
