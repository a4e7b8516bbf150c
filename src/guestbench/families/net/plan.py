"""The trials of the network: each guest that can serve does so once in every block of work."""

from __future__ import annotations

from collections.abc import Iterator

from guestbench.families.work import find_own, plan_blocks
from guestbench.guest.programs import start_in_shell
from guestbench.model import Batch, Guest, Header, Needs, ShellWork, Start, Trial, Wanted


def plan(header: Header) -> Iterator[Batch]:
    """One trial in each block for every guest that serves, or in whose shell a server can be started."""
    if header.kit is not None:
        names = [guest.system.name for guest in header.guests if _serves(guest)]
        yield plan_blocks(header, tuple(Wanted(purpose="net", system=name) for name in names))


def _serves(guest: Guest) -> bool:
    return isinstance(guest.system.work, ShellWork) or bool(guest.system.services)


def find_needs(header: Header) -> Needs | None:
    """The program that serves, and with cross-checks the client of HTTP."""
    if not any(map(_serves, header.guests)):
        return None
    return Needs(tools=find_own(header).cross_checks)


def find_start(header: Header, trial: Trial) -> Start | None:
    """A guest with a shell serves after its boot has settled."""
    if header.kit is None:
        return None
    guest = header.find_guest(trial.system)
    return start_in_shell(guest, header.kit.disk, *find_own(header).choose_state(trial))
