"""LLVM without numba: optimise a module's text, emit its object code, load it.

This is the only file that talks to ``llvmlite.binding``. It never imports numba, and loads object code that was kept
from an earlier process without LLVM where ``objects`` can; elsewhere ``llvmlite`` is imported, as for all else here.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ..cache import Entry, fetch
from . import objects

_lock = threading.RLock()
_library_numbers = itertools.count()


@dataclass(frozen=True)
class Host:
    """What the code is compiled for: the target, the CPU's name and its features."""

    target: Any
    cpu: str
    features: str
    triple: str

    def machine(self, effort: int = 2) -> Any:
        """A new LLVM target machine (an engine takes possession of the one it is given)."""
        reloc = "static" if self.triple.startswith(("x86_64", "i386", "i686")) else "default"
        return self.target.create_target_machine(
            cpu=self.cpu, features=self.features, opt=effort, reloc=reloc, codemodel="jitdefault", jit=True
        )


@dataclass(frozen=True)
class Loaded:
    """Object code in memory: the addresses of its exported functions, and what keeps them valid."""

    addresses: dict[str, int]
    keep: Any = field(repr=False)


@cache
def host() -> Host:
    """Describe the machine that runs this process."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    triple = llvm.get_process_triple()
    features = llvm.get_host_cpu_features().flatten()
    return Host(llvm.Target.from_triple(triple), llvm.get_host_cpu_name(), features, triple)


@cache
def machine(effort: int = 2) -> Any:
    """The target machine that modules are optimised and emitted with; ``effort`` is that of instruction selection."""
    return host().machine(effort)


@cache
def layout() -> str:
    """The data layout string that a module for this machine must carry."""
    return str(machine().target_data)


def parse(text: str) -> Any:
    """Parse and verify the text of an LLVM module; ``RuntimeError`` if it is not well formed."""
    import llvmlite.binding as llvm

    with _lock:
        host()
        module = llvm.parse_assembly(text)
        module.triple = host().triple
        module.data_layout = layout()
        module.verify()
    return module


def optimise(module: Any, *, vectorise: bool = True) -> None:
    """Run the standard -O2 pipeline once over ``module``, in place."""
    import llvmlite.binding as llvm

    with _lock:
        tuning = llvm.create_pipeline_tuning_options(speed_level=2)
        tuning.loop_vectorization = vectorise
        tuning.slp_vectorization = vectorise
        builder = llvm.create_pass_builder(machine(), tuning)
        builder.getModulePassManager().run(module, builder)


def emit(module: Any, effort: int = 2) -> bytes:
    """Translate ``module`` to object code (ELF, Mach-O or, as MCJIT wants it on Windows, ELF again)."""
    with _lock:
        return bytes(machine(effort).emit_object(module))


def assembly(module: Any) -> str:
    """The assembly text of ``module``."""
    with _lock:
        return str(machine().emit_assembly(module))


@cache
def _jit() -> Any:
    """The one LLJIT instance of the process. It is never closed: libraries come and go in it."""
    from llvmlite.binding import orcjit

    return orcjit.create_lljit_compiler(host().machine())


def load(code: bytes, *names: str, given: Mapping[str, int] | None = None) -> Loaded:
    """Load object code and look up the functions ``names``. The code is unloaded when the result is dropped.

    ``given`` has addresses for names that the code leaves open; those of C functions are found in the process.
    """
    simply = objects.load(code, names, given or {})
    if simply is not None:
        return Loaded(*simply)
    with _lock:
        if os.name == "nt":
            return _load_mcjit(code, names, given or {})
        from llvmlite.binding import orcjit

        library = orcjit.JITLibraryBuilder().add_object_img(code).add_current_process()
        for name, address in (given or {}).items():
            library.import_symbol(name, address)
        for name in names:
            library.export_symbol(name)
        tracker = library.link(_jit(), f"retape{next(_library_numbers)}")
        return Loaded({name: int(tracker[name]) for name in names}, tracker)


def _load_mcjit(code: bytes, names: tuple[str, ...], given: Mapping[str, int]) -> Loaded:
    """Load through an execution engine of its own: slower (0.8 against 0.15 ms), but at home on Windows."""
    import llvmlite.binding as llvm

    for name, address in given.items():
        llvm.add_symbol(name, address)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), host().machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return Loaded({name: int(engine.get_function_address(name)) for name in names}, engine)


def compile_quickly(text: str, *names: str, given: Mapping[str, int] | None = None) -> Loaded:
    """Compile small hand-written code as it stands, or take it from the cache, and load it.

    In a new process that takes 7 ms once LLVM is there, where -O2 takes 32.
    """
    entry = fetch(lambda: Entry("", emit(parse(text), effort=0)), "text", text)
    return load(entry.code, *names, given=given)


def compile_well(text: str, *names: str, given: Mapping[str, int] | None = None) -> Loaded:
    """Compile hand-written code that much time is spent in at -O2, or take it from the cache, and load it."""
    def make() -> Entry:
        module = parse(text)
        optimise(module)
        return Entry("", emit(module))

    return load(fetch(make, "optimised text", text).code, *names, given=given)
