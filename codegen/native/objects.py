"""Load object code without LLVM, where that is simple: ELF for x86-64 on Linux, as kernels have it.

Importing llvmlite and setting up its linker takes 150 ms; a kernel from the cache needs nothing of it but that its
sections are laid out in memory and some addresses written into them. `load` does so for the form that LLVM gives our
kernels (code and constants, joined by 64-bit absolute addresses) and declines anything else, which then goes to LLVM's
own linker. Memory is never writable and executable at the same time.

Formats: System V ABI, "Object files", and its x86-64 supplement, table of relocation types.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

_RELOCATABLE, _X86_64 = 1, 62
_ABSOLUTE_64 = 1  # R_X86_64_64: symbol + addend, 8 bytes
_SYMBOLS, _RELOCATIONS, _UNWIND = 2, 4, 0x70000001  # section types; nothing unwinds through a kernel
_WRITABLE, _IN_MEMORY, _THREAD_LOCAL = 1, 2, 0x400
_UNDEFINED, _SPECIAL = 0, 0xFF00


class _Section(NamedTuple):
    """A section header of ELF64, in the order of its fields."""

    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry: int


def possible() -> bool:
    """Whether this platform's object code is of the one kind that is known here."""
    return sys.platform == "linux" and os.uname().machine == "x86_64" and ctypes.sizeof(ctypes.c_void_p) == 8


def load(code: bytes, names: Sequence[str], given: Mapping[str, int]) -> tuple[dict[str, int], Any] | None:
    """Place object code in memory: the addresses of the functions ``names``, and what keeps the code there.

    Undefined symbols are looked up in ``given``, then among the C functions of the process. None where the object has
    something that is not known here, or where the system refuses executable memory.
    """
    if not possible() or code[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<HH", code, 16) != (
        _RELOCATABLE, _X86_64):
        return None
    sections = _sections(code)
    places, size = _layout(sections)
    symbols = next((s for s in sections if s.type == _SYMBOLS), None)
    if not places or symbols is None:
        return None
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for number, place in places.items():
        section = sections[number]
        memory[place : place + section.size] = code[section.offset : section.offset + section.size]
    found = _addresses(code, sections, symbols, {n: base + place for n, place in places.items()}, given)
    if not _relocate(memory, code, sections, places, found) or not _protect(base, size):
        return None
    by_name = dict(found)
    return ({name: by_name[name] for name in names}, memory) if all(by_name.get(n) for n in names) else None


def _sections(code: bytes) -> list[_Section]:
    start = struct.unpack_from("<Q", code, 0x28)[0]
    width, count = struct.unpack_from("<HH", code, 0x3A)
    return [_Section(*struct.unpack_from("<IIQQQQIIQQ", code, start + i * width)) for i in range(count)]


def _layout(sections: list[_Section]) -> tuple[dict[int, int], int]:
    """The offset of each section that belongs in memory, and the size of all; nothing if one has to be writable."""
    places: dict[int, int] = {}
    end = 0
    for number, section in enumerate(sections):
        if not section.flags & _IN_MEMORY or section.type == _UNWIND or not section.size:
            continue
        if section.flags & (_WRITABLE | _THREAD_LOCAL) or section.align > mmap.PAGESIZE:
            return {}, 0
        places[number] = -(-end // max(section.align, 1)) * max(section.align, 1)
        end = places[number] + section.size
    return places, end


def _addresses(code: bytes, sections: list[_Section], symbols: _Section, bases: dict[int, int],
               given: Mapping[str, int]) -> list[tuple[str, int]]:
    """Name and address of every symbol in order; 0 for those that are not known."""
    names = sections[symbols.link].offset
    found = []
    for at in range(symbols.offset, symbols.offset + symbols.size, 24):
        start, _, _, section, value, _ = struct.unpack_from("<IBBHQQ", code, at)
        name = code[names + start : code.index(b"\0", names + start)].decode()
        if section == _UNDEFINED:
            found.append((name, given.get(name) or _outside(name) if name else 0))
        else:
            found.append((name, bases[section] + value if section < _SPECIAL and section in bases else 0))
    return found


def _relocate(memory: Any, code: bytes, sections: list[_Section], places: dict[int, int],
              symbols: list[tuple[str, int]]) -> bool:
    """Write the addresses that the code refers to; False if one is unknown, or not a whole word."""
    for section in sections:
        if section.type != _RELOCATIONS or section.info not in places:
            continue
        for at in range(section.offset, section.offset + section.size, 24):
            offset, info, addend = struct.unpack_from("<QQq", code, at)
            address = symbols[info >> 32][1]
            if info & 0xFFFFFFFF != _ABSOLUTE_64 or not address:
                return False
            struct.pack_into("<Q", memory, places[section.info] + offset, address + addend)
    return True


@cache
def _process() -> Any:
    return ctypes.CDLL(None, use_errno=True)


@cache
def _outside(name: str) -> int:
    """The address of a C function of this process; 0 if there is none."""
    try:
        return ctypes.cast(getattr(_process(), name), ctypes.c_void_p).value or 0
    except AttributeError:
        return 0


def _protect(base: int, size: int) -> bool:
    """Make memory executable and read-only."""
    protect = _process().mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return bool(protect(base, size, mmap.PROT_READ | mmap.PROT_EXEC) == 0)
