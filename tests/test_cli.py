"""The command line: what it prints, and its exit status."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import retape.__main__ as cli
from retape.ir import parse
from retape.ir.errors import CODES

MODEL = '''
import retape as rt

def f(x):
    return ((x + 2) ** 2 * 3).mean()

@rt.compile
def layer(p, x, scale=2.0):
    return rt.tanh(x @ p["w"] + p["b"]) * scale

def count(x):
    return x > 0.5

def broken(x):
    return rt.sofmax(x)

value = 3

class Net:
    @staticmethod
    def run(x):
        return x.exp()
'''


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = tmp_path / "cli_model.py"
    path.write_text(textwrap.dedent(MODEL), encoding="utf-8")
    monkeypatch.delitem(sys.modules, "cli_model", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return str(path)


def call(*argv: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    try:
        status = cli.main(argv)
    except SystemExit as stop:
        status = int(stop.code or 0)
    seen = capsys.readouterr()
    return status, seen.out, seen.err


def test_show_every_stage(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call("show", f"{model}:f", "f64[2, 2]", capsys=capsys)
    assert status == 0
    for part in ("# ---- trace", "# ---- forward", "# ---- backward", "# ---- kernels", "def f_fwd(x: f64[2, 2]):",
                 "def f_bwd(d_mean3: f64[()]", "cli_model.py:5:", "(x + 2) ** 2", "def kernel("):
        assert part in out


@pytest.mark.parametrize("stage", cli.STAGES)
def test_show_one_stage(stage: str, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call("show", f"{model}:f", "f64[2,2]", "--what", stage, capsys=capsys)
    assert status == 0
    assert "# ----" not in out
    if stage in ("trace", "forward", "backward"):
        assert parse(out).kind == stage
    else:
        assert {"kernels": "def kernel(", "llvm": "define", "asm": "ret"}[stage] in out


def test_show_nested_and_named_arguments(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call("show", f"{model}:layer", '{"w": f32[3, 4], "b": f32[4]}', "f32[5, 3]", "scale=float",
                          "--what", "trace", capsys=capsys)
    assert status == 0
    assert "f32[3, 4]" in out and "scale: float" in out


def test_show_without_derivative(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call("show", f"{model}:count", "f64[3]", "--what", "backward", capsys=capsys)
    assert status == 0 and out.startswith("# no output depends")


def test_show_dotted_name(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call("show", f"{model}:Net.run", "f64[3]", "--what", "trace", capsys=capsys)
    assert status == 0 and "op.exp(x)" in out


@pytest.mark.parametrize(("argv", "message"), [
    (("show", "no_such_module_at_all:f"), "there is no module `no_such_module_at_all`"),
    (("show", "retape.no_such_part:f"), "there is no module `retape.no_such_part`"),
    (("show", "no_such_file.py:f"), "there is no file no_such_file.py"),
    (("show", "just_a_name"), "names no function"),
    (("show", "MODEL:g"), "has no `g`; there are f, layer, count, broken, Net"),
    (("show", "MODEL:value"), "is no function, but of type int"),
    (("show", "MODEL:f"), "missing a required argument: 'x'"),
    (("show", "MODEL:f", "f64[2]", "f64[2]"), "too many positional arguments"),
    (("show", "MODEL:f", "q9[2]"), "`q9[2]` is no argument"),
    (("show", "MODEL:f", "f64[-1]"), "`f64[-1]` is no argument"),
    (("show", "MODEL:f", "f64["), "`f64[` is no argument"),
    (("explain", "RT999"), "there is no error `RT999`"),
    (("demo", "--batch", "5000"), "a batch has at most 1440 images"),
    (("demo", "--epochs", "0"), "0 is not positive"),
    (("frobnicate",), "invalid choice"),
    ((), "required: COMMAND"),
])
def test_usage_errors(argv: tuple[str, ...], message: str, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = call(*(a.replace("MODEL", model) for a in argv), capsys=capsys)
    assert status == 2
    assert message in err
    assert "Traceback" not in err and not out


def test_errors_of_the_function_are_told_with_their_place(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = call("show", f"{model}:broken", "f64[3]", capsys=capsys)
    assert status == 1
    assert "RT301" in err and "cli_model.py:15:" in err and "softmax" in err


def test_compare(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call("compare", f"{model}:f", "f64[3, 3]", capsys=capsys)
    assert status == 0
    assert re.match(r"f: (IDENTICAL|ROUNDING)\n", out)


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call("explain", "rt104", capsys=capsys)
    assert status == 0
    assert out.startswith("RT104 SavedTensorModified\n\nA tensor that backward needs")
    status, out, _ = call("explain", capsys=capsys)
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == sorted(CODES)


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call("doctor", capsys=capsys)
    assert status == 0
    assert "build and agree with eager code" in out
    assert re.search(r"numba +\d", out)


def test_sample_arguments() -> None:
    rng = np.random.default_rng(0)
    for name, dtype in cli.TYPES.items():
        array = cli.sample_argument(f"{name}[2, 3]", rng)
        assert array.dtype == dtype.numpy and array.shape == (2, 3)
    assert cli.sample_argument("f64[()]", rng).shape == ()
    assert cli.sample_argument("(f64[2], [1, 'a', None, -2.5])", rng)[1] == [1, "a", None, -2.5]
    assert isinstance(cli.sample_argument("float", rng), float)


def test_demo_prints_every_stage(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call("demo", "--epochs", "1", "--seed", "3", capsys=capsys)
    assert status == 0
    for part in ("def loss_fwd(", "def loss_bwd(", "def kernel(", "demo.py:", "images @ w1 + b1", "eager ", "compiled ",
                 "30/30 steps", "held-out accuracy", "times as fast"):
        assert part in out
    assert "\r" not in out  # no terminal: plain lines


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_demo_learns(dtype: str) -> None:
    from retape.demo import Options, run

    outcome = run(Options(dtype=dtype, quiet=True))
    assert outcome.accuracy_eager >= 0.95
    assert outcome.accuracy_compiled >= 0.95
    assert outcome.agrees
    assert outcome.loss_difference < (1e-10 if dtype == "float64" else 1e-3)


def test_demo_data_is_that_of_its_source() -> None:
    from retape.demo import load_digits

    data = load_digits(0)
    labels = np.concatenate([data.labels, data.held_labels])
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert float(data.images.sum() + data.held_images.sum()) * 16 == 561718
    sklearn = pytest.importorskip("sklearn.datasets")
    bundled = sklearn.load_digits()
    ours = {(tuple(row), label) for row, label in zip(
        (np.vstack([data.images, data.held_images]) * 16).astype(int).tolist(), labels, strict=True)}
    assert ours == {(tuple(row), label) for row, label in
                    zip(bundled.data.astype(int).tolist(), bundled.target, strict=True)}


def test_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "retape", "--version"], capture_output=True, text=True, timeout=120,
                          check=False)
    assert done.returncode == 0
    assert re.fullmatch(r"retape \d+\.\d+\.\d+\S*\n", done.stdout)


def test_progress_bar_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from retape.demo import Bar

    bar = Bar("eager", 4)
    bar.terminal = True
    for number in range(4):
        bar.advance(f"loss {number}")
    bar.close()
    printed = capsys.readouterr().out
    assert printed.startswith("\r  eager [=======") and printed.endswith("4/4 steps  loss 3\n")
    assert printed.count("\n") == 1
