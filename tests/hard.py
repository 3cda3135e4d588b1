"""Programs with hard control flow, state and aliasing, and how compiled ones are compared with eager ones.

Each program is a function of its arguments, run on first, second and later calls over random inputs. The rooms, one
theme each, are the modules `test_hard_*.py`; `tests/test_state.py` and `tests/test_effects.py` have more programs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from worlds import agree

import retape as rt

__all__ = ["Program", "Room", "numbered", "uniform"]

Program = Callable[..., Any]


def uniform(*shapes: tuple[int, ...], low: float = -1.0, high: float = 1.0, grad: bool = True) -> Any:
    """Arguments: one tensor of each shape."""
    return lambda rng: tuple(rt.from_numpy(np.asarray(rng.uniform(low, high, s)), requires_grad=grad) for s in shapes)


def numbered(arguments: Any) -> Callable[[int], tuple[Any, ...]]:
    return lambda call: arguments(np.random.default_rng(call // 2))  # each twice in a row


class Room:
    """The programs of one theme by name. `room(arguments)` enters a function; `starts` is how many rows of calls it
    gets, each with a fresh compiled function; `errors` says that it raises on some inputs."""

    def __init__(self) -> None:
        self.programs: dict[str, tuple[Program, Any, int, bool]] = {}

    def __call__(self, arguments: Any, starts: int = 2, errors: bool = False) -> Callable[[Program], Program]:
        def enter(function: Program) -> Program:
            self.programs[function.__name__] = (function, arguments, starts, errors)
            return function

        return enter

    def check(self, name: str) -> None:
        """Values, gradients, effects and raised errors of ten calls are those of eager code."""
        function, arguments, starts, errors = self.programs[name]
        for start in range(starts):
            def given(call: int, first: int = 50 * start) -> Any:
                return arguments(np.random.default_rng(first + call // 2))

            agree(lambda: (function, given, list), 10, rtol=1e-8, errors=errors)
