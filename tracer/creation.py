"""Making tensors: from data, filled, by counting, and at random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from retape.ir import CATALOGUE, Array, DType, TensorType, dtype_of, promote
from retape.ir.extents import plain, whole
from retape.ir.types import complex_of, default_float, set_default_float

from .apply import apply, array_operand, as_operand, is_recorded, operand_type, plain_array, require_differentiable
from .randomness import Draw, Generator, default_generator
from .state import state
from .tensor import Tensor, wrap

PLAIN = {bool, int, float, complex, list, tuple}


def set_default_dtype(dtype: Any) -> None:
    """The element type of tensors made from Python floats. Raises `TypeError` where it is no float type."""
    found = dtype_of(dtype)
    if not found.is_floating_point:
        raise TypeError(f"only floating-point types can be the default, not {found.name}")
    set_default_float(found)


def get_default_dtype() -> DType:
    """The element type of tensors made from Python floats; float32 unless changed."""
    return default_float()


def _finished(out: Tensor, requires_grad: bool) -> Tensor:
    if requires_grad:
        require_differentiable(out)
        out._requires_grad = True
    return out


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A new tensor with a copy of `data`: a number, an array, a tensor, or nested lists of these.

    Python floats give the default dtype (float32), integers int64; arrays, NumPy's numbers and tensors keep theirs, and
    several in a list are promoted as in an operation. Raises `InvalidOperands` where lists differ in length.
    """
    if isinstance(data, Tensor):
        out = data.detach().clone()
        return _finished(out if dtype is None else out.to(dtype), requires_grad)
    if isinstance(data, (np.ndarray, np.generic)):
        data = plain_array(data)
        if state.tracer is not None:
            copied = array_operand(np.asarray(data)).clone()
            return _finished(copied if dtype is None else copied.to(dtype), requires_grad)
        array = np.array(data, dtype=dtype_of(data.dtype if dtype is None else dtype).numpy)
    else:
        leaves = [] if _kinds(data) <= PLAIN else list(_leaves(data))
        if dtype is None and any(isinstance(leaf, (Tensor, np.ndarray, np.generic)) or is_recorded(leaf)
                                 for leaf in leaves):
            dtype = promote(tuple(map(_leaf_type, leaves)))
        if any(isinstance(leaf, (Tensor, np.ndarray)) or is_recorded(leaf) for leaf in leaves):
            return _finished(_assembled(data, dtype_of(dtype)).detach(), requires_grad)
        array = np.array(data)
        if array.dtype.kind in "fc" and dtype is None:
            dtype = default_float() if array.dtype.kind == "f" else complex_of(default_float())
        array = array.astype(dtype_of(dtype or array.dtype).numpy, copy=False)
    return _finished(constant(array), requires_grad)


def _kinds(data: Any) -> set[type]:
    """The types of what nested lists and tuples hold, and of these themselves."""
    if not isinstance(data, (list, tuple)):
        return {type(data)}
    found = set(map(type, data))
    if any(issubclass(kind, (list, tuple)) for kind in found):
        found.update(*map(_kinds, data))
    return found


def _leaves(data: Any) -> Iterator[Any]:
    """What nested lists and tuples hold."""
    if isinstance(data, (list, tuple)):
        for part in data:
            yield from _leaves(part)
    else:
        yield data


def _leaf_type(leaf: Any) -> Any:
    """What a leaf counts as in promotion; all have the same say, however many dims they have."""
    if isinstance(leaf, (np.ndarray, np.generic)):
        return TensorType(dtype_of(leaf.dtype), ())
    operand = as_operand(leaf)
    if not isinstance(operand, Tensor):
        return plain(operand)
    found = operand_type(operand)
    return found if found.weak else TensorType(found.dtype, ())


def _assembled(data: Any, dtype: DType) -> Tensor:
    """Nested lists in which tensors or arrays stand, stacked: in a trace they are operands, not constants."""
    from .shaping import stack

    if isinstance(data, (list, tuple)):
        return stack([_assembled(part, dtype) for part in data])
    leaf = data if isinstance(data, np.generic) else as_operand(data)
    return leaf.to(dtype) if isinstance(leaf, Tensor) else constant(np.asarray(leaf), dtype)


def constant(array: np.ndarray[Any, Any], dtype: Any = None) -> Tensor:
    """A tensor of values that are the same at every call of the code that makes it; in a trace, part of the program."""
    array = array if dtype is None else array.astype(dtype_of(dtype).numpy)
    out = wrap(array)
    if state.tracer is not None:
        literal = Array(array, TensorType(dtype_of(array.dtype), array.shape))
        state.tracer.record(CATALOGUE["constant"], (), (literal,), out, False)
    return out


def from_numpy(array: np.ndarray[Any, Any], requires_grad: bool = False) -> Tensor:
    """A tensor that shares the array's memory."""
    return _finished(array_operand(array), requires_grad)


def as_tensor(data: Any, dtype: Any = None) -> Tensor:
    """`data` itself where it is a tensor (of that dtype), else a tensor over or with its values."""
    out = data if isinstance(data, Tensor) else array_operand(data) if isinstance(data, np.ndarray) else tensor(data)
    return out if dtype is None else out.to(dtype)


def _shape(size: tuple[Any, ...]) -> tuple[int, ...]:
    given = size[0] if len(size) == 1 and isinstance(size[0], (tuple, list)) else size
    return tuple(whole(extent) for extent in given)


def full(
    size: Sequence[int], fill_value: Any, *, dtype: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of shape `size` with `fill_value` everywhere (a number, or a one-element tensor)."""
    if isinstance(fill_value, Tensor):
        value = fill_value if dtype is None else fill_value.to(dtype)
        return apply(CATALOGUE["clone"], (apply(CATALOGUE["expand"], (value.reshape(()),), (_shape((size,)),)),))
    floating = dtype is None and isinstance(fill_value, float)
    kind = default_float() if floating else dtype_of(dtype or fill_value.__class__)
    if is_recorded(fill_value) and isinstance(operand := as_operand(fill_value), Tensor):
        return _finished(full(size, operand.to(kind)), requires_grad)
    return _finished(apply(CATALOGUE["full"], (), (_shape((size,)), fill_value, kind)), requires_grad)


def zeros(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of a shape, given as `zeros(2, 3)` or `zeros((2, 3))`."""
    return full(_shape(size), 0, dtype=dtype or default_float(), requires_grad=requires_grad)


def ones(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of a shape, given as `ones(2, 3)` or `ones((2, 3))`."""
    return full(_shape(size), 1, dtype=dtype or default_float(), requires_grad=requires_grad)


def zeros_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of another tensor's shape and dtype."""
    return full(input.shape, 0, dtype=dtype or input.dtype, requires_grad=requires_grad)


def ones_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of another tensor's shape and dtype."""
    return full(input.shape, 1, dtype=dtype or input.dtype, requires_grad=requires_grad)


def full_like(input: Tensor, fill_value: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """One value in another tensor's shape and dtype."""
    return full(input.shape, fill_value, dtype=dtype or input.dtype, requires_grad=requires_grad)


def empty(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of a shape for values to come; zeros until then."""
    return zeros(*size, dtype=dtype, requires_grad=requires_grad)


def empty_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of another's shape and dtype for values to come; zeros until then."""
    return zeros_like(input, dtype=dtype, requires_grad=requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """The identity matrix, n x m."""
    rows, columns = arange(n).reshape(n, 1), arange(n if m is None else m)
    return _finished((rows == columns).to(dtype or default_float()), requires_grad)


def arange(start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """`start`, `start + step`, ... below `end`; integers unless a bound is a float."""
    start, end = (0, start) if end is None else (start, end)
    start, end, step = (v.item() if isinstance(v, Tensor) else v for v in (start, end, step))
    fractional = any(isinstance(v, float) for v in (start, end, step))
    kind = dtype_of(dtype) if dtype is not None else default_float() if fractional else dtype_of("int64")
    return _finished(apply(CATALOGUE["arange"], (), (start, end, step, kind)), requires_grad)


def linspace(start: float, end: float, steps: int, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """`steps` values from `start` to `end`, both included."""
    kind = dtype_of(dtype or default_float())
    if steps == 1:
        return full((1,), start, dtype=kind, requires_grad=requires_grad)
    count = arange(0, steps, dtype=kind)
    return _finished(count * ((end - start) / (steps - 1)) + start, requires_grad)


def logspace(start: float, end: float, steps: int, base: float = 10.0, *, dtype: Any = None) -> Tensor:
    """`steps` powers of `base`, their exponents evenly spaced from `start` to `end`."""
    return apply(CATALOGUE["pow"], (base, linspace(start, end, steps, dtype=dtype)))


# ---- random numbers


def manual_seed(seed: int) -> Generator:
    """Seed the default generator."""
    return default_generator.manual_seed(seed)


def _random(name: str, draw: Any, size: tuple[int, ...], generator: Generator | None, dtype: Any,
            requires_grad: bool) -> Tensor:
    kind = dtype_of(dtype or default_float()).numpy
    source = generator or default_generator

    def drawn(rng: np.random.Generator, size: tuple[int, ...]) -> Any:
        return draw(rng, size, kind)

    if state.tracer is not None:
        return _finished(state.tracer.draw(name, Draw(source, drawn, size)), requires_grad)
    return _finished(wrap(drawn(source.state, size)), requires_grad)


def randn(*size: Any, dtype: Any = None, requires_grad: bool = False, generator: Generator | None = None) -> Tensor:
    """Standard normal numbers."""
    return _random("randn", lambda rng, shape, kind: np.asarray(rng.standard_normal(shape)).astype(kind), _shape(size),
                   generator, dtype, requires_grad)


def rand(*size: Any, dtype: Any = None, requires_grad: bool = False, generator: Generator | None = None) -> Tensor:
    """Uniform numbers from [0, 1)."""
    return _random("rand", lambda rng, shape, kind: np.asarray(rng.random(shape, dtype=kind)), _shape(size), generator,
                   dtype, requires_grad)


def randint(low: int, high: int | None = None, size: Any = (), *, dtype: Any = "int64",
            generator: Generator | None = None) -> Tensor:
    """Uniform integers from [low, high), or [0, low)."""
    first, last = (int(b) for b in ((0, low) if high is None else (low, high)))
    return _random("randint", lambda rng, shape, kind: np.asarray(rng.integers(first, last, size=shape)).astype(kind),
                   _shape((size,)), generator, dtype, False)


def randperm(n: int, *, generator: Generator | None = None) -> Tensor:
    """The integers below `n` in random order."""
    return _random("randperm", lambda rng, shape, kind: rng.permutation(*shape), (whole(n),), generator, "int64", False)


def randn_like(input: Tensor, *, dtype: Any = None) -> Tensor:
    """Standard normal numbers of another tensor's shape and dtype."""
    return randn(*input.shape, dtype=dtype or input.dtype)


def rand_like(input: Tensor, *, dtype: Any = None) -> Tensor:
    """Uniform numbers of another tensor's shape and dtype."""
    return rand(*input.shape, dtype=dtype or input.dtype)


def randint_like(input: Tensor, low: int, high: int | None = None, *, dtype: Any = None) -> Tensor:
    """Uniform integers of another tensor's shape and dtype."""
    return randint(low, high, input.shape, dtype=dtype or input.dtype)


def normal(mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None) -> Tensor:
    """Normal numbers of a mean and a standard deviation, each a number or a tensor."""
    if size is None:
        given = [v for v in (mean, std) if isinstance(v, Tensor)]
        size = np.broadcast_shapes(*(v.shape for v in given))
    out: Tensor = randn(*_shape((size,)), generator=generator) * std + mean
    return out


def bernoulli(input: Tensor, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that each element is, else 0."""
    hits = apply(CATALOGUE["lt"], (rand(*input.shape, dtype=input.dtype, generator=generator), input.detach()))
    return apply(CATALOGUE["cast"], (hits,), (input.dtype,))
