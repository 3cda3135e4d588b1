"""Gradients of recorded graphs: `grad`, custom `Function`s, and checks against differences."""

from retape.tracer.engine import backward, grad
from retape.tracer.function import Function
from retape.tracer.gradcheck import gradcheck, gradgradcheck
from retape.tracer.state import enable_grad, no_grad, set_grad_enabled

__all__ = ["Function", "backward", "enable_grad", "grad", "gradcheck", "gradgradcheck", "no_grad", "set_grad_enabled"]
