"""The README's snippets run in order and print what stands under them; its commands and links exist.

`python tests/test_readme.py` writes what the snippets print now into the README.
"""

from __future__ import annotations

import contextlib
import io
import linecache
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(?P<kind>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    return [(found["kind"], found["body"]) for found in BLOCK.finditer(README)]


def outputs() -> list[tuple[str, str, str]]:
    """(snippet, stated output, real output) for every python block; one namespace serves all."""
    names: dict[str, object] = {"__name__": "readme"}
    found = blocks()
    results = []
    for number, (kind, body) in enumerate(found):
        if kind != "python":
            continue
        # a name and a cached text, so that the snippet's lines can be quoted in graphs
        filename = "ex.py" if len(results) == 0 else f"ex{len(results) + 1}.py"
        linecache.cache[filename] = (len(body), None, body.splitlines(keepends=True), filename)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(body, filename, "exec"), names)
        follows = found[number + 1] if number + 1 < len(found) else ("", "")
        results.append((body, follows[1] if follows[0] == "text" else "", printed.getvalue()))
    return results


def test_snippets_print_what_the_readme_says() -> None:
    shown = outputs()
    assert len(shown) >= 5
    for body, stated, printed in shown:
        assert [line.rstrip() for line in printed.rstrip().splitlines()] == stated.splitlines(), body


def test_the_first_snippet_is_short() -> None:
    first = next(body for kind, body in blocks() if kind == "python")
    assert len(first.splitlines()) <= 12


def test_two_set_up_commands() -> None:
    setup = README.split("## Set up", 1)[1].split("```sh\n", 1)[1].split("```", 1)[0]
    assert setup.splitlines() == [
        "pip install -e . && python -m retape demo", 'pip install -e ".[test]" && python -m pytest',
    ]


def test_shell_commands_are_commands_of_retape() -> None:
    from retape.__main__ import parser

    known = parser().format_help()
    for command in re.findall(r"python -m retape (\w+)", README):
        assert re.search(rf"^ +{command} ", known, re.MULTILINE), command


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/semantics.md"])
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{name} links to {target}"


def accept() -> None:
    """Put the real outputs into the README."""
    text, position = README, 0
    for body, stated, printed in outputs():
        position = text.index(body, position) + len(body)
        if stated:
            position = text.index(stated, position)
            fresh = "".join(f"{line.rstrip()}\n" for line in printed.rstrip().splitlines())
            text = text[:position] + fresh + text[position + len(stated) :]
    (ROOT / "README.md").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    accept()
