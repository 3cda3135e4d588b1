"""Calls of the vocabulary as text, and the tensors that they name: for comparison with torch, differences and NumPy.

A case is an expression in `m` (retape or torch), `F` (`m.nn.functional`), `L` (`m.linalg`), `T` (`m.fft`) and named
samples. The same text is evaluated on both, so that signatures are compared, too.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

_rng = np.random.default_rng(2024)


def _uniform(low: float, high: float, *shape: int) -> np.ndarray[Any, Any]:
    return np.asarray(_rng.uniform(low, high, shape))


def _spread(shape: tuple[int, ...], shift: float = 0.013) -> np.ndarray[Any, Any]:
    """Numbers that are no ties: a shuffled even spacing from -2 to 2."""
    values = np.linspace(-2.0, 2.0, int(np.prod(shape))) + shift
    return np.asarray(_rng.permutation(values).reshape(shape))


_square = _uniform(-1, 1, 2, 3, 3) + 3 * np.eye(3)

SAMPLES: dict[str, np.ndarray[Any, Any]] = {
    "x": _spread((3, 4)), "y": _spread((3, 4), 0.127), "p": _uniform(0.3, 3, 3, 4), "u": _uniform(0.1, 0.9, 3, 4),
    "w": _uniform(-2, 2, 4), "col": _uniform(-2, 2, 3, 1), "s": np.asarray(1.25), "one": _uniform(-1, 1, 1),
    "z": np.zeros((0, 4)), "xt": _spread((4, 3)).T, "strided": _spread((3, 8))[:, ::2], "turned": _spread((3, 4))[::-1],
    "wide": np.broadcast_to(_spread((4,)), (3, 4)),
    "X": _spread((2, 3, 4)), "Y": _spread((2, 3, 4), 0.041), "W": _uniform(-1, 1, 4, 5), "V": _uniform(-1, 1, 5),
    "ties": np.array([[1.0, 3.0, 3.0, 0.0], [2.0, 2.0, 2.0, 2.0], [0.0, -1.0, 0.0, 5.0]]),
    "odd": np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.5, 2.5]),
    "zeros": np.array([0.0, 2.0, 0.0, -3.0]),
    "A": _square, "B": _uniform(-1, 1, 2, 3, 2), "spd": _square @ _square.swapaxes(-1, -2) + np.eye(3),
    "rect": _uniform(-1, 1, 2, 4, 3) + 3 * np.eye(4, 3), "flat": _uniform(-1, 1, 2, 3),
    "img": _spread((2, 4, 6, 5)), "sig": _spread((2, 4, 9)), "k1": _uniform(-1, 1, 6, 4, 3),
    "k2": _uniform(-1, 1, 6, 4, 3, 2), "kg": _uniform(-1, 1, 6, 2, 3, 2), "kt": _uniform(-1, 1, 4, 3, 3, 2),
    "bias": _uniform(-1, 1, 6), "ch": _uniform(0.5, 1.5, 4), "sh": _uniform(-1, 1, 4),
    "table": _uniform(-1, 1, 7, 3), "scores": _spread((5, 4)), "space": _spread((2, 4, 3)),
    "q": _uniform(-1, 1, 2, 5, 4), "kk": _uniform(-1, 1, 2, 6, 4), "vv": _uniform(-1, 1, 2, 6, 3),
    "prob": np.array([[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25], [0.7, 0.1, 0.1, 0.1]]),
    "c": _uniform(-1, 1, 3, 4) + 1j * _uniform(-1, 1, 3, 4), "d": _uniform(1, 2, 3, 4) + 1j * _uniform(-1, 1, 3, 4),
    "i": _rng.integers(-5, 6, (3, 4)), "j": _rng.integers(1, 5, (3, 4)),
    "i8": _rng.integers(-5, 6, (3, 4)).astype(np.int8),
    "u8": _rng.integers(0, 9, (3, 4)).astype(np.uint8), "b": _rng.integers(0, 2, (3, 4)).astype(bool),
    "bb": _rng.integers(0, 2, (3, 4)).astype(bool), "idx": np.array([2, 0, 2]), "cls": np.array([1, 3, 0, 2, 3]),
    "gi": np.array([[0, 1, 2, 0], [2, 2, 0, 1]]), "si": np.array([[2, 1, 0, 0], [0, 2, 1, 2], [1, 0, 2, 1]]),
    "cls2": np.array([[0, 3, -100], [2, -100, 1]]), "sign": np.array([1.0, -1.0, 1.0]),
    "f32": _uniform(-1, 1, 3, 4).astype(np.float32), "f64": _uniform(-1, 1, 3, 4),
}
FIXED = {"f32", "f64"}  # samples whose element type is what they are for

_UNARY = ("neg abs sign sgn square exp exp2 expm1 sin cos tan asinh atan sinh cosh tanh sigmoid erf erfc sinc floor "
          "ceil round trunc frac deg2rad rad2deg relu isnan isinf isfinite signbit logical_not positive nan_to_num "
          "angle real conj digamma lgamma")
_POSITIVE = "sqrt rsqrt reciprocal log log2 log10 log1p digamma lgamma"
_UNIT = "asin acos atanh logit"
_BINARY = ("add sub mul div true_divide floor_divide remainder fmod atan2 hypot logaddexp logaddexp2 maximum minimum "
           "fmax fmin eq ne lt le gt ge logical_and logical_or logical_xor copysign")
_ODD = ("abs exp expm1 log1p sqrt tanh sigmoid erf floor ceil round trunc relu isnan isinf isfinite sinc signbit "
        "nan_to_num frac square reciprocal")
_ARITHMETIC = (("x", "p"), ("p", "2"), ("i", "j"), ("3", "p"), ("p", "1.5"))
_COMPARED = (("x", "y"), ("i", "2"), ("1", "x"))
_BITS = (("b", "bb"), ("i", "j"), ("u8", "3"), ("b", "True"))


def _elementwise() -> list[str]:
    cases = [f"m.{n}(x)" for n in _UNARY.split()] + [f"m.{n}(p)" for n in _POSITIVE.split()]
    cases += [f"m.{n}(u)" for n in _UNIT.split()] + [f"m.{n}(x, p)" for n in _BINARY.split()]
    cases += [f"m.{n}(odd)" for n in _ODD.split()] + [f"x.{n}()" for n in ("exp", "sinc", "frac", "trunc")]
    for name in ("exp", "sigmoid", "floor", "neg", "reciprocal"):
        cases += [f"m.{name}({sample})" for sample in ("s", "z", "xt", "strided", "turned", "wide", "i")]
    for name in ("add", "mul", "div", "remainder", "fmod", "floor_divide"):
        cases += [f"m.{name}({pair})" for pair in (
            "x, w", "col, w", "x, s", "s, w", "xt, turned", "z, w", "i, j", "i, p", "i8, j", "u8, i8", "f32, f64",
            "x, 2", "i, 2", "i, 2.5", "wide, strided")]
    for operators, pairs in (("+ - * / // % **", _ARITHMETIC), ("== != < <= > >=", _COMPARED), ("& | ^", _BITS)):
        cases += [f"{a} {op} {b}" for op in operators.split() for a, b in pairs]
    more = ["i << 2", "i >> 1", "j << j", "~i", "~b", "~u8", "-x", "abs(x)", "abs(i)", "i8 - u8", "u8 + u8", "x @ w"]
    return cases + more


def _words(line: str) -> list[str]:
    """The expressions of a line: separated by spaces outside of brackets and quotes."""
    words, depth, quoted, word = [], 0, False, ""
    for sign in line + " ":
        quoted ^= sign == "'"
        depth += (sign in "([{") - (sign in ")]}")
        if sign == " " and depth == 0 and not quoted:
            if word:
                words.append(word)
            word = ""
        else:
            word += sign
    return words


@cache
def groups() -> dict[str, list[str]]:
    """The cases by subject: those of the text file, and the ones made for every elementwise function."""
    found: dict[str, list[str]] = {}
    for line in (Path(__file__).parent / "data" / "vocabulary.txt").read_text().splitlines():
        if re.fullmatch(r"\[\w+\]", line):
            found[line[1:-1]] = []
        else:
            found[next(reversed(found))] += _words(line)
    found["elementwise"] += _elementwise()
    return found


def cases() -> list[str]:
    """All cases, each once."""
    return list(dict.fromkeys(case for group in groups().values() for case in group))


def names_in(case: str) -> list[str]:
    """The samples that a case names, in order; `r` stands for a clone of `x`."""
    tree = ast.parse(case)
    bound = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    bound |= {a.arg for n in ast.walk(tree) if isinstance(n, ast.Lambda) for a in n.args.args}
    found = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name)]
    found = ["x" if name == "r" else name for name in found if name == "r" or name not in bound]
    return [name for name in dict.fromkeys(found) if name in SAMPLES]


def subject(case: str) -> str:
    """The name that a case is about: the outermost call, or the operator."""
    tree = ast.parse(case.split(";")[0], mode="exec").body[0]
    node: Any = tree.value if isinstance(tree, ast.Expr) else None
    while isinstance(node, ast.Subscript) and isinstance(node.value, (ast.Call, ast.Subscript)):
        node = node.value
    if isinstance(node, ast.Call):
        function = node.func
        if isinstance(function, ast.Attribute):
            space = {"F": "nn.functional.", "L": "linalg.", "T": "fft."}.get(getattr(function.value, "id", ""), "")
            return space + function.attr
        return getattr(function, "id", "matrix functions")
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript):
        return "x[...]"
    kinds = {ast.BinOp: "operators", ast.Compare: "comparisons", ast.UnaryOp: "operators"}
    return kinds.get(type(node), "in-place statements")


def run(case: str, module: Any, given: dict[str, Any]) -> Any:
    """Evaluate a case on a module's tensors."""
    space = {"m": module, "F": module.nn.functional, "L": module.linalg, "T": module.fft, **given}
    if "r" in {n.id for n in ast.walk(ast.parse(case)) if isinstance(n, ast.Name)}:
        space["r"] = given["x"].clone()
    *statements, last = case.split(";")
    exec(";".join(statements), space)
    return eval(last, space)
