"""PyTorch's autograd tutorial (the Korean edition, cell by cell) with `import retape as rt` in place of `import torch`.

Shows tensors and their history, `backward`, accumulated gradients, vector-Jacobian products, `no_grad`, `detach` and
custom Functions. The comments are bilingual where the tutorial's own text is quoted:
https://tutorials.pytorch.kr/beginner/blitz/autograd_tutorial.html
"""

from __future__ import annotations

from typing import Any

import retape as rt


def tensors() -> tuple[rt.Tensor, rt.Tensor]:
    """Cells 1 to 5: a leaf, operations on it, and where results come from."""
    # `.requires_grad` 를 True 로 설정하면 모든 연산들을 추적합니다 / every operation on it is tracked
    x = rt.ones(2, 2, requires_grad=True)
    print(x)

    y = x + 2
    print(y)
    print(y.grad_fn)  # 연산의 결과이므로 grad_fn 을 갖습니다 / made by an operation, so it has one
    print(x.grad_fn)  # 사용자가 만든 Tensor 는 None / None: the user made it

    z = y * y * 3
    out = z.mean()
    print(z, out)
    return x, out


def switching_on() -> rt.Tensor:
    """Cell 7: `requires_grad_` changes the flag in place; it is False unless asked for."""
    a = rt.randn(2, 2)
    a = a * 3
    print(a.requires_grad)
    a.requires_grad_(True)
    print(a.requires_grad)
    b = a * a
    print(b)
    return b


def gradients(x: rt.Tensor, out: rt.Tensor) -> str:
    """Cells 10 and 11: d(out)/dx is 4.5 everywhere; a second pass over the freed graph is an error."""
    # out 은 하나의 스칼라값만 가지므로 out.backward(rt.tensor(1.)) 과 동일합니다 / the same, since out is one scalar
    out.backward()
    print(x.grad)
    try:
        out.backward()
    except RuntimeError as error:
        print(f"RuntimeError: {error}")
        return str(error)
    return ""


def vector_jacobian() -> rt.Tensor:
    """A loop whose length depends on the data, then `backward(v)`: the vector-Jacobian product."""
    x = rt.tensor([0.5, -1.5, 1.0], requires_grad=True)
    y = x * 2
    while y.data.norm() < 1000:
        y = y * 2
    print(y)

    # y 는 더 이상 스칼라가 아닙니다: 벡터를 인자로 전달합니다 / y is no scalar, so a vector is handed in
    v = rt.tensor([0.1, 1.0, 0.0001])
    y.backward(v)
    print(x.grad)
    assert x.grad is not None
    return x.grad


def not_tracking() -> list[bool]:
    """`no_grad` and `detach`: two ways to stop tracking."""
    x = rt.ones(3, requires_grad=True)
    seen = [x.requires_grad, (x**2).requires_grad]
    with rt.no_grad():  # 기록을 추적하는 것을 방지합니다 / nothing is recorded in here
        seen.append((x**2).requires_grad)
    y = x.detach()  # 내용물은 같지만 requires_grad 가 다릅니다 / the same content, cut from the history
    seen += [y.requires_grad, bool(x.eq(y).all())]
    print(seen)
    return seen


class Cube(rt.autograd.Function):
    """A custom operation with its own derivative."""

    @staticmethod
    def forward(ctx: Any, x: rt.Tensor) -> rt.Tensor:
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx: Any, grad: rt.Tensor) -> rt.Tensor:
        (x,) = ctx.saved_tensors
        return 3 * x * x * grad


def custom_function() -> rt.Tensor:
    """Tensor 와 Function 은 서로 연결되어 있습니다: a Function of one's own takes its place in the graph."""
    x = rt.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = Cube.apply(x)
    print(y.grad_fn)
    y.sum().backward()
    print(x.grad)
    assert x.grad is not None
    return x.grad


def main() -> dict[str, Any]:
    rt.manual_seed(0)
    x, out = tensors()
    squares = switching_on()
    message = gradients(x, out)
    return {
        "out": out.item(), "x.grad": x.grad, "b.grad_fn": repr(squares.grad_fn), "second backward": message,
        "vector": vector_jacobian(), "tracking": not_tracking(), "cube": custom_function(),
    }


if __name__ == "__main__":
    main()
