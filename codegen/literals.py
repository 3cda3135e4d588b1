"""Kernels that differ in numbers alone become one, which gets its numbers as parameters.

An unrolled loop writes its numbers into its steps: `y + dt * f(y) * cos(i * dt)` has another factor in each. Kernels
are shared by their text, so each step would be built for itself. Numbers stay in the text where few texts differ in
them: the compiler makes more of a number that it knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from .lowered import Emitted, KernelStep, Lowered

__all__ = ["share_numbers"]

FEW = 4  # texts that differ in numbers alone, from which on they become one
# A float as it is written: with its sign, which an operator's is apart from, and a point or an exponent.
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+(?:e[-+]?\d+)?|e[-+]?\d+)(?![\w.])")


def share_numbers(lowered: Lowered) -> None:
    """Give kernels parameters for the floats in which many of them differ."""
    kernels = {step.emitted.source: step.emitted for step in lowered.steps if isinstance(step, KernelStep)}
    if len(kernels) < FEW:
        return
    alike: dict[tuple[str, ...], list[Emitted]] = {}
    for source, emitted in kernels.items():
        alike.setdefault(tuple(_NUMBER.split(source)), []).append(emitted)
    shared = dict(entry for parts, members in alike.items() if len(members) >= FEW
                  for entry in _shared(parts, members))
    for place, step in enumerate(lowered.steps):
        if isinstance(step, KernelStep) and step.emitted.source in shared:
            source, numbers = shared[step.emitted.source]
            emitted = replace(step.emitted, source=source, ints=(*step.emitted.ints, *numbers))
            lowered.steps[place] = replace(step, emitted=emitted)


def _shared(parts: tuple[str, ...], members: list[Emitted]) -> Iterator[tuple[str, tuple[str, list[int]]]]:
    """For the text of each the one for all, and the bits of the numbers that are its last parameters.

    Numbers that are equal to each other in every text are one parameter; those that are the same in all stay.
    """
    written = [_NUMBER.findall(emitted.source) for emitted in members]
    first = len(members[0].ints)  # equal texts but for numbers have as many
    parameters: dict[tuple[str, ...], str] = {}
    pieces = [parts[0]]
    for column, part in zip(zip(*written, strict=True), parts[1:], strict=True):
        if len(set(column)) == 1:
            pieces += [column[0], part]
        else:
            pieces += [f"number({parameters.setdefault(column, f'k{first + len(parameters)}')})", part]
    source = "".join(pieces).replace("lo, hi):", ", ".join([*parameters.values(), "lo, hi):"]), 1)
    bits = np.array([*parameters], np.float64).view(np.int64)
    for row, emitted in enumerate(members):
        yield emitted.source, (source, bits[:, row].tolist())
