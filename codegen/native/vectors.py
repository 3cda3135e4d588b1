"""How a kernel should be vectorised: the width of its vectors, and what is done with the last iterations."""

from __future__ import annotations

import ast
import re
from functools import lru_cache

from . import engine, names

# Arithmetic operations for each load or store from which 512-bit vectors pay. [measured on an AVX-512 processor: 14 and
# more operations a word run 1.2 to 1.4 times faster than with 256 bits; with 1 or 2, arrays that lie in the first cache
# and are not aligned to 64 bytes run up to 1.3 times slower]
_PAYS = 6
_CHEAP = frozenset(names.table())
_REDUCING = (*names.REASSOCIATED, *names.EXTREMES)
_SHORT = re.compile(r"for \w+ in range\(0, (\d+)\):")  # a loop over rows of an extent that is known
# How many more elements 512-bit vectors may compute than are wanted, against 256 bits. [rows of 11 and 10 numbers with
# two tanh and five quotients each: 12 instead of 16 elements take 0.83 of the time]
_FILLED = 1.2
_FUNCTION = 20  # what any other function counts for: a logarithm or a sine is some 20 to 40 operations


def preferred_width(source: str, itemsize: int = 8) -> int | None:
    """How many bits vectors should have, on a processor with 512: those for a kernel that computes much more than it
    loads, 256 where its rows are short and fill these better. `itemsize` is that of the widest elements.

    None leaves the choice to LLVM.
    """
    if "+avx512f" not in engine.host().features.split(","):
        return None
    rows = [int(extent) for extent in _SHORT.findall(source)]
    wide, narrow = (sum(-(-extent * itemsize // size) * size for extent in rows) for size in (64, 32))
    if wide > _FILLED * narrow:
        return 256
    return 512 if _computes(source) else None


def masking_pays(source: str) -> bool:
    """Whether the last iterations of loops should be masked instead of done one by one.

    With AVX-512 and much arithmetic it costs at most some 5 percent on long rows, and makes rows that do not fill their
    vectors up to 3 times faster. [tanh(x) * exp(-x * x), 31 elements: 57 against 146 ns in f64, 22 against 78 in f32]
    Reductions lose their several accumulators by it, so they are left alone.
    """
    return preferred_width(source) is not None and _computes(source) \
        and not any(f"{name}(" in source for name in _REDUCING)


@lru_cache(maxsize=1)  # a kernel is asked about more than once while it is built
def parsed(source: str) -> ast.FunctionDef:
    """The definition that a kernel's source ends with."""
    definition = ast.parse(source).body[-1]
    assert isinstance(definition, ast.FunctionDef)
    return definition


@lru_cache(maxsize=1)
def _computes(source: str) -> bool:
    """Whether a kernel computes much for each word that it loads or stores."""
    work, memory = _count(parsed(source))
    return work >= _PAYS * max(memory, 1)


def _count(definition: ast.AST) -> tuple[int, int]:
    """Operations and memory accesses of a kernel; arithmetic inside an index does not count."""
    work = memory = 0
    left = [definition]
    while left:
        node = left.pop()
        if isinstance(node, ast.Name | ast.Constant):
            continue
        if isinstance(node, ast.Subscript):
            memory += 1
            continue
        if isinstance(node, ast.BinOp | ast.Compare | ast.UnaryOp):
            work += 1
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "id", "")
            work += 0 if name == "range" else 1 if name in _CHEAP else _FUNCTION
        left.extend(ast.iter_child_nodes(node))
    return work, memory
