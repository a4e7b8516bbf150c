"""Has reports made while a run goes on: in a process of their own, and never beside a timed trial."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from guestbench.host import process

FIRST_S = 3.0
"""After so much of a run there is a first report, as soon as there is something in it."""
SHARE = 0.03
"""Of the run's time at most this goes into reports, the first one aside: CPU time, or time waited for one."""
LEAST_S = 15.0
"""Between two of them."""
LONGEST_S = 60.0
"""One that takes longer, on a host that has no time for it, is given up."""


class PartialReports:
    """Starts a process that writes the reports of what is stored so far, and hands on the summary it prints.

    `show` gets the summary. Whoever makes trials calls `offer` when one may begin, `poll` now and then, and
    `wait` before anything that is timed.
    """

    def __init__(self, folder: Path, show: Callable[[str], None]) -> None:
        self._folder, self._show = folder, show
        self._next = time.monotonic() + FIRST_S
        self._made = 0
        self._since = self._cpu_s = self._waited_s = 0.0
        self._child: process.Child | None = None
        self._stack = ExitStack()
        self._said = bytearray()

    def offer(self, made: int) -> None:
        """Begin one of the `made` trials, if it is time, none is being made, and there is something new."""
        now = time.monotonic()
        if self._child is not None or now < self._next or made == self._made:
            return
        # A session of its own: Ctrl-C is for the run, which ends this.
        argv = [sys.executable, "-m", "guestbench", "report", "--running", str(self._folder)]
        child = self._stack.enter_context(process.start(argv, stdout=process.PIPE, new_session=True))
        if child.stdout is None:
            raise RuntimeError("the report was started without a pipe")
        os.set_blocking(child.stdout.fileno(), False)
        self._child, self._since, self._made = child, now, made
        self._cpu_s = self._waited_s = 0.0
        self._said.clear()

    def poll(self) -> bool:
        """Hand on what has ended; whether one is still being made."""
        child = self._child
        if child is None or child.stdout is None:
            return False
        self._said += child.stdout.read() or b""
        self._cpu_s = max(self._cpu_s, (child.cpu_ns() or 0) / 1e9)
        status, now = child.poll(), time.monotonic()
        if status is None and now - self._since < LONGEST_S:
            return True
        if status == 0:
            self._said += child.stdout.read() or b""
            self._show(self._said.decode("utf-8", "replace"))
        self.close()
        self._next = now + max(LEAST_S, max(self._cpu_s, self._waited_s) / SHARE)
        return False

    def wait(self) -> None:
        """Return when none is being made."""
        begun = time.monotonic()
        while self.poll():
            time.sleep(0.02)
            self._waited_s = time.monotonic() - begun

    def close(self) -> None:
        """End the one that is being made."""
        self._child = None
        self._stack.close()
