"""Known benchmark programs to check our own workloads against: how to run them, and what they say.

The programs are Debian's (see `provision.tools_tree`). Their outputs come out of a guest, or depend on one,
so nothing is believed of them: a reading is a positive number that is there exactly once, or else a reason.
Nothing here mounts anything or talks to a guest.
"""

from __future__ import annotations

import math
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec

from guestbench.host import process
from guestbench.model import MIB, Frozen
from guestbench.model.decoding import NOT_JSON, decode_as

MOST_BYTES = MIB
"""An output longer than this is none of these programs'."""
QUOTED_BYTES = 120
IPERF3_PORT = 5201

_NUMBER = rb"([0-9]{1,15}(?:\.[0-9]{1,9})?)"


class Unreadable(Frozen):
    """Why an output holds no reading."""

    reason: str


Words = tuple[str, ...]
Parse = Callable[[bytes], float | Unreadable]


class Check(Frozen):
    """A program to run: `argv` begins with its name as seen from the tree's root; `parse` reads its outputs.

    `parse` takes the standard output followed by the standard error, and gives a value in `unit`.
    """

    name: str
    unit: str
    argv: tuple[str, ...]
    parse: Parse

    @property
    def command(self) -> str:
        """The words as a guest's shell takes them, to be put behind `chroot TREE`."""
        return shlex.join(self.argv)

    def host_argv(self, program: Sequence[str]) -> tuple[str, ...]:
        """The same for the host, where `program` runs it (see `Tools.host_argv`)."""
        return (*program, *self.argv[1:])


# --- programs in the guest ----------------------------------------------------------------------------


def sysbench_cpu(*, events: int = 2000, max_prime: int = 10000) -> Check:
    """Events per second; an event is to find the primes up to `max_prime` by trial division."""
    argv: Words = ("/usr/bin/sysbench", "cpu", f"--cpu-max-prime={max_prime}", "--threads=1", "--time=0")
    argv = (*argv, f"--events={events}", "run")
    return Check(name="sysbench-cpu", unit="events/s", argv=argv, parse=parse_sysbench_cpu)


def sysbench_memory(
    *, block_bytes: int = 1024, total_bytes: int = 2048 * MIB, operation: str = "write"
) -> Check:
    """Bytes per second of memory read or written (`operation`) in blocks, sequentially."""
    argv: Words = (
        "/usr/bin/sysbench",
        "memory",
        f"--memory-block-size={block_bytes}",
        "--memory-access-mode=seq",
    )
    argv = (*argv, f"--memory-total-size={total_bytes}", f"--memory-oper={operation}", "--threads=1")
    argv = (*argv, "--time=0", "run")
    return Check(name=f"sysbench-memory-{operation}", unit="bytes/s", argv=argv, parse=parse_sysbench_memory)


def stress_ng_matrix(*, operations: int = 500) -> Check:
    """Bogo-operations per second of real time of stress-ng's matrix stressor. It writes to /tmp."""
    argv: Words = ("/usr/bin/stress-ng", "--matrix", "1", "--matrix-ops", str(operations), "--metrics-brief")
    argv = (*argv, "--temp-path", "/tmp")
    return Check(name="stress-ng-matrix", unit="bogo-ops/s", argv=argv, parse=parse_stress_ng_matrix)


def iperf3_server(port: int = IPERF3_PORT) -> tuple[str, ...]:
    """The server for one transfer, in the guest. It writes to /tmp, and ends when the transfer has."""
    return ("/usr/bin/iperf3", "--server", "--one-off", "--port", str(port))


# --- programs on the host -----------------------------------------------------------------------------


def iperf3_client(port: int, *, size_bytes: int = 64 * MIB, reverse: bool = False) -> Check:
    """Bytes per second that arrived, from the host to the guest, or from the guest if `reverse`."""
    argv: Words = (
        "/usr/bin/iperf3",
        "--client",
        "127.0.0.1",
        "--port",
        str(port),
        "--bytes",
        str(size_bytes),
    )
    argv = (*argv, "--connect-timeout", "3000", "--json", *(("--reverse",) if reverse else ()))
    name = "iperf3-out" if reverse else "iperf3-in"
    return Check(name=name, unit="bytes/s", argv=argv, parse=parse_iperf3)


def wrk(port: int, *, seconds: int = 3, connections: int = 4, path: str = "/") -> Check:
    """HTTP requests per second that the guest answered, with connections that are kept."""
    argv: Words = (
        "/usr/bin/wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        f"http://127.0.0.1:{port}{path}",
    )
    return Check(name="wrk", unit="requests/s", argv=argv, parse=parse_wrk)


def run_on_host(check: Check, program: Sequence[str], *, timeout_s: float) -> float | Unreadable:
    """Run a program of the tree on the host to its end, `timeout_s` at most, and read what it says.

    Raises:
        ToolMissing: the tree's loader is not there.
    """
    with HostProgram(check, program, timeout_s=timeout_s) as running:
        while running.result is None:
            time.sleep(running())
        return running.result


class HostProgram:
    """Runs a program of the tree on the host while something else is waited for; it is a `vmm.Meanwhile`.

    A client that finds no server, since the guest has not started it yet, is started again until `timeout_s`
    have passed since the first call. `result` is then its reading, or why there is none. Use it as a context
    manager: on leaving, what still runs is ended.
    """

    POLL_S = 0.02
    AGAIN_S = 0.3
    DONE_S = 1.0

    def __init__(self, check: Check, program: Sequence[str], *, timeout_s: float, tries: int = 1) -> None:
        self._check = check
        self._argv = check.host_argv(program)
        self._timeout_s = timeout_s
        self._tries_left = tries
        self._end_s: float | None = None
        self._next_s = 0.0
        self._stack = ExitStack()
        self._output: IO[bytes] | None = None
        self._child: process.Child | None = None
        self.result: float | Unreadable | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def __call__(self) -> float:
        """Start the program, or look whether it has ended; returns in how many seconds to be called again.

        Raises:
            ToolMissing: the tree's loader is not there.
        """
        now_s = time.monotonic()
        if self.result is not None:
            return self.DONE_S
        if self._end_s is None:
            self._end_s = now_s + self._timeout_s
        if self._child is None:
            if now_s >= self._next_s:
                self._start()
            return self.POLL_S
        status = self._child.poll()
        if status is not None:
            self._finish(self._read(status), now_s)
        elif now_s >= self._end_s:
            self._tries_left = 0
            name = self._check.name
            self._finish(Unreadable(reason=f"{name} took more than {self._timeout_s:g} s"), now_s)
        return self.POLL_S

    def _start(self) -> None:
        output = tempfile.TemporaryFile()  # noqa: SIM115
        self._output = self._stack.enter_context(output)
        child = process.start(self._argv, stdout=output, stderr=output, grace_s=0.5)
        self._child = self._stack.enter_context(child)
        self._tries_left -= 1

    def _read(self, status: int) -> float | Unreadable:
        assert self._output is not None
        self._output.seek(0)
        data = self._output.read(MOST_BYTES + 1)
        value = self._check.parse(data)
        if status != 0 and not isinstance(value, Unreadable):
            return Unreadable(reason=f"{self._check.name} ended with status {status}: {_last_line(data)}")
        return value

    def _finish(self, result: float | Unreadable, now_s: float) -> None:
        self._stack.close()
        self._child = None
        assert self._end_s is not None
        if isinstance(result, Unreadable) and self._tries_left > 0 and now_s + self.AGAIN_S < self._end_s:
            self._next_s = now_s + self.AGAIN_S
        else:
            self.result = result


# --- what they say ------------------------------------------------------------------------------------


def parse_sysbench_cpu(output: bytes) -> float | Unreadable:
    """Events per second."""
    return _find(output, rb"(?m)^\s*events per second:\s*" + _NUMBER + rb"\s*$", "sysbench")


def parse_sysbench_memory(output: bytes) -> float | Unreadable:
    """Bytes per second; sysbench says MiB."""
    value = _find(output, rb"MiB transferred \(" + _NUMBER + rb" MiB/sec\)", "sysbench")
    return value if isinstance(value, Unreadable) else value * MIB


def parse_stress_ng_matrix(output: bytes) -> float | Unreadable:
    """Bogo-operations per second of real time: the fifth of the six numbers in the stressor's line."""
    ignored = rb"[ \t]+[0-9.]{1,20}"
    line = rb"(?m)\] matrix" + ignored * 4 + rb"[ \t]+" + _NUMBER + ignored + rb"[ \t\r]*$"
    return _find(output, line, "stress-ng")


class _Rate(msgspec.Struct):
    bits_per_second: float


class _Sums(msgspec.Struct):
    sum_received: _Rate | None = None


class _Iperf3(msgspec.Struct):
    end: _Sums
    error: str = ""


def parse_iperf3(output: bytes) -> float | Unreadable:
    """Bytes per second that arrived. iperf3 says in its JSON what went wrong, and ends with status 0."""
    if len(output) > MOST_BYTES:
        return _too_long("iperf3", output)
    try:
        said = decode_as(output, _Iperf3)
    except NOT_JSON:
        return Unreadable(reason=f"iperf3 printed no JSON with a result: {_last_line(output)}")
    if said.error or said.end.sum_received is None:
        what = _printable(said.error.encode("utf-8", "replace")) or "no sum of what was received"
        return Unreadable(reason=f"iperf3: {what}")
    return _positive(said.end.sum_received.bits_per_second / 8, "iperf3")


def parse_wrk(output: bytes) -> float | Unreadable:
    """Requests per second; none where requests failed, since those are fast."""
    value = _find(output, rb"(?m)^Requests/sec:\s*" + _NUMBER + rb"\s*$", "wrk")
    failed = re.search(rb"(?m)^\s*(Socket errors:|Non-2xx or 3xx responses:) .*$", output[:MOST_BYTES])
    if failed:
        return Unreadable(reason=f"wrk: {_printable(failed[0])}")
    return value


def _find(output: bytes, pattern: bytes, program: str) -> float | Unreadable:
    if len(output) > MOST_BYTES:
        return _too_long(program, output)
    found = re.findall(pattern, output)
    if len(found) != 1:
        times = f"{len(found)} times" if found else "nowhere"
        return Unreadable(reason=f"{program} printed its result {times}; last line: {_last_line(output)}")
    return _positive(float(found[0]), program)


def _positive(value: float, program: str) -> float | Unreadable:
    if math.isfinite(value) and value > 0:
        return value
    return Unreadable(reason=f"{program} printed {value:g} as its result")


def _too_long(program: str, output: bytes) -> Unreadable:
    return Unreadable(reason=f"{program} printed {len(output)} bytes or more, which is not what it prints")


def _last_line(output: bytes) -> str:
    lines = [line for line in output[-4096:].replace(b"\r", b"\n").split(b"\n") if line.strip()]
    return _printable(lines[-1]) if lines else "it printed nothing"


def _printable(line: bytes) -> str:
    text = line.strip()[:QUOTED_BYTES].decode("latin-1")
    return "".join(c if " " <= c <= "~" else f"\\x{ord(c):02x}" for c in text)


def mount_lines(device: str, folder: Path) -> tuple[str, ...]:
    """Commands for root's shell in a guest: mount the image's device on `folder`, and what programs need.

    The image is only read; /tmp is memory.
    """
    where, source = shlex.quote(str(folder)), shlex.quote(device)
    return (
        f"mkdir -p {where}",
        f"mount -t ext4 -o ro {source} {where}",
        f"mount --bind /dev {where}/dev",
        f"mount --bind /proc {where}/proc",
        f"mount -t tmpfs tmpfs {where}/tmp",
    )
