"""Kernels and programs on disk, so that a new process needn't build what an earlier one has built.

A folder holds one file for each compiled kernel, and one for each program (`kept.py`), named by a hash of everything
that decides its code: `key`. A file is a header and the code: a mark, the SHA-256 of all that follows, the key, the
name of the exported function, object code or a program's tables. Code is loaded only if hash and key are right; a file
that is damaged, cut short or something else is built anew and replaced. The hash finds accidents; against others who
would plant code, the folder has to be the user's own, and writable by no one else, or it isn't used.

Files are written under another name and then renamed, so several processes may share a folder and be killed at any
time. Where nothing can be written (a full disk, a read-only folder) everything works, and nothing is kept.

`RETAPE_CACHE_DIR` names the folder; empty or `off`, there is no cache. `RETAPE_CACHE_SIZE` is the largest size of all
files together (`512M`); past it the least recently used ones go.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from retape.ir.errors import CacheRefused

from .identity import identity

__all__ = ["Cache", "Entry", "current", "fetch", "key", "unused"]

FOLDER, SIZE = "RETAPE_CACHE_DIR", "RETAPE_CACHE_SIZE"
DEFAULT_SIZE = 512 << 20
_MARK = b"retape object 1\n"
_NAME = re.compile(r"[0-9a-f]{64}\.(?:kernel|program)")
_UNFINISHED = re.compile(r"[0-9a-f]{16}\.unfinished")
_FORGOTTEN = 3600 * 10**9  # ns after which nobody is writing an unfinished file any more
_SLACK = 16  # this part of the size is free after clearing out, and may be stored before files are counted again
_LARGEST = 64 << 20  # no kernel comes near it, a program with large constants does; no larger file is read
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}

_unused: list[bool] = []


class Entry(NamedTuple):
    """Object code and the name of the function that it exports; or a program's tables."""

    name: str
    code: bytes


@dataclass
class Cache:
    """The files in one folder; `why` says why there is none, if there is none.

    `hits`, `misses` and `damaged` count what `find` met in this process; `failed` is why the last write failed.
    """

    folder: str
    limit: int = DEFAULT_SIZE
    why: str = ""
    hits: int = 0
    misses: int = 0
    damaged: int = 0
    failed: str = ""
    _room: int = 0  # bytes that may be stored before the files have to be counted

    def find(self, key: str, kind: str = "kernel") -> Entry | None:
        """What is stored under a key, or None if that is nothing. What is damaged is removed."""
        path = os.path.join(self.folder, f"{key}.{kind}")
        data = None if self.why else _read(path)
        found = None if data is None else _unpack(data, key)
        with contextlib.suppress(OSError):  # in a read-only folder nothing can be removed, nor the order of use kept
            if found is not None:
                os.utime(path)
            elif data is not None:
                os.unlink(path)
        self.hits += found is not None
        self.misses += found is None
        self.damaged += data is not None and found is None
        return found

    def store(self, key: str, entry: Entry, kind: str = "kernel") -> None:
        """Keep code under a key, if that is possible."""
        data = _pack(key, entry)
        if self.why or len(data) > min(self.limit, _LARGEST):
            return
        unfinished = os.path.join(self.folder, f"{os.urandom(8).hex()}.unfinished")
        try:
            self._make_room(len(data))
            _write(unfinished, data)
            os.replace(unfinished, os.path.join(self.folder, f"{key}.{kind}"))
        except OSError as error:
            self.failed = str(error)
            with contextlib.suppress(OSError):  # it may never have come to be
                os.unlink(unfinished)

    def files(self) -> list[tuple[int, int, str]]:
        """Time of last use in ns, size and name of every file of the cache, the least recently used first."""
        found = []
        for entry in [] if self.why else os.scandir(self.folder):
            if _NAME.fullmatch(entry.name) or _UNFINISHED.fullmatch(entry.name):
                with contextlib.suppress(FileNotFoundError):  # another process has removed it
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime_ns, status.st_size, entry.name))
        return sorted(found)

    def clear(self) -> tuple[int, int]:
        """Remove every file of the cache, nothing else: how many there were, and their bytes. Raises `OSError`."""
        files = self.files()
        for _, _, name in files:
            self._remove(name)
        return len(files), sum(size for _, size, _ in files)

    def _make_room(self, size: int) -> None:
        """See to it that `size` more bytes fit; files are counted only now and then."""
        self._room -= size
        if self._room >= 0:
            return
        files = self.files()
        total = size + sum(n for _, n, _ in files)
        goal = self.limit if total <= self.limit else self.limit - self.limit // _SLACK
        for used, n, name in files:
            if total > goal or (_UNFINISHED.fullmatch(name) and used < time.time_ns() - _FORGOTTEN):
                self._remove(name)
                total -= n
        self._room = min(self.limit - total, self.limit // _SLACK)

    def _remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            os.unlink(os.path.join(self.folder, name))


def fetch(make: Callable[[], Entry], *parts: object) -> Entry:
    """The code that `parts` (of which `repr` says all) become: from the cache, or made and stored there."""
    cache = current()
    if cache.why:
        return make()
    name = key(*parts)
    found = cache.find(name)
    if found is None:
        found = make()
        cache.store(name, found)
    return found


def key(*parts: object) -> str:
    """The name of what `parts` become in this environment. Raises as `identity` does."""
    return hashlib.sha256(repr((_MARK, identity(), parts)).encode()).hexdigest()


def current() -> Cache:
    """The cache that the environment variables ask for."""
    if _unused:
        return Cache("", why="it is switched off for now")
    return _open(os.environ.get(FOLDER), os.environ.get(SIZE, ""))


@contextlib.contextmanager
def unused() -> Iterator[None]:
    """Within it, in every thread, kernels are built that might have been taken from the cache, and none is stored."""
    _unused.append(True)
    try:
        yield
    finally:
        _unused.pop()


# ---- the folder


@lru_cache(maxsize=8)
def _open(chosen: str | None, size: str) -> Cache:
    """Make the folder, if need be, and look whether it may be used. Warns where it mustn't."""
    if chosen is not None and chosen.strip().lower() in ("", "off"):
        return Cache("", why=f"{FOLDER} is {chosen!r}")
    folder = os.path.abspath(os.path.expanduser(chosen)) if chosen is not None else _usual_folder()
    if not os.path.isabs(folder):
        return Cache("", why="there is no home folder")
    try:
        identity()
        os.makedirs(folder, mode=0o700, exist_ok=True)
        problem = _danger(os.stat(folder))
    except (OSError, LookupError) as error:
        return Cache(folder, why=str(error))
    if problem:
        warnings.warn(
            f"RT504 CacheRefused: the folder {folder} isn't used for compiled code\n  why : {problem}: they could "
            f"have this process run code of theirs\n  fix : `chmod 700` it, or name another folder in {FOLDER}",
            CacheRefused, stacklevel=2)
        return Cache(folder, why=problem)
    return Cache(folder, _limit(size))


def _usual_folder() -> str:
    """Where the platform wants caches; a relative path where there is no home folder."""
    if os.name == "nt":
        return os.path.join(os.environ.get("LOCALAPPDATA") or os.path.expanduser(r"~\AppData\Local"), "retape", "Cache")
    if sys.platform == "darwin":
        return os.path.expanduser("~/Library/Caches/retape")
    base = os.environ.get("XDG_CACHE_HOME", "")  # to be ignored where it is relative, says its specification
    return os.path.join(base if os.path.isabs(base) else os.path.expanduser("~/.cache"), "retape")


def _danger(status: os.stat_result) -> str:
    """Who else may write into the folder, on a system with POSIX permissions."""
    if os.name == "nt":
        return ""
    if status.st_uid != os.geteuid():
        return f"it belongs to another user (number {status.st_uid})"
    mode = stat.S_IMODE(status.st_mode)
    return f"other users may write there (mode {mode:04o})" if mode & 0o022 else ""


def _limit(size: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([KMGT]?)B?", size.strip().upper())
    if found:
        return int(float(found[1]) * (1 << _UNITS[found[2]]))
    if size.strip():
        warnings.warn(f"RT504 CacheRefused: {SIZE} is {size!r}, which is no size; it is taken as 512M\n"
                      "  fix : write a number of bytes, or one with K, M or G behind it", CacheRefused, stacklevel=2)
    return DEFAULT_SIZE


# ---- one file


def _pack(key: str, entry: Entry) -> bytes:
    name = entry.name.encode()
    body = b"".join((bytes.fromhex(key), len(name).to_bytes(2, "little"), name, entry.code))
    return _MARK + hashlib.sha256(body).digest() + body


def _unpack(data: bytes, key: str) -> Entry | None:
    """The entry in a file's bytes, or None if they aren't what was stored under this key."""
    start = len(_MARK) + 32
    body = data[start:]
    if data[:start] != _MARK + hashlib.sha256(body).digest() or body[:32].hex() != key:
        return None
    end = 34 + int.from_bytes(body[32:34], "little")
    return Entry(body[34:end].decode(), body[end:])


def _read(path: str) -> bytes | None:
    """The bytes of a regular file, or None. A pipe or a device under the name isn't waited for."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        ours = stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST
        return os.read(descriptor, status.st_size) if ours else b""
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _write(path: str, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    with open(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)
