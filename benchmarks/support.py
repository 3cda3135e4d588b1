"""What workloads share: a scalar objective's value and gradient in each library, data files, and comparing answers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Call = Callable[[], Any]
ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "bench"
SEED = 31337  # GradBench's


def retape(objective: Callable[..., Any], given: Any, argnums: int | tuple[int, ...] = 0) -> Call:
    """Value and gradient, compiled. Arguments are arrays, so results are."""
    import retape as rt

    call = rt.compile(rt.func.value_and_grad(objective, argnums=argnums))
    return lambda: call(*given)


def retape_eager(objective: Callable[..., Any], given: Any, argnums: int | tuple[int, ...] = 0) -> Call:
    import retape as rt

    call = rt.func.value_and_grad(objective, argnums=argnums)
    return lambda: call(*given)


def jax(objective: Callable[..., Any], given: Any, argnums: int | tuple[int, ...] = 0) -> Call:
    """Value and gradient, jitted; arguments are on the device before the clock starts."""
    import jax as library

    library.config.update("jax_enable_x64", True)
    arguments = library.tree.map(library.numpy.array, tuple(given))
    call = library.jit(library.value_and_grad(objective, argnums=argnums))
    return lambda: library.block_until_ready(call(*arguments))


def torch(objective: Callable[..., Any], given: Any, argnums: int | tuple[int, ...] = 0) -> Call:
    """Value and gradient, eager."""
    import torch as library

    chosen = (argnums,) if isinstance(argnums, int) else argnums
    arguments = [library.tensor(a) if isinstance(a, (np.ndarray, float)) else a for a in given]
    wanted = [arguments[i].requires_grad_() for i in chosen]

    def call() -> Any:
        value = objective(*arguments)
        gradients = library.autograd.grad(value, wanted)
        parts = tuple(g.numpy() for g in gradients)
        return value.detach().numpy(), parts[0] if isinstance(argnums, int) else parts

    return call


def expected(file: str, name: str) -> dict[str, Any] | None:
    """A reference answer, where its file is at hand."""
    path = SHARED / "expected" / f"expected_{file}.json"
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))[name]
    return found


def assert_close(what: str, found: Any, wanted: float, tolerance: float = 1e-8) -> None:
    """Relative distance for large numbers, absolute distance for small ones."""
    x = float(found)
    if not abs(x - wanted) / max(1.0, abs(x) + abs(wanted)) < tolerance:
        raise AssertionError(f"{what} is {x!r}, expected {wanted!r}")


def along(*parts: Any) -> float:
    """The gradient, packed in order, along the direction cos(0), cos(1), ..."""
    packed = np.concatenate([np.asarray(part, np.float64).ravel() for part in parts])
    return float(packed @ np.cos(np.arange(packed.size)))


def fingerprint(answer: Any) -> list[tuple[float, float, float]]:
    """Numbers by which two implementations' answers are compared: per array its norm, its sum and a weighted sum."""
    numbers: list[tuple[float, float, float]] = []
    for part in answer if isinstance(answer, (tuple, list)) else (answer,):
        if isinstance(part, (tuple, list)):
            numbers += fingerprint(part)
            continue
        array = np.asarray(part, np.float64).ravel()
        numbers.append((float(np.linalg.norm(array)), float(array.sum()), along(array)))
    return numbers


def agree(a: list[Any], b: list[Any], tolerance: float) -> bool:
    """Each number within `tolerance` of the other, relative to itself or to the norm of its array."""
    if len(a) != len(b):
        return False
    for x, y in zip(a, b, strict=True):
        norm = max(abs(x[0]), abs(y[0]), 1e-300)
        for u, v in zip(x, y, strict=True):
            if not (math.isfinite(u) and math.isfinite(v) and abs(u - v) / max(norm, abs(u) + abs(v)) < tolerance):
                return False
    return True
