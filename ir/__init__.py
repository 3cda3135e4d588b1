"""The intermediate representation: types, graphs, the op catalogue, text form, verifier, interpreter and passes.

Imports NumPy only (SymPy where a symbolic form is asked for). `from retape.ir import *` gives what a printed graph
needs to run as Python.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan
from typing import Any

import numpy as np

from .builder import GraphBuilder
from .graph import Effect, Graph, Guard, Node, Span, input_node
from .ops import CATALOGUE, Op, register
from .text import parse, parse_module, print_graph, print_module, same_graph
from .types import (
    DTYPES,
    Array,
    DType,
    TensorType,
    b1,
    c64,
    c128,
    dtype_of,
    f32,
    f64,
    i8,
    i16,
    i32,
    i64,
    promote,
    type_of,
    u8,
)
from .verifier import verify

__all__ = [
    "CATALOGUE", "DTYPES", "Array", "DType", "Effect", "Graph", "GraphBuilder", "Guard", "Node", "Op", "Span",
    "TensorType", "b1", "c64", "c128", "dtype_of", "f32", "f64", "graph", "i16", "i32", "i64", "i8", "inf",
    "input_node", "nan", "op", "parse", "parse_module", "print_graph", "print_module", "promote", "register",
    "same_graph", "type_of", "u8", "verify",
]


class _Namespace:
    """`op.<name>` of a printed graph: the operation on arrays."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        entry = CATALOGUE.get(name)
        if entry is None:
            raise AttributeError(f"the catalogue has no op {name!r}")

        def computed(*operands: Any, **attributes: Any) -> Any:
            inputs, attrs = entry.bind(operands, attributes)
            return np.asarray(entry.eager(*inputs, *attrs))

        return computed

    @staticmethod
    def guard(found: Any, value: Any) -> None:
        """Raises `ValueError` where a printed graph is run on inputs for which it doesn't stand."""
        if not Guard(input_node("seen", type_of(np.asarray(found))), value).holds(found):
            raise ValueError(f"the graph holds where the guarded value is {value}, here it is {found}")

    @staticmethod
    def write(target: Any, value: Any) -> None:
        """Give an input's memory its new value."""
        np.copyto(target, value)


op = _Namespace()


def graph(kind: str, of: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Marks the functions of a printed module. They run as they stand, on arrays."""

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        function.kind, function.of = kind, of  # type: ignore[attr-defined]
        return function

    return mark
