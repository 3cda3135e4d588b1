"""The house stands as DESIGN section 2 draws it: who imports whom, what loads when, how long files are."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"ir": "ir", "tracer": "tracer", "codegen": "codegen", "retape": "door"}
# who may import whom; a folder may always import itself
ARROWS = {"ir": set(), "tracer": {"ir"}, "codegen": {"ir"}, "door": {"tracer", "codegen", "ir"}}
# packages from outside, by folder; a `lazy` one only inside functions
OUTSIDE = {
    "ir": {"numpy": "top", "sympy": "lazy", "scipy": "lazy"}, "tracer": {"numpy": "top", "scipy": "lazy"},
    "codegen": {"numpy": "top", "numba": "lazy", "llvmlite": "lazy", "scipy": "lazy", "mpmath": "lazy"},
    "door": {"numpy": "top"},
}
# modules of codegen that only a function imports (when a kernel must be built, or coefficients be found anew): they may
# import at their top what the others mustn't
BUILDERS = {
    "native": {"blas.py", "blas_ir.py", "blas_threads.py", "chunks.py", "contexts.py", "engine.py", "jitted.py",
               "direct.py", "kernel.py", "lower.py", "player.py", "player_ir.py", "pool.py", "pool_ir.py", "scalars.py",
               "vectors.py"},
    "vmath": {"emit.py", "rare_emit.py", "fit.py", "fits.py"},
}
FILE_LINES, FUNCTION_LINES = 400, 60


def sources() -> list[Path]:
    return sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))


def owner(path: Path) -> str:
    return FOLDERS[path.relative_to(ROOT).parts[0]]


def package_of(path: Path) -> list[str]:
    """The dotted package a module lies in, as it is imported."""
    parts = list(path.relative_to(ROOT).parent.parts)
    return parts if parts[0] == "retape" else ["retape", *parts]


def imports(path: Path) -> Iterator[tuple[str, int, bool]]:
    """Imported modules by full name, the line, and whether the import is at the top (type checking left out)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside: set[ast.AST] = set()
    ignored: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            inside.update(ast.walk(node))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for statement in node.body:
                ignored.update(ast.walk(statement))
    for node in ast.walk(tree):
        if node in ignored:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, node not in inside
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = package_of(path)
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            if base in ("retape", "retape.codegen", "retape.tracer", "retape.ir"):
                for alias in node.names:
                    yield f"{base}.{alias.name}", node.lineno, node not in inside
            else:
                yield base, node.lineno, node not in inside


def test_there_is_something_to_check() -> None:
    found = sources()
    assert len(found) > 40 and {owner(p) for p in found} == set(ARROWS)
    assert any(name == "retape.ir.errors" for name, _, _ in imports(ROOT / "tracer" / "tensor.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_arrows(path: Path) -> None:
    mine = owner(path)
    allowed = ARROWS[mine] | {mine}
    problems = []
    for name, line, _ in imports(path):
        parts = name.split(".")
        if parts[0] != "retape":
            continue
        target = parts[1] if len(parts) > 1 and parts[1] in ("ir", "tracer", "codegen") else "door"
        if target not in allowed:
            problems.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not problems, problems


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_from_outside(path: Path) -> None:
    mine = OUTSIDE[owner(path)]
    builder = path.name in BUILDERS.get(path.parent.name, ())
    problems = []
    for name, line, top in imports(path):
        package = name.split(".")[0]
        if package in ("retape", "__future__") or package in sys.stdlib_module_names:
            continue
        how = mine.get(package)
        if how is None or (how == "lazy" and top and not builder and path.name != "__main__.py"):
            problems.append(f"{path.relative_to(ROOT)}:{line} imports {name}{' at its top' if top else ''}")
    assert not problems, problems


def loaded(code: str) -> set[str]:
    """The packages in `sys.modules` after running code in a fresh interpreter."""
    watched = ("numba", "llvmlite", "sympy", "scipy", "mpmath", "hypothesis", "pytest", "torch", "jax")
    script = f"{code}\nimport sys\nprint(*[m for m in {watched!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_importing_retape_loads_numpy_only() -> None:
    assert loaded("import retape") == set()


def test_eager_work_loads_numpy_only() -> None:
    assert loaded("""
import retape as rt
x = rt.ones(2, 2, requires_grad=True)
y = (rt.softmax(x @ x, 0) + x.exp()).sum()
y.backward()
f = rt.compile(lambda x: x * 2)
repr(x), str(rt.func.grad(lambda t: (t * t).sum())(x.detach().numpy()))
""") == set()


def test_a_first_compilation_brings_its_compiler() -> None:
    assert "llvmlite" in loaded("import os\nos.environ['RETAPE_CACHE_DIR'] = ''\n"
                                "import retape as rt\nf = rt.compile(lambda x: x * 2)\nx = rt.ones(3)\nf(x), f(x)")


def test_ir_alone_loads_numpy_only() -> None:
    assert loaded("from retape.ir import *\nfrom retape.ir import CATALOGUE, passes\nimport retape.ir.passes") == set()


def test_files_are_short() -> None:
    long = {str(p.relative_to(ROOT)): n for p in sources() if (n := len(p.read_text().splitlines())) > FILE_LINES}
    assert not long, f"files of more than {FILE_LINES} lines: {long}"


def test_functions_are_short() -> None:
    long = {}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                count = (node.end_lineno or 0) - node.lineno + 1
                if count > FUNCTION_LINES:
                    long[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = count
    assert not long, f"functions of more than {FUNCTION_LINES} lines: {long}"


def test_every_folder_and_module_says_what_it_is() -> None:
    silent = []
    for path in sources():
        text = ast.get_docstring(ast.parse(path.read_text()))
        if not text or not text.split("\n")[0].rstrip().endswith((".", ":", "?")):
            silent.append(str(path.relative_to(ROOT)))
        elif path.name == "__init__.py" and len(text) < 80:
            silent.append(f"{path.relative_to(ROOT)} (a paragraph says what lives in the folder)")
    assert not silent, silent


def test_public_functions_are_documented() -> None:
    import retape as rt
    from retape.tracer import surface

    assert not [name for name, function in surface.functions().items() if not (function.__doc__ or "").strip()]
    for module in (rt, rt.func, rt.autograd):
        for name in getattr(module, "__all__", []):
            assert (getattr(module, name).__doc__ or "").strip(), name


def test_packages_of_the_wheel_are_all_there() -> None:
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {str(p.parent.relative_to(ROOT)) for p in sources()}
    declared = {settings["package-dir"][name] for name in settings["packages"]}
    assert folders <= declared, f"not in pyproject.toml: {folders - declared}"
