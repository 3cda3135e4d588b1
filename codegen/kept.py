"""Programs on disk: a graph that an earlier process has lowered isn't lowered again.

A file holds what `packing` makes of a lowered graph with its memory plan, under a hash of the graph's structure, of
the sources that lower it and of what computes constants. It is read with `marshal`, which makes numbers, strings,
tuples and lists and can name no class or function. Kernels have files of their own, which programs share.
"""

from __future__ import annotations

import ctypes
import marshal
import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache as cached
from typing import Any

import numpy as np

from retape import ir
from retape.ir import CATALOGUE, Graph, Node
from retape.ir.collection import paused
from retape.ir.fingerprint import Untold, fingerprint
from retape.ir.graph import rewired
from retape.ir.ops import INPUT

from . import cache, identity
from .linking import lifetimes
from .lowered import KernelStep, Lowered, PanelStep
from .packing import pack, unpack
from .threads import get_num_threads

__all__ = ["prepared", "sources"]

PROGRAM = "program"
MANY = 1000  # steps, from which on a program takes megabytes while it is lowered


def prepared(graph: Graph, strict: bool = False, stored: int = 0, varied: bool = False, in_place: bool = False) \
        -> Lowered:
    """A graph lowered, as `lower` says, and its memory planned: from the cache, or made and stored there. The graph's
    inputs may be operations of a larger one that it is cut out of.

    What is `varied` is not kept: programs for extents that never come again would drive out all others.
    """
    store = cache.current()
    told = None if varied or store.why else fingerprint(graph, strict, stored, in_place)
    # how much room the panels of a product have is decided by the number of threads
    products = CATALOGUE["matmul"] in {node.op for node in graph.nodes}
    name = "" if told is None else cache.key(PROGRAM, sources(), told, get_num_threads() if products else 0)
    with paused:
        found = _found(store, name)
        if found is not None:
            return unpack(found, graph, strict, _texts(graph, strict, stored, in_place))
        lowered = _lowered(graph, strict, stored, varied, in_place)
        data = _packed(lowered) if name or len(lowered.steps) > MANY else None
        if data is None:
            return lowered
        if name:
            store.store(name, cache.Entry(PROGRAM, data), PROGRAM)
        if len(lowered.steps) > MANY:  # what is left of lowering lies scattered over much memory: let it all go
            del lowered
            lowered = unpack(marshal.loads(data), graph, strict, _texts(graph, strict, stored, in_place))
            _give_back()
    return lowered


def _found(store: cache.Cache, name: str) -> Any:
    """What is kept of a program; None where that is nothing, or nothing of ours."""
    found = store.find(name, PROGRAM) if name else None
    try:
        return None if found is None else marshal.loads(found.code)
    except (EOFError, TypeError, ValueError):
        return None


def _lowered(graph: Graph, strict: bool, stored: int, varied: bool, in_place: bool) -> Lowered:
    from .beside import beside
    from .lower import lower  # a process that finds its programs does without
    from .memory import plan_memory

    lowered = lower(_whole(graph), strict, stored, varied, in_place)
    lowered.offsets, lowered.workspace = plan_memory(lifetimes(lowered))
    lowered.beside = beside(lowered)
    return lowered


def _whole(graph: Graph) -> Graph:
    """A graph with inputs of its own, where some are operations of another."""
    if all(node.op is INPUT for node in graph.inputs):
        return graph
    new: dict[Any, Node] = {node: Node(INPUT, (), (), node.type, node.name, node.origin) for node in graph.inputs}
    inputs = tuple(new.values())
    for node in graph.nodes:
        new[node] = rewired(node, new)
    return replace(graph, inputs=inputs, nodes=tuple([new[node] for node in graph.nodes]),
                   outputs=tuple([new[o] if isinstance(o, Node) else o for o in graph.outputs]))


def _packed(lowered: Lowered) -> bytes | None:
    """A program as bytes, if it can be told and comes back as it was."""
    try:
        rows = pack(lowered)
        data = marshal.dumps(rows, 2)  # from 3 on it tells which objects are the same one
    except (Untold, ValueError):  # `marshal` raises that for what it doesn't know
        return None
    return data if marshal.loads(data) == rows else None  # numbers of NumPy's would come back as bytes


def _give_back() -> None:
    """Give memory that is free back to the system, where the C library keeps it and can be asked: building kernels
    takes much itself."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # other libraries than glibc; Windows knows no `None`
        return
    trim(ctypes.c_size_t(0))


def _texts(graph: Graph, strict: bool, stored: int, in_place: bool) -> Callable[[], dict[str, str]]:
    """Readable texts of a program's kernels by what is compiled; found when they are first asked for."""

    @cached
    def texts() -> dict[str, str]:
        from .lower import lower

        with paused:
            steps = lower(_whole(graph), strict, stored, False, in_place).steps
        kernels = [step.kernel if isinstance(step, PanelStep) else step for step in steps]
        emitted = [step.emitted for step in kernels if isinstance(step, KernelStep)]
        return {kernel.source: kernel.readable for kernel in reversed(emitted)}

    return texts


@cached
def sources() -> str:
    """What turns graphs into programs: retape's own sources, and the libraries that compute constants."""
    here, there = os.path.dirname(__file__), os.path.dirname(ir.__file__)
    folders = (here, there, os.path.join(there, "ops"), os.path.join(there, "passes"))
    return repr((*map(identity.source_hash, folders), np.__version__, identity.version_of("scipy")))
