"""Hand tracking (ADBench), 100 points on triangles with points: residuals and the Jacobian
with respect to 26 numbers and each point's own place on its triangle."""

from __future__ import annotations

from typing import Any

from benchmarks import hands
from benchmarks.hands import WITHOUT, jax, retape, retape_eager, torch

__all__ = ["WITHOUT", "check", "inputs", "jax", "retape", "retape_eager", "tiny", "torch"]
NAME = "hand1_t26_c100.txt"


def inputs() -> tuple[Any, ...]:
    return hands.read("complicated", "small", NAME)


def tiny() -> tuple[Any, ...]:
    return hands.drawn("complicated", 4, 12)


def check(answer: Any) -> None:
    hands.check(f"complicated_small/{NAME}", answer)
