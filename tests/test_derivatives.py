"""Derivatives against oracles from outside: central differences, SymPy, and mpmath at 50 digits.

The four executions share the rules, so that agreement among them says nothing about a wrong one. Here every rule meets
something it doesn't share.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy
from support import Sample, all_ops, assert_close, executions, samples

import retape as rt
from retape.differentiable import DifferentiableGraph
from retape.ir import CATALOGUE, Graph, GraphBuilder, Node, Op, TensorType, f64, input_node, verify
from retape.ir.passes import backward_graph, differentiate, partition
from retape.tracer.apply import apply

OPS = [op for op in all_ops() if op.differentiable and op.name not in ("opaque", "detach", "overwrite")
       and op.kind != "source"]
POINTWISE = [op for op in OPS if op.kind == "pointwise" and op.name not in ("cast", "clone")]


def ids(op: Op) -> str:
    return op.name


def smooth(sample: Sample) -> bool:
    """Whether differences mean something at this sample: no operand on a kink, and something to differentiate."""
    arrays = sample.arrays
    if not any(a.dtype.kind in "fc" and a.size for a in arrays):
        return False
    if sample.op.name in ("maximum", "minimum") and len(arrays) == 2:
        return bool(np.min(np.abs(arrays[0] - arrays[1])) > 1e-3)
    if sample.op.name in ("relu", "abs"):
        return bool(np.min(np.abs(arrays[0])) > 1e-3)
    return True


def float_samples(op: Op) -> list[Sample]:
    return [s for s in samples(op, f64) if smooth(s) and all(a.size < 1000 for a in s.arrays)]


SYMMETRIC = {"cholesky", "eigh"}  # of which one triangle is read


def called(sample: Sample) -> tuple[Callable[..., Any], list[rt.Tensor]]:
    """The op as a function of its differentiable operands, and these."""
    variable = [i for i, o in enumerate(sample.operands) if isinstance(o, np.ndarray) and o.dtype.kind in "fc"]

    def function(*given: Any) -> Any:
        operands = [rt.from_numpy(o) if isinstance(o, np.ndarray) else o for o in sample.operands]
        for i, value in zip(variable, given, strict=True):
            operands[i] = (value + value.mT) / 2 if sample.op.name in SYMMETRIC else value
        return apply(sample.op, tuple(operands), sample.attrs)

    return function, [rt.from_numpy(sample.operands[i], requires_grad=True) for i in variable]


# ---- differences


@pytest.mark.parametrize("op", OPS, ids=ids)
def test_gradient_against_differences(op: Op) -> None:
    cases = float_samples(op)
    assert cases, f"no sample of {op.name} to differentiate"
    if op.name == "cast":  # from f64 to f32: a difference of 1e-6 would be rounded away
        cases = [Sample(op, s.operands, (f64,), s.label) for s in cases]
    for sample in cases:
        function, inputs = called(sample)
        assert rt.autograd.gradcheck(function, inputs, atol=1e-5, rtol=1e-4), sample.label


@pytest.mark.parametrize("op", OPS, ids=ids)
def test_second_derivative_against_differences(op: Op) -> None:
    cases = float_samples(op)[:8]
    if op.name == "cast":
        cases = [Sample(op, s.operands, (f64,), s.label) for s in cases]
    for sample in cases:
        function, inputs = called(sample)
        assert rt.autograd.gradgradcheck(function, inputs, atol=1e-4, rtol=1e-3), sample.label


COMPOSED: list[tuple[str, Callable[..., Any], tuple[tuple[int, ...], ...]]] = [
    ("softmax", lambda x: rt.softmax(x, -1), ((3, 4),)),
    ("softmax0", lambda x: rt.softmax(x, 0), ((3, 4),)),
    ("log_softmax", lambda x: rt.log_softmax(x, 1), ((3, 4),)),
    ("logsumexp", lambda x: rt.logsumexp(x, (0, 1)), ((3, 4),)),
    ("var", lambda x: x.var(1), ((3, 4),)),
    ("std", lambda x: x.std(0, keepdim=True), ((3, 4),)),
    ("norm", lambda x: rt.norm(x), ((3, 4),)),
    ("norm1", lambda x: rt.norm(x, 1, 1), ((3, 4),)),
    ("norm3", lambda x: rt.norm(x, 3, 0), ((3, 4),)),
    ("layer_norm", lambda x, w, b: rt.layer_norm(x, (4,), w, b), ((3, 4), (4,), (4,))),
    ("linear", lambda x, w, b: rt.linear(x, w, b), ((2, 4), (3, 4), (3,))),
    ("gelu", rt.gelu, ((5,),)),
    ("silu", rt.silu, ((5,),)),
    ("softplus", rt.softplus, ((5,),)),
    ("logaddexp", rt.logaddexp, ((5,), (5,))),
    ("square", rt.square, ((5,),)),
    ("reciprocal", lambda x: rt.reciprocal(x * x + 1), ((5,),)),
    ("rsqrt", lambda x: rt.rsqrt(x * x + 1), ((5,),)),
    ("clamp", lambda x: rt.clamp(x, -0.5, 0.75), ((6,),)),
    ("masked_fill", lambda x: rt.masked_fill(x, x > 0.2, 3.0) * x, ((6,),)),
    ("max_dim", lambda x: rt.max(x, 1).values, ((3, 4),)),
    ("min_dim", lambda x: rt.min(x, 0, keepdim=True)[0], ((3, 4),)),
    ("mv", lambda a, v: a @ v, ((3, 4), (4,))),
    ("vm", lambda v, a: v @ a, ((3,), (3, 4))),
    ("dot", lambda a, b: a @ b, ((4,), (4,))),
    ("bmm", lambda a, b: rt.bmm(a, b), ((2, 3, 4), (2, 4, 2))),
    ("outer", rt.outer, ((3,), (4,))),
    ("mse", rt.mse_loss, ((3, 4), (3, 4))),
    ("cross_entropy", lambda x: rt.cross_entropy(x, rt.tensor([0, 2, 1])), ((3, 4),)),
    ("soft_targets", lambda x, y: rt.cross_entropy(x, rt.softmax(y, -1)), ((3, 4), (3, 4))),
    ("nll", lambda x: rt.nll_loss(x, rt.tensor([0, 2, 1]), reduction="sum"), ((3, 4),)),
    ("tril", rt.tril, ((3, 4),)),
    ("triu", lambda x: rt.triu(x, 1), ((3, 4),)),
    ("stack", lambda x, y: rt.stack([x, y, x], 1), ((3,), (3,))),
    ("repeat", lambda x: x.repeat(2, 3), ((2, 2),)),
    ("scatter_add", lambda x, y: rt.scatter_add(x, 0, rt.tensor([0, 0, 2]), y), ((3,), (3,))),
    ("index", lambda x: x[rt.tensor([0, 2, 0]), rt.tensor([1, 1, 3])], ((3, 4),)),
    ("slices", lambda x: x[::2, None, 1:] * x[0, 1], ((3, 4),)),
    ("mask", lambda x: x[x > 0] ** 2, ((3, 4),)),
]


@pytest.mark.parametrize(("function", "shapes"), [c[1:] for c in COMPOSED], ids=[c[0] for c in COMPOSED])
def test_compositions_against_differences(function: Any, shapes: Any) -> None:
    rng = np.random.default_rng(5)
    inputs = [rt.from_numpy(rng.uniform(-1.5, 1.5, shape), requires_grad=True) for shape in shapes]
    assert rt.autograd.gradcheck(function, inputs, atol=1e-6, rtol=1e-4)
    assert rt.autograd.gradgradcheck(function, inputs, atol=1e-5, rtol=1e-3)


# ---- SymPy: each rule is the derivative of the form

SCALAR = TensorType(f64, ())
# numbers that rules hold as doubles and mean exactly
MEANT = {c: float(c) for c in (sympy.S.One, 1 / sympy.sqrt(sympy.pi), sympy.sqrt(2 / sympy.pi), sympy.pi,
                               sympy.log(2), sympy.log(10), 1 / sympy.log(2), 1 / sympy.log(10), sympy.sqrt(2))}


def exact(value: Any) -> Any:
    """The number that a literal stands for: a simple fraction of a known constant, else the double itself."""
    if isinstance(value, bool):
        return sympy.S.true if value else sympy.S.false
    if isinstance(value, int) or value == int(value):
        return sympy.Integer(int(value))
    for constant, double in MEANT.items():
        ratio = Fraction(value / double).limit_denominator(64)
        if ratio and math.isclose(float(ratio) * double, value, rel_tol=1e-15):
            return sympy.Rational(ratio.numerator, ratio.denominator) * constant
    return sympy.Rational(value)


def form_of(op: Op, operands: list[Any], attrs: tuple[Any, ...] = ()) -> Any:
    """The op's form with expressions in place of its operands."""
    stand_ins = {name: sympy.Dummy(name, real=True) for name in op.operands}
    expression = sympy.sympify(op.form, locals={**stand_ins, **dict(zip(op.attribute_names, attrs, strict=False))})
    pairs = {stand_ins[name]: operand for name, operand in zip(op.operands, operands, strict=True)}
    return expression.xreplace(pairs)


def symbolic(graph: Graph, values: dict[Node, Any]) -> list[Any]:
    """The outputs of a graph of scalars as SymPy expressions."""
    for node in graph.nodes:
        operands = [values[i] if isinstance(i, Node) else exact(i) for i in node.inputs]
        if node.op.name == "full":
            values[node] = exact(node.attr("value"))
        elif node.op.kind == "view" or (node.op.kind == "reduction" and node.op.name == "sum"):
            values[node] = operands[0]  # of one element
        else:
            assert node.op.form, f"{node.op.name} in an elementwise rule"
            values[node] = form_of(node.op, operands, node.attrs)
    return [values[o] if isinstance(o, Node) else exact(o) for o in graph.outputs]


def derivative(expression: Any, symbol: Any) -> Any:
    """`diff`, with steps taken as constants where they are smooth."""
    steps = {e: sympy.Dummy(real=True) for e in expression.atoms(sympy.floor, sympy.ceiling)}
    found = sympy.diff(expression.xreplace(steps), symbol)
    return found.xreplace({dummy: step for step, dummy in steps.items()})


def rule_and_derivative(op: Op, wrt: int) -> tuple[Any, Any, list[Any]]:
    """The rule's IR as an expression, `ct` times the derivative of the form, and the operands' symbols."""
    symbols = [sympy.Symbol(n, real=True, positive=low > 0 or None) for n, (low, _) in
               zip(op.operands, op.domain, strict=True)]
    builder = GraphBuilder()
    types = [SCALAR] * len(symbols)
    if op.name == "where":
        symbols[0] = sympy.Symbol("condition")
        types[0] = TensorType(rt.bool, ())
    inputs = [input_node(str(s), t) for s, t in zip(symbols, types, strict=True)]
    out = builder.emit(op, tuple(inputs))
    graph = Graph(op.name, tuple(inputs), tuple(builder.nodes), (out,), "trace", op.name)
    backward = verify(backward_graph(differentiate(graph, [inputs[wrt]])))
    ct = sympy.Symbol("ct", real=True)
    by_name = {str(s): s for s in symbols}
    values = {node: by_name.get(node.name, ct) for node in backward.inputs}
    (rule,) = symbolic(backward, values)
    return rule, ct * derivative(form_of(op, symbols), symbols[wrt]), [ct, *symbols]


def wanted_operands(op: Op) -> list[int]:
    return [i for i in range(len(op.operands)) if not (op.name == "where" and i == 0)]


PAIRS = [(op, i) for op in POINTWISE for i in wanted_operands(op)]
PIECEWISE = {"abs", "relu", "maximum", "minimum", "where", "pow", "remainder"}


@pytest.mark.parametrize(("op", "wrt"), PAIRS, ids=[f"{op.name}-{i}" for op, i in PAIRS])
def test_rule_is_the_derivative_of_the_form(op: Op, wrt: int) -> None:
    rule, wanted, symbols = rule_and_derivative(op, wrt)
    difference = rule - wanted
    proven = sympy.expand(difference) == 0 or sympy.simplify(difference) == 0
    assert proven or op.name in PIECEWISE, f"{rule} is not {wanted}"
    # and at 50 digits, where simplification gives up
    rng = np.random.default_rng(3)
    for _ in range(12):
        point: dict[Any, Any] = {symbols[0]: sympy.Rational(int(rng.integers(1, 90)), 32)}
        for symbol, (low, high) in zip(symbols[1:], op.domain, strict=True):
            point[symbol] = sympy.Rational(float(rng.uniform(low, high)))
        if op.name == "where":
            point[symbols[1]] = sympy.S.true if rng.integers(2) else sympy.S.false
        distance = abs(sympy.N(difference.subs(point), 50))
        assert distance < mpmath.mpf(10) ** -40, f"{op.name}, operand {wrt} at {point}: {distance}"


# ---- mpmath: the numbers

DIFFERENTIABLE_AT = {"abs", "relu", "maximum", "minimum"}  # away from their kinks, as random points are


@pytest.mark.parametrize("op", [op for op in POINTWISE if op.name != "where"], ids=ids)
def test_gradient_against_fifty_digits(op: Op) -> None:
    symbols = [sympy.Symbol(n, real=True) for n in op.operands]
    # mp.diff steps across kinks and steps only where a point lies within 1e-20 of one
    function = sympy.lambdify(symbols, form_of(op, symbols), "mpmath")
    rng = np.random.default_rng(11)
    columns = [rng.uniform(low, high, 8) for low, high in op.domain]
    for dtype, bound in ((np.float64, 2e-14), (np.float32, 2e-5)):
        arrays = [c.astype(dtype) for c in columns]
        tensors = [rt.from_numpy(a, requires_grad=True) for a in arrays]
        apply(op, tuple(tensors)).sum().backward()
        with mpmath.workdps(50):
            for position in range(8):
                point = [mpmath.mpf(float(a[position])) for a in arrays]
                for wrt, tensor in enumerate(tensors):
                    order = tuple(int(i == wrt) for i in range(len(point)))
                    wanted = mpmath.diff(function, tuple(point), order) if len(point) > 1 \
                        else mpmath.diff(function, point[0])
                    assert tensor.grad is not None
                    found = float(tensor.grad._data[position])
                    error = abs(mpmath.mpf(found) - wanted)
                    assert error <= bound * max(1, abs(wanted)), f"{op.name} at {point}: {found} is not {wanted}"


@pytest.mark.parametrize("op", [op for op in POINTWISE if op.name != "where"], ids=ids)
def test_value_against_fifty_digits(op: Op) -> None:
    """The form says what the op is: eager and compiled values are within a few ULP of it."""
    symbols = [sympy.Symbol(n, real=True) for n in op.operands]
    function = sympy.lambdify(symbols, form_of(op, symbols), "mpmath")
    rng = np.random.default_rng(12)
    arrays = [rng.uniform(low, high, 16) for low, high in op.domain]
    with mpmath.workdps(50):
        wanted = np.array([float(function(*(mpmath.mpf(float(a[i])) for a in arrays))) for i in range(16)])
    sample = Sample(op, tuple(arrays), (), "")
    assert_close(np.asarray(op.eager(*arrays)), wanted, 4.0 if op.name != "remainder" else 64, f"{op.name} eager")
    for name, (found,) in executions(sample.graph, arrays).items():
        assert_close(found, wanted, 4.0 if op.name != "remainder" else 64, f"{op.name} {name}")


# ---- compiled derivatives against eager ones


@pytest.mark.parametrize("op", OPS, ids=ids)
def test_compiled_gradients_are_the_eager_ones(op: Op) -> None:
    """The partitioned pair and the whole backward graph, by all executions, against eager backward."""
    for dtype in (f64, rt.float32):
        cases = [s for s in samples(op, dtype) if any(a.dtype.kind in "fc" for a in s.arrays)
                 and all(a.size < 1000 for a in s.arrays)]
        for number, sample in enumerate(cases[: 2 if dtype is rt.float32 else 8]):
            _compare_gradients(sample, 512.0, tiny=number == 0)


def _compare_gradients(sample: Sample, bound: float, tiny: bool) -> None:
    what = f"{sample.op.name} {sample.label}"
    function, tensors = called(sample)
    with np.errstate(all="ignore"):
        out = function(*tensors)
    rng = np.random.default_rng(2)
    cotangent = np.asarray(rng.uniform(0.5, 2.0, out.shape)).astype(out._data.dtype)
    wanted = rt.autograd.grad(out, tensors, rt.from_numpy(cotangent), allow_unused=True)
    arrays = sample.arrays
    graph = sample.graph
    positions = [i for i, a in enumerate(arrays) if a.dtype.kind in "fc"]
    joint = differentiate(graph, [graph.inputs[i] for i in positions])
    forward, backward = (verify(g) for g in partition(joint))
    whole = verify(backward_graph(joint))
    own = {node.name: array for node, array in zip(graph.inputs, arrays, strict=True)}
    runs = [(f"whole {name}", found) for name, found in executions(whole, [cotangent, *arrays], tiny).items()]
    for name, results in executions(forward, arrays, tiny).items():
        saved = results[1:]
        # inputs that are saved as they are keep their layout
        given = [own.get(n.name, np.array(s, order="C")) for s, n in zip(saved, backward.inputs[1:], strict=True)]
        runs += [(f"forward {name}, backward {other}", found)
                 for other, found in executions(backward, [cotangent, *given], tiny).items() if "unjitted" not in other]
    for name, found in runs:
        assert len(found) == len(wanted)
        for part, gradient, tensor in zip(found, wanted, tensors, strict=True):
            expected = np.zeros(tensor.shape, tensor._data.dtype) if gradient is None else gradient._data
            assert_close(part, expected, bound, f"{what} {name}", 1.0)


@pytest.mark.parametrize("op", [op for op in OPS if op.name != "cast"], ids=ids)
def test_second_order_of_compiled_programs(op: Op) -> None:
    """`create_graph` through a compiled graph differentiates its backward graph; eager does the same op by op."""
    cases = float_samples(op)
    for sample in cases[:2]:
        function, tensors = called(sample)
        call = DifferentiableGraph(sample.graph)
        constants = {i for i, a in enumerate(sample.arrays) if a.dtype.kind not in "fc"}
        results = []
        for run in (function, None):
            given = [rt.from_numpy(t._data, requires_grad=True) for t in tensors]
            if run is None:
                rest = iter(given)
                operands = [a if i in constants else next(rest) for i, a in enumerate(sample.arrays)]
                (out,), _ = call(operands)
            else:
                out = run(*given)
            weights = rt.from_numpy(np.cos(np.arange(out.numel())).reshape(out.shape).astype(out._data.dtype))
            first = rt.autograd.grad(out, given, weights, create_graph=True)
            total = sum((g * g).sum() * (i + 1) for i, g in enumerate(first))
            second = rt.autograd.grad(total, given, allow_unused=True) if total.requires_grad else [None] * len(given)
            results.append([*first, *second])
        for found, wanted in zip(results[1], results[0], strict=True):
            zero = np.zeros(1)
            a = zero if found is None else found._data
            b = zero if wanted is None else wanted._data
            assert_close(np.broadcast_to(a, np.broadcast_shapes(a.shape, b.shape)),
                         np.broadcast_to(b, np.broadcast_shapes(a.shape, b.shape)), 2048.0,
                         f"{op.name} {sample.label}", 1.0)


# ---- higher orders through the public door


def cubic(x: Any) -> Any:
    return (rt.sin(x) * rt.exp(x * 0.5)).sum()


def analytic(x: np.ndarray[Any, Any], order: int) -> np.ndarray[Any, Any]:
    # the derivatives of exp(x/2) sin(x) are those of Im exp((1/2 + i) x)
    return np.imag((0.5 + 1j) ** order * np.exp((0.5 + 1j) * x))


X = np.linspace(-1.0, 1.2, 5)


def test_grad_of_grad_of_grad_eager() -> None:
    x = rt.from_numpy(X.copy(), requires_grad=True)
    y = cubic(x)
    for order in (1, 2, 3, 4):
        (g,) = rt.autograd.grad(y, x, create_graph=True)
        np.testing.assert_allclose(g._data, analytic(X, order), rtol=1e-12)
        y = g.sum()


def test_autograd_grad_of_a_compiled_function_to_fourth_order() -> None:
    compiled = rt.compile(cubic)
    for _ in range(3):  # the traced call, and two compiled ones
        x = rt.from_numpy(X.copy(), requires_grad=True)
        y = compiled(x)
        for order in (1, 2, 3, 4):
            (g,) = rt.autograd.grad(y, x, create_graph=True)
            np.testing.assert_allclose(g._data, analytic(X, order), rtol=1e-12)
            y = g.sum()
    assert compiled.traces == 1


def nested(function: Any, order: int) -> Any:
    for _ in range(order):
        inner = rt.func.grad(function)
        function = (lambda g: lambda x: g(x).sum())(inner)
    return inner


@pytest.mark.parametrize("order", [1, 2, 3])
def test_func_grad_nested_eager(order: int) -> None:
    np.testing.assert_allclose(nested(cubic, order)(X), analytic(X, order), rtol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_func_grad_nested_inside_compile(order: int) -> None:
    compiled = rt.compile(nested(cubic, order))
    for _ in range(3):
        found = compiled(X)
        assert type(found) is np.ndarray
        np.testing.assert_allclose(found, analytic(X, order), rtol=1e-12)
    assert compiled.traces == 1


@pytest.mark.parametrize("order", [1, 2, 3])
def test_func_grad_nested_outside_compile(order: int) -> None:
    compiled = rt.compile(cubic)
    for _ in range(3):
        np.testing.assert_allclose(nested(compiled, order)(X), analytic(X, order), rtol=1e-12)
    assert compiled.traces == 1


def test_compile_between_two_grads() -> None:
    inner = rt.compile(rt.func.grad(cubic))
    outer = rt.func.grad(lambda x: inner(x).sum())
    for _ in range(3):
        np.testing.assert_allclose(outer(X), analytic(X, 2), rtol=1e-12)


def test_compiled_third_order_through_reductions_and_products() -> None:
    a = np.random.default_rng(0).uniform(-1, 1, (3, 3))

    def f(x: Any) -> Any:
        return (rt.tanh(x @ rt.from_numpy(a)) ** 3).sum() * x.prod()

    def third(function: Any, x: Any) -> Any:
        g = rt.func.grad(lambda u: (rt.func.grad(lambda v: (rt.func.grad(function)(v) ** 2).sum())(u) ** 2).sum())
        return g(x)

    x = np.array([0.5, -0.25, 1.0])
    wanted = third(f, x)
    inside = rt.compile(lambda u: third(f, u))
    outside = rt.compile(f)
    for _ in range(2):
        np.testing.assert_allclose(inside(x), wanted, rtol=1e-11)
        np.testing.assert_allclose(third(outside, x), wanted, rtol=1e-11)


def test_jvp_and_vjp_are_adjoint() -> None:
    rng = np.random.default_rng(4)
    a = rng.standard_normal((3, 4))

    def f(x: Any) -> Any:
        return rt.sin(rt.from_numpy(a) @ x).cumsum(0) * x[:3]

    x, v, w = rng.standard_normal(4), rng.standard_normal(4), rng.standard_normal(3)
    value, pushed = rt.func.jvp(f, (x,), (v,))
    again, pull = rt.func.vjp(f, x)
    (pulled,) = pull(w)
    np.testing.assert_array_equal(value, again)
    np.testing.assert_allclose(pushed @ w, pulled @ v, rtol=1e-13)
    step = 1e-6
    np.testing.assert_allclose(pushed,
                               (f(rt.tensor(x + step * v))._data - f(rt.tensor(x - step * v))._data) / (2 * step),
                               rtol=1e-7)


def test_derivatives_at_kinks_and_ties() -> None:
    """Where a derivative has to be chosen, torch's choice: 0 for abs and relu at 0, halves between equal operands."""
    def gradient(function: Any, *values: float) -> list[float]:
        tensors = [rt.tensor(v, dtype=rt.float64, requires_grad=True) for v in values]
        function(*tensors).backward()
        return [float(t.grad) for t in tensors]

    for run in (lambda f: f, rt.compile):
        assert gradient(run(lambda x: abs(x)), 0.0) == [0.0]
        assert gradient(run(lambda x: rt.relu(x)), 0.0) == [0.0]
        assert gradient(run(lambda x, y: rt.maximum(x, y)), 1.0, 1.0) == [0.5, 0.5]
        assert gradient(run(lambda x, y: rt.minimum(x, y)), 1.0, 1.0) == [0.5, 0.5]
        assert gradient(run(lambda x: rt.clamp(x, 0.0, 1.0)), 1.0) == [1.0]
        assert gradient(run(lambda x: x**2), 0.0) == [0.0]
        assert gradient(run(lambda x: x**1), 0.0) == [1.0]
        assert gradient(run(lambda x: x**0), 0.0) == [0.0]
        assert gradient(run(lambda x: x**0.0), 0.0) == [0.0]
        assert gradient(run(lambda x: rt.norm(rt.stack([x, x * 0]))), 0.0) == [0.0]
        tied = rt.tensor([1.0, 3.0, 3.0], dtype=rt.float64, requires_grad=True)
        run(lambda x: x.amax())(tied).backward()
        assert tied.grad.tolist() == [0.0, 0.5, 0.5]
        zeros = rt.tensor([0.0, 3.0, 2.0], dtype=rt.float64, requires_grad=True)
        run(lambda x: x.prod())(zeros).backward()
        assert zeros.grad.tolist() == [6.0, 0.0, 0.0]
        logs = rt.tensor([-math.inf, -math.inf], dtype=rt.float64)
        assert run(lambda x: rt.logsumexp(x, 0))(logs).item() == -math.inf


def test_power_with_a_tensor_exponent_at_zero() -> None:
    x = rt.tensor([0.0, 0.0, 2.0], dtype=rt.float64, requires_grad=True)
    y = rt.tensor([0.0, 2.0, 3.0], dtype=rt.float64, requires_grad=True)
    (x**y).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0, 12.0]
    np.testing.assert_allclose(y.grad._data, [0.0, 0.0, 8 * math.log(2)])


def test_rules_emit_only_ops_of_the_catalogue_with_rules() -> None:
    """The rule set is closed: three differentiations of anything stay in the catalogue and find every rule."""
    for op in OPS:
        sample = samples(op, f64)[0]
        graph = sample.graph
        for _ in range(3):
            targets = [n for n in graph.inputs if n.type.dtype is f64]
            graph = verify(backward_graph(differentiate(graph, targets)))
            assert all(node.op is CATALOGUE[node.op.name] for node in graph.nodes)
            if not any(n.type.dtype is f64 for n in graph.inputs):
                break


@pytest.mark.parametrize("wrap", [lambda f: f, rt.compile], ids=["eager", "compiled"])
def test_auxiliary_results_pass_by_the_derivative(wrap: Any) -> None:
    def f(x: Any, k: float) -> Any:
        y = x * x
        return (y * k).sum(), {"squares": y, "count": 3}

    x = np.array([1.0, -2.0, 3.0])
    both, only = wrap(rt.func.value_and_grad(f, has_aux=True)), wrap(rt.func.grad(f, has_aux=True))
    for _ in range(3):
        (value, aux), gradient = both(x, 0.5)
        again, other = only(x, 0.5)
        assert value == 7.0 and aux["count"] == other["count"] == 3
        np.testing.assert_array_equal(gradient, x)
        np.testing.assert_array_equal(again, x)
        np.testing.assert_array_equal(aux["squares"], x * x)
        np.testing.assert_array_equal(other["squares"], x * x)
        assert type(gradient) is type(aux["squares"]) is np.ndarray
