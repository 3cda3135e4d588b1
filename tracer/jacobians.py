"""Matrices of derivatives (`rt.func`): `jacrev`, `jacfwd`, `hessian`.

A row of a Jacobian is a cotangent pulled back, a column a tangent pushed forward. Rows (columns) are computed one
after the other; they share the function's value, and compiled code fuses what is equal in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from retape.ir.errors import InvalidOperands

from .apply import located
from .creation import eye, zeros
from .engine import grad as engine_grad
from .shaping import stack
from .state import _GradMode
from .tensor import Tensor
from .transforms import differentiated, numpy_out, reaches_others, released
from .tree import flatten, unflatten


def jacrev(
    function: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that gives the Jacobian of `function` with respect to arguments `argnums`, row by row.

    One backward pass for each element of the result: for functions with fewer results than arguments. For every
    tensor of the result, in its structure, there is what `grad` would give of one element: an array of the shape of
    the result and that of the argument. With `has_aux` the function returns something besides the result.
    """
    return _transform(_rows, function, argnums, has_aux)


def jacfwd(
    function: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that gives the Jacobian of `function` with respect to arguments `argnums`, column by column.

    One directional derivative for each element of the arguments: for functions with more results than arguments. Its
    structure is that of `jacrev`.
    """
    return _transform(_columns, function, argnums, has_aux)


def hessian(function: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """A function that gives the second derivatives of `function` with respect to arguments `argnums`.

    A backward pass over the gradient for each element of the arguments.
    """
    return jacrev(jacrev(function, argnums), argnums)


Blocks = list[list[Tensor]]  # for each output one Jacobian for each variable


def _transform(
    blocks: Callable[[list[Tensor], list[Tensor], bool], Blocks], function: Callable[..., Any],
    argnums: int | tuple[int, ...], has_aux: bool,
) -> Callable[..., Any]:
    @wraps(function)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        with _GradMode(True):
            called, variables, rebuilt = differentiated(args, argnums)
            result = function(*called, **kwargs)
            value, aux = result if has_aux else (result, None)
            outputs, tree = flatten(value)
            _only_tensors(outputs)
            nested = any(reaches_others(o, variables) for o in outputs)
            found = [rebuilt(parts) for parts in blocks(outputs, variables, nested)]
        aux = released(aux, variables)
        matrix = unflatten(tree, found)
        return numpy_out((args, kwargs), (matrix, aux) if has_aux else matrix)

    return jacobian


def _only_tensors(outputs: Sequence[Any]) -> None:
    wrong = next((o for o in outputs if not isinstance(o, Tensor)), None)
    if wrong is not None:
        raise located(InvalidOperands(f"the function returned {type(wrong).__name__}, a Jacobian needs tensors",
                                         ("why", "what is no tensor has no derivative"),
                                         fix="return tensors; return what else there is with `has_aux=True`"))


def _rows(outputs: list[Tensor], variables: list[Tensor], nested: bool) -> Blocks:
    """The Jacobians from one cotangent pulled back for each element of each output."""
    found: Blocks = []
    for output in outputs:
        rows = [_pulled([output], variables, [unit], nested) for unit in _units(output)]
        found.append([_block([row[k] for row in rows], v, output.shape) for k, v in enumerate(variables)])
    return found


def _columns(outputs: list[Tensor], variables: list[Tensor], nested: bool) -> Blocks:
    """The Jacobians from one tangent pushed forward for each element of each variable.

    What is pulled back is linear in the cotangents, and its transpose pushes forward (see `jvp`).
    """
    seeds = [zeros(*o.shape, dtype=o.dtype).requires_grad_() for o in outputs]
    pulled = _pulled(outputs, variables, seeds, True)
    found: Blocks = [[] for _ in outputs]
    for variable, part in zip(variables, pulled, strict=True):
        columns = [_pulled([part], seeds, [unit], nested) for unit in _units(variable)]
        for k, seed in enumerate(seeds):
            block, n = _block([column[k] for column in columns], seed, variable.shape), variable.ndim
            found[k].append(block.permute(*range(n, block.ndim), *range(n)) if n else block)
    return found


def _pulled(
    outputs: Sequence[Tensor | None], variables: list[Tensor], cotangents: Sequence[Tensor], record: bool,
) -> list[Tensor | None]:
    """The cotangents of variables, None where nothing leads to them."""
    live = [(o, c) for o, c in zip(outputs, cotangents, strict=True) if o is not None and o.requires_grad]
    if not live:
        return [None] * len(variables)
    tops, seeds = zip(*live, strict=True)
    return list(engine_grad(tops, variables, seeds, retain_graph=True, create_graph=record, allow_unused=True))


def _units(like: Tensor) -> list[Tensor]:
    """The unit vectors of the space in which a tensor lies."""
    size = like.numel()
    whole = eye(size, dtype=like.dtype).reshape(size, *like.shape)
    return [whole[k] for k in range(size)]


def _block(parts: Sequence[Tensor | None], one: Tensor, lead: Sequence[int]) -> Tensor:
    """Parts of the shape of `one` as one tensor with leading dims `lead`; None counts as zeros."""
    if all(part is None for part in parts):
        return zeros(*lead, *one.shape, dtype=one.dtype)
    nothing = zeros(*one.shape, dtype=one.dtype)
    return stack([nothing if part is None else part for part in parts]).reshape(*lead, *one.shape)
