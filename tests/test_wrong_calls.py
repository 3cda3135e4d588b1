"""Wrong calls of every public name: errors of retape's own with the caller's line, or Python's own of the signature."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import retape as rt
from retape.tracer import inplace, surface

CREATION = ("arange as_tensor bernoulli empty empty_like eye from_numpy full full_like linspace logspace normal ones "
            "ones_like rand rand_like randint randint_like randn randn_like randperm tensor zeros zeros_like")
SPECIAL = ("__getitem__", "__setitem__", "__add__", "__matmul__", "__pow__", "__iadd__", "__and__", "__lshift__")
# not of the vocabulary: they have messages of torch's, or take anything
OTHERS = {"backward", "register_hook", "requires_grad_", "numpy", "retain_grad"}
SIGNATURE = re.compile(r"(positional|keyword|keyword-only) argument|unexpected")


def arguments() -> dict[str, Any]:
    """What calls are made of: tensors of all ranks and kinds, and what is no operand at all."""
    return {
        "matrix": rt.from_numpy(np.arange(12.0).reshape(3, 4) / 5), "vector": rt.from_numpy(np.arange(5.0)),
        "integers": rt.from_numpy(np.arange(6).reshape(2, 3)), "mask": rt.from_numpy(np.array([True, False])),
        "complex": rt.from_numpy(np.ones((2, 2)) * 1j), "scalar": rt.tensor(1.5), "empty": rt.zeros(0, 4),
        "batch": rt.ones(2, 3, 4, dtype=rt.float64), "2": 2, "-7": -7, "11": 11, "1.5": 1.5, "none": None,
        "text": "what", "tuple": (0, 1), "list": [rt.ones(2), rt.ones(3)], "object": object(), "dict": {},
        "true": True, "type": rt.float32,
    }


TENSORS = list(arguments())[:8]


def names(space: str) -> dict[str, Callable[..., Any]]:
    """The functions of a namespace by name."""
    if space == "rt":
        return surface.functions()
    if space == "creation":
        return {name: getattr(rt, name) for name in CREATION.split()}
    if space == "Tensor":
        known = [n for n in dir(rt.Tensor) if not n.startswith("_") and n not in OTHERS]
        return {n: f for n in (*known, *SPECIAL) if callable(f := getattr(rt.Tensor, n))}
    return surface.space(space)


def calls(space: str, name: str, count: int) -> Iterator[tuple[list[str], list[Any]]]:
    """Argument lists drawn for a name: mostly tensors first, then anything."""
    rng = np.random.default_rng([ord(letter) for letter in space + name])
    for _ in range(count):
        pool = arguments()
        picked = [str(p) for p in rng.choice(list(pool), int(rng.integers(0, 5)))]
        first = str(rng.choice(TENSORS))
        if space == "Tensor":
            picked = [first, *picked[:3]]
        elif picked and rng.random() < 0.7:
            picked[0] = first
        yield picked, [pool[p] for p in picked]


def complaint(error: Exception) -> str:
    """What is missing of an error that a user should meet."""
    text = str(error)
    if isinstance(error, rt.errors.RetapeError):
        missing = [word for word in ("where", "why", "fix", "test_wrong_calls.py") if word not in text]
        return f"{type(error).__name__} without {missing}: {text}" if missing else ""
    if isinstance(error, TypeError) and SIGNATURE.search(text):
        return ""
    return f"a bare {type(error).__name__}: {text}"


@pytest.mark.parametrize("space", ["rt", "Tensor", "creation", "linalg", "fft", "special", "nn.functional"])
def test_wrong_calls_are_located_errors(space: str) -> None:
    wrong, problems = 0, []
    for name, function in sorted(names(space).items()):
        for picked, given in calls(space, name, 30):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    function(*given)
            except Exception as error:
                wrong += 1
                if said := complaint(error):
                    problems.append(f"{space} {name}({', '.join(picked)}): {said}")
    assert not problems, f"{len(problems)}:\n" + "\n".join(problems[:20])
    assert wrong > 10 * len(names(space))


def test_a_failed_write_leaves_its_target_as_it_was() -> None:
    """In-place methods raise before they write."""
    written = [n for n in names("Tensor") if n.endswith("_") and n not in ("detach_", *inplace.METHODS)]
    failed = 0
    for name in written:
        for _, given in calls("Tensor", name, 12):
            target = given[0]
            before, version = target._data.copy(), target._version[0]
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    getattr(rt.Tensor, name)(*given)
            except Exception:
                failed += 1
                np.testing.assert_array_equal(target._data, before, name)
                assert target._version[0] == version, name
    assert failed > 5 * len(written)


def test_a_type_has_no_elements() -> None:
    with pytest.raises(TypeError):
        tuple(rt.float32)  # type: ignore[arg-type]
