"""The host's side of measuring a guest's TCP services, over plain sockets; it knows nothing of any VMM.

A guest's service is a port of 127.0.0.1 here. Nothing is believed of the other side: it may send nothing, too
much or something else, take nothing, or go. Every wait ends in time, memory is bounded, and what went wrong
is one `TransferError` in plain words.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

from guestbench.errors import TrialError
from guestbench.model import Frozen

HOST = "127.0.0.1"
BLOCK_BYTES = 1 << 16
HINT = "guestbench systems list  # shows each guest's services"
SILENCE_S = 15.0
"""A guest of which nothing has come or been taken for so long has gone deaf. One that is only slow, and done
within a minute, makes room in the buffers on the way every few seconds."""

FIRST_PRINTABLE = 0x20
CHARACTERS = 95
"""The printable characters of ASCII, space included, over which RFC 864's pattern rotates."""
LINE_CHARACTERS = 72
LINE_BYTES = LINE_CHARACTERS + 2
PERIOD_BYTES = CHARACTERS * LINE_BYTES
"""After so many bytes, 95 lines, the pattern begins again."""


class TransferError(TrialError):
    """A transfer did not go as the service's protocol wants it; the message says how."""


class Transfer(Frozen):
    """How long it took until so many bytes had arrived."""

    size_bytes: int
    seconds: float

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return self.size_bytes / self.seconds


_RING = bytes(range(FIRST_PRINTABLE, FIRST_PRINTABLE + CHARACTERS)) * 2
# Long enough that the longest block, wherever in the period it begins, is compared in one piece.
_LINES = b"".join(_RING[first : first + LINE_CHARACTERS] + b"\r\n" for first in range(CHARACTERS))
_PATTERN = _LINES * (BLOCK_BYTES // PERIOD_BYTES + 2)


@contextmanager
def _connected(
    port: int, timeout_s: float, progress: list[str]
) -> Iterator[tuple[socket.socket, Callable[..., None]]]:
    """A connection, and what lets its next operation take as long as is left until its one deadline.

    It may take `SILENCE_S` at most, unless the deadline alone is to hold. Its trouble is a TransferError with
    the last text of `progress`.
    """
    end_s = time.monotonic() + timeout_s

    def arm(silence_s: float = SILENCE_S) -> None:
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        sock.settimeout(min(left_s, silence_s))

    try:
        with socket.create_connection((HOST, port), timeout_s) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield sock, arm
    except TimeoutError:
        if time.monotonic() < end_s:
            raise _error(port, f"{progress[-1]}, then silence for {SILENCE_S:g} s") from None
        raise _error(port, f"{progress[-1]} when {timeout_s:g} s were over") from None
    except (BrokenPipeError, ConnectionResetError):
        raise _error(port, f"the connection was reset; {progress[-1]}") from None
    except OSError as error:
        raise _error(port, f"{error.strerror or error}; {progress[-1]}") from None


def _error(port: int, what: str) -> TransferError:
    return TransferError(f"TCP port {port}: {what}", HINT)


def time_echo(
    port: int, *, requests: int = 1000, warmups: int = 50, timeout_s: float = 60.0
) -> tuple[float, ...]:
    """The seconds of each of `requests` round trips of one byte, on one connection, one after the other.

    The `warmups` before them are not returned: the first includes the making of the guest's connection.
    Each byte differs from the one before it.

    Raises:
        TransferError: another byte or more bytes came back, the connection ended, or the time was up.
    """
    progress = ["no byte had come back"]
    times_ns = []
    with _connected(port, timeout_s, progress) as (sock, arm):
        for number in range(warmups + requests):
            byte = bytes((number & 0xFF,))
            arm()
            began_ns = time.perf_counter_ns()
            sock.send(byte)
            answer = sock.recv(16)
            took_ns = time.perf_counter_ns() - began_ns
            if answer != byte:
                raise _error(port, f"request {number + 1}: {_difference(byte, answer)}")
            times_ns.append(took_ns)
            progress[-1] = f"{number + 1} of {warmups + requests} bytes had come back"
        if extra := _peek(sock):
            raise _error(port, f"{len(extra)} more bytes came back than were sent")
    return tuple(each / 1e9 for each in times_ns[warmups:])


def _difference(sent: bytes, answer: bytes) -> str:
    if not answer:
        return "the guest closed the connection instead of answering"
    return f"byte 0x{sent.hex()} was sent, and 0x{answer.hex()} came back"


def _peek(sock: socket.socket) -> bytes | None:
    """What has arrived by now, without taking it: b"" at the end of the stream, None if nothing has."""
    # MSG_DONTWAIT would not do: Python itself waits on a socket that has a timeout.
    sock.setblocking(False)
    try:
        return sock.recv(16, socket.MSG_PEEK)
    except BlockingIOError:
        return None


def send(port: int, size_bytes: int, *, timeout_s: float = 60.0) -> Transfer:
    """Send `size_bytes` to a discard service (RFC 863), and wait until it has closed the connection.

    The time is from the first byte sent to the guest's end of stream, which it sends when it has read ours:
    bytes that are merely under way count for nothing. A guest whose program dies having read less
    than all, and whose end looks regular, is not noticed; its own count of bytes is there for that.

    Raises:
        TransferError: the guest closed early, sent anything, reset the connection, or the time was up.
    """
    block = memoryview(bytes(BLOCK_BYTES))
    sent = 0
    progress = [f"none of {size_bytes} bytes had been taken"]
    with _connected(port, timeout_s, progress) as (sock, arm):
        began_ns = time.perf_counter_ns()
        while sent < size_bytes:
            arm()
            sent += sock.send(block[: min(BLOCK_BYTES, size_bytes - sent)])
            progress[-1] = f"{sent} of {size_bytes} bytes had been taken"
        early = _peek(sock)
        if early is not None:
            what = "sent bytes, which a discard service does not" if early else "closed before all was sent"
            raise _error(port, f"the guest {what}; {progress[-1]}")
        sock.shutdown(socket.SHUT_WR)
        progress[-1] = f"the guest had not closed the connection, all {size_bytes} bytes being sent,"
        # What lies in buffers on the way may take a slow guest long, and nothing is seen of that.
        arm(timeout_s)
        answer = sock.recv(16)
        took_ns = time.perf_counter_ns() - began_ns
        if answer:
            raise _error(port, "the guest sent bytes, which a discard service does not")
    return Transfer(size_bytes=size_bytes, seconds=took_ns / 1e9)


def receive(port: int, size_bytes: int, *, timeout_s: float = 60.0) -> Transfer:
    """Receive `size_bytes` from a character generator (RFC 864), and check every one of them.

    The time is from the first byte to the one that completes `size_bytes`; some of what came with the first
    is in it for nothing, so that less than a few megabytes say little. The guest may begin with any line of
    the pattern. The connection is then closed in the middle of what the guest goes on sending.

    Raises:
        TransferError: a byte is not the pattern's, the connection ended early, or the time was up.
    """
    progress = [f"none of {size_bytes} bytes had come"]
    with _connected(port, timeout_s, progress) as (sock, arm):
        arm()
        first = sock.recv(1)
        began_ns = ended_ns = time.perf_counter_ns()
        line = first[0] - FIRST_PRINTABLE if first else 0
        if not 0 <= line < CHARACTERS:
            raise _error(port, f"byte 1 is 0x{first.hex()}, with which no line of RFC 864's pattern begins")
        phase, received = line * LINE_BYTES, len(first)
        while first and received < size_bytes:
            arm()
            data = sock.recv(min(BLOCK_BYTES, size_bytes - received))
            ended_ns = time.perf_counter_ns()
            if not data:
                break
            at = (phase + received) % PERIOD_BYTES
            # Compares in place: a slice of the pattern would have to be copied first.
            if not _PATTERN.startswith(data, at):
                raise _error(port, _deviation(data, at, received))
            received += len(data)
            progress[-1] = f"{received} of {size_bytes} bytes had come"
        if received < size_bytes:
            raise _error(port, f"the guest closed the connection; {progress[-1]}")
    return Transfer(size_bytes=size_bytes, seconds=max(ended_ns - began_ns, 1) / 1e9)


def _deviation(data: bytes, at: int, received: int) -> str:
    """Where a block that should begin at `at` of the pattern leaves it."""
    wanted = _PATTERN[at : at + len(data)]
    index = next(i for i, (got, want) in enumerate(zip(data, wanted, strict=True)) if got != want)
    number = received + index + 1
    return f"byte {number} is 0x{data[index]:02x}, and RFC 864's pattern has 0x{wanted[index]:02x} there"


# --- readiness ----------------------------------------------------------------------------------------

ATTEMPT_S = 0.02
ATTEMPT_SHARE = 0.01
"""A new attempt begins when this share of the time since the first has passed, if that is later.

The attempts that a user network has accepted pile up in the VMM: QEMU's keeps each for 75 s until the guest
answers, and a file descriptor with it, of which a process has 1024. At one each 20 ms it would be out of them
after 20 s. So the resolution is 20 ms or a hundredth of the time, and 75 s hold fewer than 500 attempts.
"""
MOST_OPEN = 50
STEP_S = 0.005
DONE_S = 1.0


class _Attempt(NamedTuple):
    """A connection that has been asked for, and the byte it is to bring back."""

    sock: socket.socket
    byte: bytes


class ReadyProbe(AbstractContextManager["ReadyProbe"]):
    """Finds the moment at which a guest's echo service first answers; to be called while the guest boots.

    It is a `vmm.Meanwhile`. Only a byte that comes back counts: a user network accepts connections for a
    guest that is not there yet, and asks the guest again only after seconds; so new connections are made all
    the time. `answered_ns` is then the time of `time.monotonic_ns`, and `byte` what came back. `trouble` says
    what else happened last, such as a byte that was never sent. Close it, or use it as a context manager.
    """

    def __init__(self, port: int, *, attempt_s: float = ATTEMPT_S, most_open: int = MOST_OPEN) -> None:
        self._port = port
        self._attempt_s = attempt_s
        self._most_open = most_open
        self._poll = select.poll()
        self._attempts: dict[int, _Attempt] = {}
        self._began_ns: int | None = None
        self._next_ns = 0
        self.attempts = 0
        self.answered_ns: int | None = None
        self.byte: int | None = None
        self.trouble = ""

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self) -> float:
        """Look at the connections, make another if it is time; returns in how many seconds to be called.

        Never waits, and raises nothing.
        """
        if self.answered_ns is not None:
            return DONE_S
        for descriptor, events in self._poll.poll(0):
            self._look_at(descriptor, events)
            if self.answered_ns is not None:
                self.close()
                return DONE_S
        now_ns = time.monotonic_ns()
        if now_ns >= self._next_ns:
            if self._began_ns is None:
                self._began_ns = now_ns
            share_ns = round((now_ns - self._began_ns) * ATTEMPT_SHARE)
            self._next_ns = now_ns + max(round(self._attempt_s * 1e9), share_ns)
            self._begin()
        return STEP_S

    def close(self) -> None:
        """Close all connections."""
        for descriptor in list(self._attempts):
            self._drop(descriptor)

    def _begin(self) -> None:
        while len(self._attempts) >= self._most_open:
            self._drop(next(iter(self._attempts)))
        try:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            self.trouble = error.strerror or str(error)
            return
        # Differs from the bytes of the attempts that are open, so that no answer is taken for another's.
        self._attempts[sock.fileno()] = _Attempt(sock, bytes((self.attempts & 0xFF,)))
        self.attempts += 1
        self._poll.register(sock, select.POLLIN | select.POLLOUT)
        try:
            sock.connect((HOST, self._port))
        except BlockingIOError:
            pass
        except OSError as error:
            self._fail(sock.fileno(), error)

    def _look_at(self, descriptor: int, events: int) -> None:
        """Go on with the attempt that something has happened to."""
        attempt = self._attempts[descriptor]
        try:
            if events & select.POLLOUT:
                attempt.sock.send(attempt.byte)
                self._poll.modify(descriptor, select.POLLIN)
            answer = attempt.sock.recv(16)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(descriptor, error)
            return
        now_ns = time.monotonic_ns()
        if answer == attempt.byte:
            self.answered_ns, self.byte = now_ns, answer[0]
            return
        self.trouble = _difference(attempt.byte, answer)
        self._drop(descriptor)

    def _fail(self, descriptor: int, error: OSError) -> None:
        self.trouble = error.strerror or str(error)
        self._drop(descriptor)

    def _drop(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        self._attempts.pop(descriptor).sock.close()
