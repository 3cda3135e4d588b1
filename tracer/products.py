"""Products: of matrices and batches of them, and sums of products over named indices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from retape.ir.errors import InvalidOperands, ShapeError
from retape.ir.ops.products import mismatch

from .apply import located
from .bits import conj
from .shaping import diagonal
from .tensor import Tensor
from .vocabulary import axis_of, composed, primitive, refuse, tensor_of


@composed
def matmul(input: Any, other: Any) -> Tensor:
    """Matrix product: vectors are rows or columns as needed, dims before the last two broadcast."""
    x, y = tensor_of(input), tensor_of(other)
    left, right = x.ndim == 1, y.ndim == 1
    if not x.ndim or not y.ndim or x.shape[-1] != y.shape[0 if right else -2]:
        raise located(mismatch(x.shape, y.shape))
    if left:
        x = primitive("reshape", x, shape=(1, *x.shape))
    if right:
        y = primitive("reshape", y, shape=(*y.shape, 1))
    out = primitive("matmul", x, y)
    if left or right:
        shape = out.shape[: out.ndim - 2]
        kept = () if left and right else (out.shape[-1],) if left else (out.shape[-2],)
        out = primitive("reshape", out, shape=(*shape, *kept))
    return out


def _ranked(name: str, left: int, right: int, doc: str) -> Any:
    def product(input: Any, mat2: Any) -> Tensor:
        x, y = tensor_of(input), tensor_of(mat2)
        refuse((x.ndim, y.ndim) != (left, right), f"`{name}` of shapes {x.shape} and {y.shape}",
               f"it takes tensors of rank {left} and {right}", "use `matmul`", ShapeError)
        refuse(left == 3 and x.shape[0] != y.shape[0], f"`{name}` of shapes {x.shape} and {y.shape}",
               "the batches differ", "use `matmul`, which broadcasts them", ShapeError)
        return matmul(x, y)

    product.__name__ = product.__qualname__ = name
    product.__doc__ = doc
    return composed(name=name)(product)


mm = _ranked("mm", 2, 2, "Product of two matrices.")
bmm = _ranked("bmm", 3, 3, "Products of two batches of matrices.")
mv = _ranked("mv", 2, 1, "Product of a matrix and a vector.")
dot = _ranked("dot", 1, 1, "Sum of the products of two vectors' elements.")


@composed
def inner(input: Any, other: Any) -> Tensor:
    """Sums of products over the last dims of both."""
    x, y = tensor_of(input), tensor_of(other)
    if not x.ndim or not y.ndim:
        return x * y
    return tensordot(x, y, ([-1], [-1]))


@composed
def outer(input: Any, vec2: Any) -> Tensor:
    """All products of two vectors' elements."""
    x, y = tensor_of(input), tensor_of(vec2)
    return primitive("reshape", x, shape=(x.numel(), 1)) * y


def _added(name: str, product: Any, doc: str) -> None:
    def function(input: Any, left: Any, right: Any, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
        x, term = tensor_of(input), product(left, right)
        out: Tensor = (x if beta == 1 else x * beta) + (term if alpha == 1 else term * alpha)
        return out

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    composed(name=name, in_place=True)(function)


_added("addmm", mm, "`beta * input + alpha * (left @ right)` for matrices.")
_added("addmv", mv, "`beta * input + alpha * (left @ right)` for a matrix and a vector.")
_added("addr", outer, "`beta * input + alpha * outer(left, right)`.")
_added("baddbmm", bmm, "`beta * input + alpha * (left @ right)` for batches of matrices.")
_added("addbmm", lambda x, y: primitive("sum", bmm(x, y), axis=(0,), keepdims=False),
       "`beta * input + alpha` times the sum of a batch of products.")


@composed(method=False)
def chain_matmul(*matrices: Any) -> Tensor:
    """The product of matrices, from left to right."""
    out = tensor_of(matrices[0])
    for matrix in matrices[1:]:
        out = matmul(out, matrix)
    return out


@composed
def tensordot(a: Any, b: Any, dims: Any = 2) -> Tensor:
    """Sums of products over the last `dims` dims of `a` and the first of `b`, or over the pairs named."""
    x, y = tensor_of(a), tensor_of(b)
    if isinstance(dims, int):
        left, right = list(range(x.ndim - dims, x.ndim)), list(range(dims))
    else:
        left, right = ([axis_of(d, t) for d in ([ds] if isinstance(ds, int) else ds)]
                       for t, ds in zip((x, y), dims, strict=True))
    refuse(len(left) != len(right) or any(x.shape[i] != y.shape[j] for i, j in zip(left, right, strict=False)),
           f"`tensordot` of shapes {x.shape} and {y.shape} over dims {left} and {right}", "extents of a pair differ",
           "name dims of equal extents", ShapeError)
    rows, columns = ([i for i in range(t.ndim) if i not in used] for t, used in ((x, left), (y, right)))
    count = math.prod(x.shape[i] for i in left)
    first = primitive("permute", x, axes=(*rows, *left)).reshape(math.prod(x.shape[i] for i in rows), count)
    second = primitive("permute", y, axes=(*right, *columns)).reshape(count, math.prod(y.shape[i] for i in columns))
    return primitive("matmul", first, second).reshape(*(x.shape[i] for i in rows), *(y.shape[i] for i in columns))


@composed
def kron(input: Any, other: Any) -> Tensor:
    """Kronecker product: every element of `input` times all of `other`, in blocks."""
    x, y = tensor_of(input), tensor_of(other)
    rank = max(x.ndim, y.ndim)
    a, b = ((1,) * (rank - t.ndim) + t.shape for t in (x, y))
    wide = x.reshape([e for extent in a for e in (extent, 1)]) * y.reshape([e for extent in b for e in (1, extent)])
    return wide.reshape([p * q for p, q in zip(a, b, strict=True)])


@composed
def vecdot(x: Any, y: Any, *, dim: int = -1) -> Tensor:
    """Sums of products along a dim; of complex numbers the first is conjugated."""
    product = conj(x) * tensor_of(y)
    return primitive("sum", product, axis=(axis_of(dim, product),), keepdims=False)


@composed
def cross(input: Any, other: Any, dim: int = -1) -> Tensor:
    """Cross product of vectors of three elements along a dim."""
    x, y = tensor_of(input), tensor_of(other)
    refuse(3 not in (x.shape[dim], y.shape[dim]), f"`cross` of shapes {x.shape} and {y.shape}",
           f"dim {dim} needs the extent 3", "name the dim that holds the vectors", ShapeError)
    return x.roll(-1, dim) * y.roll(-2, dim) - x.roll(-2, dim) * y.roll(-1, dim)


# ---- einsum


@composed(method=False)
def einsum(equation: Any, *operands: Any) -> Tensor:
    """Sums of products over named indices, as in "ij,jk->ik"; "..." stands for dims that broadcast.

    Indices may also be numbers, in a list behind each operand and one for the result: `einsum(a, [0, 1], b, [1, 2],
    [0, 2])`.
    """
    if not isinstance(equation, str):
        equation, operands = _named((equation, *operands))
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    tensors = [tensor_of(o) for o in operands]
    terms, result = _parsed(equation, tensors)
    sizes: dict[str, int] = {}
    for number, (term, tensor) in enumerate(zip(terms, tensors, strict=True)):
        tensors[number], terms[number] = _diagonals(tensor, term)
        for name, extent in zip(terms[number], tensors[number].shape, strict=True):
            refuse(1 not in (extent, sizes.get(name, extent)) and sizes.get(name, extent) != extent,
                   f"`einsum` {equation!r}: index {name!r} is {sizes.get(name)} and {extent}",
                   "an index has one extent", "check the order of the indices", ShapeError)
            sizes[name] = max(extent, sizes.get(name, 1)) if extent else 0
    while len(tensors) > 1:
        later = set(result).union(*terms[2:])
        product, names = _contracted(tensors[0], terms[0], tensors[1], terms[1], later)
        tensors[:2], terms[:2] = [product], [names]
    tensor, term = tensors[0], terms[0]
    dropped = tuple(i for i, name in enumerate(term) if name not in result)
    if dropped:
        tensor = primitive("sum", tensor, axis=dropped, keepdims=False)
        term = "".join(name for name in term if name in result)
    if term != result:
        tensor = primitive("permute", tensor, axes=tuple(term.index(name) for name in result))
    return tensor


def _named(given: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """The equation and the operands of a call with numbers for indices."""
    count = len(given) // 2
    operands, lists = given[: 2 * count : 2], [*given[1 : 2 * count : 2], *given[2 * count :]]
    known = set(range(26)) | {...}
    refuse(not count or not all(isinstance(one, (list, tuple)) and known.issuperset(one) for one in lists),
           "`einsum` without an equation", "indices are numbers from 0 to 25, in a list behind each operand",
           'write an equation, as in `einsum("ij,jk->ik", a, b)`', InvalidOperands)
    terms = ["".join("..." if i is ... else chr(ord("a") + i) for i in one) for one in lists]
    return ",".join(terms[:count]) + "".join(f"->{term}" for term in terms[count:]), operands


def _parsed(equation: str, tensors: Sequence[Tensor]) -> tuple[list[str], str]:
    """Index names of the operands and the result; the dims of an ellipsis are capital letters of their own."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    refuse(len(terms) != len(tensors), f"`einsum` {equation!r} of {len(tensors)} operands",
           f"it names {len(terms)}", "give one term for each operand", ShapeError)
    widths = [t.ndim - len(term.replace("...", "")) if "..." in term else 0
              for term, t in zip(terms, tensors, strict=True)]
    free = [chr(0x4E00 + i) for i in range(max(widths, default=0))]  # letters that no equation uses
    full = [term.replace("...", "".join(free[len(free) - w :])) for term, w in zip(terms, widths, strict=True)]
    for term, tensor in zip(full, tensors, strict=True):
        refuse(len(term) != tensor.ndim, f"`einsum` {equation!r}: {len(term)} indices for shape {tensor.shape}",
               "each dim has one index", "name every dim, or use `...`", ShapeError)
    if arrow:
        return full, right.replace("...", "".join(free))
    letters = left.replace("...", "").replace(",", "")
    return full, "".join(free) + "".join(sorted(name for name in set(letters) if letters.count(name) == 1))


def _diagonals(tensor: Tensor, term: str) -> tuple[Tensor, str]:
    """An index that stands twice in a term takes the diagonal."""
    for name in dict.fromkeys(term):
        while term.count(name) > 1:
            first = term.index(name)
            second = term.index(name, first + 1)
            tensor = diagonal(tensor, 0, first, second)
            term = term[:first] + term[first + 1 : second] + term[second + 1 :] + name
    return tensor, term


def _contracted(x: Tensor, left: str, y: Tensor, right: str, later: set[str]) -> tuple[Tensor, str]:
    """The product of two operands, summed over the indices that nothing later names, as one batched matmul."""
    for tensor, term, other in ((x, left, right), (y, right, left)):
        alone = tuple(i for i, n in enumerate(term) if n not in other and n not in later)
        if alone:
            tensor = primitive("sum", tensor, axis=alone, keepdims=False)
            term = "".join(n for i, n in enumerate(term) if i not in alone)
            return _contracted(tensor, term, y, right, later) if other is right else \
                _contracted(x, left, tensor, term, later)
    shared = [n for n in left if n in right]
    batch = [n for n in shared if n in later]
    inner = [n for n in shared if n not in later]
    rows, columns = [n for n in left if n not in right], [n for n in right if n not in left]
    # extents of 1 broadcast
    size = {n: max(x.shape[left.index(n)], y.shape[right.index(n)])
            if 0 not in (x.shape[left.index(n)], y.shape[right.index(n)]) else 0 for n in shared}
    x = primitive("expand", x, shape=tuple(size.get(n, e) for n, e in zip(left, x.shape, strict=True)))
    y = primitive("expand", y, shape=tuple(size.get(n, e) for n, e in zip(right, y.shape, strict=True)))
    lead = tuple(size[n] for n in batch)
    count = math.prod(size[n] for n in inner)
    m = tuple(x.shape[left.index(n)] for n in rows)
    k = tuple(y.shape[right.index(n)] for n in columns)
    a = primitive("permute", x, axes=tuple(left.index(n) for n in (*batch, *rows, *inner)))
    b = primitive("permute", y, axes=tuple(right.index(n) for n in (*batch, *inner, *columns)))
    out = primitive("matmul", a.reshape(*lead, math.prod(m), count), b.reshape(*lead, count, math.prod(k)))
    return out.reshape(*lead, *m, *k), "".join([*batch, *rows, *columns])


@composed
def vdot(input: Any, other: Any) -> Tensor:
    """The product of two vectors, the first one's elements conjugated."""
    x, y = tensor_of(input), tensor_of(other)
    out: Tensor = dot(conj(x) if x._data.dtype.kind == "c" else x, y)
    return out
