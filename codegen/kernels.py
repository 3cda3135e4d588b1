"""Kernels of this process: built once for each distinct text, shared by every program that needs it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from retape.ir.errors import KernelFailed

from . import native, vmath
from .emit import Emitted
from .native import Kernel as Built

__all__ = ["Kernel", "kernel_for", "namespace"]

_built: dict[tuple[str, tuple[str, ...]], Built] = {}
_lock = threading.Lock()


def namespace(jit: bool) -> dict[str, Any]:
    """The globals of kernel source: intrinsics and vector math, for numba or for plain Python."""
    return {**native.intrinsics(jit), **vmath.namespace(jit), "inf": float("inf"), "nan": float("nan")}


def _build(emitted: Emitted) -> Built:
    key = (emitted.source, emitted.pointers)
    found = _built.get(key)
    if found is None:
        with _lock:
            found = _built.get(key)
            if found is None:
                try:
                    found = native.build(emitted.source, "kernel", emitted.pointers, len(emitted.ints), namespace(True))
                except Exception as error:
                    raise KernelFailed(
                        "a generated kernel could not be built", ("why", f"{type(error).__name__}: {error}"),
                        ("kernel", "\n" + emitted.readable),
                        fix="this is a bug of retape: please report it with the kernel above; the function still "
                            "runs without `rt.compile`") from error
                _built[key] = found
    return found


@dataclass(frozen=True)
class Kernel:
    """One generated kernel of a program, to look at.

    `source` has the graph's names and the user's lines; `text` is what is compiled, in names that depend on nothing
    but the computation, so that equal kernels are compiled once.
    """

    emitted: Emitted

    @property
    def source(self) -> str:
        return self.emitted.readable

    @property
    def text(self) -> str:
        return self.emitted.source

    @cached_property
    def built(self) -> Built:
        return _build(self.emitted)

    @property
    def llvm(self) -> str:
        """Optimised LLVM IR."""
        return self.built.llvm

    @property
    def asm(self) -> str:
        """Machine code as assembly text."""
        return self.built.asm

    def run_python(self, pointers: list[Any], lo: int, hi: int) -> None:
        """Run the text under Python, with one-dimensional arrays in place of pointers: a bug shows as a traceback."""
        scope = namespace(False)
        exec(compile(self.text, "<retape kernel>", "exec"), scope)
        scope["kernel"](*pointers, *self.emitted.ints, lo, hi)

    def __repr__(self) -> str:
        return self.source


def kernel_for(emitted: Emitted) -> Kernel:
    """The kernel of an emitted text, built if it is new. Raises `KernelFailed`."""
    kernel = Kernel(emitted)
    assert kernel.built
    return kernel
