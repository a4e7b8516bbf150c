"""What the plots share: the height of their rows, and which colour is whose.

Figures are looked up and never calculated.
"""

from __future__ import annotations

from guestbench.model import Header
from guestbench.page.svg import FILLS, KINDS
from guestbench.report.results import list_systems

FAR_APART = 8
"""From this ratio on between the largest and the smallest, sizes and times do not fit one linear axis."""
ROW = 46
"""Pixels from a row of bars to the next, its name included."""
UNDER_NAME = 22
BAR = 16


def system_kind(header: Header, name: str) -> int:
    """The number of a system's colour, marker and dash."""
    return [system.name for system in list_systems(header)].index(name) % KINDS


def part_look(kind: int) -> str:
    """The class of a part's fill: a colour with a hatch, which makes it known without the colour."""
    return f"p{kind % FILLS}"
