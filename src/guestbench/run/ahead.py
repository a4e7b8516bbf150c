"""Has the images that a run lacks built side by side, each in a process of its own; it builds none itself."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path

import msgspec

from guestbench.errors import GuestbenchError, HostError, ImageError
from guestbench.host import process
from guestbench.model import Say, System
from guestbench.model.decoding import NOT_JSON
from guestbench.run.build import Build, Said
from guestbench.run.pool import GRACE_S
from guestbench.run.worker import Failure


class _Builder:
    """A process that builds, and what it has said of it."""

    def __init__(self, name: str, system: System | None, folder: Path | None, stack: ExitStack) -> None:
        self.name = name
        self.error: GuestbenchError | None = None
        # Its own session, so that Ctrl-C reaches only us, who end it.
        child = stack.enter_context(
            process.start(
                [sys.executable, "-m", "guestbench.run.build"],
                stdin=process.PIPE,
                stdout=process.PIPE,
                new_session=True,
                grace_s=GRACE_S,
            )
        )
        if child.stdin is None or child.stdout is None:
            raise RuntimeError("the process was started without pipes")
        job = Build(system=system, folder=str(folder or ""), parent_pid=os.getpid())
        child.stdin.write(msgspec.json.encode(job))
        child.stdin.close()
        self._child, self._rest = child, b""
        self.fd = child.stdout.fileno()

    def read(self, say: Say) -> bool:
        """Hand on what it says; whether it has ended."""
        data = os.read(self.fd, 65536)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                told = msgspec.json.decode(line, type=Said | Failure)
            except NOT_JSON:
                continue
            if isinstance(told, Said):
                say(told.text)
            else:
                kind = ImageError if told.exit_code == ImageError.exit_code else HostError
                self.error = kind(told.message, told.hint)
        return not data


def build_ahead(
    missing: Mapping[str, tuple[System | None, Path | None]], needed: Collection[str], say: Say
) -> dict[str, GuestbenchError]:
    """Build these, as many at a time as there are cores; why some could not be built, by name.

    Each is a system and where its sources are, as in `Build`.

    Raises:
        ImageError, HostError: one that is needed could not be built. The others are ended.
    """
    waiting = list(missing)
    failed: dict[str, GuestbenchError] = {}
    running: dict[int, tuple[_Builder, ExitStack]] = {}
    slots = len(os.sched_getaffinity(0))
    with ExitStack() as all_of_them:
        while waiting or running:
            while waiting and len(running) < slots:
                name = waiting.pop(0)
                stack = all_of_them.enter_context(ExitStack())
                builder = _Builder(name, *missing[name], stack)
                running[builder.fd] = (builder, stack)
            for fd in select.select(list(running), [], [])[0]:
                builder, stack = running[fd]
                if builder.read(say):
                    del running[fd]
                    stack.close()
                    if builder.error and builder.name in needed:
                        raise builder.error
                    if builder.error:
                        failed[builder.name] = builder.error
    return failed
