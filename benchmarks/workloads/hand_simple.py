"""Hand tracking (ADBench), 100 vertices with points: residuals and Jacobian with respect to 26 numbers."""

from __future__ import annotations

from typing import Any

from benchmarks import hands
from benchmarks.hands import WITHOUT, jax, retape, retape_eager, torch

__all__ = ["WITHOUT", "check", "inputs", "jax", "retape", "retape_eager", "tiny", "torch"]
NAME = "hand1_t26_c100.txt"


def inputs() -> tuple[Any, ...]:
    return hands.read("simple", "small", NAME)


def tiny() -> tuple[Any, ...]:
    return hands.drawn("simple", 4, 12)


def check(answer: Any) -> None:
    hands.check(f"simple_small/{NAME}", answer)
