"""What several commands print or write: aligned rows, and files that the user has named."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from guestbench.errors import UsageError


def write_file(path: Path, content: bytes) -> None:
    """Write a file that the user has named.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        folder = shlex.quote(str(path.absolute().parent))
        raise UsageError(f"{path} cannot be written: {error.strerror}", f"ls -ld {folder}") from None


def align(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows as lines with aligned columns; the last column is not padded."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([*(c.ljust(w) for c, w in zip(row[:-1], widths, strict=False)), row[-1]]) for row in rows
    )
