"""Custom operations: `Function` with its own forward and backward."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from retape.ir.errors import SavedTensorModified
from retape.ir.shapes import same_shape

from .gradnode import attach_outputs
from .state import _GradMode, describe, site, state
from .tensor import Tensor, wrap


class Context:
    """What `forward` leaves for `backward`: saved tensors, flags, and any attribute set on it."""

    def __init__(self) -> None:
        self.needs_input_grad: tuple[bool, ...] = ()
        self._saved: list[tuple[Any, int]] = []
        self._outputs: tuple[Tensor, ...] = ()
        self._constant: frozenset[int] = frozenset()

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep inputs or outputs of `forward`; a later change in place is noticed."""
        self._saved = [(t, t._version[0] if t is not None else 0) for t in tensors]

    def mark_non_differentiable(self, *outputs: Tensor) -> None:
        """These outputs get no gradient."""
        self._constant = frozenset(id(t) for t in outputs)

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What was saved, with its history. Raises `SavedTensorModified`."""
        for tensor, version in self._saved:
            if tensor is not None and tensor._version[0] != version:
                raise SavedTensorModified(
                    "a tensor saved by a custom Function was changed in place",
                    ("changed", describe(tensor._version[1])),
                    ("why", "the derivative is taken at the values that were there before"),
                    fix="write `x = x + 1` in place of `x += 1`, or pass `x.clone()`")
        return tuple(t.restore() if isinstance(t, _SavedOutput) else t for t, _ in self._saved)


class Function:
    """Base of custom operations; subclasses define two static methods and are called through `apply`.

        class Exp(rt.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                y = x.exp()
                ctx.save_for_backward(y)
                return y

            @staticmethod
            def backward(ctx, grad):
                (y,) = ctx.saved_tensors
                return grad * y

        y = Exp.apply(x)
    """

    @staticmethod
    def forward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("a Function defines the static method forward(ctx, ...)")

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise NotImplementedError("a Function defines the static method backward(ctx, ...)")

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run `forward` without recording, and record the whole as one operation."""
        ctx = Context()
        ctx.needs_input_grad = tuple(isinstance(a, Tensor) and a._requires_grad for a in args)
        with _GradMode(False):
            result = cls.forward(ctx, *args, **kwargs)
        outputs = list(result) if isinstance(result, tuple) else [result]
        for position, out in enumerate(outputs):
            if any(out is a for a in args):  # an input handed through is a new result
                outputs[position] = _alias(out)
        if state.grad_enabled and any(ctx.needs_input_grad):
            cls._record(ctx, args, outputs)
        return tuple(outputs) if isinstance(result, tuple) else outputs[0]

    @classmethod
    def _record(cls, ctx: Context, args: tuple[Any, ...], outputs: list[Any]) -> None:
        tensors = [a for a in args if isinstance(a, Tensor)]
        results = [out for out in outputs if isinstance(out, Tensor)]
        skip = frozenset(i for i, out in enumerate(results) if id(out) in ctx._constant)
        attach_outputs(cls.__name__, results, tensors, lambda cts, on_tensors: _pull(cls, ctx, args, results_meta, cts,
                                                                                    on_tensors), skip)
        results_meta = [(out.shape, out._data.dtype) for out in results]
        # a saved output must not hold itself alive: its values are kept, and its node as long as others need it
        ctx._saved = [(_SavedOutput(t) if any(t is out for out in results) else t, v) for t, v in ctx._saved]
        if state.tracer is not None:
            for out in results:
                state.tracer.record_named("opaque", (out, *(t for t in tensors if t._requires_grad)), out,
                                          (cls.__name__,))


def _alias(out: Tensor) -> Tensor:
    alias = wrap(out._data)
    alias._version, alias._traced = out._version, out._traced
    return alias


class _SavedOutput:
    """An output that its own backward needs, without the reference that would make a cycle."""

    def __init__(self, out: Tensor) -> None:
        self.alias = _alias(out)
        self.node = weakref.ref(out._grad_fn) if out._grad_fn is not None else None
        self._version = out._version

    def restore(self) -> Tensor:
        out = _alias(self.alias)
        if self.node is not None:
            out._grad_fn, out._requires_grad = self.node(), True
        return out


def _pull(
    cls: type[Function], ctx: Context, args: tuple[Any, ...], metas: list[Any], cts: list[Any], on_tensors: bool
) -> list[Any]:
    """Run the user's backward on tensors and hand its results to the tensor arguments."""
    given = []
    for ct, (shape, dtype) in zip(cts, metas, strict=True):
        if ct is None:
            ct = np.zeros(shape, dtype)
        given.append(ct if isinstance(ct, Tensor) else wrap(np.asarray(ct)))
    result = cls.backward(ctx, *given)
    parts = result if isinstance(result, tuple) else (result,)
    if len(parts) < len(args) or any(part is not None for part in parts[len(args) :]):
        raise RuntimeError(f"function {cls.__name__}Backward returned an incorrect number of gradients "
                           f"(expected {len(args)}, got {len(parts)}), at {describe(site())}")
    found = []
    for arg, part in zip(args, parts, strict=False):
        if not isinstance(arg, Tensor):
            continue
        if part is not None and not same_shape(part.shape, arg.shape):
            raise RuntimeError(f"function {cls.__name__}Backward returned a gradient of shape {part.shape} for an "
                               f"input of shape {arg.shape}")
        found.append(part if part is None or on_tensors else part._data)
    return found
