"""A commit of a git repository; no type here knows what was built of it."""

from __future__ import annotations

from guestbench.model.base import Frozen


class Commit(Frozen):
    """A commit: its full hash, the first line of its message, and what the user called it."""

    hash: str
    subject: str
    name: str = ""

    @property
    def short(self) -> str:
        """The hash as people write it."""
        return self.hash[:12]
