"""Losses by margins between the scores of classes."""

from __future__ import annotations

from typing import Any

from retape.ir.errors import InvalidOperands

from .creation import arange
from .losses import binary_cross_entropy_with_logits, pairwise_distance, reduced
from .numeric import clamp, to, where
from .tensor import Tensor
from .vocabulary import composed, primitive, refuse, tensor_of


@composed(space="nn")
def triplet_margin_with_distance_loss(
    anchor: Any, positive: Any, negative: Any, *, distance_function: Any = None, margin: float = 1.0,
    swap: bool = False, reduction: str = "mean",
) -> Tensor:
    """`triplet_margin_loss` with a distance of one's own."""
    far = pairwise_distance if distance_function is None else distance_function
    away = far(anchor, negative)
    if swap:
        away = primitive("minimum", away, far(positive, negative))
    return reduced(clamp(far(anchor, positive) - away + margin, 0.0), reduction)


@composed(space="nn")
def multi_margin_loss(
    input: Any, target: Any, p: int = 1, margin: float = 1.0, weight: Any = None, *, reduction: str = "mean",
) -> Tensor:
    """The mean over other classes j of max(0, margin - x[target] + x[j]) ** p; input (N, C) or (C,)."""
    x, classes = tensor_of(input), tensor_of(target)
    refuse(p not in (1, 2), f"`multi_margin_loss` of power {p}", "it is 1 or 2", "choose one", InvalidOperands)
    rows, places = (x, classes) if x.ndim == 2 else (x.unsqueeze(0), classes.reshape(1))
    own = primitive("gather", rows, places.unsqueeze(1), axis=1)
    terms = clamp(rows - own + margin, 0.0)
    terms = terms * terms if p == 2 else terms
    if weight is not None:
        terms = terms * primitive("take", tensor_of(weight), places, axis=0).unsqueeze(1)
    others = primitive("ne", arange(rows.shape[1]), places.unsqueeze(1))
    loss = primitive("sum", where(others, terms, 0.0), axis=(1,), keepdims=False) / float(rows.shape[1])
    return reduced(loss if x.ndim == 2 or reduction != "none" else loss.reshape(()), reduction)


@composed(space="nn")
def multilabel_margin_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """The mean over pairs of a target class i and another class j of max(0, 1 - x[i] + x[j]).

    The target classes of a row stand before its first -1.
    """
    x, classes = tensor_of(input), tensor_of(target)
    rows, places = (x, classes) if x.ndim == 2 else (x.unsqueeze(0), classes.unsqueeze(0))
    count = rows.shape[1]
    named = primitive("eq", primitive("cumsum", to(places < 0, "int64"), axis=1), 0)
    safe = where(named, places, 0)
    hits = primitive("scatter_add", to(named, "int64"), safe, shape=rows.shape, axis=1)
    own = primitive("gather", rows, safe, axis=1).unsqueeze(2)
    apart = primitive("logical_and", named.unsqueeze(2), primitive("eq", hits, 0).unsqueeze(1))
    terms = where(apart, clamp(1.0 - own + rows.unsqueeze(1), 0.0), 0.0)
    loss = primitive("sum", terms, axis=(1, 2), keepdims=False) / float(count)
    return reduced(loss if x.ndim == 2 or reduction != "none" else loss.reshape(()), reduction)


@composed(space="nn")
def multilabel_soft_margin_loss(input: Any, target: Any, weight: Any = None, *, reduction: str = "mean") -> Tensor:
    """The mean over classes of `binary_cross_entropy_with_logits`."""
    loss = binary_cross_entropy_with_logits(input, target, weight, reduction="none")
    return reduced(primitive("mean", loss, axis=(loss.ndim - 1,), keepdims=False), reduction)
