"""Guests for tests of the console shell: real shells on a pty of this host, and scripted ones with faults."""

from __future__ import annotations

import os
import pty
import select
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from guestbench.guest.serial import SerialLog
from guestbench.host import process
from guestbench.vmm import Chunk
from guestbench.vmm.fake import FakeMachine

READ_BYTES = 65536

GETTY = r"""
# A login prompt in few words: what agetty and login do that matters to whoever types.
while :; do
    printf '\r\n\r\nTiny 1 localhost ttyS0\r\r\n\nlocalhost login: '
    IFS= read -r user || exit
    password=
    if [ -n "$PASSWORD" ]; then
        stty -echo; printf 'Password: '; IFS= read -r password; stty echo; printf '\n'
    fi
    if [ "$user" = root ] && [ "$password" = "$PASSWORD" ]; then
        printf 'Linux tiny 6.1\nLast login: Tue Nov 24 13:26:55 UTC 2026 on ttyS0\n'
        eval "exec $SHELL_COMMAND"
    fi
    sleep 0.1; printf '\r\nLogin incorrect\r\n'
done
"""

Disturb = Callable[[bytes], bytes]
"""What a console makes of the bytes that were printed on it."""


class PtyMachine(FakeMachine):
    """A machine whose console is a pty of this host. See `guestbench.vmm.Machine`.

    `disturb` may change what is read, as other printing on the console would.
    """

    def __init__(self, child: process.Child, master: int) -> None:
        super().__init__((), None, ("pty",))
        self._child = child
        self._master = master
        self.disturb: Disturb = bytes
        self.pid = child.pid

    def now_ns(self) -> int:
        """Nanoseconds since the exec of the shell."""
        return time.monotonic_ns() - self._child.exec_ns

    def read_serial(self, timeout_s: float) -> Chunk | None:
        """What was printed, stamped on arrival."""
        ready, _, _ = select.select([self._master], [], [], timeout_s)
        if not ready:
            return None
        try:
            data = os.read(self._master, READ_BYTES)
        except OSError:  # nobody has the other end any more
            data = b""
        return Chunk(t_ns=self.now_ns(), data=self.disturb(data) if data else b"")

    def write_serial(self, data: bytes) -> None:
        """Type."""
        self.typed += data
        while data:
            data = data[os.write(self._master, data) :]

    def cpu_ns(self) -> int | None:
        """CPU time of the shell."""
        return self._child.cpu_ns()

    def exit_status(self) -> int | None:
        """The shell's exit status."""
        return self._child.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the shell to exit."""
        return self._child.wait(timeout_s)


@contextmanager
def start_guest(
    command: str, folder: Path, *, password: str = "", env: Mapping[str, str] | None = None
) -> Iterator[PtyMachine]:
    """A login prompt on a pty, and `command` as the login shell behind it (user root)."""
    script = folder / "getty"
    script.write_text(GETTY)
    master, slave = pty.openpty()
    # The first terminal that the leader of a session opens becomes its controlling terminal.
    become = f"exec <>{os.ttyname(slave)} >&0 2>&1; . {shlex.quote(str(script))}"
    settings = {"SHELL_COMMAND": command, "PASSWORD": password, "TERM": "vt100", "HOME": str(folder)}
    try:
        with process.start(
            ["sh", "-c", become], new_session=True, env={**settings, **(env or {})}, grace_s=0.5
        ) as child:
            machine = PtyMachine(child, master)
            yield machine
    finally:
        os.close(master)
        os.close(slave)


class ScriptedMachine(FakeMachine):
    """A guest that answers each typed line as `answer` says, after a millisecond of virtual time.

    `answer` returns what is printed; None closes the console.
    """

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        super().__init__((), None, ("scripted",))
        self._answer = answer
        self._line = b""

    def write_serial(self, data: bytes) -> None:
        """Type. Each complete line is answered."""
        super().write_serial(data)
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            said = self._answer(line)
            if said is None:
                self._status = 0
            elif said:
                self._chunks.append(Chunk(t_ns=self._now_ns + 1_000_000, data=said))


def wait_for_login(machine: PtyMachine) -> SerialLog:
    """Read up to the login prompt, as a boot does."""
    log = SerialLog()
    while b"login: " not in log.data:
        chunk = machine.read_serial(10.0)
        assert chunk is not None
        assert chunk.data
        log.append(chunk)
    return log
