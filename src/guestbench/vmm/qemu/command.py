"""QEMU's command line for what is to be started: the platform first, then what is the guest's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from guestbench.host.facts import QEMU, SANDBOX
from guestbench.model import Accel, Disk, Kernel, Net, Platform, Role
from guestbench.vmm import TOOLS_SERIAL, LaunchSpec, Need
from guestbench.vmm.qemu.machines import find_machine

RAM = "ram"
MEMFD = "memory-backend-memfd"
"""How QEMU names the memfd of the memory backend of this type."""
BALLOON = "balloon0"
UNUSED_NETWORK = ("-netdev", "user,id=unused")
TRACE = "serial.trace"
"""The file in the folder of a launch in which QEMU writes down each access to the serial port."""
VIRTUAL_TIME = "shift=2,sleep=on"
"""Of `-icount`: an instruction takes 2^2 ns of the guest's time.

That is about what emulation takes, so that timeouts, and a boot loader's seconds, are as long as without it.
A guest with nothing to do waits for disks by the host's clock.
"""
TOOLS_SLOT = 0x10
"""A PCI slot behind all others: QEMU would put the tools disk before the disk to boot from."""
CONSOLE, HISTOGRAM = "console.bytes", "histogram"
"""The files there in which QEMU keeps what the serial console said, and the plugin writes its counts."""
LINUX_AT, LINUX_MAGIC = 0x202, b"HdrS"
"""Where a Linux kernel's setup header begins (Linux/x86 Boot Protocol)."""


def build_argv(spec: LaunchSpec, qmp_fd: int | None = None, link_fd: int | None = None) -> tuple[str, ...]:
    """QEMU's command line for `spec`. Raises UsageError if it knows no such machine."""
    console = (*_console_options(spec), *_qmp_options(qmp_fd))
    incoming: tuple[str, ...] = ("-incoming", "defer") if spec.resume else ()
    if incoming and link_fd is not None:
        # A state that was saved on the user network has a part that only a user network will take.
        incoming = (*UNUSED_NETWORK, *incoming)
    platform = _platform_options(spec.platform, spec.needs, link_fd, spec.forwards)
    # A guest that powers off takes its memory and its CPU's state with it unless QEMU stays.
    stays = ("-no-shutdown",) if is_kept(spec) else ()
    own = *stays, *_trace_options(spec), *console
    return (QEMU, *platform, *own, *_guest_options(spec), *_tools_options(spec), *incoming)


def build_interactive_argv(spec: LaunchSpec) -> tuple[str, ...]:
    """The same machine with its serial console on the terminal; Ctrl-A X ends it, Ctrl-A H helps."""
    console = ("-serial", "mon:stdio")
    return (QEMU, *_platform_options(spec.platform), *console, *_guest_options(spec))


def is_kept(spec: LaunchSpec) -> bool:
    """Whether QEMU stays when its guest has powered off."""
    return bool(spec.needs & {Need.MEMORY, Need.INTROSPECTION})


def counts(spec: LaunchSpec) -> bool:
    """Whether a plugin is wanted that counts what is executed."""
    return bool(spec.needs & {Need.HISTOGRAM, Need.TOTALS})


def _platform_options(
    platform: Platform,
    needs: frozenset[Need] = frozenset(),
    link_fd: int | None = None,
    forwards: Sequence[int] = (),
) -> Iterator[str]:
    machine = find_machine(platform.machine)
    name, _, own = platform.machine.partition(",")
    backend = (f"memory-backend={RAM}",) if Need.MEMORY in needs else ()
    yield from ("-machine", ",".join(filter(None, (name, *machine.options, own, *backend))))
    yield from ("-accel", platform.accel.value)
    yield from ("-m", f"{platform.memory_mib}M")
    yield from ("-smp", str(platform.cpus))
    # -no-reboot turns a guest that resets itself into a VMM that exits, which can be told from a slow boot.
    yield from ("-nodefaults", "-no-user-config", "-nographic", "-no-reboot")
    if wants_sandbox(platform):
        yield from ("-sandbox", SANDBOX)
    if platform.net is Net.USER:
        # A port of 0 lets the kernel choose one that is free; QEMU then says which.
        ports = "".join(f",hostfwd=tcp:127.0.0.1:0-:{port}" for port in forwards)
        user = f"user,id=n0,restrict={'off' if platform.internet else 'on'}{ports}"
        network = user if link_fd is None else f"stream,id=n0,addr.type=fd,addr.str={link_fd}"
        yield from ("-netdev", network, "-device", f"virtio-net-{machine.bus},netdev=n0")
    if Need.MEMORY in needs:
        yield from ("-object", f"{MEMFD},id={RAM},size={platform.memory_mib}M,share=on")
    if Need.VIRTUAL_TIME in needs:
        yield from ("-icount", VIRTUAL_TIME)
    if Need.BALLOON in needs:
        yield from ("-device", f"virtio-balloon-{machine.bus},id={BALLOON}")
    yield from platform.extra


def _qmp_options(qmp_fd: int | None) -> Iterator[str]:
    if qmp_fd is not None:
        yield from ("-chardev", f"socket,id=qmp0,fd={qmp_fd}", "-mon", "chardev=qmp0,mode=control")


def _console_options(spec: LaunchSpec) -> Iterator[str]:
    """The console, and the plugin that counts what is executed between what is said on it."""
    if not counts(spec) or spec.plugin is None:
        yield from ("-serial", "stdio")
        return
    kept, file, plugin = (
        escape_option(str(path)) for path in (spec.folder / CONSOLE, spec.folder / HISTOGRAM, spec.plugin)
    )
    # Appending, since the file is there already for the plugin to open.
    yield from ("-chardev", f"stdio,id=console,logfile={kept},logappend=on", "-serial", "chardev:console")
    own = [f"text={text.hex()}" for text in spec.cuts]
    own += [f"entry={spec.entry:x}"] if spec.entry is not None else []
    own += ["waits=on"] if Need.TOTALS in spec.needs else []
    own += ["blocks=off"] if Need.HISTOGRAM not in spec.needs else []
    yield from ("-plugin", ",".join((plugin, f"histogram={file}", f"console={kept}", *own)))


def _trace_options(spec: LaunchSpec) -> Iterator[str]:
    if Need.STAMPS in spec.needs:
        # A trace alone has no times.
        file = escape_option(str(spec.folder / TRACE))
        yield from ("-msg", "timestamp=on", "-trace", f"enable=serial_write,file={file}")


def _guest_options(spec: LaunchSpec) -> Iterator[str]:
    boot = spec.boot
    match boot:
        case Kernel():
            kernel = spec.images[Role.KERNEL].path
            yield from ("-kernel", kernel)
            if boot.initrd:
                yield from ("-initrd", spec.images[Role.INITRD].path)
            cmdline = " ".join(filter(None, (boot.cmdline, *_clock_arguments(spec.platform, Path(kernel)))))
            if cmdline:
                yield from ("-append", cmdline)
            disk = boot.disk
        case Disk():
            disk = boot.format
    if disk:
        snapshot = "off" if spec.writable else "on"
        file = f"file={escape_option(spec.images[Role.DISK].path)}"
        options = f"format={disk.value},snapshot={snapshot}"
        if find_machine(spec.platform.machine).bus == "pci":
            yield from ("-drive", f"{file},if=virtio,{options}")
        else:
            yield from ("-drive", f"{file},if=none,id=disk,{options}")
            yield from ("-device", "virtio-blk-device,drive=disk")


def _clock_arguments(platform: Platform, kernel: Path) -> tuple[str, ...]:
    """What Linux has to be told of time on a machine that has nothing to measure it by.

    It would measure the time stamp counter against the PIT alone, which fails when the host lets it wait for
    0.2 ms in those 10 ms, and then wait without end for a timer that needs the counter's frequency: on two
    busy cores, 2 boots of 3 hung so, and of 10 that were told none, though their own measurement failed in 9.
    It would also judge the counter by its own ticks, and fall back on them. KVM tells a guest by itself.
    """
    if find_machine(platform.machine).tells_time or platform.accel is Accel.KVM or not _is_linux(kernel):
        return ()
    from guestbench.vmm.qemu.tsc import measure_tsc_khz

    khz = measure_tsc_khz()
    return (f"tsc_early_khz={khz}", "tsc=reliable") if khz else ()


def _is_linux(kernel: Path) -> bool:
    try:
        with kernel.open("rb") as file:
            file.seek(LINUX_AT)
            return file.read(len(LINUX_MAGIC)) == LINUX_MAGIC
    except OSError:
        return False


def _tools_options(spec: LaunchSpec) -> Iterator[str]:
    if spec.tools is not None:
        bus = find_machine(spec.platform.machine).bus
        file = f"file={escape_option(str(spec.tools))},format=raw,read-only=on"
        place = f",addr={TOOLS_SLOT:#x}" if bus == "pci" else ""
        yield from ("-drive", f"{file},if=none,id=tools")
        yield from ("-device", f"virtio-blk-{bus},drive=tools,serial={TOOLS_SERIAL}{place}")


def escape_option(value: str) -> str:
    """A value inside a QEMU option list, where a comma is written twice."""
    return value.replace(",", ",,")


def wants_sandbox(platform: Platform) -> bool:
    """Whether QEMU is to be started with our sandbox; one among the further options is used instead of it."""
    return platform.sandbox and not find_sandbox(platform.extra)


def find_sandbox(argv: Sequence[str]) -> str:
    """The value of the option -sandbox; empty if it is not given."""
    values = [value for name, value in pairwise(argv) if name in ("-sandbox", "--sandbox")]
    return values[-1] if values else ""
