"""Less common names of torch for shapes, made of the common ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from retape.ir.errors import InvalidOperands, ShapeError
from retape.ir.shapes import broadcast_shapes as broadcast

from .arranging import diag
from .creation import bernoulli, tensor
from .shaping import mT, reshape, split, tensor_split
from .tensor import Tensor
from .vocabulary import composed, dims_of, primitive, refuse, tensor_of


@composed
def adjoint(input: Any) -> Tensor:
    """The last two dims exchanged, of complex matrices the conjugates."""
    turned = mT(tensor_of(input))
    return primitive("conj", turned) if turned._data.dtype.kind == "c" else turned


@composed
def reshape_as(input: Any, other: Tensor) -> Tensor:
    """`reshape` to another tensor's shape."""
    return reshape(input, *other.shape)


@composed
def hsplit(input: Any, indices_or_sections: Any) -> Any:
    """Parts along the second dim, of vectors along their only one."""
    x = tensor_of(input)
    return _split_at(x, indices_or_sections, 0 if x.ndim == 1 else 1, 1)


@composed
def vsplit(input: Any, indices_or_sections: Any) -> Any:
    """Parts along the first dim of two or more."""
    return _split_at(tensor_of(input), indices_or_sections, 0, 2)


@composed
def dsplit(input: Any, indices_or_sections: Any) -> Any:
    """Parts along the third dim."""
    return _split_at(tensor_of(input), indices_or_sections, 2, 3)


def _split_at(x: Tensor, at: Any, dim: int, rank: int) -> Any:
    refuse(x.ndim < rank, f"a split along dim {dim} of shape {x.shape}", f"it takes {rank} dims or more",
           "use `tensor_split`", ShapeError)
    refuse(isinstance(at, int) and (at < 1 or x.shape[dim] % at), f"{x.shape[dim]} elements in {at} parts",
           "the parts are equally large", "use `tensor_split`", ShapeError)
    return tensor_split(x, at, dim)


@composed
def split_with_sizes(input: Any, split_sizes: Sequence[int], dim: int = 0) -> Any:
    """Parts of the sizes given."""
    return split(input, list(split_sizes), dim)


@composed
def diagflat(input: Any, offset: int = 0) -> Tensor:
    """All elements on a diagonal."""
    return diag(tensor_of(input).reshape(-1), offset)


@composed
def sum_to_size(input: Any, *size: Any) -> Tensor:
    """Summed over the dims along which `size` was broadcast to this shape."""
    x, target = tensor_of(input), dims_of(size)
    lead = x.ndim - len(target)
    refuse(lead < 0 or any(t not in (1, e) for t, e in zip(target, x.shape[lead:], strict=True)),
           f"`sum_to_size` of shape {x.shape} to {target}", "the one must broadcast to the other",
           "use extents of 1 where sums are wanted", ShapeError)
    axes = (*range(lead), *(lead + i for i, t in enumerate(target) if t == 1 and x.shape[lead + i] != 1))
    return reshape(primitive("sum", x, axis=axes, keepdims=False), *target) if axes else x


@composed(method=False)
def broadcast_shapes(*shapes: Any) -> tuple[int, ...]:
    """The shape that shapes broadcast to."""
    return broadcast("broadcast_shapes", [(s,) if isinstance(s, int) else tuple(s) for s in shapes])


@composed(method=False)
def unravel_index(indices: Any, shape: Any) -> tuple[Tensor, ...]:
    """The coordinates of places in a flattened tensor."""
    flat, found = tensor_of(indices), []
    for extent in reversed((shape,) if isinstance(shape, int) else tuple(shape)):
        found.append(primitive("remainder", flat, extent))
        flat = primitive("floor_divide", flat, extent)
    return tuple(reversed(found))


@composed(method=False)
def scalar_tensor(s: Any, *, dtype: Any = None) -> Tensor:
    """A number as a tensor without dims, of the default float type."""
    from .creation import get_default_dtype

    return tensor(s, dtype=dtype or get_default_dtype())


@composed(method=False)
def asarray(obj: Any, *, dtype: Any = None, copy: bool | None = None) -> Tensor:
    """`as_tensor`; with `copy` over memory of its own."""
    from .creation import as_tensor

    return as_tensor(obj, dtype).clone() if copy else as_tensor(obj, dtype)


# ---- new tensors of this one's element type


def _made(name: str) -> Any:
    def method(self: Tensor, *size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
        from . import creation

        made: Tensor = getattr(creation, name)(*size, dtype=dtype or self.dtype, requires_grad=requires_grad)
        return made

    method.__doc__ = f"`{name}` of this tensor's element type."
    method.__name__ = method.__qualname__ = f"new_{name}"
    return method


for _name in ("zeros", "ones", "empty", "full", "tensor"):
    composed(name=f"new_{_name}")(_made(_name))


@composed
def cpu(input: Any) -> Tensor:
    """The tensor itself: all memory is the CPU's."""
    return tensor_of(input)


composed(name="bernoulli")(bernoulli)


# ---- questions


@composed
def is_signed(input: Tensor) -> bool:
    """Whether the element type has negative numbers."""
    return input._data.dtype.kind in "ifc"


@composed
def is_nonzero(input: Tensor) -> bool:
    """Whether the one element is not 0."""
    refuse(input.numel() != 1, f"`is_nonzero` of shape {input.shape}", "it asks for one element", "use `any` or `all`",
           InvalidOperands)
    return bool(input)


@composed
def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether both have one shape."""
    return input.shape == other.shape


@composed
def nelement(input: Tensor) -> int:
    """How many elements a tensor has."""
    return input.numel()


@composed
def ndimension(input: Tensor) -> int:
    """How many dims a tensor has."""
    return input.ndim


@composed(method=False)
def can_cast(from_: Any, to: Any) -> bool:
    """Whether one element type may become another in place: to the same kind (bool, integer, float, complex) or up."""
    from .numeric import dtype_named

    return dtype_named(from_).category <= dtype_named(to).category


