"""Compares what users read with the files in `tests/golden`, which are read and judged by people."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "golden"
UPDATE = "GUESTBENCH_UPDATE_GOLDEN"


def check_golden(name: str, content: bytes) -> None:
    """Fail if `content` is not that of the golden file; with GUESTBENCH_UPDATE_GOLDEN=1, write it instead."""
    path = FOLDER / name
    if os.environ.get(UPDATE):
        path.write_bytes(content)
    expected = path.read_bytes()
    # Compared as text so that a failure shows the lines that differ.
    assert content.decode().splitlines() == expected.decode().splitlines(), f"{UPDATE}=1 pytest writes {name}"
    assert content == expected
