"""Logistic regression in torch's manner: a leaf with `requires_grad`, `backward()`, an update under `no_grad`.

Shows that a compiled function takes its place in ordinary define-by-run code: `loss` runs compiled, its result carries
a `grad_fn`, and `backward()` runs the compiled derivative. The task: tell the handwritten 8 from the other digits.
"""

from __future__ import annotations

import numpy as np

import retape as rt
from retape.demo import load_digits


def loss(weight: rt.Tensor, bias: rt.Tensor, images: rt.Tensor, is_eight: rt.Tensor) -> rt.Tensor:
    """Mean negative log-likelihood and a little weight decay; softplus(s) - s*y is stable for every score."""
    score = images @ weight + bias
    return (rt.softplus(score) - score * is_eight).mean() + 1e-3 * (weight * weight).sum()


def fit(function: rt.CompiledFunction | object, images: np.ndarray, labels: np.ndarray, steps: int = 300) \
        -> tuple[rt.Tensor, rt.Tensor, list[float]]:
    """Gradient descent from zero; the weight, the bias and the losses."""
    assert callable(function)
    x, y = rt.from_numpy(images), rt.from_numpy((labels == 8).astype(images.dtype))
    weight = rt.zeros(64, dtype="float64", requires_grad=True)
    bias = rt.zeros(1, dtype="float64", requires_grad=True)
    losses = []
    for _ in range(steps):
        value = function(weight, bias, x, y)
        value.backward()
        with rt.no_grad():
            for parameter in (weight, bias):
                parameter -= 2.0 * parameter.grad
                parameter.grad = None
        losses.append(value.item())
    return weight, bias, losses


def main() -> dict[str, float]:
    data = load_digits()
    weight, bias, losses = fit(rt.compile(loss), data.images, data.labels)
    *_, eager_losses = fit(loss, data.images, data.labels)
    scores = data.held_images @ weight.detach().numpy() + bias.detach().numpy()
    found = {
        "loss": losses[-1],
        "accuracy": float(np.mean((scores > 0) == (data.held_labels == 8))),
        "eager and compiled apart": float(np.max(np.abs(np.subtract(losses, eager_losses)))),
    }
    for key, value in found.items():
        print(f"{key:25} {value:.4g}")
    return found


if __name__ == "__main__":
    main()
