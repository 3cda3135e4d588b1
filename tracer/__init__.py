"""Eager execution and recording: `Tensor`, the one door `apply`, the autograd engine, traces and transforms.

Start at `apply.py` (how an operation is carried out), `engine.py` (how gradients flow back) and `trace.py` (how a call
of a compiled function becomes a graph). Imports `retape.ir` only.
"""

from . import numpy_protocol, surface
from .tensor import Tensor

surface.attach()
numpy_protocol.attach()

__all__ = ["Tensor"]
