"""Kernels of this process: built or loaded once for each distinct text, shared by every program that needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from retape.ir.errors import KernelFailed
from retape.ir.once import building, once

from . import cache, native
from .lowered import Emitted
from .native import Kernel as Built

__all__ = ["Kernel", "kernel_for", "namespace"]

Options = tuple[tuple[str, Any], ...]

_built: dict[tuple[str, tuple[str, ...], Options], Built] = {}


def namespace(jit: bool) -> dict[str, Any]:
    """The globals of kernel source: intrinsics and vector math, for numba or for plain Python."""
    from . import vmath  # a process that takes its kernels from the cache does without

    return {**native.intrinsics(jit), **vmath.namespace(jit), "inf": float("inf"), "nan": float("nan")}


def _build(emitted: Emitted, options: Options) -> Built:
    """The kernel from this process, from the cache on disk, or built."""
    key = (emitted.source, emitted.pointers, options)
    found = _built.get(key)
    if found is None:
        with building:
            found = _built.get(key)
            if found is None:
                _built[key] = found = _load_or_compile(emitted, options)
    return found


def _load_or_compile(emitted: Emitted, options: Options) -> Built:
    made: list[Built] = []

    def make() -> cache.Entry:
        made.append(_compile(emitted, options))
        return cache.Entry(made[0].symbol, made[0].object_code)

    entry = cache.fetch(make, "kernel", emitted.source, emitted.pointers, len(emitted.ints), options)
    return made[0] if made else native.load("kernel", entry.name, emitted.source, entry.code)


def _compile(emitted: Emitted, options: Options) -> Built:
    try:
        from . import vmath

        source, pointers, count = emitted.source, emitted.pointers, len(emitted.ints)
        return native.build_directly(source, "kernel", pointers, count, vmath.FUNCTIONS, **dict(options)) \
            or native.build(source, "kernel", pointers, count, namespace(True), **dict(options))
    except Exception as error:
        raise KernelFailed(
            "a generated kernel could not be built", ("why", f"{type(error).__name__}: {error}"),
            ("kernel", "\n" + emitted.readable),
            fix="this is a bug of retape: please report it with the kernel above; the function still "
                "runs without `rt.compile`") from error


@dataclass(frozen=True)
class Kernel:
    """One generated kernel of a program, to look at.

    `source` has the graph's names and the user's lines; `text` is what is compiled, in names that depend on nothing
    but the computation, so that equal kernels are compiled once.
    """

    emitted: Emitted
    options: Options = ()  # of `native.build`, sorted by name

    @property
    def source(self) -> str:
        return self.emitted.readable

    @property
    def text(self) -> str:
        return self.emitted.source

    @once
    def built(self) -> Built:
        return _build(self.emitted, self.options)

    @once
    def _compiled(self) -> Built:
        """The kernel with all that the compiler made of it; one from the cache on disk is built for that."""
        return self.built if self.built.llvm else _compile(self.emitted, self.options)

    @property
    def llvm(self) -> str:
        """Optimised LLVM IR."""
        return self._compiled.llvm

    @property
    def asm(self) -> str:
        """Machine code as assembly text."""
        return self._compiled.asm

    def run_python(self, pointers: list[Any], lo: int, hi: int) -> None:
        """Run the text under Python, with one-dimensional arrays in place of pointers: a bug shows as a traceback."""
        scope = namespace(False)
        exec(compile(self.text, "<retape kernel>", "exec"), scope)
        scope["kernel"](*pointers, *self.emitted.ints, lo, hi)

    def __repr__(self) -> str:
        return self.source


def kernel_for(emitted: Emitted, **options: Any) -> Kernel:
    """The kernel of an emitted text, built if it is new, with options of `native.build`. Raises `KernelFailed`."""
    kernel = Kernel(emitted, tuple(sorted(options.items())))
    assert kernel.built
    return kernel
