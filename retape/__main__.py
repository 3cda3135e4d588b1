"""The command line: `python -m retape demo | show | compare | explain | cache | doctor`."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import inspect
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import retape as rt
from retape.codegen import cache
from retape.ir import TensorType
from retape.ir.errors import CODES, RetapeError, explain
from retape.ir.passes.differentiate import active_nodes, differentiable_inputs
from retape.ir.types import DTYPES

STAGES = ("trace", "forward", "backward", "kernels", "llvm", "asm")
TYPES = {dtype.short: dtype for dtype in DTYPES}
USAGE = 2


class UsageError(Exception):
    """What was asked for on the command line does not exist or cannot be read; the exit status is 2."""


# ---- what the arguments stand for


def find_function(spec: str) -> Callable[..., Any]:
    """The function that `module:function` or `path/to/file.py:function` names. Raises `UsageError`."""
    place, _, name = spec.rpartition(":")
    if not place or not name:
        raise UsageError(f"`{spec}` names no function: write module:function, or file.py:function")
    found: Any = _module(place)
    for part in name.split("."):
        if not hasattr(found, part):
            known = [n for n, v in vars(found).items() if callable(v) and not n.startswith("_")]
            hint = f"; there are {', '.join(known)}" if known and len(known) <= 20 else ""
            raise UsageError(f"`{place}` has no `{part}`{hint}")
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"`{spec}` is no function, but of type {type(found).__name__}")
    return found  # type: ignore[no-any-return]


def _module(place: str) -> Any:
    if place.endswith(".py"):
        path = Path(place)
        if not path.is_file():
            raise UsageError(f"there is no file {place}")
        spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(path.stem, module)
        sys.path.insert(0, str(path.resolve().parent))
        spec.loader.exec_module(module)
        return module
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not (place + ".").startswith(error.name + "."):
            raise
        raise UsageError(f"there is no module `{error.name}` here (searched from {Path.cwd()})") from None


def sample_argument(text: str, rng: np.random.Generator) -> Any:
    """The argument that `text` describes. Raises `UsageError`.

    `f64[3, 4]` stands for sample data of that type, `float`, `int` and `bool` for a sample number; anything else is a
    Python literal. Tuples, lists and dicts of these may nest.
    """
    try:
        return _sample(ast.parse(text.strip(), mode="eval").body, rng)
    except (SyntaxError, ValueError):
        raise UsageError(f"`{text}` is no argument: write a type such as f64[3, 4] or f32[()], one of float, int, "
                         f"bool, or a Python literal; types are {', '.join(TYPES)}") from None


def _sample(node: ast.expr, rng: np.random.Generator) -> Any:
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        shape = ast.literal_eval(node.slice)
        shape = shape if isinstance(shape, tuple) else (shape,)
        if node.value.id not in TYPES or not all(type(extent) is int and extent >= 0 for extent in shape):
            raise ValueError
        return _sample_array(TYPES[node.value.id][shape], rng)
    if isinstance(node, ast.Name):
        numbers: dict[str, Any] = {"float": float(rng.uniform(0.1, 1.0)), "int": 2, "bool": True}
        if node.id not in numbers:
            raise ValueError
        return numbers[node.id]
    if isinstance(node, ast.Tuple):
        return tuple(_sample(part, rng) for part in node.elts)
    if isinstance(node, ast.List):
        return [_sample(part, rng) for part in node.elts]
    if isinstance(node, ast.Dict):
        return {ast.literal_eval(key): _sample(part, rng)
                for key, part in zip(node.keys, node.values, strict=True) if key is not None}
    return ast.literal_eval(node)


def _sample_array(kind: TensorType, rng: np.random.Generator) -> Any:
    """Floats between 0.1 and 1, so that logarithms and roots exist; integers 0 and 1, so that they may be indices."""
    dtype = kind.dtype
    if dtype.category <= 1:
        return rng.integers(0, 2, kind.shape).astype(dtype.numpy)
    values = rng.uniform(0.1, 1.0, kind.shape)
    if dtype.category == 3:
        return (values + 1j * rng.uniform(0.1, 1.0, kind.shape)).astype(dtype.numpy)
    return np.asarray(values).astype(dtype.numpy)


def call_arguments(options: argparse.Namespace, function: Callable[..., Any]) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments of a command's ARGs. Raises `UsageError` where they don't fit the function."""
    rng = np.random.default_rng(options.seed)
    args: list[Any] = []
    keywords: dict[str, Any] = {}
    for text in options.args:
        named = re.match(r"([A-Za-z_]\w*)=(?!=)(.*)", text, re.DOTALL)
        if named:
            keywords[named[1]] = sample_argument(named[2], rng)
        else:
            args.append(sample_argument(text, rng))
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return args, keywords
    try:
        signature.bind(*args, **keywords)
    except TypeError as error:
        name = getattr(function, "__qualname__", str(function))
        raise UsageError(f"{error}: {name}{signature} was given {len(options.args)} argument(s)") from None
    return args, keywords


# ---- commands


def command_demo(options: argparse.Namespace) -> int:
    from retape.demo import Options, run

    try:
        outcome = run(Options(options.epochs, options.batch, options.seed, options.dtype, options.quiet))
    except ValueError as error:
        raise UsageError(str(error)) from None
    return 0 if outcome.agrees else 1


def command_show(options: argparse.Namespace) -> int:
    function = find_function(options.function)
    args, keywords = call_arguments(options, function)
    compiled = function if isinstance(function, rt.CompiledFunction) else rt.compile(function)
    found = compiled.specialize(*args, **keywords)
    stages = options.what or STAGES[:4]
    active = active_nodes(found.graph, differentiable_inputs(found.graph))
    derivable = any(out in active for out in found.graph.outputs)
    for stage in stages:
        if len(stages) > 1:
            print(f"# ---- {stage}\n")
        print(_stage(found, stage, derivable) + "\n")
    return 0


def _stage(found: Any, stage: str, derivable: bool) -> str:
    if stage == "trace":
        return str(found.graph)
    if stage in ("forward", "backward"):
        return str(getattr(found, stage)) if derivable else "# no output depends on an input that has a derivative"
    field = "source" if stage == "kernels" else stage
    return "\n".join(getattr(kernel, field) for kernel in found.kernels) or "# no kernel: nothing is left to compute"


def command_compare(options: argparse.Namespace) -> int:
    function = find_function(options.function)
    args, keywords = call_arguments(options, function)
    found = rt.compare(function, *args, **keywords)
    print(found)
    return 1 if found.verdict == "WRONG" else 0


def command_explain(options: argparse.Namespace) -> int:
    if options.code is None:
        for code, kind in sorted(CODES.items()):
            print(f"{code}  {kind.__name__:24} {(kind.__doc__ or '').strip().splitlines()[0]}")
        return 0
    if options.code.upper() not in CODES:
        raise UsageError(f"there is no error `{options.code}`; there are {', '.join(sorted(CODES))}")
    print(explain(options.code))
    return 0


def command_cache(options: argparse.Namespace) -> int:
    """Where compiled code is kept and how much of it there is; `clear` removes it."""
    found = cache.current()
    if options.action == "info":
        print(f"folder   {found.folder or 'none'}\n{cache_state(found)}")
        return 0
    try:
        count, size = found.clear()
    except OSError as error:
        print(f"retape: {error}", file=sys.stderr)
        return 1
    print(f"removed {count} file(s), {size_text(size)}")
    return 0


def cache_state(found: cache.Cache) -> str:
    """Lines that say what the cache holds, or why it isn't used."""
    if found.why:
        return f"not used {found.why}"
    files = found.files()
    total = sum(size for _, size, _ in files)
    lines = [f"files    {len(files)}, {size_text(total)} of at most {size_text(found.limit)}"]
    if files:
        lines.append(f"used     {time.strftime('%Y-%m-%d %H:%M', time.localtime(files[-1][0] / 1e9))} last, "
                     f"{time.strftime('%Y-%m-%d %H:%M', time.localtime(files[0][0] / 1e9))} the one to go first")
    if not os.access(found.folder, os.W_OK):
        lines.append("state    can't be written to: what it holds is used, nothing is added")
    return "\n".join(lines)


def size_text(size: int) -> str:
    return f"{size / 2**20:.0f} MB" if size >= 10 * 2**20 else f"{size / 2**10:.0f} kB"


def command_doctor(options: argparse.Namespace) -> int:
    """Versions and machine; whether a kernel builds, and gives what eager code gives."""
    print(f"python    {platform.python_version()} ({platform.python_implementation()}, {sys.executable})")
    for name in ("retape", "numpy", "scipy", "sympy", "numba", "llvmlite"):
        try:
            print(f"{name:9} {version(name)}")
        except PackageNotFoundError:
            print(f"{name:9} not installed")
    print(f"platform  {platform.platform()}")
    kept = cache.current()
    print(f"cache     {kept.folder or 'none'}")
    for line in cache_state(kept).splitlines():
        print(f"          {line}")

    def probe(x: Any) -> Any:
        return (rt.tanh(x) * 2.0 + 1.0).sum()

    x = np.linspace(-1.0, 1.0, 1001)
    begin = time.perf_counter()
    try:
        compiled = rt.compile(rt.func.value_and_grad(probe))
        with cache.unused():
            compiled(x)
            found = compiled(x)
    except Exception as error:  # what is wrong is what this command is to tell
        print(f"kernels   do not build: {type(error).__name__}: {error}")
        return 1
    spent = time.perf_counter() - begin
    expected = rt.func.value_and_grad(probe)(x)
    good = all(np.allclose(a, b, rtol=1e-12, atol=0) for a, b in zip(found, expected, strict=True))
    print(f"kernels   {'build and agree with eager code' if good else 'give WRONG results'} "
          f"({spent:.2f} s for the first program)")
    return 0 if good else 1


# ---- the parser


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="python -m retape", description="Trace, differentiate and compile "
                                  "define-by-run Python, and look at what becomes of it.")
    top.add_argument("--version", action="version", version=f"retape {_version()}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="train a digit classifier, eager and compiled, and compare the two")
    demo.add_argument("--epochs", type=_positive, default=20, help="passes over the training images (default 20)")
    demo.add_argument("--batch", type=_positive, default=48, help="images a step (default 48)")
    demo.add_argument("--seed", type=_natural, default=0, help="of the split, the start and the order (default 0)")
    demo.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    demo.add_argument("--quiet", action="store_true", help="print the figures only")
    demo.set_defaults(run=command_demo)

    show = commands.add_parser("show", help="print what a function becomes: trace, forward, backward, kernels")
    _function_arguments(show)
    show.add_argument("--what", action="append", choices=STAGES, help="this stage only; may be given repeatedly")
    show.set_defaults(run=command_show)

    compare = commands.add_parser("compare", help="compare a function's eager and compiled results and gradients")
    _function_arguments(compare)
    compare.set_defaults(run=command_compare)

    explained = commands.add_parser("explain", help="the long form of an error code")
    explained.add_argument("code", nargs="?", help="such as RT104; all are listed without it")
    explained.set_defaults(run=command_explain)

    kept = commands.add_parser("cache", help="compiled code on disk: where and how much, or remove it")
    kept.add_argument("action", choices=("info", "clear"))
    kept.set_defaults(run=command_cache)

    commands.add_parser("doctor", help="versions, machine, and whether kernels build").set_defaults(run=command_doctor)
    return top


def _function_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("function", metavar="module:function", help="or file.py:function")
    command.add_argument("args", nargs="*", metavar="ARG",
                         help="a type such as 'f64[3, 4]' (sample data), float, int, bool, or a Python literal; "
                              "name=ARG for keywords; tuples, lists and dicts may nest")
    command.add_argument("--seed", type=_natural, default=0, help="of the sample data (default 0)")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number


def _version() -> str:
    try:
        return version("retape")
    except PackageNotFoundError:
        return "unknown"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0, 1 for a failure that the command found, 2 for wrong arguments."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # user code in any script must not stop the printing
    if "" not in sys.path:
        sys.path.insert(0, "")
    options = parser().parse_args(argv)
    try:
        status = int(options.run(options))
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader has seen enough (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except UsageError as error:
        print(f"retape: {error}", file=sys.stderr)
        return USAGE
    except RetapeError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
