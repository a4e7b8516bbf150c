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

from guestbench.errors import HostError
from guestbench.host import process
from guestbench.model import (
    Disk,
    Kernel,
    Net,
    Platform,
    Role,
)
from guestbench.vmm import (
    TOOLS_SERIAL,
    Chunk,
    Footprint,
    LaunchSpec,
    Machine,
    Qmp,
)
from guestbench.vmm.link import Link
from guestbench.vmm.qemu.smaps import read_footprint

if TYPE_CHECKING:
    from guestbench.vmm.qemu.qmp import Connection

PROGRAM = "qemu-system-x86_64"
READ_BYTES = 65536
PIPE_BYTES = 1 << 20
"""The largest pipe that Linux gives to any user by default (/proc/sys/fs/pipe-max-size)."""


RAM = "ram"
MEMFD = "memory-backend-memfd"
"""How QEMU names the memfd of the memory backend of this type."""
BALLOON = "/machine/peripheral/balloon0"
BALLOON_POLL_S = 1
OFF = ("shutdown", "internal-error", "guest-panicked")
"""States of QEMU in which its guest will not run again."""
UNUSED_NETWORK = ("-netdev", "user,id=unused")
STEP_S = 0.25
STATE_S = 120.0
RESUME_S = 60.0
GONE_S = 2.0
UNLIMITED = 2**40
TOOLS_SLOT = 0x10
"""A PCI slot behind all others: QEMU would put the tools disk before the disk to boot from."""


def build_argv(
    spec: LaunchSpec, qmp_fd: int | None = None, state_fd: int | None = None, link_fd: int | None = None
) -> tuple[str, ...]:
    """QEMU's command line for `spec`: the platform first, then what is this guest's own."""
    console = ("-serial", "stdio", *_qmp_options(qmp_fd))
    incoming: tuple[str, ...] = ("-incoming", f"fd:{state_fd}") if state_fd is not None else ()
    if incoming and link_fd is not None:
        # A state that was saved on the user network has a part that only a user network will take.
        incoming = (*UNUSED_NETWORK, *incoming)
    platform = _platform_options(
        spec.platform, observed=spec.observed, link_fd=link_fd, forwards=spec.forwards
    )
    # A guest that powers off takes its memory and its CPU's state with it unless QEMU stays.
    stays = ("-no-shutdown",) if _stays(spec) else ()
    return (PROGRAM, *platform, *stays, *console, *_guest_options(spec), *_tools_options(spec), *incoming)


def _stays(spec: LaunchSpec) -> bool:
    return spec.observed or spec.stays


def build_interactive_argv(spec: LaunchSpec) -> tuple[str, ...]:
    """The same machine with its serial console on the terminal; Ctrl-A X ends it, Ctrl-A H helps."""
    console = ("-serial", "mon:stdio")
    return (PROGRAM, *_platform_options(spec.platform), *console, *_guest_options(spec))


def _platform_options(
    platform: Platform,
    *,
    observed: bool = False,
    link_fd: int | None = None,
    forwards: Sequence[int] = (),
) -> Iterator[str]:
    yield from ("-machine", f"{platform.machine},memory-backend={RAM}" if observed else platform.machine)
    yield from ("-accel", platform.accel.value)
    yield from ("-m", f"{platform.memory_mib}M")
    yield from ("-smp", str(platform.cpus))
    # -no-reboot turns a guest that resets itself into a VMM that exits, which can be told from a slow boot.
    yield from ("-nodefaults", "-no-user-config", "-nographic", "-no-reboot")
    if platform.net is Net.USER:
        # A port of 0 lets the kernel choose one that is free; QEMU then says which.
        ports = "".join(f",hostfwd=tcp:127.0.0.1:0-:{port}" for port in forwards)
        user = f"user,id=n0{ports}"
        backend = user if link_fd is None else f"stream,id=n0,addr.type=fd,addr.str={link_fd}"
        yield from ("-netdev", backend, "-device", "virtio-net-pci,netdev=n0")
    if observed:
        yield from ("-object", f"{MEMFD},id={RAM},size={platform.memory_mib}M,share=on")
        yield from ("-device", "virtio-balloon-pci,id=balloon0")
    yield from platform.extra


def _qmp_options(qmp_fd: int | None) -> Iterator[str]:
    if qmp_fd is not None:
        yield from ("-chardev", f"socket,id=qmp0,fd={qmp_fd}", "-mon", "chardev=qmp0,mode=control")


def _guest_options(spec: LaunchSpec) -> Iterator[str]:
    boot = spec.boot
    match boot:
        case Kernel():
            yield from ("-kernel", spec.images[Role.KERNEL].path)
            if boot.initrd:
                yield from ("-initrd", spec.images[Role.INITRD].path)
            if boot.cmdline:
                yield from ("-append", boot.cmdline)
            disk = boot.disk
        case Disk():
            disk = boot.format
    if disk:
        snapshot = "off" if spec.writable else "on"
        path = escape_option(spec.images[Role.DISK].path)
        yield from ("-drive", f"file={path},if=virtio,format={disk.value},snapshot={snapshot}")


def _tools_options(spec: LaunchSpec) -> Iterator[str]:
    if spec.tools is not None:
        file = f"file={escape_option(str(spec.tools))},format=raw,read-only=on"
        yield from ("-drive", f"{file},if=none,id=tools")
        yield from ("-device", f"virtio-blk-pci,drive=tools,serial={TOOLS_SERIAL},addr={TOOLS_SLOT:#x}")


def parse_forwards(text: str) -> dict[int, int]:
    """Host ports by guest ports, out of what QEMU's `info usernet` prints of its listening sockets."""
    found = re.findall(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+[\d.]+\s+(\d+)", text)
    return {int(guest): int(host) for host, guest in found}


def escape_option(value: str) -> str:
    """A value inside a QEMU option list, where a comma is written twice."""
    return value.replace(",", ",,")


class QemuMachine:
    """A running QEMU. See `guestbench.vmm.Machine`."""

    def __init__(
        self,
        child: process.Child,
        argv: Sequence[str],
        console_in: int,
        console_out: int,
        qmp: Connection | None,
        stderr_path: Path,
        *,
        observed: bool = False,
        stays: bool = False,
        link: Link | None = None,
    ) -> None:
        self._child = child
        self._console_in = console_in
        self._console_out = console_out
        self._arrivals = select.poll()
        self._arrivals.register(console_out, select.POLLIN)
        self._qmp = qmp
        self._stderr_path = stderr_path
        self._observed = observed
        self._stays = stays
        self.link = link
        self.forwarded: dict[int, int] = {}
        self.argv = tuple(argv)
        self.pid: int | None = child.pid

    @property
    def qmp(self) -> Qmp:
        """The QMP connection. Raises RuntimeError if the launch did not ask for one."""
        if self._qmp is None:
            raise RuntimeError("started without QMP")
        return self._qmp

    def now_ns(self) -> int:
        """Nanoseconds since the exec of QEMU."""
        return time.monotonic_ns() - self._child.exec_ns

    def read_serial(self, timeout_s: float) -> Chunk | None:
        """The next bytes of the serial console, stamped on arrival; None if none came in time."""
        if self._stays:
            return self._read_while_on(timeout_s)
        return self._read(timeout_s)

    def _read_while_on(self, timeout_s: float) -> Chunk | None:
        """As `_read`, but the console counts as closed when the guest is off, though QEMU stays."""
        end = time.monotonic() + timeout_s
        while (chunk := self._read(min(STEP_S, max(0.0, end - time.monotonic())))) is None:
            if self._is_off():
                # What the guest printed last may have come after the poll.
                return self._read(0.0) or Chunk(t_ns=self.now_ns(), data=b"")
            if time.monotonic() >= end:
                return None
        return chunk

    def _is_off(self) -> bool:
        if self._qmp is None:
            return True
        try:
            status = self._qmp.command("query-status")
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

    def footprint(self) -> Footprint | None:
        """What QEMU takes of the host's memory; None if the launch did not ask for it to be observed."""
        return read_footprint(self._child.pid, MEMFD) if self._observed else None

    def balloon(self) -> dict[str, int]:
        """What the guest's balloon driver says, in KiB; empty where the guest has none or said nothing yet.

        Statistics that the guest does not know are all ones (virtio 1.2, 5.5.6.3) and are left out.
        """
        if not self._observed or self._qmp is None:
            return {}
        try:
            answer = self._qmp.command("qom-get", path=BALLOON, property="guest-stats")
        except HostError:
            return {}
        if not isinstance(answer, dict) or not answer.get("last-update"):
            return {}
        stats = answer.get("stats", {})
        return {name: value // 1024 for name, value in stats.items() if value < 2**64 - 1}

    def save_state(self, file: Path) -> None:
        """Stop the machine for good and write its state with QEMU's migration. See `vmm.Machine`."""
        if self._qmp is None:
            raise RuntimeError("started without QMP")
        try:
            with file.open("wb") as state:
                self._qmp.hand_over("state", state.fileno())
                # QEMU's default of 128 MiB/s is meant for networks.
                self._qmp.command("migrate-set-parameters", **{"max-bandwidth": UNLIMITED})
                self._qmp.command("migrate", uri="fd:state")
                self._await_status("query-migrate", "completed", ("failed", "cancelled"), STATE_S)
        except OSError as error:
            raise HostError(f"cannot write {file}: {error.strerror}", f"df -h {file.parent}") from error

    def await_resumed(self) -> None:
        """Wait until a resumed guest runs.

        Raises:
            HostError: QEMU cannot go on from the state.
        """
        self._await_status("query-status", "running", OFF, RESUME_S)

    def find_forwards(self) -> None:
        """Find out which ports of this host lead to the guest."""
        answer = self.qmp.command("human-monitor-command", **{"command-line": "info usernet"})
        self.forwarded = parse_forwards(str(answer))

    def _await_status(self, command: str, wanted: str, lost: Sequence[str], timeout_s: float) -> None:
        """Ask until the answer's status is `wanted`. What is typed or printed meanwhile is left alone."""
        end = time.monotonic() + timeout_s
        while True:
            answer = self.qmp.command(command)
            status = str(answer.get("status")) if isinstance(answer, dict) else ""
            if status == wanted:
                return
            if status in lost or time.monotonic() > end:
                said = self.complaint() or "it gave no reason"
                raise HostError(f"QEMU is {status!r} instead of {wanted!r}: {said}", "guestbench doctor")
            time.sleep(0.01)

    def exit_status(self) -> int | None:
        """QEMU's exit status (negative: the signal), or None while it runs."""
        return self._child.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Wait for QEMU to exit; its exit status, or None if it still runs after `timeout_s`."""
        return self._child.wait(timeout_s)

    def complaint(self) -> str:
        """What QEMU printed on its standard error, as printable text; empty if nothing."""
        return process.tail(self._stderr_path.read_bytes()).strip()


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
            state = stack.enter_context(spec.resume.open("rb")) if spec.resume else None
        except OSError as error:
            raise HostError(f"cannot open {error.filename}: {error.strerror}", "df -h .") from error
        their_in, console_in = _pipe(stack)
        console_out, their_out = _pipe(stack)
        talks = spec.qmp or _stays(spec) or state is not None or bool(spec.forwards)
        qmp_ours, qmp_theirs = _socketpair(stack) if talks else (None, None)
        linked = spec.link and spec.platform.net is Net.USER
        link_ours, link_theirs = _socketpair(stack) if linked else (None, None)
        passed = (qmp_theirs, state, link_theirs)
        argv = build_argv(spec, *(file.fileno() if file else None for file in passed))
        fds = [file.fileno() for file in passed if file]
        child = stack.enter_context(
            process.start(
                argv, pass_fds=fds, stdin=their_in.fileno(), stdout=their_out.fileno(), stderr=stderr
            )
        )
        their_in.close()
        their_out.close()
        if link_theirs:
            link_theirs.close()
        qmp: Connection | None = None
        if qmp_ours and qmp_theirs:
            from guestbench.vmm.qemu.qmp import connect

            qmp_theirs.close()
            try:
                qmp = stack.enter_context(connect(qmp_ours))
            except HostError:
                # A QEMU that refuses its options is for the reader of the console to find, as without QMP.
                if child.wait(GONE_S) is None:
                    raise
        machine = QemuMachine(
            child,
            argv,
            console_in.fileno(),
            console_out.fileno(),
            qmp,
            stderr_path,
            observed=spec.observed,
            stays=_stays(spec),
            link=Link(link_ours) if link_ours else None,
        )
        if qmp and spec.observed:
            qmp.command(
                "qom-set", path=BALLOON, property="guest-stats-polling-interval", value=BALLOON_POLL_S
            )
        if state and qmp:
            machine.await_resumed()
        if spec.forwards and qmp:
            machine.find_forwards()
        yield machine


def _pipe(stack: ExitStack) -> tuple[FileIO, FileIO]:
    out, into = os.pipe()
    with contextlib.suppress(OSError):  # a host may allow less; the default of 64 KiB does for most guests
        fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return stack.enter_context(FileIO(out)), stack.enter_context(FileIO(into, "w"))


def _socketpair(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    return stack.enter_context(ours), stack.enter_context(theirs)
