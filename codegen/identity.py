"""What decides compiled code besides its text: `identity`, a part of the key of everything in the cache.

Nothing here imports numba; llvmlite is asked only where the operating system doesn't tell what processor this is.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import sys
from functools import cache

__all__ = ["identity", "processor", "source_hash", "version_of"]

# Of /proc/cpuinfo: the processor and what it can do. Clock rates and core numbers differ from one reading to the next.
_PROCESSOR = re.compile(r"^(?:vendor_id|cpu family|model|model name|stepping|flags)\s*:.*$", re.MULTILINE)


@cache
def identity() -> str:
    """A hash of the versions, the source that turns kernel text into code, the processor and the platform.

    Raises `OSError` where the source of retape can't be read, and `LookupError` where numba isn't installed.
    """
    here = os.path.dirname(__file__)
    parts = (
        sys.implementation.cache_tag, sys.platform, sys.maxsize,  # numba lowers byte code
        version_of("numba"), version_of("llvmlite"), processor(),
        *(source_hash(os.path.join(here, package)) for package in ("native", "vmath")),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@cache
def source_hash(folder: str) -> str:
    """A hash of the Python files in a folder. Raises `OSError` where there are none to be read."""
    files = sorted(name for name in os.listdir(folder) if name.endswith(".py"))
    if not files:
        raise FileNotFoundError(f"no source in {folder}")
    digest = hashlib.sha256()
    for name in files:
        with open(os.path.join(folder, name), "rb") as file:
            text = file.read()
        digest.update(f"{name} {len(text)}\n".encode())
        digest.update(text)
    return digest.hexdigest()


def version_of(package: str) -> str:
    """The version of an installed package, read from the name of its metadata's folder. Raises `LookupError`.

    `importlib.metadata`, which takes 30 ms to import, is asked only where that folder isn't beside the package.
    """
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise LookupError(f"{package} is not installed")
    for place in spec.submodule_search_locations or ():
        named = re.compile(rf"{re.escape(package)}-(.+)\.(?:dist|egg)-info")
        found = sorted(match[1] for name in os.listdir(os.path.dirname(place)) if (match := named.fullmatch(name)))
        if found:
            return "+".join(found)
    from importlib.metadata import version

    return version(package)


@cache
def processor() -> str:
    """The processor's model and features, as the system or else LLVM names them."""
    if sys.platform == "linux" and os.uname().machine == "x86_64":
        try:
            with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
                first = file.read(16384).partition("\n\n")[0]
        except OSError:
            first = ""
        found = _PROCESSOR.findall(first)
        if any(line.startswith("flags") for line in found):
            return "\n".join(found)
    from .native import engine

    return repr((engine.host().triple, engine.host().cpu, engine.host().features))
