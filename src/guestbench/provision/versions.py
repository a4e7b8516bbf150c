"""Asks the tools of this host for their versions: what they make depends on them."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path

from guestbench.errors import ToolMissing
from guestbench.host import process

OPTIONS = {"mke2fs": "-V"}
"""What a tool is asked with if not with `--version`."""


def find_versions(*tools: str) -> dict[str, str]:
    """The first line that each tool says of its version; empty for one that is not installed."""
    found = dict.fromkeys(tools, "")
    for tool in tools:
        with suppress(ToolMissing):
            found[tool] = _ask(process.find_tool(tool), OPTIONS.get(tool, "--version"))
    return found


@cache
def _ask(tool: Path, option: str) -> str:
    said = process.run([tool, option], check=False)
    return ((said.stdout or said.stderr).decode("utf-8", "replace").splitlines() or [""])[0]
