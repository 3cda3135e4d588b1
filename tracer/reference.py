"""The table of operations, derived from the catalogue and the register of compositions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from retape.ir import CATALOGUE, Op, TensorType
from retape.ir.errors import RetapeError
from retape.ir.types import DTYPES

from . import surface
from .pooling import FUNCTIONAL_ONLY
from .tensor import Tensor
from .vocabulary import COMPOSED, FUNCTIONAL, IN_PLACE, METHODS

HEADER = """# Operations

Written by `python tests/test_reference.py` from the op catalogue; a test holds it up to date.

## Primitives

Everything else is composed of these. Derivatives: rules emit operations that have rules, so "any" means any order.
Compiled: a *kernel* is generated code, fused with its neighbours; a *view* costs nothing; *BLAS* is a call of a library
from compiled code; a *host step* runs the eager form in between. ULP bounds the distance of compiled and eager values
in units in the last place of the result (or of the terms that are added up).

| operation | element types | derivative | compiled | ULP | meaning |
|---|---|---|---|---|---|
"""
VOCABULARY = """
## Vocabulary

`rt` functions, `.` methods of tensors, `._` methods that write in place, `F` `rt.nn.functional`, `linalg` and `fft` the
namespaces of these names.

| call | where | meaning |
|---|---|---|
"""
GENERATED = frozenset({"cat", "cumsum", "places", "slice_scatter"})  # library operations with kernels of their own
AT_TIMES = {
    "argmax": "for long rows", "argsort": "for more than an eighth of many numbers", "embed_sum": "where parts meet",
    "searchsorted": "for many rows", **dict.fromkeys(
        ("cholesky", "slogdet", "solve"), "for matrices beyond 64"),
}
PRODUCTS = frozenset({"matmul", "matmul_add"})


def compiled(op: Op) -> str:
    """How generated code carries out an operation."""
    if op.kind in ("view", "source"):
        return {"view": "view", "source": "constant"}[op.kind]
    if op.kind == "pointwise" and not op.kernel:
        return "kernel" if element_types(op) == "integers" else "kernel for integers, host step for floats"
    if op.name in AT_TIMES:
        return f"kernel, or a host step {AT_TIMES[op.name]}"
    if op.kind in ("gather", "scatter", "embed") or op.kernel or op.name in GENERATED:
        return "kernel"
    if op.name == "opaque":
        return "eager only"
    return "BLAS" if op.name in PRODUCTS else "host step"


def element_types(op: Op) -> str:
    """The kinds of element types that the type rule takes, for those ops whose rule can be asked without attributes."""
    attrs: tuple[Any, ...] = {"reduction": ((1,), False)}.get(op.kind, tuple(d for _, d in op.attributes))
    if op.kind not in ("pointwise", "reduction") or op.name == "cast":
        return "floats" if op.name in _FLOATS else "complex" if op.name == "fft" else "all"
    found = []
    for dtype in DTYPES:
        operands = [TensorType(dtype, (2, 2))] * len(op.operands)
        if op.name == "where":
            operands[0] = TensorType(DTYPES[0], (2, 2))
        try:
            op.infer(*operands, *attrs)
        except RetapeError:
            continue
        found.append(("bool", "integers", "floats", "complex")[dtype.category])
    kinds = list(dict.fromkeys(found))
    return "all" if len(kinds) == 4 else ", ".join(kinds)


_FLOATS = frozenset({"solve", "slogdet", "cholesky", "eigh", "qr", "svd", "pinv", "matrix_exp", "polygamma",
                     "lu", "erfinv"})


def row(op: Op) -> str:
    """An operation's line in the table."""
    derivative = "any" if op.differentiable else f"none: {op.vjp.reason}"  # type: ignore[union-attr]
    ulp = f"{op.ulp:g}" if op.ulp else "0"
    cells = (f"`{op.name}{op.signature}`", element_types(op), derivative, compiled(op), ulp, op.doc)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _signature(name: str, function: Callable[..., Any]) -> str:
    parts = []
    for parameter in inspect.signature(function).parameters.values():
        text = parameter.replace(annotation=inspect.Parameter.empty)
        parts.append(str(text).replace(" = ", "="))
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and "*" not in parts and not any(
                p.startswith("*") for p in parts[:-1]):
            parts.insert(len(parts) - 1, "*")
    return f"{name}({', '.join(parts)})"


def _places(name: str) -> str:
    places = ["rt"]
    if name in FUNCTIONAL or name in surface.BOTH:
        places.append("F")
    if hasattr(Tensor, name) and (name not in COMPOSED or name in METHODS):
        places.append(".")
    if name in IN_PLACE or hasattr(Tensor, f"{name}_"):
        places.append("._")
    return " ".join(places)


def _calls() -> Iterator[tuple[str, str, str]]:
    for name, function in surface.functions().items():
        aliased = surface.ALIASES.get(name)
        doc = f"`{aliased}`." if aliased else _first_sentence(function)
        yield name, _signature(name, function) if not aliased else name, f"{_places(name)} | {doc}"
    for space in ("linalg", "fft", "special"):
        for name, function in surface.space(space).items():
            yield f"{space}.{name}", _signature(f"{space}.{name}", function), f"{space} | {_first_sentence(function)}"
    for name, function in FUNCTIONAL_ONLY.items():
        yield f"F.{name}", _signature(f"F.{name}", function), f"F | {_first_sentence(function)}"


def _first_sentence(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").strip().split("\n")[0].replace("|", "\\|")


def markdown() -> str:
    """The whole document."""
    primitives = "\n".join(row(op) for op in sorted(CATALOGUE.values(), key=lambda op: op.name))
    calls = "\n".join(f"| `{call}` | {rest} |" for _, call, rest in sorted(_calls(), key=lambda c: c[0].lower()))
    return f"{HEADER}{primitives}\n{VOCABULARY}{calls}\n"
