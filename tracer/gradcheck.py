"""`gradcheck` and `gradgradcheck`: recorded derivatives against central differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .engine import grad
from .tensor import Tensor, wrap
from .tree import flatten


def _outputs(function: Callable[..., Any], inputs: Sequence[Any]) -> list[Tensor]:
    return [o for o in flatten(function(*inputs))[0] if isinstance(o, Tensor) and o.dtype.is_floating_point]


def _directional(function: Callable[..., Any], inputs: Sequence[Any], position: int, direction: Any, eps: float) \
        -> list[Any]:
    """Central difference of every output along `direction` in one input."""
    values = []
    for sign in (1.0, -1.0):
        moved = list(inputs)
        moved[position] = wrap(np.asarray(inputs[position]._data + sign * eps * direction))
        moved[position]._requires_grad = True
        values.append([o._data.copy() for o in _outputs(function, moved)])
    return [(high - low) / (2 * eps) for high, low in zip(*values, strict=True)]


def _draw(rng: np.random.Generator, like: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Random numbers of an array's shape and element type, complex ones with both parts."""
    drawn = np.asarray(rng.standard_normal(like.shape))
    if like.dtype.kind == "c":
        drawn = drawn + 1j * rng.standard_normal(like.shape)
    return drawn.astype(like.dtype)


def gradcheck(
    func: Callable[..., Any], inputs: Tensor | Sequence[Any], *, eps: float = 1e-6, atol: float = 1e-5,
    rtol: float = 1e-3, raise_exception: bool = True, seed: int = 0, directions: int = 2,
) -> bool:
    """Whether the gradients of `func` at `inputs` (float64 leaves that require grad) agree with differences.

    Each output is contracted with a random cotangent and each input moved along random directions; the two numbers
    must agree within `atol + rtol * |difference|`. Raises `AssertionError` naming the input, unless told not to.
    """
    given = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    rng = np.random.default_rng(seed)
    outputs = _outputs(func, given)
    wanted = [(i, x) for i, x in enumerate(given) if isinstance(x, Tensor) and x.requires_grad]
    for number, output in enumerate(outputs):
        cotangent = _draw(rng, output._data)
        found: Sequence[Any] = [None] * len(wanted)  # an output without history claims that its derivative is zero
        if output.requires_grad:
            found = grad(output, [x for _, x in wanted], wrap(np.asarray(cotangent)), retain_graph=True,
                         allow_unused=True)
        for (position, x), gradient in zip(wanted, found, strict=True):
            exact = np.zeros(x.shape) if gradient is None else gradient._data
            for _ in range(directions):
                direction = _draw(rng, x._data)
                moved = _directional(func, given, position, direction, eps)[number]
                # of complex numbers the parts count alike: Re(conj(a) * b) is their scalar product
                measured = float(np.real(np.conj(moved) * cotangent).sum())
                stated = float(np.real(np.conj(exact) * direction).sum())
                if not abs(measured - stated) <= atol + rtol * abs(measured):
                    if raise_exception:
                        raise AssertionError(f"gradcheck: output {number}, input {position}: the recorded derivative "
                                             f"is {stated!r}, differences give {measured!r}")
                    return False
    return True


def gradgradcheck(func: Callable[..., Any], inputs: Tensor | Sequence[Any], *, seed: int = 0, **options: Any) -> bool:
    """`gradcheck` of the gradient of `func`: its derivatives of second order."""
    given = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    rng = np.random.default_rng(seed + 1)
    cotangents = [wrap(_draw(rng, o._data)).requires_grad_() for o in _outputs(func, given)]

    def first_order(*arguments: Any) -> list[Tensor]:
        """The gradients as a function of the inputs and of the cotangents, in which they are linear."""
        inputs, seeds = arguments[: len(given)], arguments[len(given) :]
        outputs = _outputs(func, inputs)
        pairs = [(o, c) for o, c in zip(outputs, seeds, strict=True) if o.requires_grad]
        wanted = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]
        found = grad([o for o, _ in pairs], wanted, [c for _, c in pairs], create_graph=True, allow_unused=True)
        return [g for g in found if g is not None]

    return gradcheck(first_order, (*given, *cotangents), seed=seed, **options)
