"""No report has a figure that stands in a template: each is rendered from a record, or is a definition."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2
import pytest

from guestbench.report.markdown import TEMPLATES

DEFINITIONS = (
    "from -1 to 1",
    "One MB is 1,000,000 bytes",
    "powers of 1024",
    "one MiB is 1,048,576 bytes",
    "procps 4",
    "127.0.0.1",
)
"""Numbers that no measurement can change."""
PROSE = (".md.j2", ".html.j2")
MARKUP = re.compile(r"<(style|script)\b.*?</\1>|<[^>]*>|&[#\w]+;", re.DOTALL)
"""What is no text to a reader of HTML."""


def find_literals(template: str) -> list[str]:
    """The lines of a template's own text that have a digit in them, definitions and code apart."""
    text = "".join(part for _, kind, part in jinja2.Environment().lex(template) if kind == "data")
    text = MARKUP.sub(" ", text)
    for definition in DEFINITIONS:
        text = text.replace(definition, "")
    return [line.strip() for line in text.splitlines() if re.search(r"\d", line)]


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.j2")), ids=lambda path: path.name)
def test_no_template_has_a_figure_of_its_own(path: Path) -> None:
    """A sentence would go on claiming a number when the data say another."""
    assert path.name.endswith(PROSE)
    assert find_literals(path.read_text()) == []


def test_the_linter_finds_one() -> None:
    """A figure in a template would go unseen, and the test above prove nothing."""
    template = (
        "{# 3 #}{{ 4 }} boots took\n50 times as long.\n{% if x > 5 %}One MB is 1,000,000 bytes{% endif %}"
    )
    assert find_literals(template) == ["50 times as long."]
    assert find_literals('<p style="margin: 1px">none &#8211;</p><style>a { top: 2px }</style>') == []
