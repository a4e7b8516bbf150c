"""Starts QEMU on one guest and hands out its serial console; it never looks at what the guest prints.

The serial console is QEMU's standard input and output, on pipes made here. A pipe holds a megabyte of
single bytes; a socket holds a few hundred, and when a busy host keeps the reader waiting for longer than
the guest needs to print those, QEMU stalls the guest and then drops bytes. QMP is a socket pair passed by
file descriptor. Neither has a path in the file system.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path

from guestbench import process
from guestbench.errors import HostError
from guestbench.model import Disk, Kernel, Net, Platform, Role
from guestbench.vmm import Chunk, LaunchSpec, Machine, Qmp

PROGRAM = "qemu-system-x86_64"
READ_BYTES = 65536
PIPE_BYTES = 1 << 20
"""The largest pipe that Linux gives to any user by default (/proc/sys/fs/pipe-max-size)."""


def build_argv(spec: LaunchSpec, qmp_fd: int | None = None) -> tuple[str, ...]:
    """QEMU's command line for `spec`: the platform first, then what is this guest's own."""
    console = ("-serial", "stdio", *_qmp_options(qmp_fd))
    return (PROGRAM, *_platform_options(spec.platform), *console, *_guest_options(spec))


def build_interactive_argv(spec: LaunchSpec) -> tuple[str, ...]:
    """The same machine with its serial console on the terminal; Ctrl-A X ends it, Ctrl-A H helps."""
    console = ("-serial", "mon:stdio")
    return (PROGRAM, *_platform_options(spec.platform), *console, *_guest_options(spec))


def _platform_options(platform: Platform) -> Iterator[str]:
    yield from ("-machine", platform.machine)
    yield from ("-accel", platform.accel.value)
    yield from ("-m", f"{platform.memory_mib}M")
    yield from ("-smp", str(platform.cpus))
    # -no-reboot turns a guest that resets itself into a VMM that exits, which can be told from a slow boot.
    yield from ("-nodefaults", "-no-user-config", "-nographic", "-no-reboot")
    if platform.net is Net.USER:
        yield from ("-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0")
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
        qmp: Qmp | None,
        stderr_path: Path,
    ) -> None:
        self._child = child
        self._console_in = console_in
        self._console_out = console_out
        self._arrivals = select.poll()
        self._arrivals.register(console_out, select.POLLIN)
        self._qmp = qmp
        self._stderr_path = stderr_path
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
        """What QEMU printed on its standard error, as printable text; empty if nothing."""
        return process.tail(self._stderr_path.read_bytes()).strip()


@contextmanager
def start(spec: LaunchSpec) -> Iterator[Machine]:
    """Start QEMU on `spec`; on leaving, end it with SIGTERM, then SIGKILL.

    Raises:
        ToolMissing: QEMU is not installed.
        HostError: QEMU's standard error cannot be written to `spec.folder`.
    """
    stderr_path = spec.folder / "vmm.stderr"
    with ExitStack() as stack:
        try:
            stderr = stack.enter_context(stderr_path.open("wb"))
        except OSError as error:
            raise HostError(f"cannot write {stderr_path}: {error.strerror}", "df -h .") from error
        their_in, console_in = _pipe(stack)
        console_out, their_out = _pipe(stack)
        qmp_ours, qmp_theirs = _socketpair(stack) if spec.qmp else (None, None)
        argv = build_argv(spec, qmp_theirs.fileno() if qmp_theirs else None)
        fds = [qmp_theirs.fileno()] if qmp_theirs else []
        child = stack.enter_context(
            process.start(
                argv, pass_fds=fds, stdin=their_in.fileno(), stdout=their_out.fileno(), stderr=stderr
            )
        )
        their_in.close()
        their_out.close()
        qmp: Qmp | None = None
        if qmp_ours and qmp_theirs:
            from guestbench.vmm.qmp import connect  # asyncio is slow to import, and boots need no QMP

            qmp_theirs.close()
            qmp = stack.enter_context(connect(qmp_ours))
        yield QemuMachine(child, argv, console_in.fileno(), console_out.fileno(), qmp, stderr_path)


def _pipe(stack: ExitStack) -> tuple[FileIO, FileIO]:
    out, into = os.pipe()
    with contextlib.suppress(OSError):  # a host may allow less; the default of 64 KiB does for most guests
        fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return stack.enter_context(FileIO(out)), stack.enter_context(FileIO(into, "w"))


def _socketpair(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    return stack.enter_context(ours), stack.enter_context(theirs)
