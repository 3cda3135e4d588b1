"""The native functions by which calls walk trace trees; made when the first tree is.

``follow(header, bases, slots, arrays)`` writes the data address of ``arrays[i]`` into ``bases[slots[i]]``, then walks
(``trail_ir``) and gives the number that the walk stops with. All are ndarrays of int64 but ``arrays``, a tuple of
ndarrays. As the player's functions it is a built-in on CPython, and goes through ctypes elsewhere.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from . import engine, player_ir, pool_ir, trail_ir
from .player import MESSAGE, addresses, alive, builtin, documented_fill, layout_holds, offsets
from .pool import pool

_PREFIX = "retape_trail"


class Guide(NamedTuple):
    """``follow``; the address of a kernel that copies as many bytes as it has iterations; ``publish(place, value)``.

    That one stores a word at an address so that who sees it also sees all that was stored before.
    """

    follow: Callable[..., int]
    copy: int
    publish: Callable[[int, int], None]


@cache
def guide() -> Guide:
    """Compile the functions or take them from the cache."""
    return _guide(layout_holds())


def _guide(native: bool) -> Guide:
    words = {name: str(getattr(trail_ir, name.upper())) for name in ("status", "stop", "refused", "unknown")}
    words["factor"] = str(trail_ir.FACTOR - (1 << 64))  # as LLVM writes it
    text = pool_ir.text(_PREFIX, workers=False) + trail_ir.DESCEND.format(
        prefix=_PREFIX, row_words=trail_ir.ROW_WORDS, **words)
    names = ["descend", "copy", "publish"]
    given = {"retape_move": ctypes.cast(ctypes.memmove, ctypes.c_void_p).value or 0}
    if native:
        text += (player_ir.HELPERS + trail_ir.BUILTIN).format(
            prefix=_PREFIX, message=MESSAGE, message_size=len(MESSAGE) + 1, **offsets())
        names.append("follow")
        given.update(addresses())
    given = {name.replace("retape", _PREFIX, 1): address for name, address in given.items()}
    loaded = engine.compile_well(text, *(f"{_PREFIX}_{name}" for name in names),
                                 given={**given, **pool().given(_PREFIX)})
    alive.append(loaded)
    at = {name: loaded.addresses[f"{_PREFIX}_{name}"] for name in names}
    publish = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(at["publish"])
    return Guide(builtin(b"follow", at["follow"]) if native else _documented(at["descend"]), at["copy"], publish)


def _documented(address: int) -> Callable[..., int]:
    descend = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)(address)

    def follow(header: Any, bases: Any, slots: Any, arrays: tuple[Any, ...]) -> int:
        documented_fill(bases, slots, arrays)
        return int(descend(header.ctypes.data, bases.ctypes.data))

    return follow
