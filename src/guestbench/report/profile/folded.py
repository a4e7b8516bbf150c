"""Writes a profile as folded stacks, a line `phase;region;group;symbol COUNT` each, for flame graph tools."""

from __future__ import annotations

from guestbench.model.profile import Profile
from guestbench.text import visible


def render_folded(profile: Profile) -> bytes:
    """One line for each place of each phase, in the order of the profile."""
    lines = (f"{';'.join(map(_name, (row.phase, *row.place)))} {row.instructions}\n" for row in profile.spent)
    return "".join(lines).encode()


def _name(text: str) -> str:
    """A name as a frame, in which a semicolon would be the end of it."""
    return visible(text).replace(";", ",")
