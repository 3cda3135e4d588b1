"""Matrix products through SciPy's BLAS, as kernels with the uniform interface.

``product`` gives the kernel and the integer words for ``C = alpha * op(A) @ op(B) + beta * C`` with row-major matrices,
done for each batch in ``lo..hi``. The pointers are A, B and C. BLAS is column-major: a row-major matrix is its
transpose there, so the operands are swapped instead of copied. The routine's address is the first of the words, so the
kernel's own code is the same in every process.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

from . import blas_ir, engine

_LIMIT = 2**31 - 1
_ANY = 2**62  # an extent that no product has
_TYPES = {"f64": ("double", "d"), "f32": ("float", "s")}
# From this many elements a matrix by a vector goes to gemv: gemm is as fast below, up to 4 times slower above [measured
# with OpenBLAS: 0.5 us for 64 x 64 either way; 2.7 against 0.6 ms for 2000 x 2000].
_GEMV_FROM = 128 * 128
_alive: list[Any] = []


@cache
def _kernel(dtype: str, name: str) -> int:
    """The address of the kernel around ``gemm`` or ``gemv``, valid as long as the process."""
    template, scalars, extents = {
        "gemm": (blas_ir.GEMM, blas_ir.GEMM_SCALARS, 3),
        "gemv": (blas_ir.GEMV, blas_ir.GEMV_SCALARS, 2),
    }[name]
    symbol = f"retape_{name}_{dtype}"
    loaded = engine.compile_quickly(blas_ir.text(template, scalars, extents, symbol, _known(dtype)[0]), symbol)
    _alive.append(loaded)
    return loaded.addresses[symbol]


def gemm(dtype: str) -> int:
    """The address of the general matrix product for ``"f64"`` or ``"f32"``; its integers come from ``gemm_ints``."""
    return _kernel(dtype, "gemm")


def product(
    dtype: str,
    m: int,
    n: int,
    k: int,
    lda: int,
    ldb: int,
    ldc: int,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    alpha: float = 1.0,
    beta: float = 0.0,
    batch_strides: Sequence[int] = (0, 0, 0),
    offsets: Sequence[int] = (0, 0, 0),
    whole: Sequence[int | None] = (None, None, None),
    flush: bool = True,
) -> tuple[int, list[int]]:
    """The kernel address and the 21 integers of a product: gemm, or gemv for a large matrix by one vector.

    op(A) is m x k, op(B) is k x n, C is m x n. ``lda``, ``ldb`` and ``ldc`` are distances between rows as they are
    stored, in elements; ``batch_strides`` the distances between the matrices of a batch, for A, B and C (0 repeats a
    matrix), ``offsets`` the elements at which they begin. With ``beta=0`` C is not read. ``whole`` are m, n and k of
    all of a batch where it is made of the panels of one product, the last of which may be smaller. ``flush`` lets
    numbers below the smallest normal one count as zero, where the processor can do so (x86-64): BLAS is several times
    slower with them. ``ValueError`` if a row is longer than its stride, or if a number is beyond BLAS's 32 bits.
    """
    ints = gemm_ints(
        dtype, m, n, k, lda, ldb, ldc, transpose_a=transpose_a, transpose_b=transpose_b,
        alpha=alpha, beta=beta, batch_strides=batch_strides, offsets=offsets, whole=whole, flush=flush,
    )  # fmt: skip
    if min(m, n) != 1 or max(m, n) * k < _GEMV_FROM:
        return gemm(dtype), ints
    if n == 1:  # C is a column: A by the column B, which is contiguous if B is stored transposed
        swap, transposed, matrix, vector, out = 0, not transpose_a, (k, m, lda), 1 if transpose_b else ldb, ldc
    else:  # C is a row: op(B) transposed by the row A
        swap, transposed, matrix, vector, out = 1, transpose_b, (k, n, ldb), lda if transpose_a else 1, 1
    inner, outer, stride = matrix
    shape = [inner, outer] if transposed else [outer, inner]
    scalars = [*shape, stride, vector, out, _flag(transposed), 0]
    outputs = whole[0] if n == 1 else whole[1]
    wholes = _wholes((whole[2], outputs) if transposed else (outputs, whole[2]))
    return _kernel(dtype, "gemv"), [routine(dtype, "gemv"), *scalars, swap, *ints[9:17], *wholes, _ANY, ints[20]]


def gemm_ints(
    dtype: str,
    m: int,
    n: int,
    k: int,
    lda: int,
    ldb: int,
    ldc: int,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    alpha: float = 1.0,
    beta: float = 0.0,
    batch_strides: Sequence[int] = (0, 0, 0),
    offsets: Sequence[int] = (0, 0, 0),
    whole: Sequence[int | None] = (None, None, None),
    flush: bool = True,
) -> list[int]:
    """The 21 integer words of ``gemm``, with the meaning and the errors of ``product``."""
    _known(dtype)
    for name, extent in (("m", m), ("n", n), ("k", k)):
        if extent < 0:
            raise ValueError(f"gemm_ints: {name} is {extent}; it must not be negative")
    rows = (("lda", lda, m if transpose_a else k), ("ldb", ldb, k if transpose_b else n), ("ldc", ldc, n))
    for name, stride, length in rows:
        if stride < max(1, length):
            raise ValueError(f"gemm_ints: {name} is {stride}, but a row has {length} elements")
    values = {"m": m, "n": n, "k": k, "lda": lda, "ldb": ldb, "ldc": ldc}
    for name, value in values.items():
        if value > _LIMIT:
            raise ValueError(f"gemm_ints: {name} is {value}; BLAS counts in 32 bits, so at most {_LIMIT}")
    flags = (_flag(transpose_a), _flag(transpose_b))
    scales = (_bits(alpha), _bits(beta))
    return [routine(dtype), *values.values(), *flags, *scales, *map(int, batch_strides), *map(int, offsets),
            *_wholes(whole), blas_ir.FLUSH if flush else 0]


@cache
def routine(dtype: str, name: str = "gemm") -> int:
    """The address of a BLAS routine of ``scipy.linalg.cython_blas``, such as ``dgemm`` for ``("f64", "gemm")``."""
    capsule = _cython_blas().__pyx_capi__[_known(dtype)[1] + name]
    api = ctypes.pythonapi
    name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", api))
    pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", api))
    signature = name_of(capsule)
    if b"int *" not in signature:
        raise RuntimeError(f"routine: SciPy's {name} has an interface that is not known here: {signature.decode()}")
    return int(pointer_of(capsule, signature))


def _wholes(extents: Sequence[int | None]) -> list[int]:
    return [_ANY if extent is None else int(extent) for extent in extents]


def _known(dtype: str) -> tuple[str, str]:
    if dtype not in _TYPES:
        raise ValueError(f"gemm: no BLAS routine for {dtype!r}; there are f64 and f32")
    return _TYPES[dtype]


def _flag(transposed: bool) -> int:
    """BLAS's letter, as the 32-bit integer whose first byte in memory is that letter."""
    return int.from_bytes(b"T\0\0\0" if transposed else b"N\0\0\0", sys.byteorder)


def _bits(value: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


@cache
def _cython_blas() -> Any:
    """The module ``scipy.linalg.cython_blas``, without the package around it where that can be avoided.

    ``import scipy.linalg`` takes 0.11 s, this extension alone 0.012 s. It is taken out of ``sys.modules`` again, so
    that a later ordinary import goes through the package and finds the same module object.
    """
    import importlib
    import importlib.machinery
    import importlib.util

    name = "scipy.linalg.cython_blas"
    if "scipy.linalg" not in sys.modules:
        import scipy

        folders = [f"{folder}/linalg" for folder in scipy.__path__]
        spec = importlib.machinery.PathFinder.find_spec(name, folders)
        try:
            if spec is not None and spec.loader is not None:
                module = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
                if hasattr(module, "__pyx_capi__"):
                    return module
        except ImportError:
            pass  # a SciPy that wants its package first: the ordinary import below
        finally:
            sys.modules.pop(name, None)
    return importlib.import_module(name)
