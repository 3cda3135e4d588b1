"""A numba target of our own that knows scalars, ranges, pointers and ``math``, and nothing else.

numba's CPU target loads every registry before its first compile: arrays, lists, strings, random numbers, and through
them all of ``scipy.linalg``. That is about 0.3 s in which nothing happens that a kernel needs. The target here is
registered through numba's target extension interface, so that the templates which ask "which target am I compiled for"
come back to it and do not load the CPU target behind our back. Import this module only when a kernel must be built.
"""

# mypy: disable-error-code="misc,no-any-return,no-untyped-call,name-defined,attr-defined"
from __future__ import annotations

from functools import cache
from typing import Any

from numba.core import callconv, cpu, cpu_options, dispatcher, fastmathpass, types, typing
from numba.core.datamodel import register_default
from numba.core.datamodel.models import OpaqueModel
from numba.core.descriptors import TargetDescriptor
from numba.core.errors import TypingError
from numba.core.target_extension import CPU, dispatcher_registry, target_registry
from numba.core.typing import templates

from . import jitted

NAME = "retape-kernel"


class KernelTarget(CPU):
    """The target that kernels are compiled for: a CPU with a short list of known functions."""


class CachedFunction(types.Function):
    """A function's type that remembers how it was resolved; numba goes through all candidates at every call."""

    def __init__(self, template: Any) -> None:
        super().__init__(template)
        self._resolved: dict[tuple[Any, ...], Any] = {}

    def get_call_type(self, context: Any, args: tuple[Any, ...], kws: Any) -> Any:
        if kws:
            return super().get_call_type(context, args, kws)
        key = tuple(types.unliteral(arg) for arg in args)
        found = self._resolved.get(key)
        if found is None:
            found = self._resolved[key] = super().get_call_type(context, args, kws)
        return found


register_default(CachedFunction)(OpaqueModel)


class TypingContext(typing.BaseContext):
    """Typing rules: numba's built-in operators, ``math``, our pointers and intrinsics."""

    def load_additional_registries(self) -> None:
        from numba.core.typing import mathdecl

        self.install_registry(jitted.typing_registry)
        self.install_registry(mathdecl.registry)

    def _load_builtins(self) -> None:
        from numba.core.typing import builtins  # noqa: F401  (importing registers the operators)

        self.install_registry(templates.builtin_registry)

    def install_registry(self, registry: Any) -> None:
        """Take over what is new in ``registry``, but for overloads written in Python.

        Each of those would be compiled for the CPU target, and drag that in.
        """
        loader = self._registries.setdefault(registry, None) or templates.RegistryLoader(registry)
        self._registries[registry] = loader
        for template in loader.new_registrations("functions"):
            if not hasattr(template, "_overload_func"):
                self.insert_function(template(self))
        for template in loader.new_registrations("attributes"):
            if not hasattr(template, "_overload_func"):
                self.insert_attributes(template(self))
        for value, kind in loader.new_registrations("globals"):
            if isinstance(kind, types.Function):
                kept = [t for t in kind.templates if not hasattr(t, "_overload_func")]
                if not kept:
                    continue
                kind = CachedFunction(kept)
            known = self._lookup_global(value)
            if known is not None:
                self._remove_global(value)
                kind = known.augment(kind) or kind
            self.insert_global(value, kind)

    def resolve_function_type(self, func: Any, args: Any, kws: Any) -> Any:
        """The signature of a call; the short way for the functions of this context."""
        known = func if isinstance(func, CachedFunction) else self._lookup_global(func)
        if isinstance(known, CachedFunction) and not kws:
            try:
                return known.get_call_type(self, tuple(args), {})
            except TypingError:
                pass  # the long way knows more candidates, and explains the failure
        return super().resolve_function_type(func, args, kws)

    def resolve_value_type(self, val: Any) -> Any:
        """The type of a global; functions and classes are looked up before numba imports its containers for them."""
        known = self._lookup_global(val) if isinstance(val, type) or callable(val) else None
        return super().resolve_value_type(val) if known is None else known


class TargetContext(cpu.CPUContext):
    """Lowering rules that match ``TypingContext``; no reference counting, no run-time library."""

    _implementations: dict[Any, Any] = {}

    def load_additional_registries(self) -> None:
        from numba.cpython import builtins, mathimpl, numbers, rangeobj, tupleobj  # noqa: F401

        self.install_registry(jitted.lowering_registry)
        self.install_registry(mathimpl.registry)

    def subtarget(self, **kws: Any) -> Any:
        """A copy with other options, and with implementations of its own: each is bound to its context."""
        copy = super().subtarget(**kws)
        copy._implementations = {}
        return copy

    def get_function(self, fn: Any, sig: Any, _firstcall: bool = True) -> Any:
        """The implementation of ``fn``; remembered, because numba inspects its signature at every call."""
        if not isinstance(fn, CachedFunction):
            return super().get_function(fn, sig, _firstcall)
        key = (fn, sig)
        found = self._implementations.get(key)
        if found is None:
            found = self._implementations[key] = super().get_function(fn, sig, _firstcall)
        return found

    def post_lowering(self, mod: Any, library: Any) -> None:
        if self.fastmath:
            fastmathpass.rewrite_module(mod, self.fastmath)


class KernelDescriptor(TargetDescriptor):
    """Ties the two contexts together for numba's lookups."""

    @property
    def typing_context(self) -> TypingContext:
        return contexts()[0]

    @property
    def target_context(self) -> TargetContext:
        return contexts()[1]


class KernelDispatcher(dispatcher.Dispatcher):
    """Never called: numba finds the contexts of a target through its dispatcher class."""

    targetdescr = KernelDescriptor(NAME)


target_registry[NAME] = KernelTarget
dispatcher_registry[KernelTarget] = KernelDispatcher


@cache
def contexts() -> tuple[TypingContext, TargetContext]:
    """The typing and the target context of kernels, made once."""
    typing_context = TypingContext()
    return typing_context, TargetContext(typing_context, NAME)


@cache
def full_contexts() -> tuple[Any, Any]:
    """numba's own CPU contexts with our pointers and intrinsics added: for kernels that call ``@njit`` functions."""
    from numba.core.registry import cpu_target

    typing_context, target_context = cpu_target.typing_context, cpu_target.target_context
    typing_context.install_registry(jitted.typing_registry)
    target_context.install_registry(jitted.lowering_registry)
    return typing_context, target_context


def specialise(target: Any, contract: bool) -> Any:
    """``target`` with the error model and the floating-point flags of kernels."""
    fastmath = cpu_options.FastMathOptions({"contract"} if contract else False)
    return target.subtarget(
        error_model=callconv.create_error_model("numpy", target), fastmath=fastmath if contract else False
    )
