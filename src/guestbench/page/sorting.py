"""Reads the number that a cell of a table shows, so that tables can be sorted by it."""

from __future__ import annotations

import re
from math import isfinite

from guestbench.page.numbers import NOTHING, UNKNOWN

_FACTORS = {
    "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0,
    "byte": 1.0, "bytes": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
    "KiB": 1024.0, "MiB": 1024.0**2, "GiB": 1024.0**3, "%": 0.01,
}  # fmt: skip
_NUMBER = r"[+−-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?"
_BEGINS = frozenset("0123456789+-−<>a")
"""What a value can begin with; most cells can be told from that to have none."""
_VALUE = re.compile(
    rf"(?:at (?:most|least) |[<>] )?(?P<number>{_NUMBER})"
    rf"(?: ?± ?{_NUMBER}| to {_NUMBER})?"
    r"(?P<unit> ?%|(?: [^\W\d]+))?(?:/s)?(?=$|[\s,;:)])"
)
NUMBER = re.compile(r"-?\d[\d,]*(\.\d+)?")
"""A number without a unit."""
_NO_VALUE = frozenset({"", NOTHING, UNKNOWN})
_REASONS = ("n/a", "unknown")
"""What cells begin with that say why they have no value."""


def sort_key(text: str) -> str | None:
    """The number at the start of a cell in its unit's base (s, bytes, shares), or None where there is none.

    A range counts as its lower end and a mean with its spread as the mean. A unit that is no known one, such
    as `events`, is a word behind the number.
    """
    found = _VALUE.match(text) if text[:1] in _BEGINS else None
    if found is None:
        return None
    number = float(found["number"].replace(",", "").replace("−", "-"))
    value = number * _FACTORS.get((found["unit"] or "").strip(), 1.0)
    return f"{value:.12g}" if isfinite(value) else None


def has_no_value(text: str) -> bool:
    """Whether a cell says that there is no value, or why there is none."""
    return text in _NO_VALUE or text.startswith(_REASONS)


def is_word(text: str) -> bool:
    """Whether a cell has a value that is no number."""
    return not has_no_value(text) and sort_key(text) is None
