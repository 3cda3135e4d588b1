"""The native functions that every compiled program enters through.

``play(header, table)``
    walk the instruction rows of ``header`` with the pointer table ``table``;
``fill(table, slots, arrays)``
    write the data address of ``arrays[i]`` into ``table[slots[i]]``;
``enter(header, table, slots, arrays)``
    ``fill``, then ``play``;
``follow(header, bases, slots, arrays)``
    ``fill``, then walk the rows of a trace tree (``trail_ir``); gives the number that the walk stops with.

All arguments are ndarrays of int64 but ``arrays``, a tuple of ndarrays. Kernels run without the GIL. On CPython these
are built-in functions made from LLVM text (``player_ir``): a call costs a fifth of one through ctypes. They read
addresses from the array objects themselves; the offsets are tried on real arrays first, and where they do not hold,
ctypes and ``ndarray.ctypes`` do the same work in the documented way.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from . import engine, player_ir, pool_ir, trail_ir
from .pool import pool

ROW_WORDS = 6
_MESSAGE = "retape: expected a tuple with one plain ndarray for each pointer slot"
_METH_FASTCALL = 0x80


class Player(NamedTuple):
    """The functions, whether they are native built-ins, and the address of the plain C player.

    ``copy`` is the address of a kernel that copies as many bytes as it has iterations; ``publish(place, value)`` stores
    a word at an address so that who sees it also sees all that was stored before.
    """

    play: Callable[..., None]
    fill: Callable[..., None]
    enter: Callable[..., None]
    follow: Callable[..., int]
    native: bool
    walk: int
    copy: int
    publish: Callable[[int, int], None]


class _Method(ctypes.Structure):
    """CPython's ``PyMethodDef``."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_alive: list[Any] = []  # method definitions and code that built-ins point into; they live as long as the process


def offsets() -> dict[str, int]:
    """Where the fields of ``ndarray`` and ``tuple`` objects lie, if CPython's and NumPy's headers are right."""
    head = object.__basicsize__
    word = ctypes.sizeof(ctypes.c_void_p)
    return {
        "type": head - word,
        "size": head,
        "items": tuple.__basicsize__,
        "data": head,
        "shape": head + 2 * word,
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
        if array.ndim and _peek(_peek(here + at["shape"])) != array.shape[0]:
            return False
    return True


@cache
def player() -> Player:
    """Compile the player or take it from the cache, and make its functions."""
    return _native() if layout_holds() else _documented()


_PLAIN = ("walk", "serve", "spin", "descend", "copy", "publish")


def _load(text: str, names: tuple[str, ...], given: dict[str, int]) -> dict[str, int]:
    """The addresses of the player's functions, once its code is in memory."""
    moves = {"retape_move": ctypes.cast(ctypes.memmove, ctypes.c_void_p).value or 0}
    loaded = engine.compile_quickly(pool_ir.text("retape") + text, *(f"retape_{name}" for name in names),
                                    given={**moves, **given, **pool().given("retape")})
    _alive.append(loaded)
    found = {name: loaded.addresses[f"retape_{name}"] for name in names}
    pool().take(found["serve"], found["spin"])
    return found


def _text(*parts: str) -> str:
    words = {name: str(getattr(trail_ir, name.upper())) for name in ("status", "stop", "refused", "unknown")}
    factor = trail_ir.FACTOR - (1 << 64)  # as LLVM writes it
    declared = 'declare ptr @"retape_move"(ptr, ptr, i64)\n'
    rows = player_ir.WALK.format(prefix="retape", row_words=ROW_WORDS)
    trails = trail_ir.DESCEND.format(prefix="retape", row_words=trail_ir.ROW_WORDS, factor=factor, **words)
    return declared + rows + trails + "".join(parts)


def _publisher(address: int) -> Callable[[int, int], None]:
    publish: Callable[[int, int], None] = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(address)
    return publish


def _native() -> Player:
    builtins = (player_ir.BUILTINS + trail_ir.BUILTIN).format(
        prefix="retape", message=_MESSAGE, message_size=len(_MESSAGE) + 1, **offsets())
    names = ("play", "fill", "enter", "follow")
    at = _load(_text(builtins), (*names, *_PLAIN), _addresses())
    play, fill, enter, follow = (_builtin(f"retape_{name}".encode(), at[name]) for name in names)
    return Player(play, fill, enter, follow, True, at["walk"], at["copy"], _publisher(at["publish"]))


def _addresses() -> dict[str, int]:
    """Where in this process the things lie that the built-ins name."""
    api = ctypes.pythonapi
    functions = {"incref": "Py_IncRef", "set_string": "PyErr_SetString", "save": "PyEval_SaveThread",
                 "restore": "PyEval_RestoreThread", "integer": "PyLong_FromLongLong"}
    return {
        **{f"retape_{name}": ctypes.cast(getattr(api, symbol), ctypes.c_void_p).value or 0
           for name, symbol in functions.items()},
        "retape_type_error": ctypes.addressof(ctypes.c_void_p.in_dll(api, "PyExc_TypeError")),
        "retape_none": id(None),
        "retape_ndarray": id(np.ndarray),
    }


def _builtin(name: bytes, address: int) -> Callable[..., Any]:
    """A Python built-in function for a C function of the ``METH_FASTCALL`` kind."""
    method = _Method(name, address, _METH_FASTCALL, None)
    _alive.append(method)
    make = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(
        ("PyCFunction_NewEx", ctypes.pythonapi)
    )
    function: Callable[..., Any] = make(ctypes.addressof(method), None, None)
    return function


def _documented() -> Player:
    """The same functions through ctypes and ``ndarray.ctypes``: about 1 us an array."""
    at = _load(_text(), _PLAIN, {})
    walk = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(at["walk"])
    descend = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)(at["descend"])

    def play(header: Any, table: Any) -> None:
        walk(header.ctypes.data, table.ctypes.data)

    def fill(table: Any, slots: Any, arrays: tuple[Any, ...]) -> None:
        if len(slots) != len(arrays) or any(type(array) is not np.ndarray for array in arrays):
            raise TypeError(_MESSAGE)
        for slot, array in zip(slots.tolist(), arrays, strict=True):
            table[slot] = array.ctypes.data

    def enter(header: Any, table: Any, slots: Any, arrays: tuple[Any, ...]) -> None:
        fill(table, slots, arrays)
        play(header, table)

    def follow(header: Any, bases: Any, slots: Any, arrays: tuple[Any, ...]) -> int:
        fill(bases, slots, arrays)
        return int(descend(header.ctypes.data, bases.ctypes.data))

    return Player(play, fill, enter, follow, False, at["walk"], at["copy"], _publisher(at["publish"]))
