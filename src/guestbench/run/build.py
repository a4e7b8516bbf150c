"""Builds images in a process of its own: a Build on standard input, what it is about on standard output.

These are lines of JSON: a Said for each thing that it is about, and a Failure if it cannot be done.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import msgspec

from guestbench import provision
from guestbench.definition.systems import load_catalogue
from guestbench.errors import GuestbenchError
from guestbench.host.process import die_with_parent
from guestbench.model import Frozen, System
from guestbench.provision.inspector import build_inspector
from guestbench.run.worker import Failure, to_failure


class Build(Frozen):
    """What such a process is to build: a system's images, or without one the guest that looks into disks.

    `folder` has the system's sources, if it is not of the catalogue.
    """

    system: System | None
    folder: str
    parent_pid: int


class Said(Frozen, tag_field="kind", tag="said"):
    """A line for the user."""

    text: str


def tell(line: Said | Failure) -> None:
    """Print it at once."""
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


def say(text: str) -> None:
    """Hand a line on to the user."""
    tell(Said(text=text))


def main() -> int:
    """Read a Build and build it. Returns the exit status."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Build)
    # Whoever ends it so waits until its workspace is gone.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    die_with_parent(job.parent_pid)
    folder = Path(job.folder) if job.folder else None
    try:
        if job.system is None:
            build_inspector(say)
        else:
            provision.prepare(job.system, {}, load_catalogue(), say=say, folder=folder)
    except GuestbenchError as error:
        tell(to_failure(error))
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
