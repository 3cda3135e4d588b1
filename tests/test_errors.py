"""Every error with a code: provoked in eager and in compiled code, located at the line that errs, with its remedy.

A case is a function of one tensor. The line that errs bears the comment `# here`; the text of the error must name that
line. Whatever a failed call was given stays as it was.
"""

from __future__ import annotations

import inspect
import re
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import retape as rt
from retape.ir import errors
from retape.ir.errors import CODES, RetapeError, explain

HERE = Path(__file__).name
LINES = Path(__file__).read_text().splitlines()

BASES = {
    "RT101": RuntimeError, "RT102": RuntimeError, "RT103": RuntimeError, "RT104": RuntimeError, "RT105": RuntimeError,
    "RT106": RuntimeError, "RT107": RuntimeError, "RT108": RuntimeError, "RT201": RuntimeError, "RT202": RuntimeError,
    "RT203": IndexError, "RT204": IndexError, "RT205": RuntimeError, "RT206": TypeError,
    "RT207": ValueError, "RT301": TypeError,
    "RT302": RuntimeError, "RT401": UserWarning, "RT501": AssertionError, "RT502": FloatingPointError,
    "RT503": RuntimeError, "RT504": UserWarning, "RT505": RuntimeError, "RT506": AssertionError,
    "RT601": ValueError, "RT602": ValueError,
}
KEPT: Any = deque()


def weight() -> Any:
    return rt.tensor([1.0, 2.0, 3.0], dtype=rt.float64)


# ---- cases: what errs, under which code, and a word that its remedy contains


def second_backward(x: Any) -> Any:
    y = (x.detach().requires_grad_() ** 2).sum()
    y.backward()
    return y.backward()  # here


def non_scalar(x: Any) -> Any:
    return (x.detach().requires_grad_() * 2).backward()  # here


def wrong_gradient_shape(x: Any) -> Any:
    y = x.detach().requires_grad_() * 2
    return y.backward(rt.ones(2, dtype=rt.float64))  # here


def wrong_gradient_type(x: Any) -> Any:
    y = x.detach().requires_grad_() * 2
    return y.backward(rt.ones(3, dtype=rt.float32))  # here


def saved_and_changed(x: Any) -> Any:
    w = weight()
    y = (x.detach().requires_grad_() * w).sum()
    w += 1  # here
    return y.backward()


def result_changed(x: Any) -> Any:
    h = x.detach().requires_grad_().exp()
    y = h.sum()
    h += 1  # here
    return y.backward()


def no_path(x: Any) -> Any:
    return x.detach().sum().backward()  # here


def not_connected(x: Any) -> Any:
    y = x.detach().requires_grad_()
    return rt.autograd.grad(y.sum(), weight().requires_grad_())  # here


def integer_gradient(x: Any) -> Any:
    return (x > 0).long().requires_grad_()  # here


def leaf_write(x: Any) -> Any:
    y = x.detach().clone().requires_grad_()
    y += 1  # here
    return y


def leaf_item_write(x: Any) -> Any:
    y = x.detach().clone().requires_grad_()
    y[0] = 1.0  # here
    return y


def broadcast(x: Any) -> Any:
    return x[:2].reshape(2, 1).expand(2, 4) + x[:2]  # here


def broadcast_hopeless(x: Any) -> Any:
    return x + rt.ones(4)  # here


def where_broadcast(x: Any) -> Any:
    return rt.where(x > 0, x, rt.ones(4, dtype=rt.float64))  # here


def inner_extents(x: Any) -> Any:
    return x.reshape(1, 3) @ rt.ones(2, 3, dtype=rt.float64)  # here


def vector_product(x: Any) -> Any:
    return x @ rt.ones(2, dtype=rt.float64)  # here


def axis(x: Any) -> Any:
    return x.sum(1)  # here


def axis_twice(x: Any) -> Any:
    return x.reshape(1, 3).mean((0, 0))  # here


def axis_of_softmax(x: Any) -> Any:
    return rt.softmax(x, 2)  # here


def axis_of_transpose(x: Any) -> Any:
    return x.transpose(0, 1)  # here


def index(x: Any) -> Any:
    return x[3]  # here


def index_array(x: Any) -> Any:
    return x[rt.tensor([0, 5])]  # here


def index_of_gather(x: Any) -> Any:
    return x.gather(0, rt.tensor([0, -9]))  # here


def too_many_indices(x: Any) -> Any:
    return x[0, 0]  # here


def reshape(x: Any) -> Any:
    return x.reshape(2, 2)  # here


def expand(x: Any) -> Any:
    return x.expand(5)  # here


def cat(x: Any) -> Any:
    return rt.cat([x.reshape(1, 3), rt.ones(1, 2, dtype=rt.float64)], 0)  # here


def slice_write(x: Any) -> Any:
    y = x * 2
    y[0:2] = rt.ones(3, dtype=rt.float64)  # here
    return y


def float_index(x: Any) -> Any:
    return x.gather(0, x)  # here


def mean_of_integers(x: Any) -> Any:
    return (x > 0).long().mean()  # here


def negated_truth(x: Any) -> Any:
    return -(x > 0)  # here


def unknown_function(x: Any) -> Any:
    return rt.zzqx(x)  # here


def unknown_numpy_function(x: Any) -> Any:
    return np.polyfit(x, x, 1)  # here


def largest_of_nothing(x: Any) -> Any:
    return x[3:].amax()  # here


def unknown_ufunc(x: Any) -> Any:
    return np.nextafter(x, x)  # here


def object_operand(x: Any) -> Any:
    return rt.add(x, "text")  # here


def float_as_index(x: Any) -> Any:
    return x[rt.tensor([0.5])]  # here


EAGER_AND_COMPILED: list[tuple[Callable[[Any], Any], str, str]] = [
    (second_backward, "RT101", "retain_graph=True"), (non_scalar, "RT102", "sum()"),
    (wrong_gradient_shape, "RT103", "reshape"), (wrong_gradient_type, "RT103", "float64"),
    (saved_and_changed, "RT104", "clone()"), (result_changed, "RT104", "clone()"),
    (no_path, "RT105", "requires_grad=True"), (not_connected, "RT105", "allow_unused"),
    (integer_gradient, "RT106", "float"), (leaf_write, "RT108", "no_grad"), (leaf_item_write, "RT108", "no_grad"),
    (broadcast, "RT201", "[:, None]"), (broadcast_hopeless, "RT201", "extents"), (where_broadcast, "RT201", "extents"),
    (inner_extents, "RT202", "a @ b.T"), (vector_product, "RT202", "equal"),
    (axis, "RT203", "-1 to 0"), (axis_twice, "RT203", "once"), (axis_of_softmax, "RT203", "dim"),
    (axis_of_transpose, "RT203", "dim"), (index, "RT204", "index"), (index_array, "RT204", "index"),
    (index_of_gather, "RT204", "index"), (too_many_indices, "RT204", "at most 1"),
    (reshape, "RT205", "product"), (expand, "RT20", ""), (cat, "RT205", "dim"), (slice_write, "RT20", ""),
    (float_index, "RT206", "int64"), (mean_of_integers, "RT206", "float32"), (negated_truth, "RT206", ""),
    (unknown_function, "RT301", "Function"), (unknown_numpy_function, "RT301", ""), (unknown_ufunc, "RT301", ""),
    (largest_of_nothing, "RT207", "extents"),
    (object_operand, "RT301", "rt.tensor"), (float_as_index, "RT301", "long()"),
]
IDS = [case[0].__name__ for case in EAGER_AND_COMPILED]


def marked_line(function: Callable[..., Any]) -> int:
    """The number of the line marked `# here`."""
    source, first = inspect.getsourcelines(function)
    return first + next(i for i, line in enumerate(source) if line.rstrip().endswith("# here"))


def check(error: BaseException, code: str, line: int, remedy: str) -> None:
    """Code and base class, the user's line with its text, a cause, a fix."""
    assert isinstance(error, RetapeError), repr(error)
    assert error.code.startswith(code)
    assert isinstance(error, BASES[error.code])
    text = str(error)
    if error.code != "RT101":  # whose first line is torch's own sentence
        assert text.startswith(f"{error.code} {type(error).__name__}: ")
    places = re.findall(rf"{re.escape(HERE)}:(\d+):(\d+)", text)
    assert (str(line)) in [number for number, _ in places], f"line {line} is not named:\n{text}"
    labels = [label for label, _ in error.facts]
    assert "fix" in labels and error.facts[labels.index("fix")][1], text
    assert "why" in labels, text
    assert remedy in text.split("fix", 1)[1], text
    assert all(value.strip() for _, value in error.facts), text
    columns = [int(column) for number, column in places if int(number) == line]
    quoted = LINES[line - 1].strip().split("  #")[0]
    shown = [LINES[line - 1][column - 1 :] for column in columns]
    assert any(piece and quoted.endswith(piece.split("  #")[0]) for piece in shown), (columns, quoted)


def snapshot(x: Any) -> Any:
    return x.tolist(), x._version[0], x.grad, x.requires_grad, x._traced, x._grad_fn


@pytest.mark.parametrize("function", [c[0] for c in EAGER_AND_COMPILED], ids=IDS)
def test_eager(function: Any) -> None:
    _, code, remedy = EAGER_AND_COMPILED[IDS.index(function.__name__)]
    for requires_grad in (False, True):
        x = rt.tensor([0.5, -1.0, 2.0], dtype=rt.float64, requires_grad=requires_grad)
        before = snapshot(x)
        with pytest.raises(BASES.get(code, RuntimeError) if len(code) == 5 else Exception) as caught:
            function(x)
        check(caught.value, code, marked_line(function), remedy)
        assert snapshot(x) == before
        assert (x * 2).tolist() == [1.0, -2.0, 4.0]


@pytest.mark.parametrize("function", [c[0] for c in EAGER_AND_COMPILED], ids=IDS)
def test_compiled(function: Any) -> None:
    _, code, remedy = EAGER_AND_COMPILED[IDS.index(function.__name__)]
    compiled = rt.compile(function)
    x = rt.tensor([0.5, -1.0, 2.0], dtype=rt.float64)
    before = snapshot(x)
    for _ in range(2):
        with pytest.raises(RetapeError) as caught:
            compiled(x)
        check(caught.value, code, marked_line(function), remedy)
        assert snapshot(x) == before
        assert rt.is_grad_enabled()
    assert compiled.traces == 0 and compiled.specializations == []
    assert (x * 2).tolist() == [1.0, -2.0, 4.0]


def marked(name: str) -> int:
    """The line of this file that ends with `# <name>`."""
    return next(i for i, line in enumerate(LINES, 1) if line.rstrip().endswith(f"  # {name}"))


def test_index_errors_of_compiled_code_name_the_line() -> None:
    """RT204 in code that runs without Python: the values are wrong only at a later call."""
    def take(x: Any, i: Any) -> Any:
        return x[i] * 2  # compiled take

    def gather(x: Any, i: Any) -> Any:
        return x.gather(0, i) * 2  # compiled gather

    for function, name in ((take, "compiled take"), (gather, "compiled gather")):
        f = rt.compile(function)
        x = rt.tensor([1.0, 2.0, 3.0])
        f(x, rt.tensor([0, 1]))
        f(x, rt.tensor([2, -3] if function is take else [2, 0]))
        before = snapshot(x)
        with pytest.raises(IndexError) as caught:
            f(x, rt.tensor([0, 3]))
        check(caught.value, "RT204", marked(name), "")
        assert snapshot(x) == before and f.traces == 1
        assert f(x, rt.tensor([0, 1])).tolist() == [2.0, 4.0]


def test_no_derivative_of_an_opaque_function() -> None:
    """RT107: a custom Function traced with its result differentiated from outside."""
    class Twice(rt.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad * 2

    f = rt.compile(lambda x, y: (Twice.apply(x) * 3 + y, y * 2))
    x, y = (rt.tensor([1.0], requires_grad=True) for _ in range(2))
    first, _ = f(x, y)
    first.sum().backward()
    assert x.grad.tolist() == [6.0], "the traced call is eager and has its own backward"
    for _ in range(2):  # a call whose result isn't differentiated is nothing to refuse
        found, other = f(x, y)
        assert found.tolist() == [7.0] and found.requires_grad and not found.is_leaf
        with pytest.raises(errors.NoDerivative) as caught:
            found.sum().backward()  # differentiated outside
        check(caught.value, "RT107", marked("differentiated outside"), "inside the compiled function")
        assert "Twice" in str(caught.value)
        y.grad = None
        other.sum().backward()
        assert y.grad.tolist() == [2.0]
    assert f.specialize(x, y).graph.outputs[1].type.shape == (1,) and f.traces == 1
    assert "op.opaque" not in str(f.specialize(x, y).backward)


def test_differentiating_what_has_no_derivative_in_the_ir() -> None:
    from retape.ir import CATALOGUE, Graph, Node, f64, input_node
    from retape.ir.passes import differentiate

    x = input_node("x", f64[3])
    made = Node(CATALOGUE["sin"], (x,), (), f64[3], "sin0")
    result = Node(CATALOGUE["opaque"], (made, x), ("Secret",), f64[3], "opaque1")
    with pytest.raises(errors.NoDerivative) as caught:
        differentiate(Graph("g", (x,), (made, result), (result,)))
    assert "Secret" in str(caught.value) and "fix" in str(caught.value)


def test_a_tensor_that_escaped_from_a_trace() -> None:
    def f(x: Any) -> Any:
        KEPT.append(x * 2)  # made
        return x + 1

    compiled = rt.compile(f)
    compiled(rt.ones(2))
    with pytest.raises(errors.EscapedTensor) as caught:
        KEPT.pop() + 1  # used
    check(caught.value, "RT302", marked("used"), "return")
    assert f"{HERE}:{marked('made')}:" in str(caught.value)


def test_unknown_names_are_attribute_errors() -> None:
    assert not hasattr(rt, "fourier") and not hasattr(rt, "__wrapped__") and not hasattr(rt, "_private")
    with pytest.raises(AttributeError, match="RT301"):
        rt.soft_max  # noqa: B018
    with pytest.raises(AttributeError, match="softmax"):
        rt.sofmax  # noqa: B018


def test_compiled_backward_notices_changes() -> None:
    def f(x: Any, w: Any) -> Any:
        return (x * w).sum()

    compiled = rt.compile(f)
    x = rt.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(3):
        w = rt.tensor([3.0, 4.0])
        out = compiled(x, w)
        w += 1  # changed
        with pytest.raises(RuntimeError) as caught:
            out.backward()
        check(caught.value, "RT104", marked("changed"), "clone()")
        assert x.grad is None


def test_compiled_second_backward() -> None:
    compiled = rt.compile(lambda x: (x * x).sum())
    x = rt.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(3):
        out = compiled(x)
        out.backward()
        grad = x.grad.tolist()
        with pytest.raises(RuntimeError, match=r"^Trying to backward through the graph a second time") as caught:
            out.backward()  # again
        check(caught.value, "RT101", marked("again"), "retain_graph=True")
        assert x.grad.tolist() == grad
        x.grad = None


def test_a_failing_backward_changes_no_gradient() -> None:
    x, y = rt.ones(2, requires_grad=True), rt.ones(2, requires_grad=True)
    w = rt.ones(2)
    loss = (x * 3).sum() + (y * w).sum()
    w += 1
    with pytest.raises(RuntimeError, match="RT104"):
        loss.backward()
    assert x.grad is None and y.grad is None


def test_a_broken_kernel_is_reported_as_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    from retape.codegen import kernels

    def refuse(*_: Any, **__: Any) -> Any:
        raise ValueError("no such thing")

    monkeypatch.setattr(kernels.native, "build_directly", refuse)
    x = rt.linspace(0, 1, 200, dtype=rt.float64)
    wanted = np.sin(np.exp(x._data * 1.2345678 + 0.987))
    g = rt.compile(lambda x: (x * 1.2345678 + 0.987).exp().sin())
    g(x)
    with pytest.warns(RuntimeWarning, match="RT503 KernelFailed.*runs eagerly"):
        np.testing.assert_array_equal(g(x)._data, wanted)
    np.testing.assert_array_equal(g(x)._data, wanted)  # said once
    f = rt.compile(fallback="error")(lambda x: (x * 1.2345678 + 0.987).exp().sin())
    f(x)
    with pytest.raises(errors.KernelFailed) as caught:
        f(x)
    text = str(caught.value)
    assert "RT503" in text and "no such thing" in text and "def kernel" in text and "fix" in text
    assert isinstance(caught.value, RuntimeError)
    monkeypatch.undo()
    np.testing.assert_allclose(f(x)._data, wanted, atol=1e-13)


def test_every_code_has_a_long_form_and_its_base() -> None:
    for code, kind in CODES.items():
        if code == "RT000":
            continue
        assert issubclass(kind, BASES[code]), code
        text = explain(code)
        assert text.startswith(f"{code} {kind.__name__}\n\n") and len(text) > 60, code
        assert explain(code.lower()) == text
    with pytest.raises(KeyError):
        explain("RT999")


def test_every_code_is_provoked_in_this_suite() -> None:
    source = "".join(p.read_text() for p in Path(__file__).parent.glob("test_*.py"))
    for code in CODES:
        assert code in ("RT000", "RT502") or f'"{code}' in source or f"match=r\"{code}" in source, code


def test_the_text_lines_up() -> None:
    with pytest.raises(RetapeError) as caught:
        rt.ones(3) + rt.ones(4)
    head, *facts = str(caught.value).splitlines()
    assert head.startswith("RT201 BroadcastMismatch: ")
    assert len({line.index(" : ") for line in facts}) == 1 and all(line.startswith("  ") for line in facts)


def test_errors_inside_helpers_name_the_innermost_user_line() -> None:
    def helper(x: Any) -> Any:
        return x.reshape(5)  # in the helper

    def caller(x: Any) -> Any:
        return helper(x * 2)

    for function in (caller, rt.compile(caller)):
        with pytest.raises(RetapeError) as caught:
            function(rt.ones(3))
        check(caught.value, "RT205", marked("in the helper"), "product")


def test_suggested_remedies_work() -> None:
    """What an error proposes must not raise the same error again."""
    a, b = rt.ones(2, 4), rt.ones(2)
    with pytest.raises(RetapeError) as caught:
        a + b
    (fix,) = [text for label, text in caught.value.facts if label == "fix"]
    assert eval(f"(a + {fix})", {"a": a, "b": b}).shape == (2, 4)
    a, b = rt.ones(3, 4), rt.ones(5, 4)
    with pytest.raises(RetapeError) as caught:
        a @ b
    (fix,) = [text for label, text in caught.value.facts if label == "fix"]
    for option in re.findall("`(.*?)`", fix):
        assert eval(option, {"a": a, "b": b}).ndim == 2
    a, b = rt.ones(2, 3), rt.ones(3, 2)
    with pytest.raises(RetapeError) as caught:
        a * b
    (fix,) = [text for label, text in caught.value.facts if label == "fix"]
    assert eval(f"a * {fix}", {"a": a, "b": b}).shape == (2, 3)
