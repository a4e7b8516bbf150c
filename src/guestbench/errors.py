"""The exception tree. Each error names the thing, what was wrong with it, and a hint that works when typed.

GuestbenchError
├── UsageError          exit 2   the user asked for something that cannot be
│   ├── DefinitionError          an experiment or system file has mistakes (all of them, at once)
│   └── ImageError               an image file is missing, damaged, or of the wrong kind
├── HostError           exit 3   this host cannot do it
│   ├── ToolMissing              a program is not installed, or too old
│   ├── ToolFailed               a program ran and failed
│   └── StoreError               a results folder cannot be read or written
├── GateError           exit 1   the measurements do not hold what was asked of them
├── TrialError          exit 4   a trial failed where one was needed to go on
│   └── ShellError               no shell answers on a guest's serial console, or it stopped answering
└── Interrupted         exit 130 the user pressed Ctrl-C
"""

from __future__ import annotations

import errno
import os

OF_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What a file system says that is full, or fails."""


class GuestbenchError(Exception):
    """Base of all errors that guestbench raises on purpose; `exit_code` is the process's exit status."""

    exit_code = 1

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def messages(self) -> tuple[str, ...]:
        """One text for each `error:` line."""
        return (self.message,)


class UsageError(GuestbenchError):
    """The user asked for something that cannot be."""

    exit_code = 2


class DefinitionError(UsageError):
    """An experiment or system file has mistakes; `problems` has one text for each of them."""

    def __init__(self, problems: tuple[str, ...], hint: str) -> None:
        super().__init__("; ".join(problems), hint)
        self.problems = problems

    @property
    def messages(self) -> tuple[str, ...]:
        """One text for each mistake."""
        return self.problems


class ImageError(UsageError):
    """An image file is missing, damaged, or of the wrong kind."""


class HostError(GuestbenchError):
    """This host cannot do it."""

    exit_code = 3


class ToolMissing(HostError):
    """A program is not installed, or too old."""


class ToolFailed(HostError):
    """A program ran and failed. `status` is its exit status (negative: the signal)."""

    def __init__(self, message: str, hint: str, *, status: int, stderr: str) -> None:
        super().__init__(message, hint)
        self.status = status
        self.stderr = stderr


class StoreError(HostError):
    """A results folder cannot be read or written."""


class GateError(GuestbenchError):
    """The measurements do not hold what was asked of them."""

    exit_code = 1


class TrialError(GuestbenchError):
    """A trial failed where one was needed to go on."""

    exit_code = 4


class ShellError(TrialError):
    """No shell answers on a guest's serial console, or it stopped answering."""


class Interrupted(GuestbenchError):
    """The user pressed Ctrl-C."""

    exit_code = 130


def hint_of(error: OSError, place: str | os.PathLike[str]) -> str:
    """What to look at where `place` cannot be used: the room there, or whose it is and what it allows."""
    import shlex  # which `guestbench --help` has no use for
    from pathlib import Path

    path = Path(place).absolute()
    there = next(each for each in (path, *path.parents) if os.path.lexists(each))
    if error.errno == errno.ENOMEM:
        return "free -h"
    look = "df -h" if error.errno in OF_ROOM else "ls -ld"
    return f"{look} {shlex.quote(str(there))}"
