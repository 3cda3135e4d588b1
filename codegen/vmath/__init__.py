"""Vector math: elementary functions without branches, which LLVM turns into vector code inside generated kernels.

A kernel calls `vm_<name>_f64` and `vm_<name>_f32`. Compiled, such a call writes the body of the function as LLVM
instructions in place (through numba the name is an intrinsic that does so): no callee to compile and link. The same
functions run on NumPy scalars, for kernels that run without a compiler.

What the functions are written in is in `value`; the functions are in `exp_log`, `hyperbolic`, `trig` (and `far`, for
large arguments), `inverse_trig`, `error_function`, `power`, `roots` and `gamma` (and `reflection`, in numbers of
`fixed` point, for negative arguments); `fits` says where their `coefficients` come from; integers of more than 64 bits
are in `wide`; `emit` and `rare_emit` are the parts that need llvmlite.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import numpy as np

from retape.codegen.identity import source_hash
from retape.codegen.vmath import (
    error_function,
    exp_log,
    gamma,
    hyperbolic,
    inverse_trig,
    power,
    roots,
    tabled,
    trig,
)

__all__ = ["FUNCTIONS", "NAMES", "ULP", "fingerprint", "namespace"]

_UNARY: dict[str, Callable[..., Any]] = {
    "exp": exp_log.exp,
    "exp2": exp_log.exp2,
    "expm1": exp_log.expm1,
    "log": exp_log.log,
    "log1p": exp_log.log1p,
    "log2": exp_log.log2,
    "log10": exp_log.log10,
    "softplus": exp_log.softplus,
    "sigmoid": hyperbolic.sigmoid,
    "tanh": hyperbolic.tanh,
    "sinh": hyperbolic.sinh,
    "cosh": hyperbolic.cosh,
    "asinh": hyperbolic.asinh,
    "acosh": hyperbolic.acosh,
    "atanh": hyperbolic.atanh,
    "sin": trig.sin,
    "cos": trig.cos,
    "tan": trig.tan,
    "asin": inverse_trig.asin,
    "acos": inverse_trig.acos,
    "atan": inverse_trig.atan,
    "erf": error_function.erf,
    "erfc": error_function.erfc,
    "cbrt": roots.cbrt,
    "lgamma": gamma.lgamma,
    "digamma": gamma.digamma,
}
_BINARY: dict[str, Callable[..., Any]] = {
    "pow": power.pow,
    "lone_pow": tabled.pow,
    "atan2": inverse_trig.atan2,
    "hypot": roots.hypot,
}
_FUNCTIONS = {**{n: (f, 1) for n, f in _UNARY.items()}, **{n: (f, 2) for n, f in _BINARY.items()}}

FUNCTIONS = {f"vm_{n}_{t}": f for n, (f, _) in _FUNCTIONS.items() for t in ("f64", "f32")}
"""What the names in kernels mean, on NumPy scalars and `Value`s."""

NAMES = frozenset(_FUNCTIONS)
"""The base names; each exists as `vm_<name>_f64` and `vm_<name>_f32`."""

ULP: dict[str, float] = {**dict.fromkeys(NAMES, 2.0), "lgamma": 4.0, "digamma": 4.0}
"""Bound of the error in units in the last place, the same for f64 and f32, for all arguments."""


def fingerprint() -> str:
    """A hash of this package's source, for caches of compiled code: kernel source holds only names of functions."""
    return source_hash(os.path.dirname(__file__))


@cache
def _globals(jit: bool) -> dict[str, object]:
    names: dict[str, object] = {}
    for name, (function, arity) in _FUNCTIONS.items():
        for type_name in ("f64", "f32"):
            full = f"vm_{name}_{type_name}"
            if jit:
                from retape.codegen.vmath.emit import numba_intrinsic

                names[full] = numba_intrinsic(full, function, arity, type_name)
            else:
                names[full] = _on_scalars(full, function, np.float64 if type_name == "f64" else np.float32)
    return names


def _on_scalars(full: str, function: Callable[..., Any], scalar: Any) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*map(scalar, args))

    call.__name__ = call.__qualname__ = full
    return call


def namespace(jit: bool) -> dict[str, object]:
    """The globals of a kernel: every `vm_` name as a numba intrinsic, or as a function on NumPy scalars."""
    return dict(_globals(jit))
