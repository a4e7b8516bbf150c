"""What several commands print or write: aligned rows, and files that the user has named."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from guestbench.errors import UsageError
from guestbench.report import replace_file


def write_file(path: Path, content: bytes) -> None:
    """Write a file that the user has named: whole or not at all, unless it is a pipe or a terminal.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)
        else:
            replace_file(path.resolve(), content)
    except OSError as error:
        folder = shlex.quote(str(path.absolute().parent))
        raise UsageError(f"{path} cannot be written: {error.strerror}", f"ls -ld {folder}") from None


def align(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows as lines with aligned columns; the last column is not padded."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([*(c.ljust(w) for c, w in zip(row[:-1], widths, strict=False)), row[-1]]) for row in rows
    )
