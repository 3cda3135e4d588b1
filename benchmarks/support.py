"""What workloads share: a scalar objective's value and gradient in each library, data files, and comparing answers."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Call = Callable[[], Any]
ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "bench"
SEED = 31337  # GradBench's
TOLERANCE = 1e-8  # of answers, unless a workload has one of its own

_compiles = {"torch": False}


class Unavailable(RuntimeError):
    """An implementation can't run here; the text says why."""


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


def compiles_torch(yes: bool) -> None:
    """Whether `torch_function` compiles, in this process. Raises `Unavailable` without a C++ compiler."""
    if yes and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        raise Unavailable("torch.compile needs a C++ compiler, and there is no g++ or clang++")
    _compiles["torch"] = yes


def torch_function(function: Callable[..., Any], eager: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """`torch.compile` of the function in a process that measures that; else itself, or the one that is faster then."""
    if not _compiles["torch"]:
        return eager or function
    import torch as library

    compiled: Callable[..., Any] = library.compile(function, dynamic=False)
    return compiled


def torch(objective: Callable[..., Any], given: Any, argnums: int | tuple[int, ...] = 0) -> Call:
    """Value and gradient."""
    import torch as library

    chosen = (argnums,) if isinstance(argnums, int) else argnums
    arguments = [library.tensor(a) if isinstance(a, (np.ndarray, float)) else a for a in given]
    wanted = [arguments[i].requires_grad_() for i in chosen]
    objective = torch_function(objective)

    def call() -> Any:
        value = objective(*arguments)
        gradients = library.autograd.grad(value, wanted)
        parts = tuple(g.numpy() for g in gradients)
        return value.detach().numpy(), parts[0] if isinstance(argnums, int) else parts

    return call


def torch_forward(function: Callable[..., Any], given: Any) -> Call:
    """One array, no gradient."""
    import torch as library

    arguments, function = [library.tensor(a) for a in given], torch_function(function)
    return lambda: function(*arguments).numpy()


def retape_forward(function: Callable[..., Any], given: Any) -> Call:
    import retape as rt

    call = rt.compile(function)
    return lambda: call(*given)


def retape_eager_forward(function: Callable[..., Any], given: Any) -> Call:
    """One array, no gradient."""
    import retape as rt

    arguments = [rt.from_numpy(a) for a in given]
    return lambda: function(*arguments).numpy()


def jax_forward(function: Callable[..., Any], given: Any) -> Call:
    import jax as library

    library.config.update("jax_enable_x64", True)
    arguments, call = [library.numpy.array(a) for a in given], library.jit(function)
    return lambda: library.block_until_ready(call(*arguments))


def pytensor(objective: Callable[..., Any], given: Any, argnums: int | tuple[int, ...] | None = 0) -> Call:
    """Value and gradient, in the numba mode and without checks of arguments; built at the first call.

    With `argnums=None` the function alone.
    """
    import pytensor as library
    from pytensor import tensor

    inputs = [tensor.TensorType(a.dtype, shape=a.shape)() for a in given]
    built: list[Any] = []

    def build() -> Any:
        value = objective(*inputs)
        outputs = value
        if argnums is not None:
            chosen = (argnums,) if isinstance(argnums, int) else argnums
            outputs = [value, *library.grad(value, [inputs[i] for i in chosen])]
        return library.function(inputs, outputs, mode="NUMBA", trust_input=True)

    def call() -> Any:
        if not built:
            built.append(build())
        found = built[0](*given)
        return found if argnums is None or isinstance(argnums, int) else (found[0], tuple(found[1:]))

    return call


def numba() -> tuple[Callable[..., Any], Any]:
    """The decorator for functions written by hand, and `prange`: fast-math, on disk, parallel on several cores."""
    from numba import njit, prange

    parallel = os.environ.get("NUMBA_NUM_THREADS", "1") != "1"
    return njit(cache=True, parallel=parallel, error_model="numpy",
                fastmath={"reassoc", "contract", "nsz", "arcp"}), prange


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


def assert_agree(found: list[Any], reference: list[Any] | None, tolerance: float) -> None:
    """Raises where an answer isn't the reference's."""
    if reference is not None and not agree(reference, found, tolerance):
        raise AssertionError(f"the answer {found} isn't the reference, {reference}")
