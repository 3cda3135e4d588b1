"""Linear algebra: solutions, factorisations, norms and functions of matrices, under torch's names."""

from retape.tracer import surface

__getattr__, __dir__ = surface.namespace("linalg")
