"""A whole training step as one compiled program: forward, backward and the optimiser's update.

Shows a function from state to state, NumPy in and NumPy out, with nested lists of arrays. The same function runs
eagerly when it is called without `rt.compile`.
"""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import numpy as np

import retape as rt
from retape.demo import load_digits


def loss(layers: Any, images: Any, labels: Any) -> Any:
    """Cross-entropy of a net with relu between its layers."""
    x = images
    for weight, bias in layers[:-1]:
        x = rt.relu(x @ weight + bias)
    weight, bias = layers[-1]
    return rt.cross_entropy(x @ weight + bias, labels)


def step(layers: Any, momenta: Any, images: Any, labels: Any, rate: float) -> Any:
    """Stochastic gradient descent with momentum: new layers, new momenta, and the loss before the step."""
    value, grads = rt.func.value_and_grad(loss)(layers, images, labels)
    momenta = [[0.9 * m + g for m, g in zip(*pair, strict=True)] for pair in zip(momenta, grads, strict=True)]
    layers = [[p - rate * m for p, m in zip(*pair, strict=True)] for pair in zip(layers, momenta, strict=True)]
    return layers, momenta, value


def train(stepper: Any, images: np.ndarray, labels: np.ndarray, epochs: int = 15, batch: int = 32) -> Any:
    """Layers after training, and the seconds of each step."""
    rng = np.random.default_rng(0)
    sizes = (64, 64, 32, 10)
    layers = [[rng.normal(0, (2 / a) ** 0.5, (a, b)), np.zeros(b)] for a, b in pairwise(sizes)]
    momenta = [[np.zeros_like(p) for p in layer] for layer in layers]
    spent = []
    for _ in range(epochs):
        order = rng.permutation(len(labels))
        for start in range(0, len(order) - batch + 1, batch):
            rows = order[start : start + batch]
            begin = time.perf_counter()
            layers, momenta, _ = stepper(layers, momenta, images[rows], labels[rows], 0.03)
            spent.append(time.perf_counter() - begin)
    return layers, spent


def accuracy(layers: Any, images: np.ndarray, labels: np.ndarray) -> float:
    """The share of images that the net reads right, in plain NumPy."""
    x = images
    for weight, bias in layers[:-1]:
        x = np.maximum(x @ weight + bias, 0.0)
    weight, bias = layers[-1]
    return float(np.mean(np.argmax(x @ weight + bias, axis=1) == labels))


def main() -> dict[str, float]:
    data = load_digits()
    found = {}
    for label, stepper in (("eager", step), ("compiled", rt.compile(step))):
        layers, spent = train(stepper, data.images, data.labels)
        found[f"{label} accuracy"] = accuracy(layers, data.held_images, data.held_labels)
        found[f"{label} us a step"] = float(np.median(spent)) * 1e6
        found[f"{label} first two steps, s"] = sum(spent[:2])
    for key, value in found.items():
        print(f"{key:27} {value:.3f}")
    return found


if __name__ == "__main__":
    main()
