"""`rt.fft`: discrete Fourier transforms, composed of the complex one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from retape.ir.errors import InvalidOperands
from retape.ir.types import COMPLEX, complex_of

from .arranging import padded, roll
from .bits import conj, real
from .creation import arange
from .numeric import to
from .shaping import cat, flip, narrow
from .tensor import Tensor
from .vocabulary import axis_of, composed, floating, primitive, refuse

Sizes = Sequence[int] | None


def _complex(x: Any) -> Tensor:
    x = floating(x)
    return x if x.dtype.category == COMPLEX else to(x, complex_of(x.dtype))


def _sized(x: Tensor, sizes: Sizes, axes: Sequence[int]) -> Tensor:
    """Cut, or filled up with zeros, to the sizes asked for."""
    if sizes is None:
        return x
    pairs = [(0, 0)] * x.ndim
    for axis, size in zip(axes, sizes, strict=True):
        refuse(size < 1, f"a transform of {size} points", "there is at least one", "check `n`", InvalidOperands)
        pairs[axis] = (0, size - x.shape[axis])
    return padded(x, pairs)


def _axes(x: Tensor, sizes: Sizes, dims: Any) -> tuple[int, ...]:
    if dims is None:
        return tuple(range(x.ndim)) if sizes is None else tuple(range(x.ndim - len(sizes), x.ndim))
    return tuple(axis_of(d, x) for d in dims)


def _transform(x: Tensor, axes: tuple[int, ...], norm: str | None, inverse: bool) -> Tensor:
    refuse(norm not in (None, "backward", "forward", "ortho"), f"norm {norm!r}",
           "it is 'forward', 'backward' or 'ortho'", "leave it out", InvalidOperands)
    out = primitive("fft", x, axes=axes, inverse=inverse)
    count = math.prod(x.shape[a] for a in axes)
    if norm == "ortho":
        return out / math.sqrt(count)
    return out / (1.0 * count) if inverse == (norm != "forward") else out


def _fftn(x: Any, s: Sizes, dim: Any, norm: str | None, inverse: bool) -> Tensor:
    x = _complex(x)
    axes = _axes(x, s, dim)
    return _transform(_sized(x, s, axes), axes, norm, inverse)


def _rfftn(x: Any, s: Sizes, dim: Any, norm: str | None) -> Tensor:
    x = floating(x)
    refuse(x.dtype.category == COMPLEX, "a transform of real numbers got complex ones",
           "half of the result would be lost", "use `fft`", InvalidOperands)
    axes = _axes(x, s, dim)
    out = _fftn(x, s, axes, norm, False)
    return narrow(out, axes[-1], 0, out.shape[axes[-1]] // 2 + 1)


def _irfftn(x: Any, s: Sizes, dim: Any, norm: str | None) -> Tensor:
    x = _complex(x)
    axes = _axes(x, s, dim)
    last = axes[-1]
    n = 2 * (x.shape[last] - 1) if s is None else s[-1]
    sizes = [x.shape[a] for a in axes[:-1]] if s is None else list(s[:-1])
    refuse(n < 1, f"a transform to {n} points", "there is at least one", "give `n`", InvalidOperands)
    x = _sized(x, [*sizes, n // 2 + 1], axes)
    if axes[:-1]:
        x = _transform(x, axes[:-1], norm, True)
    return real(_transform(_hermitian(x, last, n), (last,), norm, True))


def _hermitian(x: Tensor, axis: int, n: int) -> Tensor:
    """Half of a spectrum, and the conjugate other half of n points; the imaginary part that stands alone is dropped."""
    first = _only_real(narrow(x, axis, 0, 1))
    if n == 1:
        return first
    inner = narrow(x, axis, 1, (n - 1) // 2)
    middle = [_only_real(narrow(x, axis, n // 2, 1))] if n % 2 == 0 else []
    return cat([first, inner, *middle, conj(flip(inner, axis))], axis)


def _only_real(x: Tensor) -> Tensor:
    return to(real(x), x.dtype)


def _one(size: int | None) -> Sizes:
    return None if size is None else (size,)


@composed(space="fft")
def fft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The discrete Fourier transform along a dim, of `n` points."""
    return _fftn(input, _one(n), (dim,), norm, False)


@composed(space="fft")
def ifft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of `fft`."""
    return _fftn(input, _one(n), (dim,), norm, True)


@composed(space="fft")
def rfft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The first half of the transform of real numbers; the other is its conjugate."""
    return _rfftn(input, _one(n), (dim,), norm)


@composed(space="fft")
def irfft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of `rfft`: `n` real numbers (an even number, if not told otherwise)."""
    return _irfftn(input, _one(n), (dim,), norm)


@composed(space="fft")
def hfft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The transform of a signal with a real spectrum, of which one half is given."""
    return _irfftn(conj(_complex(input)), _one(n), (dim,), _turned(norm))


@composed(space="fft")
def ihfft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of `hfft`."""
    return conj(_rfftn(input, _one(n), (dim,), _turned(norm)))


def _turned(norm: str | None) -> str | None:
    return {None: "forward", "backward": "forward", "forward": "backward"}.get(norm, norm)


def _many(name: str, run: Any, doc: str, inverse: bool | None = None) -> None:
    more = () if inverse is None else (inverse,)

    def n_dims(input: Any, s: Sizes = None, dim: Any = None, norm: str | None = None) -> Tensor:
        return run(input, s, dim, norm, *more)  # type: ignore[no-any-return]

    def two_dims(input: Any, s: Sizes = None, dim: Sequence[int] = (-2, -1), norm: str | None = None) -> Tensor:
        return run(input, s, dim, norm, *more)  # type: ignore[no-any-return]

    for suffix, function, where in (("n", n_dims, "over dims, all by default"), ("2", two_dims, "over two dims")):
        function.__name__ = function.__qualname__ = name + suffix
        function.__doc__ = f"{doc} {where}."
        composed(name=name + suffix, space="fft")(function)


_many("fft", _fftn, "The discrete Fourier transform", False)
_many("ifft", _fftn, "The inverse discrete Fourier transform", True)
_many("rfft", _rfftn, "The transform of real numbers, its last dim halved,")
_many("irfft", _irfftn, "The inverse transform to real numbers")


def _shifted(input: Any, dim: Any, back: bool) -> Tensor:
    x = input if isinstance(input, Tensor) else floating(input)
    axes = _axes(x, None, (dim,) if isinstance(dim, int) else dim)
    return roll(x, [-(x.shape[a] // 2) if back else x.shape[a] // 2 for a in axes], list(axes))


@composed(space="fft")
def fftshift(input: Any, dim: Any = None) -> Tensor:
    """The frequency 0 in the middle."""
    return _shifted(input, dim, False)


@composed(space="fft")
def ifftshift(input: Any, dim: Any = None) -> Tensor:
    """The inverse of `fftshift`."""
    return _shifted(input, dim, True)


@composed(space="fft")
def hfftn(input: Any, s: Sizes = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """`fftn` of a signal with a real spectrum, of which one half of the last dim is given."""
    return _irfftn(conj(_complex(input)), s, dim, _turned(norm))


@composed(space="fft")
def hfft2(input: Any, s: Sizes = None, dim: Any = (-2, -1), norm: str | None = None) -> Tensor:
    """`hfftn` over two dims."""
    return hfftn(input, s, dim, norm)


@composed(space="fft")
def ihfftn(input: Any, s: Sizes = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """The inverse of `hfftn`."""
    return conj(_rfftn(input, s, dim, _turned(norm)))


@composed(space="fft")
def ihfft2(input: Any, s: Sizes = None, dim: Any = (-2, -1), norm: str | None = None) -> Tensor:
    """The inverse of `hfft2`."""
    return ihfftn(input, s, dim, norm)


@composed(space="fft")
def fftfreq(n: int, d: float = 1.0, *, dtype: Any = None) -> Tensor:
    """The frequencies of `fft` for samples `d` apart."""
    half = (n - 1) // 2 + 1
    order = cat([arange(0, half), arange(-(n // 2), 0)])
    return (to(order, dtype) if dtype else order) * (1.0 / (n * d))


@composed(space="fft")
def rfftfreq(n: int, d: float = 1.0, *, dtype: Any = None) -> Tensor:
    """The frequencies of `rfft` for samples `d` apart."""
    order = arange(0, n // 2 + 1)
    return (to(order, dtype) if dtype else order) * (1.0 / (n * d))
