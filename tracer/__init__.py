"""Eager execution and recording: `Tensor`, the one door `apply`, the autograd engine, traces and transforms.

Start at `apply.py` (how an operation is carried out), `engine.py` (how gradients flow back) and `trace.py` (how a call
of a compiled function becomes a graph). What such a call sees besides its arguments is followed by `environment.py`
(names in code are in `names.py`, steps and their check in `paths.py`, what NumPy takes of arrays in `reads.py` and
`windows.py`), what it changes is noted by `outside.py` and `changes.py`; numbers that Python handles are recorded by
`numbers.py` with `reckoning.py` (out of tensors, and in arguments) and `formulas.py` (extents, and found by name). The
vocabulary, a module for each kind of operation, stands on `vocabulary.py`. Imports `retape.ir` only.
"""

from . import numpy_protocol, surface
from .tensor import Tensor

surface.attach()
numpy_protocol.attach()

__all__ = ["Tensor"]
