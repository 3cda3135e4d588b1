"""Vector math against 160-bit arithmetic, against NumPy at special values, jitted against not, and its machine code."""

from __future__ import annotations

import ctypes
import math
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import scipy.special

from retape.codegen import native, vmath
from retape.codegen.vmath import coefficients
from retape.codegen.vmath.fit import remez
from retape.codegen.vmath.fits import fits
from retape.codegen.vmath.value import Value

TYPES = {"f64": np.float64, "f32": np.float32}
PRECISION = {"f64": (53, -1074), "f32": (24, -149)}
ARITY = {"pow": 2, "lone_pow": 2, "atan2": 2, "hypot": 2}
CASES = [(name, ty) for name in sorted(vmath.NAMES) for ty in TYPES]


def _log_abs_gamma(x: mp.mpf) -> mp.mpf:
    if x > 0:
        return mp.loggamma(x)
    return mp.inf if x == mp.floor(x) else mp.log(mp.pi / abs(mp.sinpi(x))) - mp.loggamma(1 - x)


def _math_lgamma(x: float) -> float:
    try:
        return math.lgamma(x)
    except (ValueError, OverflowError):
        return math.inf


MPMATH = "exp expm1 log log1p log10 sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh erf hypot digamma"
EXACT: dict[str, Callable[..., Any]] = {
    **{name: getattr(mp, name) for name in MPMATH.split()},
    "erfc": lambda x: mp.erfc(x) if x < 1000 else mp.mpf(0),
    "exp2": lambda x: mp.mpf(2) ** x,
    "log2": lambda x: mp.log(x, 2),
    "softplus": lambda x: mp.log1p(mp.exp(x)),
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "pow": mp.power,
    "lone_pow": mp.power,
    "cbrt": lambda x: mp.sign(x) * mp.cbrt(abs(x)),
    "lgamma": _log_abs_gamma,
}

NUMPY = "exp exp2 expm1 log log1p log2 log10 sin cos tan sinh cosh tanh cbrt hypot"
REFERENCE: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in NUMPY.split()},
    **{name: getattr(scipy.special, name) for name in ("erf", "erfc", "digamma")},
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "pow": np.power,
    "lone_pow": np.power,
    "lgamma": np.vectorize(_math_lgamma, otypes=[np.float64]),
    "sigmoid": scipy.special.expit,
    "softplus": lambda x: np.logaddexp(0.0, x),
}

# Where the function is interesting: sampled uniformly, beside numbers of every magnitude and sign.
DENSE: dict[str, list[tuple[float, float]]] = {
    "exp": [(-1, 1), (-110, 90), (-746, 710)],
    "exp2": [(-1, 1), (-150, 128), (-1075, 1024)],
    "expm1": [(-0.5, 0.5), (-3, 3), (-50, 50)],
    "log": [(0.5, 2), (0, 20)],
    "log2": [(0.5, 2), (0, 20)],
    "log10": [(0.5, 2), (0, 20)],
    "log1p": [(-0.5, 0.5), (-1, 3)],
    "softplus": [(-3, 3), (-110, 90), (-745, 745)],
    "tanh": [(-0.6, 0.6), (-20, 20)],
    "sigmoid": [(-1, 1), (-90, 90), (-745, 745)],
    "sin": [(-4, 4), (-1e3, 1e3), (-2e6, 2e6)],
    "cos": [(-4, 4), (-1e3, 1e3), (-2e6, 2e6)],
    "tan": [(-4, 4), (-1e3, 1e3), (-2e6, 2e6)],
    "erf": [(-1, 1), (-6, 6)],
    "erfc": [(-1, 1), (-6, 11), (0, 28)],
    "asin": [(-1, 1), (-0.6, 0.6)],
    "acos": [(-1, 1), (-0.6, 0.6), (0.99, 1)],
    "atan": [(-1.5, 1.5), (-20, 20)],
    "sinh": [(-1, 1), (-30, 30), (-91, 91), (-711, 711)],
    "cosh": [(-1, 1), (-30, 30), (-91, 91), (-711, 711)],
    "asinh": [(-1, 1), (-20, 20)],
    "acosh": [(1, 1.1), (0.9, 4), (1, 100)],
    "atanh": [(-0.3, 0.3), (-1, 1), (0.99, 1)],
    "cbrt": [(-8, 8)],
    "lgamma": [(0, 5), (0.9, 2.6), (5, 50), (-10, 0)],
    "digamma": [(0, 5), (0.9, 2.6), (5, 50), (-10, 0)],
}
# Arguments known to be hard: closest to multiples of pi/2, at the seams of the methods, at the ends of the range.
HARD: dict[str, list[float]] = {
    "sin": [6381956970095103.0 * 2.0**797, np.pi, 2 * np.pi, 355.0, 1.5e6, 1500000.0000000002, 16367173.0 * 2.0**72],
    "cos": [6381956970095103.0 * 2.0**797, np.pi / 2, 11.0, 1.5e6, 1500000.0000000002, 16367173.0 * 2.0**72,
            0.13915431559321634, 0.11641441063284565],
    "tan": [6381956970095103.0 * 2.0**797, np.pi / 2, np.pi / 4, 11.0, 1.5e6, 16367173.0 * 2.0**72],
    "exp": [709.782712893384, 709.7827128933841, -745.1332191019411, -745.1332191019412, -708.4, 88.72284, -103.97208],
    "log": [np.sqrt(0.5), np.sqrt(2), 1 - 2.0**-53, 1 + 2.0**-52],
    "log1p": [np.sqrt(0.5) - 1, np.sqrt(2) - 1, -1 + 2.0**-53],
    "tanh": [0.55, 20.0, 9.5],
    "erf": [0.85, 5.95, 4.0],
    "erfc": [0.5, 26.54, 27.2, 10.05, 8.30845832824707, 0.5459349155426025],
    "softplus": [1.213693668140205e-05, 0.03385278210043907, 0.004455119371414185],
    "asin": [0.5, 1.0],
    "acos": [0.5, 1.0, 1 - 2.0**-20],
    "atan": [1.0],
    "sinh": [0.5 * np.log(2), 710.4758600739439, 710.475860073944, 89.415985, 22.0, 44.0],
    "cosh": [0.5 * np.log(2), 710.4758600739439, 710.475860073944, 89.415985, 22.0, 44.0],
    "asinh": [2.0**28, 2.0**13, 1e154, 1e155],
    "acosh": [2.0**28, 2.0**13, 1 + 2.0**-52, 1 + 2.0**-23, 1e155],
    "atanh": [0.25, 0.5, 1 - 2.0**-53, 1 - 2.0**-24],
    "cbrt": [8.0, 1e-300, 27.0],
    "lgamma": [1.0, 2.0, 1.25, 2.5, 3.5, 4.5, 2.5563e305, 4e36, 1e-17, -2.457024738220801, -3.955294284858598,
               -4.039361839740537, -15.000000000000755, -16.99999999999999, -24.000000000000004],
    "digamma": [1.0, 2.0, 3.0, 4.0, 1.4616321449683622, 1e-17, -0.5, -0.504083008264455, -2.610720868444145,
                -5.667162441556886, -5162396.93362833, -1e9 - 0.0629],
}
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, np.inf, -np.inf, np.nan, 5e-324, -5e-324, 1e-310]
SPECIAL += [1e-45, -1e-45, 2.0**-1022, 2.0**-126, 3.4028234663852886e38, sys.float_info.max, -sys.float_info.max]
BINARY_SPECIAL = [*SPECIAL, 1.5, -1.5, 2.0**53, -(2.0**53) - 2, 2.0**52 + 1, 2.0**23 + 1, 2.0**24 + 2, 1e300, -1e300]


def _arguments(name: str, ty: str, count: int) -> list[Any]:
    """Random, dense and hard arguments, one array for each parameter."""
    random, scalar = np.random.default_rng(sum(map(ord, name + ty))), TYPES[ty]
    low, high = (-1074, 1025) if ty == "f64" else (-149, 129)
    arity = ARITY.get(name, 1)
    columns = []
    for position in range(arity):
        wide = np.ldexp(random.uniform(0.5, 1, count), random.integers(low, high, count))
        dense = [random.uniform(*r, count) for r in DENSE.get(name, [(-2, 2), (-100, 100)])]
        hard = np.array(HARD.get(name, []) if arity == 1 else [])
        near = np.concatenate([hard * (1 + k * 2.0 ** -PRECISION[ty][0]) for k in (-2, 0, 2)])
        if arity == 2:
            dense = [random.permutation(np.concatenate(dense))]
        with np.errstate(over="ignore"):
            columns.append(np.concatenate([wide * random.choice([-1, 1], count), *dense, near, -near]).astype(scalar))
        if name in ("pow", "lone_pow") and position == 1:
            # Exponents for which the power is in the range of the type.
            with np.errstate(all="ignore"):
                span = random.uniform(-1, 1, columns[0].size) * (744 if ty == "f64" else 103)
                fitting = (span / np.log(np.abs(columns[0].astype(np.float64)))).astype(scalar)
            use = random.random(fitting.size) < 0.7
            columns[1] = np.where(use & np.isfinite(fitting), fitting, columns[1])
            columns[0] = np.where(use, np.abs(columns[0]), columns[0])
    return columns


@cache
def _kernel(name: str, ty: str, contract: bool = True) -> Any:
    """A compiled loop over arrays of the argument(s), into the last array."""
    lines = ["def kernel(p0, p1, p2, lo, hi):", "    for i0 in range(lo, hi):", "        v0 = p0[i0]"]
    if ARITY.get(name, 1) == 2:
        lines += ["        v1 = p1[i0]", f"        v2 = vm_{name}_{ty}(v0, v1)"]
    else:
        lines += [f"        v2 = vm_{name}_{ty}(v0)"]
    source = "\n".join([*lines, "        p2[i0] = v2"])
    names = {**native.intrinsics(True), **vmath.namespace(jit=True)}
    return native.build(source, "kernel", [ty] * 3, 0, names, contract=contract, masked=False)


def _call(kernel: Any, *arrays: Any) -> None:
    """Run a kernel over the whole of its arrays."""
    pointers = np.array([a.ctypes.data for a in arrays], np.int64)
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    function(kernel.address)(pointers.ctypes.data, None, 0, arrays[0].size)


def _run(name: str, ty: str, columns: list[Any], contract: bool = True) -> Any:
    """Apply the compiled function."""
    result = np.empty_like(columns[0])
    _call(_kernel(name, ty, contract), columns[0], columns[-1], result)
    return result


def _exact(name: str, arguments: tuple[float, ...]) -> mp.mpf | None:
    """The true value, None where the function has no real one."""
    try:
        value = EXACT[name](*(mp.mpf(a) for a in arguments))
    except (ValueError, ZeroDivisionError):
        return None
    return None if isinstance(value, mp.mpc) or mp.isnan(value) else value


def _ulps(got: float, true: mp.mpf, ty: str) -> float:
    """|got - true| in units in the last place of the true value."""
    bits, least = PRECISION[ty]
    if mp.isinf(true) or true == 0:
        return 0.0 if got == true else np.inf
    unit = mp.ldexp(1, max(mp.frexp(true)[1] - bits, least))
    if np.isinf(got):
        # Infinity is the right result from half a unit beyond the largest number on.
        largest = mp.mpf(float(np.finfo(TYPES[ty]).max))
        return 0.0 if np.sign(got) * true >= largest + unit / 2 else np.inf
    return float(abs(mp.mpf(got) - true) / unit)


@pytest.mark.parametrize(("name", "ty"), CASES)
def test_error_in_ulps(name: str, ty: str) -> None:
    columns = _arguments(name, ty, 300)
    results = zip(_run(name, ty, columns).tolist(), _run(name, ty, columns, contract=False).tolist(), strict=True)
    worst, where = 0.0, None
    with mp.workprec(160):
        for *arguments, values in zip(*(c.tolist() for c in columns), results, strict=True):
            if not np.all(np.isfinite(arguments)):
                continue
            true = _exact(name, tuple(arguments))
            if true is None:
                assert np.all(np.isnan(values)), (arguments, values)
                continue
            error = max(_ulps(value, true, ty) for value in values)
            if not error <= worst:
                worst, where = error, arguments
    assert worst <= vmath.ULP[name], (worst, where)


@pytest.mark.parametrize("name", ["pow", "lone_pow"])
def test_high_powers_of_numbers_close_to_one(name: str) -> None:
    """There the power multiplies the logarithm's error by the most."""
    random = np.random.default_rng(1)
    x = 1 + random.uniform(-1, 1, 2000) * 2.0 ** random.uniform(-40, -1, 2000)
    y = random.uniform(-740, 709, x.size) / np.log(x)
    with mp.workprec(160):
        worst = max(_ulps(got, mp.power(mp.mpf(a), mp.mpf(b)), "f64")
                    for a, b, got in zip(x.tolist(), y.tolist(), _run(name, "f64", [x, y]).tolist(), strict=True))
    assert worst <= vmath.ULP[name]


def _zeros(name: str) -> list[float]:
    """Zeros between the poles: of lgamma two beside each integer from -3 to -16, of digamma one above each."""
    if name == "digamma":
        integers = [*range(1, 20), 63, 64, 1023, 2**20, 2**30 + 5, 2**40 + 3]
        # digamma(k+1-d) = pi cot(pi d) at d above the pole -k
        found = [mp.findroot(lambda d, k=k: mp.digamma(k + 1 - d) - mp.pi * mp.cot(mp.pi * d),
                             mp.acot(mp.log(k + 1) / mp.pi) / mp.pi) - k for k in integers]
    else:
        found = [mp.findroot(lambda x: mp.rgamma(x) ** 2 - 1, sign * d - k) for k in range(3, 17) for sign, d in
                 ((-1, 0.143 if k == 3 else 1 / mp.factorial(k)), (1, 0.2526 if k == 3 else 1 / mp.factorial(k)))]
    return [float(zero) for zero in found]


@pytest.mark.parametrize("ty", TYPES)
@pytest.mark.parametrize("name", ["lgamma", "digamma"])
def test_error_next_to_zeros_between_poles(name: str, ty: str) -> None:
    """There the terms of the reflection formula cancel: every digit comes from what they don't hold."""
    with mp.workprec(200):
        zeros = np.array(_zeros(name))
        assert np.unique(zeros).size == zeros.size
        away = np.concatenate([[0.0], 2.0 ** np.arange(-PRECISION[ty][0] + 1, -1, 2)])
        x = np.concatenate([(zeros * (1 + sign * d)).astype(TYPES[ty]) for d in away for sign in (-1, 1)])
        x = x[x != np.floor(x)]
        got = _run(name, ty, [x]).tolist()
        true = [_exact(name, (value,)) for value in x.tolist()]
        worst = max(_ulps(value, exact, ty) for value, exact in zip(got, true, strict=True) if exact is not None)
    assert worst <= vmath.ULP[name]


@pytest.mark.parametrize(("name", "ty"), CASES)
def test_special_values_are_those_of_numpy(name: str, ty: str) -> None:
    with np.errstate(all="ignore"):
        values = np.array(BINARY_SPECIAL if name in ARITY else SPECIAL).astype(TYPES[ty])
        columns = [a.ravel().copy() for a in np.meshgrid(values, values)] if name in ARITY else [values]
        reference = REFERENCE[name]
        true = reference(*(c.astype(np.longdouble if name in ARITY else np.float64) for c in columns)).astype(TYPES[ty])
    got = _run(name, ty, columns)
    special = ~np.isfinite(true) | (true == 0)
    assert np.array_equal(got[special], true[special], equal_nan=True)
    assert np.array_equal(np.signbit(got)[~np.isnan(true)], np.signbit(true)[~np.isnan(true)])
    with np.errstate(invalid="ignore", over="ignore"):
        unit = np.spacing(np.abs(true[~special]))
        assert np.all(np.abs(got[~special].astype(np.longdouble) - true[~special]) <= 3 * unit)


@pytest.mark.parametrize(("name", "ty"), CASES)
def test_unjitted_equals_jitted_without_contraction(name: str, ty: str) -> None:
    columns = [np.concatenate([c[:40], c[-60:]]) for c in _arguments(name, ty, 300)]
    with np.errstate(over="ignore"):
        columns = [np.concatenate([c, np.array(SPECIAL).astype(c.dtype)]) for c in columns]
    function: Any = vmath.namespace(jit=False)[f"vm_{name}_{ty}"]
    plain = [function(*arguments) for arguments in zip(*columns, strict=True)]
    assert all(type(v) is TYPES[ty] for v in plain)
    assert np.array_equal(np.array(plain), _run(name, ty, columns, contract=False), equal_nan=True)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86-64 assembly")
@pytest.mark.parametrize(("name", "ty"), [case for case in CASES if case != ("lone_pow", "f64")])
def test_loop_is_vectorised(name: str, ty: str) -> None:
    assembly = _kernel(name, ty).asm
    packed = re.compile(r"\tv?(?:f[n]?m(?:add|sub)\d*|mul|add|sub)p[sd]\t")
    # The innermost loop is the block with most packed arithmetic, up to the jump back to its own label.
    blocks = re.split(r"\n(?=\.LBB\w+:)", assembly)
    block = max(blocks, key=lambda block: len(packed.findall(block)))
    jump = re.search(r"\tj\w+\t" + re.escape(block.split(":")[0].strip()) + r"\b", block)
    assert jump, "not a loop"
    loop = block[: jump.start()]
    assert len(packed.findall(loop)) >= 5, "no packed arithmetic"
    assert not re.search(r"\tv?(?:mul|add|sub|div)s[sd]\t", loop), "scalar arithmetic"
    calls = len(re.findall(r"\tcall", loop))
    assert calls == (1 if name in ("sin", "cos", "tan", "lgamma", "digamma") else 0), "calls a scalar function"


def test_names_and_bounds() -> None:
    for jit in (True, False):
        names = vmath.namespace(jit)
        assert set(names) == {f"vm_{name}_{ty}" for name in vmath.NAMES for ty in TYPES}
    assert set(vmath.ULP) == vmath.NAMES
    assert set(EXACT) >= vmath.NAMES
    assert set(REFERENCE) >= vmath.NAMES


def test_import_needs_no_numba() -> None:
    code = """if True:
        import sys
        from retape.codegen import vmath
        vmath.namespace(jit=False)["vm_exp_f64"](1.0)
        assert "numba" not in sys.modules"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_kernel_may_call_functions_twice_and_of_both_types() -> None:
    source = """def kernel(p0, p1, p2, lo, hi):
    for i0 in range(lo, hi):
        v0 = p0[i0]
        v1 = vm_sin_f64(v0)
        v2 = vm_cos_f64(v0)
        v3 = vm_sin_f64(v2)
        v4 = p1[i0]
        v5 = vm_cos_f32(v4)
        p2[i0] = v1 * v1 + v2 * v2 + v3 + v5
"""
    names = {**native.intrinsics(True), **vmath.namespace(jit=True)}
    kernel = native.build(source, "kernel", ["f64", "f32", "f64"], 0, names)
    x = np.array([0.0, 1.0, 1e9, -3e200, 0.25] * 7)
    y, got = (x % 100).astype(np.float32), np.empty_like(x)
    _call(kernel, x, y, got)
    np.testing.assert_allclose(got, 1 + np.sin(np.cos(x)) + np.cos(y), rtol=1e-6)


def test_a_kernel_may_call_several_functions_for_rare_arguments() -> None:
    source = """def kernel(p0, p1, lo, hi):
    for i0 in range(lo, hi):
        v0 = p0[i0]
        p1[i0] = vm_sin_f64(1e9 * v0) + vm_lgamma_f64(v0) * vm_digamma_f64(v0)
"""
    names = {**native.intrinsics(True), **vmath.namespace(jit=True)}
    kernel = native.build(source, "kernel", ["f64"] * 2, 0, names)
    x = np.array([1e-9, 1.0, 1e9, -2.6, 0.25] * 7)
    got = np.empty_like(x)
    _call(kernel, x, got)
    np.testing.assert_allclose(got, np.sin(1e9 * x) + REFERENCE["lgamma"](x) * REFERENCE["digamma"](x), rtol=1e-9)


def test_fingerprint_is_a_hash() -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", vmath.fingerprint())


@pytest.mark.parametrize("name", ["EXP_F32", "SIN_F32", "TANH_F32", "CBRT_F32"])
def test_coefficients_are_those_of_the_fit(name: str) -> None:
    with mp.workdps(50):
        found, worst = remez(*fits()[name][1])
    assert worst < 2.0**-13
    np.testing.assert_allclose(found, getattr(coefficients, name), rtol=1e-12)


def test_operands_of_two_types_are_refused() -> None:
    from llvmlite import ir

    builder = ir.IRBuilder()
    one, other = (Value(builder, t(1.0)) for t in (ir.DoubleType(), ir.FloatType()))
    with pytest.raises(TypeError, match="operands of types double and float"):
        one + other
    with pytest.raises(TypeError, match="not defined for double"):
        one & one
