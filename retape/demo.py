"""`python -m retape demo`: a net that reads handwritten digits, trained by eager code and by what it compiles to.

The functions under "the model" are ordinary user code; everything below them shows and measures what becomes of it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

import retape as rt
from retape.tracer.state import user_file

__all__ = ["Digits", "Outcome", "accuracy", "initial", "load_digits", "loss", "run", "scores", "step"]

user_file(__file__)  # IR and kernels quote the lines of the model below

Array = np.ndarray[Any, Any]
Params = list[Array]


# ---- the model


def scores(params: Any, images: Any) -> Any:
    """Ten scores an image: 64 pixels, one layer of tanh, 10 classes."""
    w1, b1, w2, b2 = params
    hidden = rt.tanh(images @ w1 + b1)
    return hidden @ w2 + b2


def loss(params: Any, images: Any, labels: Any) -> Any:
    """Mean cross-entropy of the scores against the labels."""
    return rt.cross_entropy(scores(params, images), labels)


def step(params: Any, means: Any, squares: Any, images: Any, labels: Any, rate: float) -> Any:
    """One step of Adam, written out. `rate` has the correction of the running means' bias in it."""
    value, grads = rt.func.value_and_grad(loss)(params, images, labels)
    means = [0.9 * m + 0.1 * g for m, g in zip(means, grads, strict=True)]
    squares = [0.999 * s + 0.001 * g * g for s, g in zip(squares, grads, strict=True)]
    params = [p - rate * m / (s**0.5 + 1e-8) for p, m, s in zip(params, means, squares, strict=True)]
    return params, means, squares, value


# ---- data and training


@dataclass(frozen=True)
class Digits:
    """Images as rows of 64 pixels in 0..1 and labels 0..9, parted by a seed into training and held-out ones."""

    images: Array
    labels: Array
    held_images: Array
    held_labels: Array


def load_digits(seed: int = 0, held_out: int = 357, dtype: str = "float64") -> Digits:
    """The 1797 digits that come with retape (UCI Optical Recognition of Handwritten Digits, CC BY 4.0)."""
    with files("retape").joinpath("data", "digits.npz").open("rb") as file, np.load(file) as stored:
        images, labels = stored["images"], stored["labels"]
    order = np.random.default_rng(seed).permutation(len(labels))
    pixels, classes = images[order].astype(dtype) / np.asarray(16, dtype), labels[order].astype(np.int64)
    return Digits(pixels[held_out:], classes[held_out:], pixels[:held_out], classes[:held_out])


def initial(seed: int = 0, hidden: int = 64, dtype: str = "float64") -> Params:
    """Random weights, zero biases."""
    rng = np.random.default_rng([seed, 1])
    w1, w2 = rng.normal(0, 1 / 8, (64, hidden)), rng.normal(0, hidden**-0.5, (hidden, 10))
    return [a.astype(dtype) for a in (w1, np.zeros(hidden), w2, np.zeros(10))]


def batches(data: Digits, epochs: int, size: int, seed: int) -> Iterator[tuple[Array, Array]]:
    """Shuffled batches of equal size; the order depends on the seed alone."""
    rng = np.random.default_rng([seed, 2])
    for _ in range(epochs):
        order = rng.permutation(len(data.labels))
        for start in range(0, len(order) - size + 1, size):
            chosen = order[start : start + size]
            yield data.images[chosen], data.labels[chosen]


def rates(rate: float = 0.003) -> Iterator[float]:
    """Adam's step lengths, corrected for running means that start from zero."""
    number = 0
    while True:
        number += 1
        yield rate * float((1 - 0.999**number) ** 0.5 / (1 - 0.9**number))


def accuracy(params: Params, images: Array, labels: Array) -> float:
    """The share of images whose largest score is that of their label."""
    return float(np.mean(np.argmax(predictions(params, images), axis=1) == labels))


def predictions(params: Params, images: Array) -> Array:
    """Scores as an array."""
    with rt.no_grad():
        found: Array = scores([rt.from_numpy(p) for p in params], rt.from_numpy(images)).numpy()
    return found


@dataclass(frozen=True)
class Run:
    """One training: losses by step, parameters before every step and at the end, seconds a step."""

    losses: Array
    path: list[Params]
    seconds: Array


def train(stepper: Callable[..., Any], data: Digits, options: Options, bar: Bar) -> Run:
    """Train from the seed's start and note everything on the way."""
    params = initial(options.seed, dtype=options.dtype)
    means, squares = ([np.zeros_like(p) for p in params] for _ in range(2))
    losses, seconds, path = [], [], [params]
    schedule = rates()
    for images, labels in batches(data, options.epochs, options.batch, options.seed):
        begin = time.perf_counter()
        params, means, squares, value = stepper(params, means, squares, images, labels, next(schedule))
        seconds.append(time.perf_counter() - begin)
        losses.append(float(value))
        path.append(params)
        bar.advance(f"loss {losses[-1]:.4f}")
    bar.close()
    return Run(np.array(losses), path, np.array(seconds))


# ---- agreement and speed


def ulps(a: Array, b: Array) -> float:
    """The largest difference of two arrays, in units in the last place of their largest element.

    Counted so, an element that rounding has left near zero among large ones does not weigh more than the others.
    """
    top = max(np.max(np.abs(a), initial=0), np.max(np.abs(b), initial=0))
    if not np.isfinite(top):
        return float("inf")
    return float(np.max(np.abs(a - b), initial=0) / np.spacing(top)) if top else 0.0


def gradient_ulps(path: list[Params], data: Digits, options: Options) -> Array:
    """The difference between the eager and the compiled gradient at every step of a training."""
    eager = rt.func.grad(loss)
    compiled = rt.compile(eager)
    found = []
    for params, (images, labels) in zip(
        path, batches(data, options.epochs, options.batch, options.seed), strict=True
    ):
        pairs = zip(eager(params, images, labels), compiled(params, images, labels), strict=True)
        found.append(max(ulps(a, b) for a, b in pairs))
    return np.array(found)


def timed(
    eager: Callable[..., Any], compiled: Callable[..., Any], data: Digits, options: Options
) -> tuple[float, float]:
    """Median seconds of one step, eager and compiled, measured in turns so that both meet the same machine."""
    images, labels = data.images[: options.batch], data.labels[: options.batch]
    params = initial(options.seed, dtype=options.dtype)
    means, squares = ([np.zeros_like(p) for p in params] for _ in range(2))
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(15):
        for which, stepper in enumerate((eager, compiled)):
            begin = time.perf_counter()
            for _ in range(20):
                stepper(params, means, squares, images, labels, 0.001)
            spent[which].append((time.perf_counter() - begin) / 20)
    return float(np.median(spent[0])), float(np.median(spent[1]))


# ---- showing it


@dataclass(frozen=True)
class Options:
    """What the command line sets."""

    epochs: int = 20
    batch: int = 48
    seed: int = 0
    dtype: str = "float64"
    quiet: bool = False


@dataclass(frozen=True)
class Outcome:
    """What the demo found."""

    steps: int
    accuracy_eager: float
    accuracy_compiled: float
    predictions_differ: int
    gradient_ulps: float
    median_gradient_ulps: float
    loss_difference: float
    param_difference: float
    eager_seconds: float
    compiled_seconds: float
    first_calls: float

    @property
    def speedup(self) -> float:
        return self.eager_seconds / self.compiled_seconds

    @property
    def agrees(self) -> bool:
        """Whether rounding explains the differences: a wrong derivative is off by millions of units."""
        return self.gradient_ulps < 1000

    def __str__(self) -> str:
        return "\n".join([
            f"held-out accuracy   eager {self.accuracy_eager:.1%}, compiled {self.accuracy_compiled:.1%}; "
            f"{self.predictions_differ} predictions differ",
            f"gradients           at each of {self.steps} steps within {self.gradient_ulps:.0f} ULP of the largest "
            f"element, median {self.median_gradient_ulps:.0f}",
            f"whole trainings     losses at most {self.loss_difference:.1e} apart, parameters in the end "
            f"{self.param_difference:.1e}",
            f"time of one step    eager {self.eager_seconds * 1e6:.0f} us, compiled "
            f"{self.compiled_seconds * 1e6:.0f} us: {self.speedup:.1f} times as fast",
            f"compiling           {self.first_calls:.2f} s, in the first two steps",
            *([] if self.agrees else ["THE TWO PATHS DISAGREE: this is a bug of retape, please report it"]),
        ])


class Bar:
    """A progress bar on a terminal; elsewhere a line at every quarter of the way."""

    def __init__(self, label: str, total: int, show: bool = True) -> None:
        self.label, self.total, self.show = label, max(total, 1), show
        self.done = 0
        self.note = ""
        self.drawn = 0.0
        self.terminal = sys.stdout.isatty()

    def advance(self, note: str) -> None:
        self.done += 1
        self.note = note
        if not self.show:
            return
        if not self.terminal:
            if self.done * 4 // self.total > (self.done - 1) * 4 // self.total:
                print(f"  {self.label} {self.done:5d}/{self.total} steps  {note}")
        elif time.monotonic() - self.drawn > 0.05:
            self.draw()

    def draw(self) -> None:
        full = self.done * 30 // self.total
        print(f"\r  {self.label} [{'=' * full}{' ' * (30 - full)}] {self.done:5d}/{self.total} steps  {self.note}",
              end="", flush=True)
        self.drawn = time.monotonic()

    def close(self) -> None:
        if self.show and self.terminal:
            self.draw()
            print()


@contextmanager
def section(title: str, show: bool) -> Iterator[None]:
    if show:
        print(f"\n== {title} {'=' * max(4, 100 - len(title))}\n")
    yield


def show_stages(data: Digits, options: Options) -> None:
    """Print what the loss becomes: forward and backward IR and one kernel."""
    params = [rt.tensor(p, requires_grad=True) for p in initial(options.seed, dtype=options.dtype)]
    found = rt.compile(loss).specialize(params, data.images[: options.batch], data.labels[: options.batch])
    with section("forward IR: the recorded loss, and what backward needs", True):
        print(found.forward)
    with section("backward IR: derived from it", True):
        print(found.backward)
    with section("one of the kernels, as it is compiled", True):
        print(max(found.kernels, key=lambda kernel: kernel.source.count("vm_")).source)


def run(options: Options) -> Outcome:
    """The whole demo; with `options.quiet` the outcome alone is printed."""
    data = load_digits(options.seed, dtype=options.dtype)
    if len(data.labels) < options.batch:
        raise ValueError(f"a batch has at most {len(data.labels)} images")
    loud = not options.quiet
    if loud:
        print(f"1797 handwritten digits of 8 x 8 pixels: {len(data.labels)} to learn from, {len(data.held_labels)} "
              f"held out.\nA net 64-64-10 with tanh, cross-entropy and Adam, {options.dtype}, batches of "
              f"{options.batch}.")
        show_stages(data, options)
    compiled_step = rt.compile(step)
    total = options.epochs * (len(data.labels) // options.batch)
    with section("training, twice from the same start in the same order", loud):
        eager = train(step, data, options, Bar("eager   ", total, loud))
        compiled = train(compiled_step, data, options, Bar("compiled", total, loud))
    outcome = judge(eager, compiled, compiled_step, data, options)
    with section("outcome", loud):
        print(outcome)
    return outcome


def judge(eager: Run, compiled: Run, compiled_step: Any, data: Digits, options: Options) -> Outcome:
    """Compare the two trainings."""
    ends = eager.path[-1], compiled.path[-1]
    guesses = [np.argmax(predictions(p, data.held_images), axis=1) for p in ends]
    rights = [float(np.mean(g == data.held_labels)) for g in guesses]
    gaps = gradient_ulps(eager.path[:-1], data, options)
    loss_gap = float(np.max(np.abs(eager.losses - compiled.losses)))
    param_gap = max(float(np.max(np.abs(a - b))) for a, b in zip(*ends, strict=True))
    eager_seconds, compiled_seconds = timed(step, compiled_step, data, options)
    return Outcome(
        steps=len(eager.losses), accuracy_eager=rights[0], accuracy_compiled=rights[1],
        predictions_differ=int(np.sum(guesses[0] != guesses[1])),
        gradient_ulps=float(np.max(gaps)), median_gradient_ulps=float(np.median(gaps)),
        loss_difference=loss_gap, param_difference=param_gap,
        eager_seconds=eager_seconds, compiled_seconds=compiled_seconds,
        first_calls=float(np.sum(compiled.seconds[:2])),
    )
