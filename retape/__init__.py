"""retape: eager NumPy code in torch's vocabulary, recorded, differentiated and compiled to fused kernels on the CPU."""

from __future__ import annotations

import os
from typing import Any

import numpy  # (here, since NumPy's own import was measured 25 ms slower from within the modules below)

from retape import autograd, debug, fft, func, linalg, nn, special
from retape.codegen.threads import get_num_threads, set_num_threads
from retape.compare import Comparison, compare
from retape.compiled import CompiledFunction, compile  # noqa: A004
from retape.ir import errors
from retape.ir.types import DTYPES, HALVES
from retape.tracer import Tensor, surface
from retape.tracer.creation import (
    arange,
    as_tensor,
    bernoulli,
    empty,
    empty_like,
    eye,
    from_numpy,
    full,
    full_like,
    get_default_dtype,
    linspace,
    logspace,
    manual_seed,
    normal,
    ones,
    ones_like,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
    set_default_dtype,
    tensor,
    zeros,
    zeros_like,
)
from retape.tracer.randomness import Generator
from retape.tracer.state import enable_grad, internal_folder, is_grad_enabled, no_grad, set_grad_enabled
from retape.tracer.vocabulary import guarded

__all__ = [
    "Comparison", "CompiledFunction", "Generator", "Tensor", "arange", "as_tensor", "autograd", "bernoulli",
    "compare", "compile", "complex128", "complex64", "debug", "double", "empty", "empty_like", "enable_grad", "errors",
    "eye", "fft", "float32", "float64", "from_numpy", "full", "full_like", "func", "get_default_dtype",
    "get_num_threads", "int16", "int32", "int64", "int8", "is_grad_enabled", "linalg", "linspace", "logspace", "long",
    "manual_seed", "nn", "no_grad", "normal", "ones", "ones_like", "rand", "rand_like", "randint", "randint_like",
    "randn", "randn_like", "randperm", "set_default_dtype", "set_grad_enabled", "set_num_threads", "special", "tensor",
    "uint8", "zeros", "zeros_like",
]

__version__ = "0.1.0"

internal_folder(os.path.dirname(__file__))
internal_folder(os.path.dirname(numpy.__file__))  # its functions call tensors back

bool, uint8, int8, int16, int32, int64, float32, float64, complex64, complex128 = DTYPES
float, double, int, long = float32, float64, int32, int64


for _name in (
    "arange", "as_tensor", "bernoulli", "empty", "empty_like", "eye", "from_numpy", "full", "full_like", "linspace",
    "logspace", "normal", "ones", "ones_like", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like",
    "randperm", "tensor", "zeros", "zeros_like",
):
    globals()[_name] = guarded(_name, globals()[_name])


def __getattr__(name: str) -> Any:
    found = surface.function(name)
    if found is None:
        if name in HALVES:
            raise surface.half(name)
        if name.startswith("_"):
            raise AttributeError(name)
        raise surface.unknown(name)
    globals()[name] = found  # found without this function from now on
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *surface.functions()})
