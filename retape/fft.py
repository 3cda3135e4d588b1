"""Discrete Fourier transforms, under torch's names."""

from __future__ import annotations

from typing import Any

from retape.tracer import surface


def __getattr__(name: str) -> Any:
    found = surface.space("fft").get(name)
    if found is None:
        if name.startswith("_"):
            raise AttributeError(name)
        raise surface.unknown(name)
    return found


def __dir__() -> list[str]:
    return sorted(surface.space("fft"))
