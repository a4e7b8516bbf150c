"""A blocking QMP connection over a socket that is already connected; it knows no command by name.

The protocol is the QEMU project's own client (`qemu.qmp`), driven on an event loop that runs only while
a command waits for its answer, so that no second thread disturbs the stamps of the serial console.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from qemu.qmp import QMPClient, QMPError

from guestbench.errors import HostError

ANSWER_S = 30.0
SAID_CHARACTERS = 200
GONE = (QMPError, OSError, EOFError)
"""What the client raises when QEMU hangs up, at whatever moment."""
FAILED = (*GONE, TimeoutError, AssertionError, ValueError, TypeError, RecursionError)
"""And where what QEMU says is not QMP: not JSON, too long, too deep, or with an id that is none."""


class Qmp(Protocol):
    """Whatever answers QMP commands."""

    def command(self, name: str, **arguments: object) -> object:
        """Send one command and return its `return` value. Raises HostError."""


class Connection:
    """An open QMP connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, client: QMPClient) -> None:
        self._loop = loop
        self._client = client

    def command(self, name: str, **arguments: object) -> object:
        """Send one command and return its `return` value.

        Raises:
            HostError: QEMU refused the command, hung up, or did not answer within 30 s.
        """
        try:
            return self._call(name, arguments, ANSWER_S)
        except FAILED as error:
            raise HostError(f"QMP {name}: {_tell(error)}", "guestbench doctor") from error

    def try_command(self, name: str, timeout_s: float) -> object:
        """As `command`; None where no answer comes in time, which is at most 30 s."""
        try:
            return self._call(name, {}, min(timeout_s, ANSWER_S))
        except TimeoutError:
            return None
        except FAILED as error:
            raise HostError(f"QMP {name}: {_tell(error)}", "guestbench doctor") from error

    def _call(self, name: str, arguments: Mapping[str, object], timeout_s: float) -> object:
        call = self._client.execute(name, dict(arguments) or None)
        return self._loop.run_until_complete(asyncio.wait_for(call, timeout_s))

    def hand_over(self, fd: int, name: str, **arguments: object) -> object:
        """Send one command that is about a file descriptor of ours, as `getfd` and `add-fd` are.

        Raises:
            HostError: as `command`.
        """
        try:
            self._client.send_fd_scm(fd)
        except GONE as error:
            told = f"QMP: a file cannot be handed over: {_tell(error)}"
            raise HostError(told, "guestbench doctor") from error
        return self.command(name, **arguments)


def _tell(error: Exception) -> str:
    """An error of the client in one line; it may hold what QEMU said, which may be anything."""
    told = " ".join(str(error).split())
    return told[:SAID_CHARACTERS] if told else "no answer"


@contextmanager
def connect(sock: socket.socket) -> Iterator[Connection]:
    """Negotiate QMP over `sock`, and hang up on leaving.

    Raises:
        HostError: no QMP server answered within 30 s.
    """
    loop = asyncio.new_event_loop()
    client = QMPClient("guestbench")
    try:
        sock.setblocking(False)
        try:
            loop.run_until_complete(asyncio.wait_for(client.connect(sock), ANSWER_S))
        except FAILED as error:
            raise HostError(f"QEMU did not open QMP: {_tell(error)}", "guestbench doctor") from error
        yield Connection(loop, client)
    finally:
        with contextlib.suppress(*FAILED):
            loop.run_until_complete(asyncio.wait_for(client.disconnect(), ANSWER_S))
        loop.close()
