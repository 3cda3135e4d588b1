"""The LLVM text of the BLAS kernels; ``blas`` fills in the element type.

Integer words 0 to 20 are loaded as ``%w0`` to ``%w20``. 14 to 16 are the elements at which A, B and C begin. 17 to 19
are what the panels of a product together have in its extents, words 1 to 3: the last may be shorter than the others.
Word 20 is added to the processor's control word while BLAS runs. BLAS takes every argument by reference.
"""

from __future__ import annotations

import platform

from .words import words

WORDS = 21

GEMM = """
define void @"{symbol}"(ptr %ptrs, ptr %ints, i64 %lo, i64 %hi) nounwind {{
entry:
{words}
{scalars}
{operands}
  %routine = inttoptr i64 %w0 to ptr
{flush}
  br label %test
test:
  %i = phi i64 [ %lo, %entry ], [ %next, %body ]
  %more = icmp slt i64 %i, %hi
  br i1 %more, label %body, label %done
body:
{panel}
  %skip.a = mul i64 %i, %w11
  %skip.b = mul i64 %i, %w12
  %skip.c = mul i64 %i, %w13
  %a = getelementptr {type}, ptr %a0, i64 %skip.a
  %b = getelementptr {type}, ptr %b0, i64 %skip.b
  %c = getelementptr {type}, ptr %c0, i64 %skip.c
  call void %routine(ptr %transb, ptr %transa, ptr %n, ptr %m, ptr %k, ptr %alpha, ptr %b, ptr %ldb,
                     ptr %a, ptr %lda, ptr %beta, ptr %c, ptr %ldc)
  %next = add i64 %i, 1
  br label %test
done:
{restore}
  ret void
}}
"""
# Words 1 to 8 of the product, in order.
GEMM_SCALARS = ("m", "n", "k", "lda", "ldb", "ldc", "transa", "transb")

GEMV = """
define void @"{symbol}"(ptr %ptrs, ptr %ints, i64 %lo, i64 %hi) nounwind {{
entry:
{words}
{scalars}
  %swap = icmp ne i64 %w8, 0
{operands}
  %matrix = select i1 %swap, ptr %b0, ptr %a0
  %vector = select i1 %swap, ptr %a0, ptr %b0
  %skip1.a = select i1 %swap, i64 %w12, i64 %w11
  %skip1.x = select i1 %swap, i64 %w11, i64 %w12
  %routine = inttoptr i64 %w0 to ptr
{flush}
  br label %test
test:
  %i = phi i64 [ %lo, %entry ], [ %next, %body ]
  %more = icmp slt i64 %i, %hi
  br i1 %more, label %body, label %done
body:
{panel}
  %skip.a = mul i64 %i, %skip1.a
  %skip.x = mul i64 %i, %skip1.x
  %skip.y = mul i64 %i, %w13
  %a = getelementptr {type}, ptr %matrix, i64 %skip.a
  %x = getelementptr {type}, ptr %vector, i64 %skip.x
  %y = getelementptr {type}, ptr %c0, i64 %skip.y
  call void %routine(ptr %trans, ptr %rows, ptr %columns, ptr %alpha, ptr %a, ptr %lda, ptr %x, ptr %incx,
                     ptr %beta, ptr %y, ptr %incy)
  %next = add i64 %i, 1
  br label %test
done:
{restore}
  ret void
}}
"""
# Words 1 to 7; word 8 says that the matrix is the second operand.
GEMV_SCALARS = ("rows", "columns", "lda", "incx", "incy", "trans", "unused")


def text(template: str, scalars: tuple[str, ...], extents: int, symbol: str, kind: str) -> str:
    """Fill in a template: load the words, spill what BLAS wants by reference, round alpha and beta to ``kind``.

    The first ``extents`` of ``scalars`` are extents of the product.
    """
    spill = []
    for i, name in enumerate(scalars, start=1):
        spill += [
            f"  %{name} = alloca i32",
            f"  %{name}.v = trunc i64 %w{i} to i32",
            f"  store i32 %{name}.v, ptr %{name}",
        ]
    for i, name in ((9, "alpha"), (10, "beta")):
        spill += [f"  %{name} = alloca {kind}", f"  %{name}.d = bitcast i64 %w{i} to double"]
        value = f"%{name}.d"
        if kind == "float":
            spill.append(f"  %{name}.f = fptrunc double %{name}.d to float")
            value = f"%{name}.f"
        spill.append(f"  store {kind} {value}, ptr %{name}")
    operands = []
    for i, name in enumerate("abc"):
        operands += [
            f"  %{name}.at = getelementptr ptr, ptr %ptrs, i64 {i}",
            f"  %{name}.base = load ptr, ptr %{name}.at",
            f"  %{name}0 = getelementptr {kind}, ptr %{name}.base, i64 %w{14 + i}",
        ]
    declarations, flush, restore = control()
    parts = {"scalars": spill, "operands": operands, "flush": flush, "restore": restore,
             "panel": [line for i, name in enumerate(scalars[:extents], start=1) for line in _rest(i, name)]}
    return declarations + template.format(
        symbol=symbol, type=kind, words=words("ints", *(f"i64 w{i}" for i in range(WORDS))),
        **{name: "\n".join(lines) for name, lines in parts.items()})


def _rest(number: int, name: str) -> list[str]:
    """Store the extent of panel i: that of all panels, or what is left for the last."""
    return [
        f"  %{name}.before = mul i64 %i, %w{number}",
        f"  %{name}.left = sub i64 %w{16 + number}, %{name}.before",
        f"  %{name}.last = icmp slt i64 %{name}.left, %w{number}",
        f"  %{name}.own = select i1 %{name}.last, i64 %{name}.left, i64 %w{number}",
        f"  %{name}.int = trunc i64 %{name}.own to i32",
        f"  store i32 %{name}.int, ptr %{name}",
    ]


# The control word's bits (MXCSR) by which subnormal results become zero, and subnormal operands count as zero.
FLUSH = 0x8040


def control() -> tuple[str, list[str], list[str]]:
    """Add word 20 to the control word, and put it back; nothing where the processor has no such word."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return "", [], []
    declarations = "declare void @llvm.x86.sse.stmxcsr(ptr)\ndeclare void @llvm.x86.sse.ldmxcsr(ptr)\n"
    flush = [
        "  %control.old = alloca i32",
        "  %control.new = alloca i32",
        "  call void @llvm.x86.sse.stmxcsr(ptr %control.old)",
        "  %control.was = load i32, ptr %control.old",
        "  %control.more = trunc i64 %w20 to i32",
        "  %control.all = or i32 %control.was, %control.more",
        "  store i32 %control.all, ptr %control.new",
        "  call void @llvm.x86.sse.ldmxcsr(ptr %control.new)",
    ]
    return declarations, flush, ["  call void @llvm.x86.sse.ldmxcsr(ptr %control.old)"]
