"""Reads what a counting VMM has written: how many instructions had been executed at each cut."""

from __future__ import annotations

from bisect import bisect_right

from guestbench.errors import HostError
from guestbench.model import Frozen


class Count(Frozen):
    """All instructions so far, and how many of them were in loops that wait."""

    total: int = 0
    waited: int = 0

    def since(self, before: Count) -> Count:
        """What came after another count."""
        return Count(total=self.total - before.total, waited=self.waited - before.waited)

    @property
    def worked(self) -> int:
        """What was not in loops that wait."""
        return self.total - self.waited


class Counts(Frozen):
    """The count when the guest's own code began, if it did, and at cuts of the console.

    A cut is known by how many bytes the console held then: `ends`, ascending.
    """

    entry: Count | None
    ends: tuple[int, ...]
    at_ends: tuple[Count, ...]

    def find_last(self, end: int) -> Count:
        """The count at the last cut at which the console held at most `end` bytes; 0 where there is none."""
        place = bisect_right(self.ends, end) - 1
        return self.at_ends[place] if place >= 0 else Count()


def read_counts(text: str) -> Counts:
    """What stands in lines `# total N`, `# waited N`, and behind them the cut that they are of.

    Raises:
        HostError: a line is of no such form, or the end is missing: the VMM was ended before it could write.
    """
    entry: Count | None = None
    ends: list[int] = []
    at_ends: list[Count] = []
    total = waited = 0
    for line in text.splitlines():
        match line.split():
            case ["#", "total", number] if number.isdecimal():
                total = int(number)
            case ["#", "waited", number] if number.isdecimal():
                waited = int(number)
            case ["#", "console", number] if number.isdecimal():
                ends.append(int(number))
                at_ends.append(Count(total=total, waited=waited))
            case ["#", "entry"]:
                entry = Count(total=total, waited=waited)
            case ["#", "upper"]:
                pass
            case ["#", "end"]:
                return Counts(entry=entry, ends=tuple(ends), at_ends=tuple(at_ends))
            case _:
                raise _damaged("a line is not sound")
    raise _damaged("it has no end")


def _damaged(problem: str) -> HostError:
    return HostError(f"the count of instructions cannot be read: {problem}", "df -h /tmp")
