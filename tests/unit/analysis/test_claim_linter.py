"""No report has a figure that stands in its code: each is made of a record, or is a definition."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from guestbench import report

PACKAGE = Path(report.__file__).parents[1]
PLACES = (
    *(f"report/{name}.py" for name in ("opening", "comparison", "setting", "command_lines", "families")),
    *("report/words.toml", "families/*/section.py", "families/*/words.toml"),
)
"""Where the sentences of the reports stand."""
MODULES = sorted(path for place in PLACES for path in PACKAGE.glob(place))
DEFINITIONS = (
    "from -1 to 1",
    "line at 1 ",
    "near to 1 ",
    "One MB is 1,000,000 bytes",
    "powers of 1024",
    "one MiB is 1,048,576 bytes",
    "procps 4",
    "127.0.0.1",
    "SHA-256",
    "first 16 digits",
    "99th percentile",
    "on 4 connections",
    "a file of more than 4 GiB",
    "(1 min)",
)
"""Numbers that no measurement can change."""


def find_literals(source: str) -> Iterator[str]:
    """The pieces of prose in a module's strings that have a digit, but for definitions and docstrings."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = None  # says what the code is for, and is in no report
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        if " " in node.value.strip() and has_figure(node.value):
            yield node.value


def has_figure(text: str) -> bool:
    """Whether a piece of prose has a digit, but for definitions."""
    for definition in DEFINITIONS:
        text = text.replace(definition, "")
    return re.search(r"\d", text) is not None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_report_has_a_figure_of_its_own(path: Path) -> None:
    """A sentence would go on claiming a number when the data say another."""
    if path.suffix == ".toml":
        # What a field is filled with is calculated, however it is to be written.
        words = (re.sub(r"\{.*?\}", "", text) for text in tomllib.loads(path.read_text()).values())
        assert [text for text in words if has_figure(text)] == []
    else:
        assert list(find_literals(path.read_text())) == []


def test_the_linter_finds_one() -> None:
    """A figure in a sentence would go unseen, and the test above prove nothing."""
    source = '"""Of 3 things."""\nx = f"{4} boots took " "50 times as long."\ny = "One MB is 1,000,000 bytes"'
    assert list(find_literals(source)) == [" boots took 50 times as long."]
