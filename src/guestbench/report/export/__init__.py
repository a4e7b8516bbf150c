"""The formats that runs are exported in, one module each; other packages add theirs by an entry point.

A module has `render(header, records)`, which gives the file's bytes. It may have `render_bigger` with the
same arguments, where a file can hold only metrics of one direction, and `tell_lost(records)`, which says what
of a run has no place in the format, if anything.
"""

from __future__ import annotations

from types import ModuleType

from guestbench.registry import Axis

AXIS = Axis("guestbench.report.export", "guestbench.exports")


def list_formats() -> tuple[str, ...]:
    """The names of all formats, as they are typed."""
    return tuple(name.replace("_", "-") for name in AXIS.names())


def load_format(typed: str) -> ModuleType:
    """The module of a format.

    Raises:
        UsageError: there is none of that name.
    """
    return AXIS.load(next((name for name in AXIS.names() if name.replace("_", "-") == typed), typed))
