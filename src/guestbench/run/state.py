"""Makes a state for trials in a process of its own: a State on standard input, Taken on standard output."""

from __future__ import annotations

import signal
import sys

import msgspec

from guestbench import provision
from guestbench.errors import GuestbenchError, TrialError
from guestbench.host.process import die_with_parent
from guestbench.model import Frozen, Guest, Start, State
from guestbench.provision.snapshot import Snapshot
from guestbench.run.worker import Failure, to_failure


class Taken(Frozen, tag_field="kind", tag="taken"):
    """What a worker prints that was to make a state: it is in the cache, or why it is not.

    `unready` says that its guest did not get ready, which stands in the way of nothing else.
    """

    failure: Failure | None = None
    unready: bool = False


def take_state(state: State) -> Snapshot:
    """The snapshot, from the cache if it is there; see `provision.take_snapshot` for what may be raised."""
    assert state.start is not None
    return provision.take_snapshot(_equip(state.guest, state.start), state.platform, quiet, state.start)


def is_there(state: State) -> bool:
    """Whether the cache has it."""
    guest = provision.find_settled(state.guest, state.platform)
    if guest is None or state.start is None:
        return guest is not None
    return provision.has_snapshot(_equip(guest, state.start), state.platform, state.start)


def _equip(guest: Guest, start: Start) -> Guest:
    return provision.with_drivers(guest) if start.tools else guest


def quiet(_: str) -> None:
    """Say nothing."""


def main() -> int:
    """Read a State, make it, print Taken. Returns the exit status."""
    state = msgspec.json.decode(sys.stdin.buffer.read(), type=State)
    # Whoever ends it so waits until its workspace is gone.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    die_with_parent(state.parent_pid)
    taken = Taken()
    try:
        guest = provision.settle(state.guest, state.platform, quiet)
        if state.start is not None:
            take_state(msgspec.structs.replace(state, guest=guest))
    except GuestbenchError as error:
        taken = Taken(failure=to_failure(error), unready=isinstance(error, TrialError))
    except KeyboardInterrupt:
        return 130
    sys.stdout.buffer.write(msgspec.json.encode(taken))
    return 0


if __name__ == "__main__":
    sys.exit(main())
