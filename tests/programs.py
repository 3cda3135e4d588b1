"""Random programs over the catalogue, as a Hypothesis strategy.

A program is a list of steps. While it is drawn it is also run, so that values stay in a range where rounding stays
small, and steps that jump (`floor`, comparisons, `argmax`, indices) are applied only to values that every execution
computes exactly: then all executions must agree closely, and differences approximate gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

import retape as rt
from retape.ir import CATALOGUE
from retape.tracer.apply import apply

SHAPES = [(), (3,), (4,), (1, 4), (3, 1), (3, 4), (4, 3), (2, 3, 4), (2, 1, 4), (0, 3), (5, 2)]
LIMIT, LARGEST = 1e3, 160
F32, F64, I64, B1 = rt.float32, rt.float64, rt.int64, rt.bool


@dataclass(frozen=True)
class Ref:
    """The value of an earlier step (or an input)."""

    index: int


@dataclass
class Program:
    """`steps` are (op name, operands, attributes) over `arrays`; `outputs` are references."""

    arrays: list[np.ndarray[Any, Any]]
    steps: list[tuple[str, tuple[Any, ...], tuple[Any, ...]]] = field(default_factory=list)
    outputs: list[Ref] = field(default_factory=list)

    def __call__(self, *inputs: Any) -> tuple[Any, ...]:
        values = list(inputs)
        for name, operands, attrs in self.steps:
            given = tuple(values[o.index] if isinstance(o, Ref) else o for o in operands)
            values.append(apply(CATALOGUE[name], given, attrs))
        return tuple(values[o.index] for o in self.outputs)

    def __repr__(self) -> str:
        lines = [f"v{i} = {a!r}" for i, a in enumerate(self.arrays)]
        for number, (name, operands, attrs) in enumerate(self.steps, len(self.arrays)):
            shown = ", ".join(f"v{o.index}" if isinstance(o, Ref) else repr(o) for o in operands)
            lines.append(f"v{number} = {name}({shown}; {attrs})")
        return "\n".join([*lines, f"return {[f'v{o.index}' for o in self.outputs]}"])

    @property
    def has_f32(self) -> bool:
        return any(a.dtype == np.float32 for a in self.arrays) or any(F32 in step[2] for step in self.steps) \
            or any(name == "div" for name, _, _ in self.steps)

    def tensors(self, requires_grad: bool = False) -> list[Any]:
        return [rt.from_numpy(a.copy(), requires_grad=requires_grad and a.dtype.kind == "f") for a in self.arrays]


class Writer:
    """Appends steps while they keep to the rules of the module."""

    def __init__(self, draw: Callable[..., Any], arrays: list[np.ndarray[Any, Any]]) -> None:
        self.draw = draw
        self.program = Program(arrays)
        self.values = [rt.from_numpy(a) for a in arrays]
        self.exact = [True] * len(arrays)

    def pick(self, choose: Callable[[int], bool]) -> Ref | None:
        """A value for which `choose` holds; late ones come first."""
        found = [i for i in range(len(self.values)) if choose(i)]
        if not found:
            return None
        return Ref(found[-1 - self.draw(st.integers(0, min(len(found), 6) - 1))])

    def value(self, ref: Ref) -> Any:
        return self.values[ref.index]

    def floats(self, exact: bool = False) -> Ref | None:
        return self.pick(lambda i: self.values[i].dtype.is_floating_point and (self.exact[i] or not exact))

    def of(self, dtype: Any, exact: bool = False) -> Ref | None:
        return self.pick(lambda i: self.values[i].dtype is dtype and (self.exact[i] or not exact))

    def add(self, name: str, *operands: Any, attrs: tuple[Any, ...] = (), exact: bool = False) -> Ref | None:
        """Append a step unless its value grows too large."""
        given = tuple(self.value(o) if isinstance(o, Ref) else o for o in operands)
        with np.errstate(all="ignore"):
            value = apply(CATALOGUE[name], given, attrs)
        data = value._data
        if data.size > LARGEST or (data.size and data.dtype.kind != "b" and not np.all(np.abs(data) < LIMIT)):
            return None
        self.program.steps.append((name, operands, attrs))
        self.values.append(value)
        self.exact.append(exact)
        return Ref(len(self.values) - 1)

    def axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if not shape:
            return ()
        return tuple(sorted(self.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))))

    def partner(self, ref: Ref) -> Any:
        """A float value that broadcasts with `ref`, or a number."""
        shape = self.value(ref).shape

        def fits(i: int) -> bool:
            other = self.values[i].shape
            return self.values[i].dtype.is_floating_point and all(
                a == b or 1 in (a, b) for a, b in zip(reversed(shape), reversed(other), strict=False))

        if self.draw(st.integers(0, 3)) == 0:
            return self.draw(st.sampled_from([0.5, -1.5, 2, 3.0, 0, -1]))
        return self.pick(fits)


# ---- steps: each takes a writer, draws, and appends what it can


def unary(w: Writer) -> None:
    x = w.floats()
    name = w.draw(st.sampled_from(["neg", "abs", "sin", "cos", "tanh", "sigmoid", "erf", "relu", "clone", "detach",
                                   "exp", "expm1", "log", "log1p", "sqrt"]))
    if x is None:
        return
    exact = name in ("neg", "abs", "relu", "clone", "detach") and w.exact[x.index]
    if name in ("log", "log1p", "sqrt"):
        a = w.add("abs", x)
        b = a and w.add("add", a, 0.5)
        if b:
            w.add(name, b)
    elif name in ("exp", "expm1"):
        a = w.add("tanh", x)
        if a:
            w.add(name, a)
    else:
        w.add(name, x, exact=exact)


def binary(w: Writer) -> None:
    x = w.floats()
    y = None if x is None else w.partner(x)
    if x is None or y is None:
        return
    name = w.draw(st.sampled_from(["add", "sub", "mul", "maximum", "minimum", "mul", "add"]))
    exact = name in ("maximum", "minimum") and w.exact[x.index] and (not isinstance(y, Ref) or w.exact[y.index])
    if w.draw(st.booleans()):
        w.add(name, x, y, exact=exact)
    else:
        w.add(name, y, x, exact=exact)


def quotient(w: Writer) -> None:
    x, y = w.floats(), None
    y = None if x is None else w.partner(x)
    if not isinstance(y, Ref):
        return
    bottom = w.add("abs", y)
    bottom = bottom and w.add("add", bottom, 0.75)
    if bottom:
        w.add("div", x, bottom)


def power(w: Writer) -> None:
    x = w.floats()
    if x is None:
        return
    exponent = w.draw(st.sampled_from([2, 3, 2.0, 4, 0.5, -1, 1.5]))
    if not isinstance(exponent, int) or exponent < 0:
        x = w.add("sigmoid", x)
        x = x and w.add("add", x, 0.25)
    if x:
        w.add("pow", x, exponent)


def step_function(w: Writer) -> None:
    x = w.floats(exact=True)
    if x is not None:
        w.add(w.draw(st.sampled_from(["floor", "round", "sign"])), x, exact=True)


def comparison(w: Writer) -> None:
    x = w.draw(st.sampled_from([w.floats, lambda exact: w.of(I64)]))(exact=True)
    if x is None:
        return
    other = w.draw(st.sampled_from([0, 0.5, -1])) if w.value(x).dtype is not I64 else w.draw(st.integers(-2, 2))
    name = w.draw(st.sampled_from(["lt", "le", "gt", "ge", "eq", "ne"]))
    if name == "ge":  # `le` the other way round
        w.add("le", other, x, exact=True)
    else:
        w.add(name, x, other, exact=True)


def logic(w: Writer) -> None:
    x = w.of(B1)
    if x is None:
        return
    if w.draw(st.booleans()):
        w.add("eq", x, False, exact=True)
    else:
        y = w.pick(lambda i: w.values[i].dtype is B1 and w.values[i].shape == w.value(x).shape)
        w.add(w.draw(st.sampled_from(["logical_and", "maximum"])), x, y, exact=True)


def choice(w: Writer) -> None:
    condition = w.of(B1)
    if condition is None:
        return
    x = w.partner(condition)
    if isinstance(x, Ref):
        w.add("where", condition, x, w.draw(st.sampled_from([0, 1.5, -0.25])))


def integers(w: Writer) -> None:
    x = w.of(I64)
    if x is None:
        return
    name = w.draw(st.sampled_from(["add", "mul", "sub", "floor_divide", "remainder", "maximum", "abs", "neg", "cast"]))
    if name == "cast":
        w.add("cast", x, attrs=(w.draw(st.sampled_from([F32, F64])),), exact=True)
    elif name in ("abs", "neg"):
        w.add(name, x, exact=True)
    else:
        w.add(name, x, w.draw(st.sampled_from([2, 3, -2])), exact=True)


def cast(w: Writer) -> None:
    x = w.floats()
    if x is not None:
        w.add("cast", x, attrs=(w.draw(st.sampled_from([F32, F64])),))


def reduction(w: Writer) -> None:
    x = w.floats()
    if x is None:
        return
    shape = w.value(x).shape
    axis = w.axes(shape)
    name = w.draw(st.sampled_from(["sum", "mean", "amax", "amin", "prod", "sum"]))
    count = math.prod(shape[a] for a in axis)
    if count == 0 and name not in ("sum", "prod"):
        return
    if name == "prod":
        x = w.add("tanh", x)
        if x is None:
            return
    w.add(name, x, attrs=(axis, w.draw(st.booleans())), exact=name in ("amax", "amin") and w.exact[x.index])


def position(w: Writer) -> None:
    x = w.floats(exact=True)
    if x is None or not w.value(x).shape:
        return
    shape = w.value(x).shape
    axis = w.draw(st.integers(0, len(shape) - 1))
    if shape[axis]:
        w.add("argmax", x, attrs=((axis,), w.draw(st.booleans())), exact=True)


def truth(w: Writer) -> None:
    x = w.of(B1)
    if x is not None:
        w.add("sum", x, attrs=(w.axes(w.value(x).shape), False), exact=True)


def view(w: Writer) -> None:
    x = w.pick(lambda i: True)
    assert x is not None
    shape = w.value(x).shape
    kind = w.draw(st.sampled_from(["reshape", "permute", "expand", "slice", "flip", "slice"]))
    attrs: tuple[Any, ...]
    if kind == "reshape":
        numel = math.prod(shape)
        options = [(numel,), (1, numel), (*shape, 1), (*(1,) * (3 - len(shape)), *shape)]
        options += [(d, numel // d) for d in (2, 3, 4) if numel and numel % d == 0]
        attrs = (w.draw(st.sampled_from(options)),)
    elif kind == "permute":
        attrs = (tuple(w.draw(st.permutations(range(len(shape))))),)
    elif kind == "expand":
        wide = tuple(3 if e == 1 and w.draw(st.booleans()) else e for e in shape)
        attrs = (((2, *wide) if len(shape) < 3 and w.draw(st.booleans()) else wide),)
    elif kind == "flip":
        attrs = (w.axes(shape),)
    else:
        attrs = (basic_index(w, shape),)
    w.add(kind, x, attrs=attrs, exact=w.exact[x.index])


def basic_index(w: Writer, shape: tuple[int, ...]) -> tuple[Any, ...]:
    entries: list[Any] = []
    for extent in shape:
        form = w.draw(st.sampled_from(["all", "part", "step", "back", "one", "new"]))
        if form == "new" and len(shape) < 3:
            entries.append(None)
        if form == "one" and extent:
            entries.append(w.draw(st.integers(0, extent - 1)))
        elif form == "part" and extent:
            start = w.draw(st.integers(0, extent - 1))
            entries.append(slice(start, w.draw(st.integers(start + 1, extent)), 1))
        elif form == "step":
            entries.append(slice(0, extent, 2))
        elif form == "back" and extent:
            entries.append(slice(extent - 1, None, -1))
        else:
            entries.append(slice(0, extent, 1))
    return tuple(entries)


def concatenation(w: Writer) -> None:
    x = w.pick(lambda i: w.values[i].shape != ())
    if x is None:
        return
    shape, dtype = w.value(x).shape, w.value(x).dtype
    axis = w.draw(st.integers(0, len(shape) - 1))
    y = w.pick(lambda i: w.values[i].dtype is dtype and len(w.values[i].shape) == len(shape) and all(
        a == b for d, (a, b) in enumerate(zip(w.values[i].shape, shape, strict=True)) if d != axis))
    assert y is not None
    w.add("cat", x, y, attrs=(axis,), exact=w.exact[x.index] and w.exact[y.index])


def write(w: Writer) -> None:
    x = w.floats()
    if x is None:
        return
    shape = w.value(x).shape
    index = tuple(e for e in basic_index(w, shape) if e is not None)
    if w.draw(st.booleans()):
        part = w.add("slice", x, attrs=(index,), exact=w.exact[x.index])
        part = part and w.add("sin", part)
        if part:
            w.add("slice_scatter", x, part, attrs=(index,))
    else:
        part = w.add("slice", x, attrs=(index,), exact=w.exact[x.index])
        if part:
            w.add("embed", part, attrs=(shape, index), exact=w.exact[x.index])


def selection(w: Writer) -> None:
    x, index = w.floats(), w.of(I64)
    if x is None or index is None or not w.value(x).shape or not w.value(index).numel():
        return
    shape = w.value(x).shape
    axis = w.draw(st.integers(0, len(shape) - 1))
    if not shape[axis]:
        return
    inside = w.add("remainder", index, shape[axis], exact=True)
    if inside is None:
        return
    rank = len(w.value(inside).shape)
    name = w.draw(st.sampled_from(["take", "take_add", "gather", "scatter_add"]))
    if name == "take":
        w.add("take", x, inside, attrs=(axis,), exact=w.exact[x.index])
    elif name == "take_add" and w.value(inside).shape == shape[axis : axis + rank] and rank:
        w.add("take_add", x, inside, attrs=((*shape[:axis], shape[axis], *shape[axis + rank :]), axis))
    elif name == "gather" and rank == len(shape) and all(
        a <= b for d, (a, b) in enumerate(zip(w.value(inside).shape, shape, strict=True)) if d != axis
    ):
        w.add("gather", x, inside, attrs=(axis,), exact=w.exact[x.index])
    elif name == "scatter_add" and w.value(inside).shape == shape:
        w.add("scatter_add", x, inside, attrs=(shape, axis))


def product(w: Writer) -> None:
    x = w.pick(lambda i: w.values[i].dtype.is_floating_point and len(w.values[i].shape) in (2, 3))
    if x is None:
        return
    a = w.value(x)
    y = w.pick(lambda i: w.values[i].dtype is a.dtype and len(w.values[i].shape) in (2, 3)
               and w.values[i].shape[-2] == a.shape[-1]
               and (len(w.values[i].shape) == 2 or a.ndim == 2 or w.values[i].shape[0] in (1, a.shape[0])
                    or a.shape[0] == 1))
    if y is None:
        axes = (*range(a.ndim - 2), a.ndim - 1, a.ndim - 2)
        y = w.add("permute", x, attrs=(axes,), exact=w.exact[x.index])
    if y is not None:
        w.add("matmul", x, y)


def scan(w: Writer) -> None:
    x = w.floats()
    if x is not None and w.value(x).shape:
        w.add("cumsum", x, attrs=(w.draw(st.integers(0, len(w.value(x).shape) - 1)),))


def source(w: Writer) -> None:
    kind = w.draw(st.sampled_from(["full", "arange"]))
    if kind == "full":
        shape = w.draw(st.sampled_from(SHAPES))
        w.add("full", attrs=(shape, w.draw(st.sampled_from([0.0, 1.0, -0.5])), w.draw(st.sampled_from([F32, F64]))),
              exact=True)
    else:
        w.add("arange", attrs=(0, w.draw(st.sampled_from([3, 4])), 1, w.draw(st.sampled_from([I64, F64]))), exact=True)


STEPS: Sequence[Callable[[Writer], None]] = [
    unary, unary, unary, binary, binary, binary, binary, quotient, power, step_function, comparison, logic, choice,
    choice,
    integers, cast, reduction, reduction, position, truth, view, view, view, concatenation, write, selection, selection,
    product, scan, source,
]


@st.composite
def programs(draw: Callable[..., Any], dtypes: Sequence[Any] = (F32, F64, I64, B1), least: int = 2,
             most: int = 18) -> Program:
    """Programs of `least` to `most` drawn steps on one to four inputs."""
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    arrays: list[np.ndarray[Any, Any]] = []
    kinds = [draw(st.sampled_from([d for d in dtypes if d.is_floating_point]))]
    kinds += draw(st.lists(st.sampled_from(list(dtypes)), max_size=3))
    for kind in kinds:
        shape = draw(st.sampled_from(SHAPES))
        if kind is B1:
            arrays.append(np.asarray(rng.integers(0, 2, shape)).astype(bool))
        elif kind is I64:
            arrays.append(np.asarray(rng.integers(-3, 4, shape)).astype(np.int64))
        else:
            arrays.append(np.asarray(rng.uniform(-2.0, 2.0, shape)).astype(kind.numpy))
    writer = Writer(draw, arrays)
    for _ in range(draw(st.integers(least, most))):
        draw(st.sampled_from(STEPS))(writer)
    program = writer.program
    total = len(writer.values)
    last = [Ref(total - 1)]
    program.outputs = last + [Ref(i) for i in draw(st.lists(st.integers(0, total - 1), max_size=3))]
    return program


