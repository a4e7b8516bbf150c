"""Starts QEMU on one guest and hands out its serial console; it never looks at what the guest prints.

The serial console is QEMU's standard input and output, on pipes made here. A pipe holds a megabyte of
single bytes; a socket holds a few hundred, and when a busy host keeps the reader waiting for longer than
the guest needs to print those, QEMU stalls the guest and then drops bytes. QMP and the guest's link are
socket pairs passed by file descriptor. None of them has a path in the file system.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from guestbench.errors import HostError, hint_of
from guestbench.host import process
from guestbench.host.counters import Counters
from guestbench.model import Net
from guestbench.vmm import Chunk, Lacking, LaunchSpec, Machine, Need
from guestbench.vmm.qemu.capabilities import AcpiButton, AskedBalloon, BlockCounts, Memfd, SerialTrace
from guestbench.vmm.qemu.command import CONSOLE, HISTOGRAM, TRACE, build_argv, counts, find_sandbox, is_kept
from guestbench.vmm.qemu.limits import hold
from guestbench.vmm.qemu.link import SocketLink
from guestbench.vmm.qemu.migration import OFF, Migration, resume

if TYPE_CHECKING:
    from guestbench.vmm.qemu.qmp import Connection

READ_BYTES = 65536
PIPE_BYTES = 1 << 20
"""The largest pipe that Linux gives to any user by default (/proc/sys/fs/pipe-max-size)."""

STEP_S = 0.25
GONE_S = 2.0
WRITTEN_S, THROWN_AWAY_S = 2.0, 0.5
"""How long QEMU may take to end: where it writes to a disk for good, and where nothing is kept of it."""
WARNING = re.compile(r"\bwarning: ")

NOT_ASKED = Lacking(reason="the machine was not started with it")
GONE = Lacking(reason="QEMU ended before it could be asked")
NO_NETWORK = Lacking(reason="the guest has no network")


class QemuMachine(Machine):
    """A running QEMU. See `guestbench.vmm.Machine`. Its capabilities are put in by `start`."""

    def __init__(
        self,
        child: process.Child,
        argv: Sequence[str],
        console: tuple[int, int],
        stderr_path: Path,
        qmp: Connection | None,
        lacking: Lacking,
        *,
        kept: bool,
    ) -> None:
        super().__init__(argv, lacking)
        self._child = child
        self._console_in, self._console_out = console
        self._arrivals = select.poll()
        self._arrivals.register(self._console_out, select.POLLIN)
        self._stderr_path = stderr_path
        self.qmp = qmp
        self._kept = kept
        self.pid = child.pid
        self.sandbox = find_sandbox(argv)

    def now_ns(self) -> int:
        """Nanoseconds since the exec of QEMU."""
        return time.monotonic_ns() - self._child.exec_ns

    def read_serial(self, timeout_s: float) -> Chunk | None:
        """The next bytes of the serial console, stamped on arrival; None if none came in time."""
        return self._read_while_on(timeout_s) if self._kept else self._read(timeout_s)

    def _read_while_on(self, timeout_s: float) -> Chunk | None:
        """As `_read`, but the console counts as closed when the guest is off, though QEMU stays."""
        end = time.monotonic() + timeout_s
        while (chunk := self._read(min(STEP_S, max(0.0, end - time.monotonic())))) is None:
            if self._is_off(end - time.monotonic()):
                # What the guest printed last may have come after the poll.
                return self._read(0.0) or Chunk(t_ns=self.now_ns(), data=b"")
            if time.monotonic() >= end:
                return None
        return chunk

    def _is_off(self, wait_s: float) -> bool:
        """Whether the guest is; one of which nothing can be heard is not, until its time is up."""
        if self.qmp is None:
            return True
        try:
            status = self.qmp.try_command("query-status", max(wait_s, STEP_S))
        except HostError:
            return True
        return isinstance(status, dict) and status.get("status") in OFF

    def _read(self, timeout_s: float) -> Chunk | None:
        if not self._arrivals.poll(max(timeout_s, 0.0) * 1e3):
            return None
        data = os.read(self._console_out, READ_BYTES)
        return Chunk(t_ns=self.now_ns(), data=data)

    def write_serial(self, data: bytes) -> None:
        """Type on the serial console. Raises BrokenPipeError once QEMU has gone."""
        while data:
            data = data[os.write(self._console_in, data) :]

    def cpu_ns(self) -> int | None:
        """CPU time QEMU has used so far, all its threads together."""
        return self._child.cpu_ns()

    def exit_status(self) -> int | None:
        """QEMU's exit status (negative: the signal), or None while it runs."""
        return self._child.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Wait for QEMU to exit; its exit status, or None if it still runs after `timeout_s`."""
        return self._child.wait(timeout_s)

    def complaint(self) -> str:
        """What QEMU printed on its standard error, as printable text, less its warnings; empty if nothing."""
        return leave_out_warnings(process.tail_file(self._stderr_path))


def leave_out_warnings(said: str) -> str:
    """What QEMU says without what it only warns of: no QEMU ends for that, and some warn of each option."""
    return "\n".join(line for line in said.splitlines() if not WARNING.search(line)).strip()


@contextmanager
def start(spec: LaunchSpec) -> Iterator[Machine]:
    """Start QEMU on `spec`; on leaving, end it with SIGTERM, then SIGKILL.

    Raises:
        ToolMissing: QEMU is not installed.
        HostError: QEMU's standard error cannot be written to `spec.folder`, or it cannot resume the state.
    """
    stderr_path = spec.folder / "vmm.stderr"
    with ExitStack() as stack:
        try:
            stderr = stack.enter_context(stderr_path.open("wb"))
            (spec.folder / TRACE).unlink(missing_ok=True)  # QEMU appends
            if counts(spec):
                (spec.folder / CONSOLE).write_bytes(b"")  # QEMU opens it after its plugin
            state = stack.enter_context(spec.resume.open("rb")) if spec.resume else None
        except OSError as error:
            hint = hint_of(error, spec.folder)
            raise HostError(f"cannot open {error.filename}: {error.strerror}", hint) from error
        their_in, console_in = _pipe(stack)
        console_out, their_out = _pipe(stack)
        offline = spec.platform.net is Net.NONE
        talks = bool(spec.needs - {Need.LINK, Need.STAMPS} or state or (spec.forwards and not offline))
        qmp_ours, qmp_theirs = _socketpair(stack) if talks else (None, None)
        linked = Need.LINK in spec.needs and not offline
        link_ours, link_theirs = _socketpair(stack) if linked else (None, None)
        passed = (qmp_theirs, link_theirs)
        argv = build_argv(spec, *(file.fileno() if file else None for file in passed))
        fds = [file.fileno() for file in passed if file]
        held = hold(spec)
        child = stack.enter_context(
            process.start(
                argv,
                held=held,
                pass_fds=fds,
                stdin=their_in.fileno(),
                stdout=their_out.fileno(),
                stderr=stderr,
                grace_s=WRITTEN_S if spec.writable else THROWN_AWAY_S,
            )
        )
        _pin(child.pid, spec.platform.pin)
        counters = Counters(child.pid)
        stack.callback(counters.close)
        for theirs in (their_in, their_out, link_theirs, qmp_theirs):
            if theirs:
                theirs.close()
        qmp = _connect(stack, qmp_ours, child) if qmp_ours else None
        console = (console_in.fileno(), console_out.fileno())
        lacking = GONE if talks and qmp is None else NOT_ASKED
        machine = QemuMachine(child, argv, console, stderr_path, qmp, lacking, kept=is_kept(spec))
        machine.counters, machine.limits, machine.stays = counters, held.limits, held.stays
        _attach(machine, spec, link_ours)
        if qmp:
            if state:
                resume(qmp, state.fileno(), machine.complaint)
            _equip(machine, qmp, spec)
        yield machine


def _attach(machine: QemuMachine, spec: LaunchSpec, link: socket.socket | None) -> None:
    """Give the machine the capabilities that take no QMP."""
    if spec.platform.net is Net.NONE:
        machine.link = machine.forwards = NO_NETWORK
    if link:
        machine.link = SocketLink(link)
    if Need.STAMPS in spec.needs:
        machine.stamps = SerialTrace(spec.folder / TRACE, machine.now_ns)
    if Need.MEMORY in spec.needs and machine.pid is not None:
        machine.memory = Memfd(machine.pid)


def _pin(pid: int, cpu: int | None) -> None:
    """Have QEMU run on one CPU alone. It has one thread yet, and those it makes run where it does."""
    if cpu is None:
        return
    try:
        os.sched_setaffinity(pid, {cpu})
    except ProcessLookupError:
        pass  # it has ended already, which is for the reader of the console to find
    except OSError as error:
        raise HostError(
            f"QEMU cannot be pinned to CPU {cpu}: {error.strerror}", "nproc  # then: --set platform.pin=0"
        ) from error


def _connect(stack: ExitStack, ours: socket.socket, child: process.Child) -> Connection | None:
    """QMP; None with a QEMU that refuses its options, which is for the reader of the console to find."""
    from guestbench.vmm.qemu.qmp import connect

    try:
        return stack.enter_context(connect(ours))
    except HostError:
        if child.wait(GONE_S) is None:
            raise
        return None


def _equip(machine: QemuMachine, qmp: Connection, spec: LaunchSpec) -> None:
    """Give the machine the capabilities that it was started for."""
    if Need.BALLOON in spec.needs:
        machine.balloon = AskedBalloon(qmp)
    if Need.SNAPSHOTS in spec.needs:
        machine.snapshots = Migration(qmp, machine.complaint)
    if Need.POWER_BUTTON in spec.needs:
        machine.power_button = AcpiButton(qmp)
    if counts(spec):
        machine.histogram = BlockCounts(qmp, spec.folder / HISTOGRAM, machine.wait)
    if Need.INTROSPECTION in spec.needs:
        from guestbench.vmm.qemu.introspection import Monitor

        machine.introspection = Monitor(qmp)
    if spec.forwards and spec.platform.net is Net.USER:
        from guestbench.vmm.qemu.introspection import find_forwards

        machine.forwards = find_forwards(qmp, spec.forwards)


def _pipe(stack: ExitStack) -> tuple[FileIO, FileIO]:
    out, into = os.pipe()
    with contextlib.suppress(OSError):  # a host may allow less; the default of 64 KiB does for most guests
        fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return stack.enter_context(FileIO(out)), stack.enter_context(FileIO(into, "w"))


def _socketpair(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    return stack.enter_context(ours), stack.enter_context(theirs)
