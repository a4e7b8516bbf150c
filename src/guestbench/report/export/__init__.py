"""The formats that runs are exported in, one module each; other packages add theirs by an entry point.

A module has `render(header, records)`, which gives the file's bytes. It may have `render_bigger` with the
same arguments, where a file can hold only metrics of one direction, and `tell_lost(records)`, which says what
of a run has no place in the format, if anything. With `BINARY` set, it is not written to a terminal.
"""

from __future__ import annotations

from guestbench.registry import Axis

AXIS = Axis("guestbench.report.export", "guestbench.exports")
