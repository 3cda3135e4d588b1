"""The native functions that every compiled program enters through.

``play(header, table)``
    walk the instruction rows of ``header`` with the pointer table ``table``;
``fill(table, slots, arrays)``
    write the data address of ``arrays[i]`` into ``table[slots[i]]``;
``enter(header, table, slots, arrays)``
    ``fill``, then ``play``;
``fits(signature, seen, arrays)``
    whether arrays are of the types that a signature tells, and none that is written shares memory with another
    (``alike``). What was found apart is noted in ``seen``.

All arguments are ndarrays (int64 for all of these) but ``arrays``, a tuple of ndarrays. Kernels
run without the GIL. On CPython these are built-in functions made from LLVM text (``player_ir``): a call costs a fifth
of one through ctypes. They read addresses from the array objects themselves; the offsets are tried on real arrays
first, and where they do not hold, ctypes and ``ndarray.ctypes`` do the same work in the documented way.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from . import alike, engine, player_ir, pool_ir
from .alike import FLAGS
from .pool import pool

ROW_WORDS = 6
MESSAGE = "retape: expected a tuple with one plain ndarray for each pointer slot"
_METH_FASTCALL = 0x80


class Player(NamedTuple):
    """The functions, whether they are native built-ins, and the address of the plain C player."""

    play: Callable[..., None]
    fill: Callable[..., None]
    enter: Callable[..., None]
    fits: Callable[..., bool]
    native: bool
    walk: int


class _Method(ctypes.Structure):
    """CPython's ``PyMethodDef``."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


alive: list[Any] = []  # method definitions and code that built-ins point into; they live as long as the process


def offsets() -> dict[str, int]:
    """Where the fields of ``ndarray`` and ``tuple`` objects lie, if CPython's and NumPy's headers are right."""
    head = object.__basicsize__
    word = ctypes.sizeof(ctypes.c_void_p)
    return {
        "type": head - word,
        "size": head,
        "items": tuple.__basicsize__,
        "data": head,
        "dims": head + word,  # of C's `int`, as the flags are
        "shape": head + 2 * word,
        "strides": head + 3 * word,
        "dtype": head + 5 * word,
        "flags": head + 6 * word,
    }


def _peek(address: int) -> int:
    return ctypes.c_ssize_t.from_address(address).value


def layout_holds() -> bool:
    """Whether ``offsets`` give the truth, on arrays and tuples made for the test."""
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    at = offsets()
    base = np.arange(24, dtype=np.int16).reshape(4, 6)
    samples: tuple[Any, ...] = (
        base,
        base[1:3, ::2],
        np.zeros((7, 0)),
        np.array(2.5),
        np.frombuffer(b"12345678", dtype=np.int8),
    )
    if _peek(id(samples) + at["size"]) != len(samples):
        return False
    for i, array in enumerate(samples):
        here = id(array)
        if _peek(id(samples) + at["items"] + 8 * i) != here or _peek(here + at["type"]) != id(np.ndarray):
            return False
        if _peek(here + at["data"]) != array.ctypes.data:
            return False
        if _peek(here + at["dtype"]) != id(array.dtype) or _int(here + at["dims"]) != array.ndim:
            return False
        if _int(here + at["flags"]) & FLAGS != array.flags.num & FLAGS:
            return False
        if array.ndim and (_peek(_peek(here + at["shape"])), _peek(_peek(here + at["strides"]))) != (
                array.shape[0], array.strides[0]):
            return False
    return True


def _int(address: int) -> int:
    return ctypes.c_int.from_address(address).value


@cache
def player() -> Player:
    """Compile the player or take it from the cache, and make its functions."""
    return _native() if layout_holds() else _documented()


def _native() -> Player:
    text = pool_ir.text("retape") + (player_ir.WALK + player_ir.HELPERS + player_ir.BUILTINS + alike.FITS).format(
        prefix="retape", row_words=ROW_WORDS, message=MESSAGE, message_size=len(MESSAGE) + 1,
        head_words=alike.HEAD, type_words=alike.WORDS, **offsets()
    )
    symbols = [f"retape_{name}" for name in ("play", "fill", "enter", "fits", "walk", "serve", "spin")]
    loaded = engine.compile_quickly(text, *symbols, given={**addresses(), **pool().given("retape")})
    pool().take(loaded.addresses["retape_serve"], loaded.addresses["retape_spin"])
    alive.append(loaded)
    play, fill, enter, fits = (builtin(symbol.encode(), loaded.addresses[symbol]) for symbol in symbols[:4])
    return Player(play, fill, enter, fits, True, loaded.addresses["retape_walk"])


def addresses() -> dict[str, int]:
    """Where in this process the things lie that the built-ins name."""
    api = ctypes.pythonapi
    functions = {"incref": "Py_IncRef", "set_string": "PyErr_SetString", "save": "PyEval_SaveThread",
                 "restore": "PyEval_RestoreThread", "integer": "PyLong_FromLongLong", "truth": "PyBool_FromLong"}
    return {
        **{f"retape_{name}": ctypes.cast(getattr(api, symbol), ctypes.c_void_p).value or 0
           for name, symbol in functions.items()},
        "retape_type_error": ctypes.addressof(ctypes.c_void_p.in_dll(api, "PyExc_TypeError")),
        "retape_none": id(None),
        "retape_ndarray": id(np.ndarray),
    }


def builtin(name: bytes, address: int) -> Callable[..., Any]:
    """A Python built-in function for a C function of the ``METH_FASTCALL`` kind."""
    method = _Method(name, address, _METH_FASTCALL, None)
    alive.append(method)
    make = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(
        ("PyCFunction_NewEx", ctypes.pythonapi)
    )
    function: Callable[..., Any] = make(ctypes.addressof(method), None, None)
    return function


def documented_fill(table: Any, slots: Any, arrays: tuple[Any, ...]) -> None:
    """``fill`` by means of ``ndarray.ctypes``."""
    if len(slots) != len(arrays) or any(type(array) is not np.ndarray for array in arrays):
        raise TypeError(MESSAGE)
    for slot, array in zip(slots.tolist(), arrays, strict=True):
        table[slot] = array.ctypes.data


def _documented() -> Player:
    """The same functions through ctypes and ``ndarray.ctypes``: about 1 us an array."""
    text = pool_ir.text("retape") + player_ir.WALK.format(prefix="retape", row_words=ROW_WORDS)
    symbols = [f"retape_{name}" for name in ("walk", "serve", "spin")]
    loaded = engine.compile_quickly(text, *symbols, given=pool().given("retape"))
    pool().take(loaded.addresses["retape_serve"], loaded.addresses["retape_spin"])
    alive.append(loaded)
    walk = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(loaded.addresses["retape_walk"])

    def play(header: Any, table: Any) -> None:
        walk(header.ctypes.data, table.ctypes.data)

    def enter(header: Any, table: Any, slots: Any, arrays: tuple[Any, ...]) -> None:
        documented_fill(table, slots, arrays)
        play(header, table)

    return Player(play, documented_fill, enter, alike.documented_fits, False, loaded.addresses["retape_walk"])
