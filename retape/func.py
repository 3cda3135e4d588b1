"""Functions from functions, under torch's names."""

from retape.tracer.transforms import grad, jvp, value_and_grad, vjp

__all__ = ["grad", "jvp", "value_and_grad", "vjp"]
