"""Functions from functions (`rt.func`): `grad`, `value_and_grad`, `vjp`, `jvp`. Jacobians are in `jacobians`.

NumPy in, NumPy out: where no argument is a tensor, results are ndarrays and floats. Transforms nest, and may stand
inside or outside `rt.compile`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from retape.ir.errors import NonScalarBackward
from retape.ir.shapes import same_shape

from .apply import array_operand, located
from .engine import TENSORS, topological
from .engine import grad as engine_grad
from .state import _GradMode, state
from .tensor import Tensor
from .tree import flatten, unflatten


def _leaf(value: Any) -> bool:
    return isinstance(value, (Tensor, np.ndarray, float)) and not isinstance(value, bool)


def _variable(value: Any) -> Any:
    """A differentiable stand-in for an argument, connected with the graph that the argument belongs to."""
    from .creation import tensor

    if isinstance(value, Tensor):
        fresh = TENSORS.clone(value) if value._requires_grad else value.detach()
    elif isinstance(value, np.ndarray):
        fresh = array_operand(value)
    else:
        fresh = tensor(value, dtype="float64")
    return fresh if fresh._requires_grad else fresh.requires_grad_()


def numpy_out(args: Any, result: Any) -> Any:
    """Tensors of a result as arrays and floats where no argument was a tensor."""
    if state.tracer is not None or any(isinstance(leaf, Tensor) for leaf in flatten(args)[0]):
        return result
    leaves, tree = flatten(result)
    return unflatten(tree, [to_numpy(leaf) for leaf in leaves])


def to_numpy(leaf: Any) -> Any:
    """A tensor as an ndarray, or as a NumPy number where it has no dims; anything else as it is."""
    return leaf._data[()] if isinstance(leaf, Tensor) else leaf


def value_and_grad(
    function: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that gives the value of `function` and its gradient with respect to arguments `argnums`.

    `function` returns one element (and with `has_aux` something besides it). The gradient has the structure of the
    argument, or is a tuple of them. Raises `NonScalarBackward` where the value has more elements.
    """

    @wraps(function)
    def both(*args: Any, **kwargs: Any) -> Any:
        with _GradMode(True):
            called, targets, rebuilt = differentiated(args, argnums)
            result = function(*called, **kwargs)
            value, aux = result if has_aux else (result, None)
            gradients, nested = _gradients(value, targets)
        gradient = rebuilt(gradients)
        if not nested:
            value = value.detach()
        aux = released(aux, targets)
        return numpy_out((args, kwargs), (((value, aux), gradient) if has_aux else (value, gradient)))

    return both


def differentiated(
    args: Sequence[Any], argnums: int | tuple[int, ...],
) -> tuple[list[Any], list[Tensor], Callable[[Sequence[Any]], Any]]:
    """Arguments with variables in the places `argnums`, these variables, and what gives a list of parts, one for each
    variable, the structure of those arguments: of one, or a tuple of several. What isn't a float has no variable, and
    None for a part."""
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    flat = [flatten(args[n]) for n in numbers]
    variables = [[_variable(v) if _leaf(v) else v for v in leaves] for leaves, _ in flat]
    called = list(args)
    for n, (_, tree), leaves in zip(numbers, flat, variables, strict=True):
        called[n] = unflatten(tree, leaves)

    def rebuilt(parts: Sequence[Any]) -> Any:
        found = iter(parts)
        trees = [unflatten(tree, [next(found) if isinstance(v, Tensor) else None for v in leaves])
                 for (_, tree), leaves in zip(flat, variables, strict=True)]
        return trees[0] if isinstance(argnums, int) else tuple(trees)

    return called, [v for leaves in variables for v in leaves if isinstance(v, Tensor)], rebuilt


def released(value: Any, targets: list[Tensor]) -> Any:
    """The tensors of a structure cut off from the transform's own variables, unless an outer graph reaches them too."""
    leaves, tree = flatten(value)
    return unflatten(tree, [leaf if not isinstance(leaf, Tensor) or reaches_others(leaf, targets) else leaf.detach()
                            for leaf in leaves])


def reaches_others(value: Tensor, targets: Sequence[Tensor]) -> bool:
    """Whether tensors other than `targets` would receive a gradient: then backward has to be recorded, too."""
    own = {id(t) for t in targets}
    if value._grad_fn is None:
        return value._requires_grad and id(value) not in own
    nodes, _ = topological([value._grad_fn])
    stops = {id(t._grad_fn) for t in targets if t._grad_fn is not None}
    for node in nodes:
        if id(node) in stops:
            if any(edge is not None for edge in node.edges):
                return True
            continue
        for edge in node.edges:
            if isinstance(edge, Tensor) and id(edge) not in own:
                return True
    return False


def _gradients(value: Any, targets: list[Tensor]) -> tuple[list[Tensor], bool]:
    """The gradients, and whether an outer graph reaches the value, too."""
    if not isinstance(value, Tensor) or value._data.size != 1:
        shape = value.shape if isinstance(value, Tensor) else type(value).__name__
        raise located(NonScalarBackward(f"the function returned {shape}, a gradient needs one element",
                                        ("why", "each element of the result would have a gradient of its own"),
                                        fix="return a sum or a mean, or use `rt.func.vjp`"))
    if not value._requires_grad:
        return [TENSORS.full(shape=t.shape, value=0.0, dtype=t.dtype) for t in targets], False
    nested = reaches_others(value, targets)
    found = engine_grad(value, targets, create_graph=nested, retain_graph=nested, allow_unused=True)
    return [TENSORS.full(shape=t.shape, value=0.0, dtype=t.dtype) if g is None else g
            for g, t in zip(found, targets, strict=True)], nested


def grad(
    function: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that gives the gradient of `function` with respect to arguments `argnums`; see `value_and_grad`."""
    both = value_and_grad(function, argnums, has_aux)

    @wraps(function)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, found = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return gradient


def vjp(function: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., tuple[Any, ...]]]:
    """`function(*primals)` and a function from a cotangent of the result to cotangents of the primals.

    The cotangent has the result's structure, shapes and dtypes; the returned function can be called repeatedly.
    """
    with _GradMode(True):
        variables = [_variable(p) for p in primals]
        result = function(*variables)
    outputs = flatten(result)[0]

    def pull(cotangent: Any) -> tuple[Any, ...]:
        given = [c if isinstance(c, Tensor) else array_operand(np.asarray(c, o._data.dtype))
                 for c, o in zip(flatten(cotangent)[0], outputs, strict=True)]
        reachable = [(o, c) for o, c in zip(outputs, given, strict=True) if o._requires_grad]
        record = state.grad_enabled and (any(c._requires_grad for c in given) or any(
            reaches_others(o, variables) for o, _ in reachable))
        found: Sequence[Any] = [None] * len(variables)
        if reachable:
            found = engine_grad([o for o, _ in reachable], variables, [c for _, c in reachable], retain_graph=True,
                                create_graph=record, allow_unused=True)
        parts = tuple(TENSORS.full(shape=v.shape, value=0.0, dtype=v.dtype) if g is None else g
                      for g, v in zip(found, variables, strict=True))
        return tuple(numpy_out((primals, cotangent), parts))

    return numpy_out(primals, released(result, variables)), pull


def jvp(function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """`function(*primals)` and its directional derivative along `tangents`.

    A vector-Jacobian product is linear in its cotangent; the directional derivative is the transpose of that map,
    so it is found by differentiating the backward pass with respect to the cotangent.
    """
    with _GradMode(True):
        variables = [_variable(p) for p in primals]
        result = function(*variables)
        outputs, tree = flatten(result)
        seeds = [TENSORS.full(shape=o.shape, value=0.0, dtype=o.dtype).requires_grad_() for o in outputs]
        directions = [_like(t, v) for t, v in zip(tangents, variables, strict=True)]
        live = [(o, s) for o, s in zip(outputs, seeds, strict=True) if o._requires_grad]
        parts: Sequence[Any] = [None] * len(variables)
        if live:
            parts = engine_grad([o for o, _ in live], variables, [s for _, s in live], create_graph=True,
                                allow_unused=True)
        terms = [TENSORS.sum(g * d, axis=tuple(range(g.ndim)), keepdims=False)
                 for g, d in zip(parts, directions, strict=True) if g is not None and g._requires_grad]
        total = sum(terms[1:], start=terms[0]) if terms else None
        nested = any(p._requires_grad for p in primals if isinstance(p, Tensor)) or any(
            t._requires_grad for t in tangents if isinstance(t, Tensor))
        found: Sequence[Any] = [None] * len(seeds)
        if total is not None:
            found = engine_grad(total, seeds, create_graph=nested, allow_unused=True)
        zeros = [TENSORS.full(shape=o.shape, value=0.0, dtype=o.dtype) for o in outputs]
    pushed = [z if f is None else f for f, z in zip(found, zeros, strict=True)]
    return tuple(numpy_out((primals, tangents), (released(result, variables), unflatten(tree, pushed))))


def _like(tangent: Any, variable: Tensor) -> Tensor:
    from .creation import as_tensor

    given = as_tensor(tangent, variable.dtype)
    return given if same_shape(given.shape, variable.shape) else given.expand(*variable.shape)


