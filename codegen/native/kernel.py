"""Compile the source of one kernel: ``build_directly`` from its text, ``build`` by way of numba."""

from __future__ import annotations

import hashlib
import linecache
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import engine, names
from .vectors import masking_pays, preferred_width

# What a kernel may call in other libraries: C functions that every process has.
_EXTERNAL = re.compile(r"llvm\.|(a?(sin|cos|tan)h?|atan2|exp2?|expm1|log(10|2|1p)?|pow|fmod|hypot|l?gamma|erfc?)f?$")


@dataclass
class Kernel:
    """One compiled loop; ``address`` is a ``void(void **ptrs, int64 *ints, int64 lo, int64 hi)`` while it lives."""

    name: str
    symbol: str
    source: str
    address: int
    object_code: bytes = field(repr=False)
    _module: Any = field(repr=False, default=None)
    _loaded: Any = field(repr=False, default=None)

    @property
    def llvm(self) -> str:
        """The optimised LLVM IR; empty for a kernel that was loaded from object code."""
        return "" if self._module is None else str(self._module)

    @property
    def asm(self) -> str:
        """The assembly text; empty for a kernel that was loaded from object code."""
        return "" if self._module is None else engine.assembly(self._module)


def symbol_of(source: str, entry: str, pointers: Sequence[str], n_ints: int, options: Sequence[object] = ()) -> str:
    """The name that a kernel's object code exports: its entry and a hash of everything that decides its code."""
    text = repr((source, entry, tuple(pointers), n_ints, tuple(options)))
    return f"retape_{entry}_{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def define(source: str, entry: str, namespace: dict[str, object]) -> Callable[..., object]:
    """Run the text of a kernel's definition and return the Python function, known to ``linecache``."""
    filename = f"<retape {entry}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    scope: dict[str, Any] = {"__name__": "retape.kernels", **namespace}
    exec(compile(source, filename, "exec"), scope)
    function: Callable[..., object] = scope[entry]
    return function


def build(
    source: str,
    entry: str,
    pointers: Sequence[str],
    n_ints: int,
    namespace: dict[str, object],
    *,
    contract: bool = True,
    width: int | None = None,
    masked: bool | None = None,
) -> Kernel:
    """Compile the function ``entry`` of ``source``, with one compilation and no Python wrapper.

    ``pointers`` are the element types of the leading parameters (``names.DTYPES``); then come ``n_ints`` int64
    parameters, then ``lo`` and ``hi``. ``namespace`` is the source's globals, as from ``intrinsics(True)``.
    ``contract`` allows fused multiply-add. ``width`` is the preferred vector width in bits; by default 512 or 256 for a
    kernel that computes much (``preferred_width``), else LLVM's choice. ``masked`` makes vector loops mask their last
    iterations instead of doing them one by one; by default where it pays on rows of any length (``masking_pays``). For
    rows known to be long, or to fill their vectors, False is better by some 5 percent.

    Raises numba's ``TypingError`` for source that has no types, and ``ValueError`` for source that could raise or that
    needs numba's run time.
    """
    width, masked = _settled(source, pointers, width, masked)
    from . import lower

    symbol = symbol_of(source, entry, pointers, n_ints, (contract, width, masked))
    function = define(source, entry, namespace)
    function.__name__ = function.__qualname__ = symbol
    text, linked = lower.module_text(function, symbol, pointers, n_ints, contract=contract, width=width, masked=masked)
    return _finish(text, linked, entry, symbol, source)


def build_directly(
    source: str,
    entry: str,
    pointers: Sequence[str],
    n_ints: int,
    functions: Mapping[str, Callable[..., Any]],
    *,
    contract: bool = True,
    width: int | None = None,
    masked: bool | None = None,
) -> Kernel | None:
    """Compile as `build` does, but without numba. None where only `build` knows what the source says.

    It may call ``functions`` of vmath's `Value`s, by these names.
    """
    width, masked = _settled(source, pointers, width, masked)
    from . import direct

    symbol = symbol_of(source, entry, pointers, n_ints, (contract, width, masked, "direct"))
    try:
        text = direct.module_text(
            source, symbol, pointers, n_ints, functions, contract=contract, width=width, masked=masked)
    except direct.Unknown:
        return None
    return _finish(text, [], entry, symbol, source)


def _settled(source: str, pointers: Sequence[str], width: int | None, masked: bool | None) -> tuple[int | None, bool]:
    """The options of `build` with what is decided by the source in the place of None."""
    unknown = [name for name in pointers if name not in names.DTYPES]
    if unknown:
        raise ValueError(f"build: unknown pointer types {unknown}; known are {', '.join(names.DTYPES)}")
    if width is None:
        width = preferred_width(source, max((names.DTYPES[name]().itemsize for name in pointers), default=8))
    return width, masking_pays(source) if masked is None else masked


def _finish(text: str, linked: Sequence[Any], entry: str, symbol: str, source: str) -> Kernel:
    """From a module's text to machine code."""
    module = engine.parse(text)
    for other in linked:
        module.link_in(other, preserve=True)
    _privatise(module, symbol)
    engine.optimise(module)
    _check_closed(module, entry)
    code = engine.emit(module)
    loaded = engine.load(code, symbol)
    return Kernel(entry, symbol, source, loaded.addresses[symbol], code, module, loaded)


def load(kernel_name: str, symbol: str, source: str, code: bytes) -> Kernel:
    """Load a kernel's object code again, without numba; ``code`` must be of this machine and trusted."""
    loaded = engine.load(code, symbol)
    return Kernel(kernel_name, symbol, source, loaded.addresses[symbol], code, None, loaded)


def _privatise(module: Any, symbol: str) -> None:
    """Export nothing but ``symbol``, so that unused helpers and numba's environment variables disappear.

    LLVM's own variables stay: `llvm.compiler.used` keeps the vector variants of functions until loops are vectorised.
    """
    for value in (*module.functions, *module.global_variables):
        if not value.is_declaration and value.name != symbol and not value.name.startswith("llvm."):
            value.linkage = "internal"


def _check_closed(module: Any, entry: str) -> None:
    """Raise unless the module calls nothing but C mathematics and holds no exception or environment."""
    open_names = [f.name for f in module.functions if f.is_declaration and not _EXTERNAL.match(f.name)]
    open_names += [g.name for g in module.global_variables if "picklebuf" in g.name or "NumbaEnv" in g.name]
    if open_names:
        raise ValueError(
            f"build: kernel {entry!r} needs numba's run time ({', '.join(sorted(open_names)[:4])}): "
            "it may raise, allocate or call into Python; kernel source must do none of these"
        )
