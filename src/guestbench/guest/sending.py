"""Sends the C workload program into a guest over its shell, for trials without a tools disk."""

from __future__ import annotations

import base64
import gzip
from pathlib import Path

from guestbench.errors import ShellError
from guestbench.guest.console import quote
from guestbench.guest.contract import find_reports
from guestbench.guest.shell import Shell

PLACE = "/tmp/guestbench-work"
SEND_S = 60.0
LITTLE = "cpu limit=1000 events=20"
"""Work of a moment, to see that a guest can do any."""
LITTLE_S = 60.0


def send_program(shell: Shell, program: Path) -> str:
    """Put the program into the guest, and return where it lies there.

    It is some 20 kB, which a serial console takes in a second or two.

    Raises:
        ShellError: the guest did not take it.
        OSError: the program cannot be read.
    """
    packed = base64.encodebytes(gzip.compress(program.read_bytes(), mtime=0)).decode()
    script = f"umask 077\nbase64 -d <<'.' | gzip -dc >{PLACE} && chmod 700 {PLACE}\n{packed}.\n"
    answer = shell.run(script, timeout_s=SEND_S)
    if answer.status != 0:
        said = quote(answer.stderr) or f"status {answer.status}"
        raise ShellError(f"the guest did not take the workload program: {said}", "guestbench doctor")
    return PLACE


def do_little(shell: Shell, program: Path) -> None:
    """Have the guest do a little work, so that it is known to be able to.

    Raises:
        ShellError: it did not do it.
    """
    answer = shell.run(f"{send_program(shell, program)} {LITTLE}", timeout_s=LITTLE_S)
    reports = find_reports(answer.stdout, lambda _: 0)
    if answer.status != 0 or not reports or reports[0].done is None:
        said = quote(answer.stderr) or f"status {answer.status}"
        raise ShellError(f"a small program did not do its work in the guest: {said}", "guestbench doctor")
