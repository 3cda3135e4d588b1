"""Two worlds side by side: the same program with the same state, run eagerly in one and compiled in the other.

A program is a function that makes a world: the function to call, a function from the number of a call to its arguments,
and a function that lists everything that a call may change. After each call, results, states and raised errors of both
worlds must agree.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

import retape as rt

World = tuple[Callable[..., Any], Callable[[int], tuple[Any, ...]], Callable[[], Any]]


def run(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """The result of a call, or the error that it raised."""
    try:
        return function(*arguments)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError, AssertionError) as error:
        return error


def same(found: Any, wanted: Any, place: str, rtol: float = 1e-12) -> None:
    """Assert that what the compiled world has (`found`) is what the eager one has."""
    if isinstance(wanted, rt.Tensor):
        assert isinstance(found, rt.Tensor), f"{place}: {type(found)}"
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), place
        assert found.requires_grad == wanted.requires_grad, place
        assert (found.grad is None) == (wanted.grad is None), f"{place}: .grad {found.grad} against {wanted.grad}"
        if wanted.grad is not None:
            same(found.grad, wanted.grad, f"{place}.grad", rtol)
        same(found._data, wanted._data, place, rtol)
    elif isinstance(wanted, np.ndarray):
        assert isinstance(found, (np.ndarray, np.generic)) and found.dtype == wanted.dtype, place
        limit = 2e-5 if wanted.dtype in (np.float32, np.complex64) else rtol
        np.testing.assert_allclose(found, wanted, limit, limit, err_msg=place)
    elif isinstance(wanted, BaseException):
        assert type(found) is type(wanted), f"{place}: {found!r} against {wanted!r}"
        if not isinstance(wanted, rt.errors.RetapeError):
            assert str(found) == str(wanted), place
    elif isinstance(wanted, dict):
        assert isinstance(found, dict) and list(found) == list(wanted), place
        for key, part in wanted.items():
            same(found[key], part, f"{place}[{key!r}]", rtol)
    elif isinstance(wanted, (tuple, list)):
        assert type(found) is type(wanted) and len(found) == len(wanted), place
        for number, (a, b) in enumerate(zip(found, wanted, strict=True)):
            same(a, b, f"{place}[{number}]", rtol)
    elif is_dataclass(wanted):
        for field in fields(wanted):
            same(getattr(found, field.name), getattr(wanted, field.name), f"{place}.{field.name}", rtol)
    elif isinstance(wanted, float):
        np.testing.assert_allclose(found, wanted, rtol, err_msg=place)
    else:
        assert found == wanted, place


def counters(value: Any) -> Any:
    """The version counters of the tensors in a state."""
    if isinstance(value, rt.Tensor):
        return value._version[0]
    if isinstance(value, dict):
        return [counters(v) for v in value.values()]
    return [counters(v) for v in value] if isinstance(value, (tuple, list)) else None


def agree(make: Callable[[], World], calls: int = 4, rtol: float = 1e-12, gradients: bool = True,
          traces: int | None = None, errors: bool = False) -> Any:
    """Run `calls` calls in both worlds; `traces` is how many traces there may be, `errors` says that calls may raise
    (in both, and then states aren't compared, since a failed eager call may have changed half of its own).
    Returns the compiled function."""
    eager, eager_arguments, eager_state = make()
    plain, arguments, state = make()
    compiled = rt.compile(plain)
    for call in range(calls):
        place = f"call {call}"
        given, wanted_given = arguments(call), eager_arguments(call)
        rt.manual_seed(call)
        wanted = run(eager, wanted_given)
        after = rt.rand(2).tolist()
        rt.manual_seed(call)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = run(compiled, given)
        if isinstance(wanted, BaseException):
            assert errors, repr(wanted)
            same(found, wanted, place)
            continue
        assert rt.rand(2).tolist() == after, f"{place}: random numbers were drawn differently"
        same(numbers(found), numbers(wanted), place, rtol)
        same(given, wanted_given, f"{place}, arguments", rtol)
        same(state(), eager_state(), f"{place}, state", rtol)
        assert counters(state()) == counters(eager_state()), f"{place}, versions"
        if gradients:
            a, b = run(pull, (found,)), run(pull, (wanted,))
            same(a, b, f"{place}, backward")
            same(given, wanted_given, f"{place}, arguments' gradients", rtol)
            same(state(), eager_state(), f"{place}, state's gradients", rtol)
    if traces is not None:
        assert compiled.traces == traces, f"{compiled.traces} traces"
    return compiled


def numbers(result: Any) -> Any:
    """A result with NumPy's arrays and numbers as arrays, tensors of a call without tensors too."""
    if isinstance(result, (tuple, list)):
        return type(result)(map(numbers, result)) if not hasattr(result, "_fields") else tuple(map(numbers, result))
    if isinstance(result, dict):
        return {key: numbers(value) for key, value in result.items()}
    if isinstance(result, (np.ndarray, np.generic)):
        return np.asarray(result)
    if isinstance(result, rt.Tensor) and not result.requires_grad:
        return result._data
    return result


def pull(result: Any) -> None:
    """Backward from every tensor of a result that requires grad."""
    parts = result.values() if isinstance(result, dict) else result if isinstance(result, (tuple, list)) else [result]
    live = [part for part in parts if isinstance(part, rt.Tensor) and part.requires_grad]
    if live:
        sum((part * rt.cos(part.detach())).sum() for part in live).backward()
