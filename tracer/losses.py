"""Losses: the mean, the sum or each of the distances between predictions and targets."""

from __future__ import annotations

import math
from typing import Any

from retape.ir.errors import InvalidOperands

from .activations import softplus
from .numeric import clamp, to, where
from .products import vecdot
from .shaping import movedim
from .special import log_softmax, xlogy
from .statistics import norm, safe_root
from .tensor import Tensor
from .vocabulary import axes_of, composed, primitive, refuse, tensor_of


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """The loss as asked for: "none", "mean" or "sum"."""
    if reduction == "none":
        return loss
    refuse(reduction not in ("mean", "sum"), f"reduction {reduction!r}", "it is 'mean', 'sum' or 'none'",
           "use one of these", InvalidOperands)
    return primitive(reduction, loss, axis=axes_of(None, loss), keepdims=False)


@composed(space="nn")
def mse_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """Squared differences."""
    difference = tensor_of(input) - target
    return reduced(difference * difference, reduction)


@composed(space="nn")
def l1_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """Absolute differences."""
    return reduced(abs(tensor_of(input) - target), reduction)


@composed(space="nn")
def huber_loss(input: Any, target: Any, *, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """Half the squared difference up to `delta`, and from there on in a straight line."""
    far = abs(tensor_of(input) - target)
    return reduced(where(far <= delta, far * far * 0.5, (far - 0.5 * delta) * delta), reduction)


@composed(space="nn")
def smooth_l1_loss(input: Any, target: Any, *, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """`huber_loss` divided by `beta`."""
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    far = abs(tensor_of(input) - target)
    return reduced(where(far < beta, far * far * (0.5 / beta), far - 0.5 * beta), reduction)


@composed(space="nn")
def binary_cross_entropy(input: Any, target: Any, weight: Any = None, *, reduction: str = "mean") -> Tensor:
    """-(t log(p) + (1 - t) log(1 - p)); logarithms count as no less than -100."""
    p, t = tensor_of(input), tensor_of(target)
    loss = -(t * clamp(primitive("log", p), -100.0) + (1.0 - t) * clamp(primitive("log1p", -p), -100.0))
    return reduced(loss if weight is None else loss * weight, reduction)


@composed(space="nn")
def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None
) -> Tensor:
    """`binary_cross_entropy` of sigmoid(x), computed without it."""
    x, t = tensor_of(input), tensor_of(target)
    scale = 1.0 if pos_weight is None else (tensor_of(pos_weight) - 1.0) * t + 1.0
    loss = (1.0 - t) * x + primitive("logaddexp", -x, 0.0) * scale
    return reduced(loss if weight is None else loss * weight, reduction)


def _class_axis(x: Tensor) -> int:
    return 0 if x.ndim == 1 else 1


@composed(space="nn")
def nll_loss(
    input: Any, target: Any, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """The negated log-probability of each target class.

    `input` (N, C, ...) or (C,), `target` (N, ...) or () of class indices; those equal to `ignore_index` don't count.
    The mean is that of the weights.
    """
    x, classes = tensor_of(input), tensor_of(target)
    axis = _class_axis(x)
    counts = primitive("ne", classes, ignore_index)
    safe = where(counts, classes, 0)
    picked = primitive("gather", x, safe.unsqueeze(axis), axis=axis).squeeze(axis)
    if x.ndim == 1:
        picked = picked.reshape(classes.shape)
    shares = to(counts, x.dtype) if weight is None else \
        where(counts, primitive("take", tensor_of(weight), safe, axis=0), 0.0)
    loss = where(counts, -picked * shares, 0.0)
    if reduction == "mean":
        return loss.sum() / shares.sum()
    return reduced(loss, reduction)


@composed(space="nn")
def cross_entropy(
    input: Any, target: Any, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """`nll_loss` of `log_softmax`: unnormalised scores (N, C, ...) or (C,) against class indices or probabilities."""
    x, goal = tensor_of(input), tensor_of(target)
    axis = _class_axis(x)
    scores = log_softmax(x, axis)
    per_class = None if weight is None else tensor_of(weight).reshape(-1, *(1,) * (x.ndim - axis - 1))
    count = x.shape[axis]
    if goal.dtype.is_floating_point:
        goal = goal * (1.0 - label_smoothing) + label_smoothing / count if label_smoothing else goal
        weighted = scores * goal * (1.0 if per_class is None else per_class)
        loss = -primitive("sum", weighted, axis=(axis,), keepdims=False)
        return loss.sum() / (x.numel() // count) if reduction == "mean" else reduced(loss, reduction)
    loss = nll_loss(scores, goal, weight, ignore_index=ignore_index, reduction=reduction)
    if not label_smoothing:
        return loss
    spread = -primitive("sum", scores if per_class is None else scores * per_class, axis=(axis,), keepdims=False)
    counts = primitive("ne", goal, ignore_index)
    spread = where(counts, spread, 0.0)
    if reduction == "mean":
        shares = to(counts, x.dtype) if weight is None else \
            where(counts, primitive("take", tensor_of(weight), where(counts, goal, 0), axis=0), 0.0)
        spread = spread.sum() / shares.sum()
    else:
        spread = reduced(spread, reduction)
    return loss * (1.0 - label_smoothing) + spread * (label_smoothing / count)


@composed(space="nn")
def kl_div(input: Any, target: Any, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """t * (log(t) - x), with x a log-probability and t a probability (or its logarithm)."""
    x, t = tensor_of(input), tensor_of(target)
    loss = primitive("exp", t) * (t - x) if log_target else xlogy(t, t) - t * x
    return loss.sum() / x.shape[0] if reduction == "batchmean" else reduced(loss, reduction)


@composed(space="nn")
def poisson_nll_loss(
    input: Any, target: Any, log_input: bool = True, full: bool = False, eps: float = 1e-8, reduction: str = "mean",
) -> Tensor:
    """The negated log-likelihood of counts under a Poisson rate (or its logarithm)."""
    x, t = tensor_of(input), tensor_of(target)
    loss = primitive("exp", x) - t * x if log_input else x - t * primitive("log", x + eps)
    if full:  # Stirling's formula for log(t!)
        safe = where(t > 1, t, 1.0)
        loss = loss + where(t > 1, safe * primitive("log", safe) - safe
                            + 0.5 * primitive("log", safe * (2.0 * math.pi)), 0.0)
    return reduced(loss, reduction)


@composed(space="nn")
def gaussian_nll_loss(
    input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean",
) -> Tensor:
    """The negated log-likelihood under a normal distribution; variances count as no less than `eps`."""
    x, t, v = tensor_of(input), tensor_of(target), tensor_of(var)
    v = v + (clamp(v.detach(), eps) - v.detach())
    loss = 0.5 * (primitive("log", v) + (x - t) * (x - t) / v)
    return reduced(loss + 0.5 * math.log(2.0 * math.pi) if full else loss, reduction)


@composed(space="nn")
def hinge_embedding_loss(input: Any, target: Any, margin: float = 1.0, *, reduction: str = "mean") -> Tensor:
    """x where the target is 1, max(0, margin - x) where it is -1."""
    x, t = tensor_of(input), tensor_of(target)
    apart = where(primitive("eq", t, 1), 0.0, clamp(margin - x, 0.0))
    return reduced(where(primitive("eq", t, -1), 0.0, x) + apart, reduction)


@composed(space="nn")
def margin_ranking_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0.0, *, reduction: str = "mean"
) -> Tensor:
    """max(0, -t * (x1 - x2) + margin)."""
    return reduced(clamp(-tensor_of(target) * (tensor_of(input1) - input2) + margin, 0.0), reduction)


@composed(space="nn")
def soft_margin_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """log(1 + exp(-t * x))."""
    return reduced(softplus(-tensor_of(target) * tensor_of(input)), reduction)


@composed(space="nn")
def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along a dim; lengths count as no less than `eps`."""
    x, y = tensor_of(x1), tensor_of(x2)
    return vecdot(x, y, dim=dim) / (clamp(norm(x, 2, dim), eps) * clamp(norm(y, 2, dim), eps))


@composed(space="nn")
def pairwise_distance(x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of the difference along the last dim, with `eps` added to its elements."""
    return norm(tensor_of(x1) - x2 + eps, p, -1, keepdim)


@composed(space="nn")
def cosine_embedding_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0.0, *, reduction: str = "mean"
) -> Tensor:
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1."""
    x, y, t = tensor_of(input1), tensor_of(input2), tensor_of(target)
    eps = 1e-12
    cosine = vecdot(x, y) / safe_root((vecdot(x, x) + eps) * (vecdot(y, y) + eps))
    apart = where(primitive("eq", t, -1), clamp(cosine - margin, 0.0), 0.0)
    return reduced(where(primitive("eq", t, 1), 1.0 - cosine, 0.0) + apart, reduction)


@composed(space="nn")
def triplet_margin_loss(
    anchor: Any, positive: Any, negative: Any, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6,
    swap: bool = False, *, reduction: str = "mean",
) -> Tensor:
    """max(0, distance to the positive - distance to the negative + margin)."""
    a, far = tensor_of(anchor), movedim(tensor_of(negative), 0, 0)
    away = pairwise_distance(a, far, p, eps)
    if swap:
        away = primitive("minimum", away, pairwise_distance(positive, far, p, eps))
    return reduced(clamp(pairwise_distance(a, positive, p, eps) - away + margin, 0.0), reduction)
