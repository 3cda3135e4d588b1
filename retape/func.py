"""Functions from functions, under torch's names."""

from retape.tracer.jacobians import hessian, jacfwd, jacrev
from retape.tracer.transforms import grad, jvp, value_and_grad, vjp

__all__ = ["grad", "hessian", "jacfwd", "jacrev", "jvp", "value_and_grad", "vjp"]
