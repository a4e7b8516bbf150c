"""Saves a machine's state into a file and goes on from one, however the QEMU that runs takes a file.

Any QEMU is given the file open, by descriptor. What differs is how its migration then names it: up to 8.1
only `fd:` and the descriptor's name, from 8.2 on also `file:` and a set of descriptors, and from 11 on only
the latter ("Use file: instead").
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from guestbench.errors import HostError, hint_of

if TYPE_CHECKING:
    from guestbench.vmm.qemu.qmp import Qmp

STATE_S = 120.0
RESUME_S = 60.0
UNLIMITED = 2**40
OFF = ("shutdown", "internal-error", "guest-panicked")
"""States of QEMU in which its guest will not run again."""
FILES_SINCE = (8, 2)
"""The first QEMU whose migration knows `file:`."""
NAME, SET = "state", 1


class Courier(Protocol):
    """QMP that takes open files along."""

    def command(self, name: str, **arguments: object) -> object:
        """Send one command and return its `return` value. Raises HostError."""

    def hand_over(self, fd: int, name: str, **arguments: object) -> object:
        """Send a command that is about a file descriptor of ours. Raises HostError."""


class Migration:
    """QEMU's migration, into a file. See `vmm.Snapshots`. `complaint` is what QEMU says of itself."""

    def __init__(self, qmp: Courier, complaint: Callable[[], str]) -> None:
        self._qmp = qmp
        self._complaint = complaint

    def save(self, file: Path) -> None:
        """Stop the machine for good and write its state."""
        try:
            with file.open("wb") as state:
                uri = _pass_file(self._qmp, state.fileno())
                # QEMU's default of 128 MiB/s is meant for networks.
                self._qmp.command("migrate-set-parameters", **{"max-bandwidth": UNLIMITED})
                self._qmp.command("migrate", uri=uri)
                lost = ("failed", "cancelled")
                await_status(self._qmp, "query-migrate", "completed", lost, STATE_S, self._complaint)
        except OSError as error:
            raise HostError(f"cannot write {file}: {error.strerror}", hint_of(error, file.parent)) from error


def resume(qmp: Courier, fd: int, complaint: Callable[[], str]) -> None:
    """Let a machine that waits for its state (`-incoming defer`) have it from an open file, and run.

    Raises:
        HostError: QEMU does not take the state, or the guest does not run within a minute.
    """
    qmp.command("migrate-incoming", uri=_pass_file(qmp, fd))
    await_status(qmp, "query-status", "running", OFF, RESUME_S, complaint)


def _pass_file(qmp: Courier, fd: int) -> str:
    """Give QEMU an open file; returns the address by which its migration knows it."""
    if read_version(qmp) >= FILES_SINCE:
        qmp.hand_over(fd, "add-fd", **{"fdset-id": SET})
        return f"file:/dev/fdset/{SET}"
    qmp.hand_over(fd, "getfd", fdname=NAME)
    return f"fd:{NAME}"


def read_version(qmp: Qmp) -> tuple[int, int]:
    """The QEMU's version, as far as it matters. Raises HostError."""
    match qmp.command("query-version"):
        case {"qemu": {"major": int(major), "minor": int(minor)}}:
            return major, minor
    raise HostError("QEMU does not say its version", "guestbench doctor")


def await_status(
    qmp: Qmp, command: str, wanted: str, lost: Sequence[str], timeout_s: float, complaint: Callable[[], str]
) -> None:
    """Ask until the answer's status is `wanted`. What is typed or printed meanwhile is left alone.

    Raises:
        HostError: it is one of those that are `lost`, or time is up.
    """
    end = time.monotonic() + timeout_s
    while True:
        answer = qmp.command(command)
        status = str(answer.get("status")) if isinstance(answer, dict) else ""
        if status == wanted:
            return
        if status in lost or time.monotonic() > end:
            said = complaint() or "it gave no reason"
            raise HostError(f"QEMU is {status!r} instead of {wanted!r}: {said}", "guestbench doctor")
        time.sleep(0.01)
