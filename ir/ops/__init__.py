"""The op catalogue: each operation stands in one place with all that is known of it.

`op.py` says what an entry holds; the other files hold the entries by kind. Everything else (functions, methods,
derivatives, generated code, tests, documentation) is derived by walking `CATALOGUE`.
"""

from ..types import TensorType
from . import elementwise, fourier, linalg, order, parts, products, reductions, special, structure
from .op import CATALOGUE, REQUIRED, NotDifferentiable, Op, Rule, register, told

__all__ = ["CATALOGUE", "INPUT", "OWN", "REQUIRED", "NotDifferentiable", "Op", "Rule", "register", "told"]

OWN = frozenset(CATALOGUE.values())  # all that isn't registered from outside


def _infer_input(*_: object) -> TensorType:
    raise TypeError("an input's type is given")


# a graph's parameter; not in the catalogue, since no call makes one
INPUT = Op("input", (), "source", _infer_input, _infer_input, NotDifferentiable("it is an input"), "A parameter.")

del elementwise, fourier, linalg, order, parts, products, reductions, special, structure
