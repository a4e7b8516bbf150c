"""Reads `--budget`: how long a run may take."""

from __future__ import annotations

import re

from guestbench.errors import UsageError
from guestbench.text import visible

SECONDS = (3600, 60, 1)
_PARTS = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?")


def parse_budget(text: str) -> float:
    """The seconds of `90s`, `10m`, `2h` or `1h30m`.

    Raises:
        UsageError: it is none of these, or no time at all.
    """
    found = _PARTS.fullmatch(text)
    parts = found.groups() if found else ()
    seconds = sum(int(part or 0) * size for part, size in zip(parts, SECONDS, strict=False))
    if not seconds:
        raise UsageError(
            f"--budget {visible(text)!r} is no time such as 90s, 10m or 1h30m", "guestbench run --budget 10m"
        )
    return float(seconds)
