"""What the catalogue knows of one operation, and how an entry is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Union

from ..errors import DtypeError
from ..types import DType, Literal, TensorType

__all__ = ["CATALOGUE", "NotDifferentiable", "Op", "Rule", "fail_dtype", "register", "told"]

OperandType = Union[TensorType, Literal]

REQUIRED = object()


@dataclass(frozen=True, slots=True)
class NotDifferentiable:
    """Stands where a rule would: the operation has no derivative, for this reason."""

    reason: str


class Rule:
    """The vector-Jacobian product with respect to one operand.

    Written as `lambda b, ct, <names>: ...`: `b` builds operations (on arrays, tensors or IR alike), `ct` is the
    result's cotangent; the further parameters name what the rule needs, and so what must be saved: operands,
    `out` (the result), attributes, `types` (operand types), `type` (result type), `i` (which operand of a
    variadic one). Broadcasting back and accumulation are not a rule's business.
    """

    __slots__ = ("call", "fn", "needs", "saves")

    def __init__(self, fn: Callable[..., Any], operands: tuple[str, ...], attributes: tuple[str, ...]) -> None:
        self.fn = fn
        code = fn.__code__
        names = code.co_varnames[2 : code.co_argcount]
        needs: list[str] = []
        saves: list[int] = []
        for name in names:
            if name in operands:
                saves.append(operands.index(name))
                needs.append(f"values[{saves[-1]}]")
            elif name in attributes:
                needs.append(f"node.attrs[{attributes.index(name)}]")
            elif name == "out":
                saves.append(-1)
                needs.append("values[-1]")
            elif name in ("types", "type", "i"):
                needs.append({"types": "node.types()", "type": "node.type", "i": "i"}[name])
            else:
                raise ValueError(f"rule parameter {name!r} names no operand or attribute")
        self.needs = tuple(needs)
        self.saves = tuple(saves)
        self.call: Callable[..., Any] | None = None

    def __call__(self, b: Any, ct: Any, node: Any, values: Any, i: int) -> Any:
        """Apply the rule to operand `i` of `node`; `values` are the operands' and last the result's."""
        call = self.call
        if call is None:  # hands over just what the rule names; made at the first use
            call = self.call = eval(f"lambda b, ct, node, values, i: fn({', '.join(('b', 'ct', *self.needs))})",
                                    {"fn": self.fn})
        return call(b, ct, node, values, i)

    def conjugated(self, b: Any, ct: Any, node: Any, values: Any, i: int) -> Any:
        """The rule for a complex result: ct times the conjugate of the derivative.

        A rule is linear in `ct`, so that conjugating what goes in and what comes out conjugates the derivative alone.
        A rule that looks at no value is an operation with real coefficients and needs none of this.
        """
        if not self.saves:
            return self(b, ct, node, values, i)
        part = self(b, b.conj(ct), node, values, i)
        return part if part is None else b.conj(part)


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """One operation.

    operands    names, in order; a single `*name` takes any number
    attributes  names with defaults; stored on nodes as a plain tuple in this order
    kind        pointwise | reduction | view | gather | scatter | embed | library | source
    infer       result type from operand types and attributes; raises the located errors of shape and dtype
    eager       the operation on ndarrays and literals, attributes following positionally
    vjp         one rule an operand, or why there is none
    kernel      scalar expression for generated code, `{x}` standing for operands; empty where the operation runs
                as a host step (reductions: the intrinsic that combines two values)
    kernel_integer  the same for integers where it differs; None where there is none
    kernel_truth    the same for truth values; empty where the operation runs as a host step for them
    form        SymPy expression of a pointwise operation, as text
    domain      interval a test draws each operand from
    promotion   "same", "float" (integers become floats), "none": how tensor operands are brought to one dtype
    cost        relative work of one element, an addition being 1
    ulp         bound on eager against compiled, in units in the last place
    shares      whether the eager result may lie in the operand's memory, as views do
    """

    name: str
    operands: tuple[str, ...]
    kind: str
    infer: Callable[..., TensorType]
    eager: Callable[..., Any]
    vjp: tuple[Rule, ...] | NotDifferentiable
    doc: str
    attributes: tuple[tuple[str, Any], ...] = ()
    kernel: str = ""
    kernel_integer: str | None = ""
    kernel_truth: str = ""
    form: str = ""
    domain: tuple[tuple[float, float], ...] = ()
    promotion: str = "none"
    cost: float = 1.0
    ulp: float = 0.0
    public: bool = False
    shares: bool = False
    attribute_names: tuple[str, ...] = field(init=False)
    variadic: bool = field(init=False)
    differentiable: bool = field(init=False)
    rules: tuple[Rule, ...] = field(init=False)  # `vjp`, or nothing
    typed: bool = field(init=False)  # whether a rule names the operands' types

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", self.vjp if isinstance(self.vjp, tuple) else ())
        object.__setattr__(self, "typed", any("node.types()" in rule.needs for rule in self.rules))
        object.__setattr__(self, "shares", self.shares or self.kind == "view")
        object.__setattr__(self, "differentiable", isinstance(self.vjp, tuple))
        object.__setattr__(self, "attribute_names", tuple(name for name, _ in self.attributes))
        object.__setattr__(self, "variadic", bool(self.operands) and self.operands[0].startswith("*"))

    def rule(self, index: int) -> Rule:
        """The rule of operand `index`; the caller has checked that there is one."""
        assert isinstance(self.vjp, tuple)
        return self.vjp[0 if self.variadic else index]

    def bind(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Split a call into operands and the attribute tuple. Raises `TypeError` as Python's own calls do."""
        count = len(arguments) if self.variadic else len(self.operands)
        operands, rest = arguments[:count], arguments[count:]
        if len(operands) < count or len(rest) > len(self.attributes):
            raise TypeError(f"{self.name}() takes {self.signature}")
        attrs = list(rest)
        used = 0
        for name, default in self.attributes[len(rest) :]:
            if name in keywords:
                used += 1
                attrs.append(keywords[name])
            elif default is REQUIRED:
                raise TypeError(f"{self.name}() misses {name!r}: {self.signature}")
            else:
                attrs.append(default)
        if used < len(keywords):
            unknown = min(keywords.keys() - {name for name, _ in self.attributes[len(rest) :]})
            raise TypeError(f"{self.name}() got an unexpected argument {unknown!r}: {self.signature}")
        return operands, tuple(attrs)

    @property
    def signature(self) -> str:
        attributes = (name if default is REQUIRED else f"{name}={default!r}" for name, default in self.attributes)
        return f"({', '.join((*self.operands, *attributes))})"

    def __repr__(self) -> str:
        return f"<op {self.name}{self.signature}>"


CATALOGUE: dict[str, Op] = {}
told: list[Callable[[Op], None]] = []  # called with each new entry


def register(
    name: str, operands: str, kind: str, *, infer: Callable[..., TensorType], eager: Callable[..., Any],
    vjp: tuple[Callable[..., Any], ...] | NotDifferentiable, doc: str,
    attributes: dict[str, Any] | None = None, **known: Any,
) -> Op:
    """Make an entry and put it into the catalogue. Raises `ValueError` where the name is taken."""
    if name in CATALOGUE:
        raise ValueError(f"the catalogue already has an op {name!r}")
    names = tuple(operands.split())
    pairs = tuple((attributes or {}).items())
    bare = tuple(operand.lstrip("*") for operand in names)
    rules: tuple[Rule, ...] | NotDifferentiable = vjp if isinstance(vjp, NotDifferentiable) else tuple(
        Rule(fn, bare, tuple(key for key, _ in pairs)) for fn in vjp
    )
    if isinstance(rules, tuple) and len(rules) != len(names):
        raise ValueError(f"op {name!r} has {len(names)} operands and {len(rules)} rules")
    op = Op(name, names, kind, infer, eager, rules, doc, pairs, **known)
    CATALOGUE[name] = op
    for tell in told:
        tell(op)
    return op


def fail_dtype(name: str, dtype: DType, wanted: str) -> DtypeError:
    return DtypeError(f"`{name}` is not defined for {dtype.name}", ("why", f"it takes {wanted}"),
                      fix=f"convert the operand first, as in `x.to({wanted.split()[0]})`")
