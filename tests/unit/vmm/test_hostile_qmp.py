"""A QEMU that has been taken over says what it likes on its control socket: one error, and no traceback."""

from __future__ import annotations

import socket

import guest_targets
import pytest

from guestbench.errors import HostError
from guestbench.vmm.qemu import qmp

GREETING = guest_targets.seed_qmp()[0].splitlines(keepends=True)[0]
NEGOTIATED = b'{"return": {}, "id": "__guestbench#00000"}\n'


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\n",
        b"[]\n",
        b"\xe1\n",
        b"[" * 100_000 + b"\n",
        b'{"QMP": []}\n',
        b'{"QMP": {"version": 1, "capabilities": 2}}\n',
        GREETING,
        GREETING + b"\xff\n",
        GREETING + NEGOTIATED,
        GREETING + NEGOTIATED + b'{"return": "\xe1"}\n',
        GREETING + NEGOTIATED + b'{"id": "__guestbench#00001"}\n',
        GREETING + NEGOTIATED + b'{"error": 1, "id": "__guestbench#00001"}\n',
        GREETING + NEGOTIATED + b'{"error": {"class": 1, "desc": []}, "id": "__guestbench#00001"}\n',
        GREETING + NEGOTIATED + b'{"event": 1}\n' * 100,
        GREETING + NEGOTIATED + b"x" * (11 << 20),
    ],
    ids=range(16),
)
def test_nonsense_on_the_control_socket_is_one_error(said: bytes) -> None:
    """A trial would end with a traceback instead of an outcome."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        assert theirs.send(said) or not said  # of the longest, what there is room for
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(HostError, match="QMP"), qmp.connect(ours) as connection:
            connection.command("query-status")
