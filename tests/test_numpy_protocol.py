"""NumPy's own functions on tensors: recorded, differentiable, compiled; what isn't known is refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import retape as rt

A = np.random.default_rng(0).uniform(0.2, 1.5, (3, 4))
B = np.random.default_rng(1).uniform(0.2, 1.5, (3, 4))
C = B.T.copy()
EYE, PLACES = 2 * np.eye(3), np.array([0, 2])

UNARY = ["exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tanh", "negative", "absolute", "fabs", "sign", "floor",
         "ceil", "rint", "square", "reciprocal", "isnan"]
BINARY = ["add", "subtract", "multiply", "divide", "true_divide", "power", "maximum", "minimum", "floor_divide",
          "remainder", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logaddexp", "matmul"]

FUNCTIONS: list[tuple[str, Any]] = [
    ("sum", lambda x: np.sum(x)), ("sum axis", lambda x: np.sum(x, axis=0)),
    ("sum keepdims", lambda x: np.sum(x, axis=1, keepdims=True)), ("sum axes", lambda x: np.sum(x, (0, 1))),
    ("mean", lambda x: np.mean(x, axis=-1)), ("prod", lambda x: np.prod(x, axis=0)),
    ("max", lambda x: np.max(x, axis=1)),
    ("min", lambda x: np.min(x)), ("amax", lambda x: np.amax(x, axis=0)), ("amin", lambda x: np.amin(x, 0)),
    ("var", lambda x: np.var(x, axis=0)), ("var ddof", lambda x: np.var(x, axis=0, ddof=1)),
    ("std", lambda x: np.std(x)),
    ("argmax", lambda x: np.argmax(x, axis=1)), ("argmin", lambda x: np.argmin(x)), ("any", lambda x: np.any(x > 1)),
    ("all", lambda x: np.all(x > 0, axis=0)), ("cumsum", lambda x: np.cumsum(x, axis=1)),
    ("reshape", lambda x: np.reshape(x, (4, 3))), ("ravel", lambda x: np.ravel(x)),
    ("transpose", lambda x: np.transpose(x)),
    ("transpose axes", lambda x: np.transpose(x, (1, 0))), ("swapaxes", lambda x: np.swapaxes(x, 0, 1)),
    ("squeeze", lambda x: np.squeeze(x[:1], 0)), ("expand_dims", lambda x: np.expand_dims(x, 1)),
    ("expand_dims axis", lambda x: np.expand_dims(x, axis=0)), ("flip", lambda x: np.flip(x, 1)),
    ("flip axis", lambda x: np.flip(x, axis=0)), ("broadcast_to", lambda x: np.broadcast_to(x, (2, 3, 4))),
    ("concatenate", lambda x: np.concatenate([x, x * 2])),
    ("concatenate axis", lambda x: np.concatenate((x, x), axis=1)),
    ("stack", lambda x: np.stack([x, x], axis=1)), ("where", lambda x: np.where(x > 0.7, x, 0.0)),
    ("clip", lambda x: np.clip(x, 0.4, 0.9)), ("matmul", lambda x: np.matmul(x, x.T)),
    ("dot", lambda x: np.dot(x, x.T)),
    ("outer", lambda x: np.outer(x[0], x[1])), ("tril", lambda x: np.tril(x)), ("triu", lambda x: np.triu(x, 1)),
    ("round", lambda x: np.round(x)), ("ones_like", lambda x: np.ones_like(x)),
    ("zeros_like", lambda x: np.zeros_like(x)),
    ("einsum", lambda x: np.einsum("ij,kj->ik", x, x)),
    ("einsum of numbers", lambda x: np.einsum(x, [3, 1], x, [0, 1], [0, 3])),
    ("einsum of ellipses", lambda x: np.einsum(x, [..., 1], x, [..., 1])),
    ("tensordot", lambda x: np.tensordot(x, x.T, 1)),
    ("kron", lambda x: np.kron(x[:2], x[1:])), ("inner", lambda x: np.inner(x, x)), ("trace", lambda x: np.trace(x)),
    ("vdot axes", lambda x: np.tensordot(x, x, axes=([0, 1], [0, 1]))), ("cumprod", lambda x: np.cumprod(x, axis=1)),
    ("cumsum flat", lambda x: np.cumsum(x)), ("sort", lambda x: np.sort(x, axis=0)),
    ("sort flat", lambda x: np.sort(x, None)), ("argsort", lambda x: np.argsort(x)),
    ("median", lambda x: np.median(x, axis=1)), ("median all", lambda x: np.median(x)),
    ("quantile", lambda x: np.quantile(x, 0.3, axis=0)), ("pad", lambda x: np.pad(x, 1)),
    ("pad reflect", lambda x: np.pad(x, ((0, 0), (1, 2)), mode="reflect")), ("repeat", lambda x: np.repeat(x, 2)),
    ("repeat axis", lambda x: np.repeat(x, 2, axis=1)), ("tile", lambda x: np.tile(x, (2, 1))),
    ("roll", lambda x: np.roll(x, 1)), ("roll axis", lambda x: np.roll(x, 1, axis=1)),
    ("rot90", lambda x: np.rot90(x)), ("diff", lambda x: np.diff(x, axis=0)),
    ("split", lambda x: np.split(x, 2, 1)[1]), ("array_split", lambda x: np.array_split(x, 2)[0]),
    ("flip all", lambda x: np.flip(x)), ("take", lambda x: np.take(x, PLACES, axis=1)),
    ("diag", lambda x: np.diag(x)), ("vstack", lambda x: np.vstack([x, x])),
    ("take_along_axis", lambda x: np.take_along_axis(x, np.argsort(x, axis=1), axis=1)),
    ("hstack", lambda x: np.hstack([x, x])), ("moveaxis", lambda x: np.moveaxis(x, 0, 1)),
    ("norm 1", lambda x: np.linalg.norm(x, 1)), ("norm", lambda x: np.linalg.norm(x)),
    ("norm axis", lambda x: np.linalg.norm(x, axis=1)),
    ("solve", lambda x: np.linalg.solve(x[:, :3] + EYE, x)),
    ("inv", lambda x: np.linalg.inv(x[:, :3] + EYE)),
    ("det", lambda x: np.linalg.det(x[:, :3] + EYE)),
    ("slogdet", lambda x: np.linalg.slogdet(x[:, :3] + EYE)[1]), ("pinv", lambda x: np.linalg.pinv(x)),
    ("svd", lambda x: np.linalg.svd(x, full_matrices=False)[1]), ("eigvalsh", lambda x: np.linalg.eigvalsh(x @ x.T)),
    ("cholesky", lambda x: np.linalg.cholesky(x @ x.T + EYE)),
    ("matrix_power", lambda x: np.linalg.matrix_power(x[:, :3], 3)), ("rfft", lambda x: abs(np.fft.rfft(x - 0.3))),
    ("irfft", lambda x: np.fft.irfft(np.fft.rfft(x) * 2.0)), ("fft2", lambda x: abs(np.fft.fft2(x) + 7.0)),
    ("clip min", lambda x: np.clip(x, 0.5, None)), ("trapezoid", lambda x: np.trapezoid(x)),
    ("add.accumulate", lambda x: np.add.accumulate(x)), ("meshgrid", lambda x: np.meshgrid(x[0], x[1])[0]),
    ("cov", lambda x: np.cov(x)), ("outer", lambda x: np.outer(x[0], x[1])),
    ("nansum", lambda x: np.nansum(x, axis=1)),
    ("dot 3d", lambda x: np.dot(x, np.stack([x.T, x.T]))), ("dot number", lambda x: np.dot(x, 2.0)),
    ("average", lambda x: np.average(x, axis=1)), ("average weights", lambda x: np.average(x, 0, weights=x[:, 0])),
    ("average all", lambda x: np.average(x, weights=x * x)), ("gradient", lambda x: np.gradient(x, axis=1)),
    ("gradient spacing", lambda x: np.gradient(x, 0.5, axis=0, edge_order=2)),
    ("gradient all", lambda x: np.gradient(x)[1]), ("vdot", lambda x: np.vdot(x, x)),
    ("outer flat", lambda x: np.outer(x, x[0])), ("nanmedian", lambda x: np.nanmedian(x, axis=1)),
    ("nanmedian all", lambda x: np.nanmedian(x)), ("nanquantile", lambda x: np.nanquantile(x, 0.4, axis=0)),
    ("percentile", lambda x: np.percentile(x, 40, axis=1)), ("nanpercentile", lambda x: np.nanpercentile(x, 40)),
    ("nanmax", lambda x: np.nanmax(x, axis=0)), ("nanmin", lambda x: np.nanmin(x)),
    ("nanprod", lambda x: np.nanprod(x, axis=0)), ("ptp", lambda x: np.ptp(x, axis=1)),
    ("append", lambda x: np.append(x, x, axis=0)), ("append flat", lambda x: np.append(x, x[0])),
    ("digitize", lambda x: np.digitize(x, np.sort(x[0]))), ("ediff1d", lambda x: np.ediff1d(x)),
    ("imag", lambda x: np.imag(x)), ("matrix_transpose", lambda x: np.matrix_transpose(x)),
    ("linalg.trace", lambda x: np.linalg.trace(x)), ("erf-like", lambda x: np.sinc(x)),
    ("hsplit", lambda x: np.hsplit(x, 2)[0]), ("vsplit", lambda x: np.vsplit(x, 3)[1]),
    ("diagflat", lambda x: np.diagflat(x[0])), ("isin", lambda x: np.isin(x, x[0])),
    ("ldexp", lambda x: np.ldexp(x, 2)),
    ("add.reduce", lambda x: np.add.reduce(x)), ("maximum.reduce", lambda x: np.maximum.reduce(x, axis=1)),
]


def check(function: Any, *arrays: Any) -> None:
    """Values as NumPy's, a gradient as differences give, and the same compiled."""
    def call(*given: Any) -> Any:
        return function(*given)

    wanted = np.asarray(function(*arrays))
    tensors = [rt.from_numpy(a.copy(), requires_grad=a.dtype.kind == "f") for a in arrays]
    found = function(*tensors)
    assert isinstance(found, rt.Tensor)
    assert found._data.dtype == wanted.dtype and found.shape == wanted.shape
    np.testing.assert_allclose(found._data, wanted, rtol=1e-14)
    compiled = rt.compile(call)
    for _ in range(2):
        np.testing.assert_allclose(compiled(*arrays), wanted, rtol=1e-13)
        np.testing.assert_allclose(compiled(*tensors)._data, wanted, rtol=1e-13)
    if found.requires_grad and found.grad_fn is not None:
        assert rt.autograd.gradcheck(function, tensors)


@pytest.mark.parametrize("name", UNARY)
def test_unary_ufuncs(name: str) -> None:
    check(getattr(np, name), A)


@pytest.mark.parametrize("name", BINARY)
def test_binary_ufuncs(name: str) -> None:
    function = getattr(np, name)
    if name == "matmul":
        check(function, A, B.T.copy())
        return
    check(function, A, B)
    check(lambda x: function(x, B), A)
    check(lambda x: function(2.0, x), A)
    check(lambda x: function(x, 0.7), A)


@pytest.mark.parametrize(("name", "function"), FUNCTIONS, ids=[f[0] for f in FUNCTIONS])
def test_functions(name: str, function: Any) -> None:
    check(function, A)


def test_arrays_and_numpy_numbers_yield_to_tensors() -> None:
    x = rt.from_numpy(A.copy(), requires_grad=True)
    for made in (B + x, B * x, B - x, B / x, np.float64(2) * x, np.float64(2) ** x, B @ x.T, x < B):
        assert isinstance(made, rt.Tensor)
    assert (B * x).requires_grad
    np.testing.assert_array_equal((B - x)._data, B - A)
    assert not isinstance(B > A, rt.Tensor)


def test_gradients_through_plain_numpy_code() -> None:
    def model(x: Any) -> Any:
        hidden = np.tanh(np.dot(x, C))
        return np.sum(np.exp(-(hidden**2))) / np.sqrt(np.mean(x))

    gradient = rt.func.grad(model)(A)
    step = 1e-6
    for i, j in ((0, 0), (2, 3)):
        high, low = A.copy(), A.copy()
        high[i, j] += step
        low[i, j] -= step
        assert gradient[i, j] == pytest.approx((model(high) - model(low)) / (2 * step), rel=1e-6)
    assert type(gradient) is np.ndarray
    np.testing.assert_allclose(rt.compile(rt.func.grad(model))(A), gradient, rtol=1e-12)


def test_shape_facts() -> None:
    x = rt.from_numpy(A)
    assert np.shape(x) == (3, 4) and np.ndim(x) == 2 and np.size(x) == 12


def test_conversion_to_arrays() -> None:
    x = rt.from_numpy(A)
    assert type(np.asarray(x)) is np.ndarray and np.asarray(x, np.float32).dtype == np.float32
    np.testing.assert_array_equal(np.array(x), A)
    np.array(x)[0, 0] = 7.0
    assert A[0, 0] != 7.0


@pytest.mark.parametrize("call", [
    lambda x: np.nextafter(x, x), lambda x: np.linalg.eigvals(x), lambda x: np.partition(x, 1),
    lambda x: np.add.outer(x, x), lambda x: np.subtract.accumulate(x), lambda x: np.add(x, x, out=A),
    lambda x: np.interp(x, [0, 1], [2, 3]), lambda x: np.polyfit(x, x, 1), lambda x: np.add.at(x, 0, 1),
    lambda x: np.exp(x, where=A > 0.5), lambda x: np.subtract.reduce(x),
], ids=["nextafter", "eigvals", "partition", "outer", "accumulate", "out", "interp", "polyfit", "at", "where",
        "reduce"])
def test_what_is_not_known_is_refused(call: Any) -> None:
    before = A.copy()
    with pytest.raises(TypeError, match="RT301") as caught:
        call(rt.from_numpy(A))
    assert "np." in str(caught.value) and "test_numpy_protocol.py:" in str(caught.value)
    np.testing.assert_array_equal(A, before)


def test_indices_without_an_equation_are_checked() -> None:
    x = rt.ones(2, 3)
    for given in ((x,), (x, 1), (x, ["i", "j"]), (x, [0, 30]), (x, [0, 1], x, [0, 1], "ij")):
        with pytest.raises(rt.errors.InvalidOperands, match="without an equation"):
            rt.einsum(*given)


def test_options_that_would_be_lost_are_refused() -> None:
    """An option that can't be honoured raises; it is never dropped in silence."""
    x = rt.from_numpy(A)
    for call in (lambda a: np.sum(a, where=A > 0.5), lambda a: np.sum(a, initial=3.0), lambda a: np.max(a, initial=9.0),
                 lambda a: np.concatenate([a, a], dtype=np.float32), lambda a: np.zeros_like(a, dtype=np.int64),
                 lambda a: np.ones_like(a, shape=(2,)), lambda a: np.round(a, 2), lambda a: np.ravel(a, order="F"),
                 lambda a: np.reshape(a, (4, 3), order="F"), lambda a: np.transpose(a, axes=(1, 0)),
                 lambda a: np.argmax(a, axis=1, keepdims=True), lambda a: np.cumsum(a),
                 lambda a: np.squeeze(a[:1], axis=0),
                 lambda a: np.mean(a, dtype=np.float32), lambda a: np.flip(a), lambda a: np.where(a > 0.7)[0],
                 lambda a: np.clip(a, None, 0.5), lambda a: np.clip(a, a_min=0.5, a_max=None),
                 lambda a: np.std(a, ddof=1),
                 lambda a: np.tril(a, k=-1), lambda a: np.stack([a, a], -1), lambda a: np.expand_dims(a, (0, 1))):
        try:
            found = call(x)
        except TypeError:
            continue
        wanted = call(A)
        np.testing.assert_allclose(found._data, wanted, rtol=1e-14)
        assert found._data.dtype == wanted.dtype


def test_out_arguments_are_refused() -> None:
    x, out = rt.from_numpy(A), np.zeros_like(A)
    for call in (lambda: np.clip(x, 0.0, 1.0, out=out), lambda: np.mean(x, out=out), lambda: np.exp(x, out=out)):
        with pytest.raises(TypeError):
            call()
    assert not out.any()
