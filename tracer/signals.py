"""Windows, and transforms of one window after the other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from retape.ir.errors import InvalidOperands

from .arranging import pad
from .creation import constant, get_default_dtype, ones
from .fft import fft, ifft, irfft, rfft
from .numeric import where
from .shaping import narrow, transpose
from .tensor import Tensor
from .vocabulary import composed, floating, primitive, refuse, tensor_of


def _window(length: int, periodic: bool, dtype: Any, form: Any) -> Tensor:
    """A form over angles from 0 to 2 pi; a periodic window leaves its last point out."""
    count = length + 1 if periodic and length > 1 else length
    angles = np.linspace(0.0, 2.0 * math.pi, count) if count > 1 else np.array([math.pi] * count)
    return constant(np.asarray(form(angles), np.float64)[:length], dtype or get_default_dtype())


@composed(method=False)
def hann_window(window_length: int, periodic: bool = True, *, dtype: Any = None) -> Tensor:
    """(1 - cos t) / 2."""
    return _window(window_length, periodic, dtype, lambda t: 0.5 - 0.5 * np.cos(t))


@composed(method=False)
def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *, dtype: Any = None
) -> Tensor:
    """alpha - beta cos t."""
    if window_length == 1:
        return ones(1, dtype=dtype)
    return _window(window_length, periodic, dtype, lambda t: alpha - beta * np.cos(t))


@composed(method=False)
def blackman_window(window_length: int, periodic: bool = True, *, dtype: Any = None) -> Tensor:
    """0.42 - 0.5 cos t + 0.08 cos 2t."""
    return _window(window_length, periodic, dtype, lambda t: 0.42 - 0.5 * np.cos(t) + 0.08 * np.cos(2 * t))


@composed(method=False)
def bartlett_window(window_length: int, periodic: bool = True, *, dtype: Any = None) -> Tensor:
    """A triangle from 0 to 1 and back."""
    return _window(window_length, periodic, dtype, lambda t: 1.0 - np.abs(t / math.pi - 1.0))


@composed(method=False)
def kaiser_window(window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: Any = None) -> Tensor:
    """Kaiser's window, a ratio of Bessel functions."""
    return _window(window_length, periodic, dtype,
                   lambda t: np.i0(beta * np.sqrt(1.0 - (t / math.pi - 1.0) ** 2)) / np.i0(beta))


def _centred(window: Any, width: int, size: int, dtype: Any) -> Tensor:
    """The window with zeros on both sides up to the transform's size."""
    shape = ones(width, dtype=dtype) if window is None else tensor_of(window)
    refuse(shape.shape != (width,) or width > size, f"a window of shape {shape.shape} for {size} points",
           f"it has `win_length` ({width}) points, no more than the transform", "check both", InvalidOperands)
    before = (size - width) // 2
    return pad(shape, (before, size - width - before))


@composed
def stft(
    input: Any, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Any = None,
    center: bool = True, pad_mode: str = "reflect", normalized: bool = False, onesided: bool | None = None,
    return_complex: bool | None = None,
) -> Tensor:
    """Fourier transforms of overlapping windows of a signal (T,) or of several (B, T): (..., frequencies, frames)."""
    x = tensor_of(input)
    refuse(x.ndim not in (1, 2), f"`stft` of shape {x.shape}", "it takes one signal or a batch", "reshape it",
           InvalidOperands)
    refuse(not return_complex, "`stft` without `return_complex`", "the result is complex", "pass return_complex=True",
           InvalidOperands)
    hop, width = n_fft // 4 if hop_length is None else hop_length, n_fft if win_length is None else win_length
    real = x.dtype.is_floating_point
    if center:
        lead = x.reshape(1, -1, x.shape[-1]) if x.ndim == 1 else x.unsqueeze(0)
        x = pad(lead, (n_fft // 2, n_fft // 2), pad_mode).reshape(*x.shape[:-1], -1)
    refuse(hop < 1 or not 1 <= n_fft <= x.shape[-1], f"`stft` of {n_fft} points, hop {hop}, of {x.shape[-1]} samples",
           "a window holds no more than the signal", "choose a smaller `n_fft`", InvalidOperands)
    frames = x.unfold(-1, n_fft, hop)
    if window is not None or width < n_fft:
        frames = frames * _centred(window, width, n_fft, x.dtype)
    half = real if onesided is None else onesided
    return transpose((rfft if half else fft)(frames, norm="ortho" if normalized else None), -1, -2)


@composed
def istft(
    input: Any, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Any = None,
    center: bool = True, normalized: bool = False, onesided: bool | None = None, length: int | None = None,
    return_complex: bool = False,
) -> Tensor:
    """The signal that `stft` came from: the windows' inverses added up, divided by the sum of squared windows."""
    x = tensor_of(input)
    hop, width = n_fft // 4 if hop_length is None else hop_length, n_fft if win_length is None else win_length
    turn: Any = ifft if return_complex else irfft
    if not return_complex and onesided is False:
        x = narrow(x, x.ndim - 2, 0, n_fft // 2 + 1)
    frames = turn(transpose(x, -1, -2), n_fft, norm="ortho" if normalized else None)
    count = frames.shape[-2]
    weights = _centred(window, width, n_fft, floating(x.real).dtype)
    total = n_fft + hop * (count - 1)
    places = constant((np.arange(count)[:, None] * hop + np.arange(n_fft)).reshape(-1))
    lead = frames.shape[:-2]
    parts = (frames * weights).reshape(*lead, -1)
    signal = primitive("take_add", parts, places, shape=(*lead, total), axis=len(lead))
    wide = (weights * weights).expand(count, n_fft).reshape(-1)
    squares = primitive("take_add", wide, places, shape=(total,), axis=0)
    start = n_fft // 2 if center else 0
    stop = start + length if length is not None else total - start
    inside = min(stop, total)
    found, scale = signal[..., start:inside], squares[start:inside]
    refuse(bool((abs(scale) < 1e-11).any()), "`istft` where no window reaches", "a sum of squared windows is 0 there",
           "use overlapping windows, or `center=True`", InvalidOperands)
    out = found / where(primitive("eq", scale, 0), 1.0, scale)
    return pad(out, (0, stop - inside)) if stop > inside else out
