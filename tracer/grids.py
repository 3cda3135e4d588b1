"""Images read at places of one's choice: `affine_grid` and `grid_sample`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from retape.ir.errors import InvalidOperands, ShapeError

from .creation import constant
from .numeric import clamp, floor, fmod, isfinite, to, where
from .resampling import cubic as smooth
from .selecting import gather
from .tensor import Tensor
from .vocabulary import composed, floating, primitive, refuse


@composed(space="nn")
def affine_grid(theta: Any, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """Where an affine map (N, d, d + 1) takes the pixels of images of `size` (N, C, *extents): (N, *extents, d).

    Coordinates run from -1 to 1, x first, between the corner pixels' centres with `align_corners`, else their edges.
    """
    maps, extents = floating(theta), tuple(int(e) for e in size[2:])
    rank = len(extents)
    refuse(rank not in (2, 3) or maps.shape != (size[0], rank, rank + 1),
           f"`affine_grid` of shape {maps.shape} for size {tuple(size)}",
           "it takes (N, 2, 3) for (N, C, H, W), or (N, 3, 4) for (N, C, D, H, W)", "check both", ShapeError)
    lines = []
    for extent in extents:
        line = np.linspace(-1.0, 1.0, extent) if extent > 1 else np.zeros(1)
        lines.append(line if align_corners else line * ((extent - 1) / extent))
    grid = np.stack(np.meshgrid(*lines, indexing="ij")[::-1], axis=-1).reshape(-1, rank)
    homogeneous = np.concatenate([grid, np.ones((len(grid), 1))], axis=1)
    places = primitive("matmul", constant(homogeneous, maps.dtype), maps.mT)
    return places.reshape(maps.shape[0], *extents, rank)


def _reflected(place: Tensor, low: float, high: float) -> Tensor:
    """Back and forth between two ends."""
    span = high - low
    if span == 0:
        return primitive("mul", place, 0.0)
    away = abs(place - low)
    rest, flips = fmod(away, span), floor(away / span)
    return where(primitive("eq", primitive("remainder", flips.detach(), 2.0), 0.0), rest + low, span - rest + low)


def _inside(place: Tensor, extent: int, padding: str, corners: bool) -> Tensor:
    """Coordinates beyond the image as `padding` has it."""
    if padding == "reflection":
        ends = (0.0, float(extent - 1)) if corners else (-0.5, extent - 0.5)
        place = _reflected(place, *ends)
    return place if padding == "zeros" else clamp(place, 0.0, float(extent - 1))


class _Image:
    """An image whose pixels are read at whole coordinates; those outside are 0."""

    def __init__(self, x: Tensor) -> None:
        self.extents = x.shape[2:]
        self.flat = x.reshape(*x.shape[:2], -1)

    def at(self, places: Sequence[Tensor]) -> Tensor:
        """The pixels (N, C, points) at coordinates (N, points), one tensor for each dim."""
        index: Any = 0
        valid: Any = None
        for place, extent in zip(places, self.extents, strict=True):
            here = primitive("logical_and", place >= 0, place <= extent - 1)
            valid = here if valid is None else primitive("logical_and", valid, here)
            index = index * extent + to(clamp(where(isfinite(place), place, 0.0), 0, extent - 1), "int64")
        n, c = self.flat.shape[:2]
        wide = index.unsqueeze(1).expand(n, c, index.shape[-1])
        return where(valid.unsqueeze(1), gather(self.flat, 2, wide), 0.0)


def _weighted(image: _Image, places: list[Tensor], padding: str, corners: bool, cubic: bool) -> Tensor:
    """The sum over neighbours of pixels times the product of weights along the dims."""
    around = []  # for each dim: (coordinate, weight) of the neighbours
    for place, extent in zip(places, image.extents, strict=True):
        below = floor(place).detach()
        apart = place - below
        weights = smooth(apart) if cubic else [1.0 - apart, apart]
        steps = range(-1, 3) if cubic else range(2)
        around.append([(_inside(below + s, extent, padding, corners) if cubic else below + s, w)
                       for s, w in zip(steps, weights, strict=True)])
    out: Any = None
    for corner in product(*around):
        term = image.at([c for c, _ in corner]) * math.prod([w for _, w in corner]).unsqueeze(1)
        out = term if out is None else out + term
    return out  # type: ignore[no-any-return]


@composed(space="nn")
def grid_sample(
    input: Any, grid: Any, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None,
) -> Tensor:
    """Images (N, C, *extents) read at places (N, *shape, d) in coordinates from -1 to 1, x first: (N, C, *shape).

    Between pixels by "bilinear", "nearest" or (two dims) "bicubic"; beyond the image "zeros", its "border", or its
    "reflection".
    """
    x, where_to = floating(input), floating(grid)
    rank = x.ndim - 2
    refuse(rank not in (2, 3) or where_to.ndim != rank + 2 or where_to.shape[-1] != rank
           or where_to.shape[0] != x.shape[0], f"`grid_sample` of shape {x.shape} at places of shape {where_to.shape}",
           "images (N, C, H, W) are read at (N, h, w, 2), volumes at (N, d, h, w, 3)", "check both shapes", ShapeError)
    refuse(mode not in ("bilinear", "nearest", "bicubic") or (mode == "bicubic" and rank == 3),
           f"`grid_sample` by {mode!r} in {rank} dims", "it is 'bilinear', 'nearest', or 'bicubic' in two dims",
           "use mode='bilinear'", InvalidOperands)
    refuse(padding_mode not in ("zeros", "border", "reflection"), f"padding {padding_mode!r}",
           "it is 'zeros', 'border' or 'reflection'", "use one of these", InvalidOperands)
    refuse(not x.numel() or 0 in x.shape[2:], f"`grid_sample` of shape {x.shape}", "there is no pixel to read",
           "check the shape", ShapeError)
    image, corners = _Image(x), bool(align_corners)
    places = []
    for number, extent in enumerate(image.extents):
        raw = where_to[..., rank - 1 - number].reshape(x.shape[0], -1)
        place = (raw + 1.0) * ((extent - 1) / 2.0) if corners else ((raw + 1.0) * extent - 1.0) / 2.0
        places.append(place if mode == "bicubic" else _inside(place, extent, padding_mode, corners))
    if mode == "nearest":
        out = image.at([primitive("round", p) for p in places])
    else:
        out = _weighted(image, places, padding_mode, corners, mode == "bicubic")
    return out.reshape(*x.shape[:2], *where_to.shape[1:-1])
