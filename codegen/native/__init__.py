"""retape.codegen.native: machine code for kernels, and the tape that plays them.

A **kernel** is the text of a Python function over typed pointers, compiled by LLVM into
``void(void **ptrs, int64 *ints, int64 lo, int64 hi)``. A **tape** is a table of kernel calls that one native function
walks. Importing this package imports neither numba nor llvmlite nor SciPy; they come with the first kernel.

    import textwrap

    import numpy as np
    from retape.codegen.native import Tape, build_directly, fill

    SOURCE = '''
    def axpy(p0, p1, p2, k0, lo, hi):
        for i0 in range(lo, hi):
            v0 = p0[i0 * k0]
            v1 = p1[i0]
            p2[i0] = v0 * 2.5 + v1
    '''
    kernel = build_directly(textwrap.dedent(SOURCE), "axpy", ["f64", "f64", "f64"], 1, {})

    x, y, out = np.ones(1000), np.ones(1000), np.empty(1000)
    rows = np.array([[kernel.address, 0, 0, 0, 1000, 0]])  # kernel, pointer slot, int slot, lo, hi, grain
    tape = Tape(rows, pointer_slots=3, ints=np.array([1]), keep=kernel)
    slots = np.array([0, 1, 2])
    call = tape.bind(slots)
    call((x, y, out))  # writes the three addresses and runs: one native entry
    fill(tape.pointers, slots, (x, y, out))  # the same in two steps
    tape.run()

Matrix products are rows of a tape too: ``blas.product`` gives the kernel address and the integers.

``build_directly`` translates text to LLVM's in a millisecond or two (``direct``, ``scalars``); ``vmath.FUNCTIONS`` may
be among the functions that it is given. It knows all that retape writes. ``build`` does the same by way of numba, which
takes a quarter of a second to import and some 20 ms a kernel. It is what text falls back on that the direct way doesn't
know (``math.*``, callees compiled by numba), and the second implementation that tests compare with. Its namespace is
that of ``intrinsics(True)``, to which ``vmath.namespace(True)`` may be added.

Rules for kernel source:

* Pointer types are f64 f32 i64 i32 i16 i8 u8 b1. Pointers must not overlap, except that an operand which is read and
  written at the same index is **one** parameter. Data must be aligned to its element.
* A literal is f64 or int64. Write ``to_f32(2.1)`` for an f32 constant (LLVM folds it, at no cost), else the arithmetic
  is f64. Arithmetic on small integers is int64, and f32 with an integer is f64, as in numba: convert with ``to_i32``
  and the like. A store converts to the pointer's type.
* ``acc = radd(acc, x)`` vectorises a sum, ``rmul``, ``rmax``, ``rmin`` the others; ``+`` keeps its order. Give ``acc``
  its final type at the start: ``acc = to_f32(0.0)``.
* Where a stride is known to be 1 leave it out: ``p0[i0]`` vectorises without a test of ``k0`` at run time.
* No ``**``, no ``//`` on floats, no ``min``, ``max``, ``abs``, ``round``: use ``rmin``, ``rmax``, ``fabs``, ``rint``,
  ``floor``. ``math.*`` works through numba, scalar. Nothing may raise, allocate or call into Python; ``build`` raises
  ``ValueError`` where it would.
* One variable has one type throughout the function. What is assigned inside of a loop or a branch, and nowhere else, is
  known only there. Both sides of ``a if c else b`` are computed, so neither reads memory. Ranges go upwards, by a
  literal.
* ``//`` and ``%`` of integers round towards minus infinity; by zero both give 0.
"""

from __future__ import annotations

from .kernel import Kernel, build, build_directly, load
from .names import table as _table
from .tape import Tape, fill

__all__ = ["Kernel", "Tape", "build", "build_directly", "fill", "intrinsics", "load"]


def intrinsics(jit: bool) -> dict[str, object]:
    """The names that kernel source may use, as its globals.

    One table serves both ways: the functions run as they stand under Python, and ``build`` knows each by identity. With
    ``jit=True`` the table is checked to be known to numba, which imports it.
    """
    if jit:
        from . import jitted  # noqa: F401
    return _table()
