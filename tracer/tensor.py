"""`Tensor`: an ndarray with a memory of how it was made.

The class holds state and autograd only. Operators, methods and functions are derived from the op catalogue and the
compositions (see `surface.py`) and attached there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from retape.ir import DType, Op, dtype_of
from retape.ir.errors import LeafInplace, ShapeError, UnsupportedOp
from retape.ir.extents import product
from retape.ir.graph import Node

from .operators import Operators
from .state import describe, site, state

if TYPE_CHECKING:
    from .gradnode import GradNode

__all__ = ["Tensor", "wrap"]

_ndarray = np.ndarray


class Tensor(Operators):
    """A tensor over NumPy memory.

    Made by `rt.tensor`, `rt.from_numpy`, `rt.ones` and so on, and by every operation. `requires_grad` marks a leaf
    whose gradient is wanted; results of operations on it carry `grad_fn`.
    """

    __slots__ = ("__weakref__", "_base", "_data", "_grad", "_grad_fn", "_hooks", "_requires_grad", "_traced",
                 "_version")
    __array_priority__ = 1000.0

    _data: np.ndarray[Any, Any]
    _requires_grad: bool
    _grad_fn: GradNode | None
    _grad: Tensor | None
    _hooks: list[Callable[[Tensor], Any]] | None
    _version: list[Any]  # [count of in-place changes, where the last one was], shared by views
    _base: tuple[Tensor, int, Op, tuple[Any, ...]] | None  # what this is a view of, the count then, and how it was made
    _traced: tuple[Any, Node, int] | None  # the trace this belongs to, its node there, and the count at that time

    def __new__(cls, *args: Any, **kwargs: Any) -> Tensor:
        if args or kwargs:
            from .creation import tensor

            return tensor(*args, **kwargs)
        return object.__new__(cls)

    # ---- what it is

    @property
    def dtype(self) -> DType:
        return dtype_of(self._data.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        tracer = state.tracer
        shape: tuple[int, ...] = self._data.shape
        return shape if tracer is None or tracer.formulas is None else tracer.formulas.shape_of(self)

    def size(self, dim: int | None = None) -> Any:
        """The shape, or one extent of it."""
        if dim is None:
            return self.shape
        from .vocabulary import axis_of

        return self.shape[axis_of(dim, self)] if self._data.ndim else axis_of(dim, self)

    @property
    def ndim(self) -> int:
        return self._data.ndim

    def dim(self) -> int:
        return self._data.ndim

    def numel(self) -> int:
        return self._data.size if state.tracer is None else product(self.shape)

    def element_size(self) -> int:
        return int(self._data.itemsize)

    def is_contiguous(self) -> bool:
        self._layout_seen()
        return bool(self._data.flags.c_contiguous)

    def _layout_seen(self) -> None:
        """The layout of a tensor with extents of 0 or 1 says little about others."""
        if state.tracer is not None:
            all(extent > 1 for extent in self.shape)

    def stride(self) -> tuple[int, ...]:
        """Steps between neighbours along each dim, in elements."""
        if state.tracer is not None:
            all(int(extent) + 1 for extent in self.shape)
        return tuple(s // self._data.itemsize for s in self._data.strides)

    def data_ptr(self) -> int:
        return int(self._data.ctypes.data)

    def __len__(self) -> int:
        if not self._data.ndim:
            raise TypeError("len() of a 0-d tensor")
        return int(self.shape[0])

    def __iter__(self) -> Iterator[Tensor]:
        if not self._data.ndim:
            _refuse(UnsupportedOp, "iteration over a 0-d tensor", "it has no dim", "use the tensor itself")
        return (self[i] for i in range(self.shape[0]))

    def __repr__(self) -> str:
        from .formatting import format_tensor

        return format_tensor(self)

    def __format__(self, spec: str) -> str:
        from .numbers import settled

        return format(settled(self.item()), spec) if spec else repr(self)

    __hash__ = object.__hash__  # by identity: `==` compares elements

    # ---- looks at values: each is a guard of the trace that is being taken

    def _look(self, value: Any) -> Any:
        if state.tracer is not None:
            state.tracer.look(self, value)
        return value

    def item(self) -> Any:
        """The one element as a Python number. Raises `RuntimeError` where there are more or none."""
        if self._data.size != 1:
            _refuse(ShapeError, f"a Tensor with {self._data.size} elements cannot be converted to Scalar",
                    "a number is one element", "select one, or use `tolist()`")
        return self._numbers(self._data.item())

    def tolist(self) -> Any:
        return self._numbers(self._data.tolist())

    def _numbers(self, value: Any) -> Any:
        """The elements as Python numbers; while a trace is taken, as numbers that it records."""
        tracer = state.tracer
        if tracer is None or tracer.numbers is None or self._data.dtype.kind in "bc":
            return self._look(value)
        return tracer.numbers.of(tracer, self, value)

    def numpy(self, *, force: bool = False) -> np.ndarray[Any, Any]:
        """The elements as an ndarray that shares memory.

        Raises `RuntimeError` for a tensor that requires grad, unless `force`: changes through the array would escape.
        """
        if not force:
            self._refuse_numpy()
        self._look(self._data)
        return self._data

    def _refuse_numpy(self) -> None:
        if self._requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        self._refuse_numpy()
        self._look(self._data)
        return np.array(self._data, dtype=dtype, copy=copy)

    def __bool__(self) -> bool:
        if self._data.size != 1:
            many = "more than one value" if self._data.size else "no values"
            _refuse(ShapeError, f"Boolean value of Tensor with {many} is ambiguous", "it is not one", "use any or all")
        value = bool(self._data)
        if state.tracer is not None:
            state.tracer.look_at_truth(self, value)
        return value

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if self._data.dtype.kind not in "iub":
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    # ---- autograd

    @property
    def requires_grad(self) -> bool:
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Ask for (or stop asking for) the gradient of a leaf, in place. Raises `DtypeNotDifferentiable`."""
        from .apply import require_differentiable

        if not requires_grad and self._grad_fn is not None:
            raise RuntimeError("you can only change requires_grad flags of leaf variables. If you want to use a "
                               "computed variable in a subgraph that doesn't require differentiation use "
                               "var_no_grad = var.detach().")
        if requires_grad:
            require_differentiable(self)
        if self._requires_grad != bool(requires_grad):
            self._effect("a change of the `requires_grad` of a tensor")
        self._requires_grad = bool(requires_grad)
        return self

    @property
    def grad_fn(self) -> GradNode | None:
        return self._grad_fn

    @property
    def is_leaf(self) -> bool:
        return self._grad_fn is None

    @property
    def grad(self) -> Tensor | None:
        """The gradient accumulated by `backward()`; None where there was none."""
        if state.tracer is not None:
            state.tracer.read_grad(self)
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None and (value.shape != self.shape or value._data.dtype != self._data.dtype):
            raise RuntimeError(f"assigned grad has {value.dtype}{value.shape}, the tensor {self.dtype}{self.shape}")
        if state.tracer is not None:
            state.tracer.set_grad(self)
        self._grad = value

    def _effect(self, what: str) -> None:
        if state.tracer is not None:
            state.tracer.check_made([self], what)

    def retain_grad(self) -> None:
        """Have `backward()` fill `.grad` of a tensor that is no leaf, too."""
        if self._grad_fn is not None:
            self._grad_fn.retained = self

    def register_hook(self, hook: Callable[[Tensor], Any]) -> RemovableHandle:
        """Call `hook(grad)` when this tensor's gradient has been computed; what it returns replaces the gradient."""
        if not self._requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        owner: Any = self if self._grad_fn is None else self._grad_fn
        name = "_hooks" if owner is self else "hooks"
        if getattr(owner, name) is None:
            setattr(owner, name, [])
        hooks = getattr(owner, name)
        hooks.append(hook)
        return RemovableHandle(hooks, hook)

    def backward(
        self, gradient: Tensor | None = None, retain_graph: bool | None = None, create_graph: bool = False
    ) -> None:
        """Accumulate the gradient of this tensor into the `.grad` of the leaves it was computed from.

        `gradient` has this tensor's shape and may be left out for one element. `create_graph` records the backward
        pass itself, for derivatives of higher order; `retain_graph` keeps the saved values for another pass.
        Raises `NonScalarBackward`, `GradientMismatch`, `NoGradPath`, `SecondBackward`, `SavedTensorModified`.
        """
        from .engine import backward

        backward((self,), (gradient,), retain_graph, create_graph)

    def detach(self) -> Tensor:
        """The same memory, cut from the recorded graph."""
        out = wrap(self._data)
        out._version = self._version
        if state.tracer is not None:
            state.tracer.alias(self, out)
        return out

    def detach_(self) -> Tensor:
        """Cut this tensor itself from the recorded graph."""
        if self._base is not None and self._requires_grad:
            raise RuntimeError("Can't detach views in-place. Use detach() instead.")
        if state.tracer is not None:
            state.tracer.record_named("detach", (self,), self)
        self._grad_fn, self._requires_grad = None, False
        return self

    @property
    def data(self) -> Tensor:
        """The same memory without history, and with a version counter of its own."""
        out = wrap(self._data)
        if state.tracer is not None:
            state.tracer.alias(self, out)
        return out

    @data.setter
    def data(self, value: Any) -> None:
        array = value._data if isinstance(value, Tensor) else np.asarray(value)
        if array is not self._data:
            if state.tracer is not None:
                state.tracer.rebind(self, value)
            self._data = array

    def _changed(self) -> None:
        """Count an in-place change. Raises `LeafInplace` beforehand through `check_writable`."""
        self._version[0] += 1
        self._version[1] = site()

    def check_writable(self) -> None:
        """Raises `LeafInplace` where a write would lose a leaf's own derivative."""
        if self._requires_grad and self._grad_fn is None and state.grad_enabled:
            raise LeafInplace("a leaf that requires grad was written in place", ("where", describe(site())),
                              ("why", "its gradient would be that of a value it no longer has"),
                              fix="put the write under `with rt.no_grad():`")

    # ---- copying

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self._grad_fn is not None:
            raise RuntimeError("only leaf tensors support the deepcopy protocol; use clone() or detach() first")
        memo[id(self)] = out = self.detach().clone().requires_grad_(self._requires_grad)
        return out

    def __copy__(self) -> Tensor:
        return self.detach().requires_grad_(self._requires_grad and self._grad_fn is None)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._grad_fn is not None:
            raise RuntimeError("only leaf tensors can be pickled; use detach() first")
        from .creation import from_numpy

        return from_numpy, (self._data, self._requires_grad)


def _refuse(error: Any, what: str, why: str, fix: str) -> None:
    from .vocabulary import refuse

    refuse(True, what, why, fix, error)


class RemovableHandle:
    """Takes a hook off again."""

    def __init__(self, hooks: list[Any], hook: Any) -> None:
        self.hooks = hooks
        self.hook = hook

    def remove(self) -> None:
        if self.hook in self.hooks:
            self.hooks.remove(self.hook)


_new = object.__new__


def wrap(array: np.ndarray[Any, Any]) -> Tensor:
    """A new tensor over `array`'s memory: a leaf that requires no grad."""
    out = _new(Tensor)
    out._data = array
    out._requires_grad = False
    out._grad_fn = None
    out._grad = None
    out._hooks = None
    out._version = [0, None]
    out._base = None
    out._traced = None
    return out
