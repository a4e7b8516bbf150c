"""Which phase of a boot each piece of a count is of."""

from __future__ import annotations

import msgspec
from image_files import KERNEL

from guestbench.analysis.profile.histogram import Piece, Ran
from guestbench.model import Milestone
from guestbench.run.profile import find_phases

SYSTEM = msgspec.structs.replace(
    KERNEL,
    ready="login: ",
    milestones=(Milestone(name="kernel", pattern="Linux"), Milestone(name="init", pattern="Run /init")),
)
CONSOLE = b"Linux 6.1\nRun /init\nlogin: "


def make_pieces(*ends: int | None) -> tuple[Piece, ...]:
    """Pieces that end when the console held so many bytes; None for one that ends by something else."""
    return tuple(
        Piece(blocks=(Ran(number, 1),), console_bytes=end, moved_up=False) for number, end in enumerate(ends)
    )


def find(*ends: int | None, console: bytes = CONSOLE) -> tuple[str, ...]:
    """The phases of such pieces."""
    pieces, phases = find_phases(SYSTEM, make_pieces(*ends), console)
    assert len(pieces) == len(phases)
    return phases


def test_a_piece_is_of_the_phase_that_ends_next() -> None:
    """Instructions would be told of a milestone that was reached already."""
    # The second ends where the kernel moves up.
    assert find(5, None, 19, 27, None) == ("kernel", "init", "init", "ready")


def test_what_follows_ready_is_left_out() -> None:
    """A guest that works on after it was ready would seem to take more to boot."""
    assert find(5, 19, 27, 40, None, console=CONSOLE + b"root\nlogin: ") == ("kernel", "init", "ready")


def test_a_milestone_that_did_not_come_ends_no_phase() -> None:
    """A guest that skips a milestone would lose the instructions of that phase."""
    assert find(5, 17, None, console=b"Linux 6.1\nlogin: ") == ("kernel", "ready")


def test_without_a_cut_at_ready_all_of_the_rest_is_counted() -> None:
    """Instructions up to ready would be lost where the guest wrote nothing after its marker."""
    assert find(5, 19, None) == ("kernel", "init", "ready")
