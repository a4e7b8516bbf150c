"""QMP with a QEMU that hangs up, says nothing, or talks nonsense."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from guestbench.errors import HostError
from guestbench.model import Unknown
from guestbench.vmm.qemu import qmp
from guestbench.vmm.qemu.capabilities import AskedBalloon
from guestbench.vmm.qemu.introspection import Monitor, find_forwards
from guestbench.vmm.qemu.migration import await_status, read_version

VERSION = {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}
GREETING = json.dumps({"QMP": {"version": VERSION, "capabilities": ["oob"]}}).encode() + b"\n"
LONG, DEEP = b"a" * 11_000_000, b"[" * 100_000
Answer = Callable[[object], bytes]


def reply(**members: object) -> Answer:
    """An answer with these members."""
    return lambda number: json.dumps({"id": number, **members}).encode() + b"\n"


@contextmanager
def qemu(*says: bytes | Answer) -> Iterator[socket.socket]:
    """A QEMU that says these things, each but the first when it has been asked something, and hangs up."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with theirs, suppress(OSError, ValueError):
            for number, each in enumerate(says):
                asked = json.loads(theirs.recv(65536)) if number else {}
                theirs.sendall(each(asked.get("id")) if callable(each) else each)
            theirs.recv(65536)

    server = threading.Thread(target=serve)
    server.start()
    with ours:
        yield ours
    server.join()


@pytest.mark.parametrize(
    "greeting",
    [
        *(b"", b"\xff\x00\n", b"[]\n", b"{}\n", b'{"QMP":3}\n', b'{"QMP":{"version":1}}\n', b"\n"),
        *(DEEP + b"\n", LONG, b'{"QMP":' + b"9" * 6000 + b"}\n", b"QEMU 7.2\r\n(qemu) "),
    ],
    ids=range(11),
)
def test_a_greeting_that_is_none_is_one_error(greeting: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A QEMU of another kind would be told as a mistake of guestbench, with a traceback."""
    monkeypatch.setattr(qmp, "ANSWER_S", 0.5)
    with (
        qemu(greeting) as sock,
        pytest.raises(HostError, match=r"^QEMU did not open QMP: .") as caught,
        qmp.connect(sock),
    ):
        pass
    check_line(caught.value.message)


@pytest.mark.parametrize(
    "answer",
    [
        *(b"\xff\xfe\n", b"[]\n", b"5\n", b"zzz\n", b'{"return":', DEEP + b"\n", LONG),
        *(b'{"return":{},"id":[1]}\n', b'{"return":{},"id":{}}\n', b'{"return":{},"id":"other"}\n'),
        *(reply(), reply(error="x"), reply(error={}), reply(error=5, **{"return": 1})),
        *(b'{"return":' + b"9" * 6000 + b"}\n", b'{"event":5}\n', b'{"event":"A","timestamp":{}}\n' * 5000),
        reply(error={"class": "GenericError", "desc": "a\x1b[2J\nb" * 1000}),
    ],
    ids=range(18),
)
def test_an_answer_that_is_none_is_one_error(answer: bytes | Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A QEMU that talks nonsense would end a run, or be told as a mistake of guestbench."""
    with (
        qemu(GREETING, reply(**{"return": {}}), answer) as sock,
        qmp.connect(sock) as connection,
        pytest.raises(HostError, match=r"^QMP query-status: .") as caught,
    ):
        monkeypatch.setattr(qmp, "ANSWER_S", 0.2)
        connection.command("query-status")
    check_line(caught.value.message)


def test_no_answer_in_time_is_none() -> None:
    """A trial whose QEMU stands still would end half a minute late."""
    late = b'{"return": {}, "id": "another"}\n'
    with qemu(GREETING, reply(**{"return": {}}), late) as sock, qmp.connect(sock) as connection:
        began = time.monotonic()
        assert connection.try_command("query-status", 0.2) is None
        assert 0.2 <= time.monotonic() - began < 10


def check_line(message: str) -> None:
    """An error is one line, and no longer than one can read."""
    assert "\n" not in message
    assert len(message) < 300


def test_a_qemu_that_hangs_up_is_told_at_each_question() -> None:
    """Every question after the first would wait for half a minute."""
    with qemu(GREETING, reply(**{"return": {}})) as sock, qmp.connect(sock) as connection:
        sock.shutdown(socket.SHUT_RDWR)
        for _ in range(3):
            with pytest.raises(HostError, match=r"^QMP quit: ."):
                connection.command("quit")


class Oracle:
    """A QMP whose every answer is the same."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def command(self, name: str, **arguments: object) -> object:
        """Answer."""
        return self.answer


NONSENSE: list[object] = [
    *(None, 5, -1, 2**80, "", "text", [], {}, [5], [[]], {"a": 1}, [{"name": 5, "path": []}]),
    *(
        {"stats": 5},
        {"stats": {"a": "b"}, "last-update": 1},
        {"last-update": 1, "stats": {"a": -5, "b": None}},
    ),
    *({"qemu": {}}, {"qemu": {"major": "7", "minor": 2}}, {"status": {}}, {"base-memory": "x"}),
    {"running": True, "status": "running", "qemu": {"major": 7, "minor": 2}},
]


@pytest.mark.parametrize("answer", NONSENSE, ids=repr)
def test_answers_of_another_form_are_unknown_or_one_error(answer: object) -> None:
    """A trial would not be made for a figure that QEMU cannot tell."""
    oracle = Oracle(answer)
    statistics = AskedBalloon(oracle).statistics()
    assert all(isinstance(value, int) and value >= 0 for value in statistics.values())
    monitor = Monitor(oracle)
    assert isinstance(monitor.read_ram_bytes(), int | Unknown)
    for look in (monitor.list_devices, monitor.list_views, monitor.list_virtio):
        assert isinstance(look(), tuple | Unknown)
    find_forwards(oracle, (80,))
    with suppress(HostError):
        assert read_version(oracle) == (7, 2)
    with suppress(HostError):
        monitor.read_registers()
    with suppress(HostError):
        await_status(oracle, "query-status", "running", ("failed",), 0.02, str)
