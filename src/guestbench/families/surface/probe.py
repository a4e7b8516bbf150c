"""The attack surface of a running guest: its network, page tables, devices and shell; it starts no VM.

Each part is asked by a module of its own; here their answers become samples. What cannot be known leaves a
gap with its reason: nothing is guessed, and no cell is 0 for want of an answer.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence

import msgspec

from guestbench.errors import ShellError
from guestbench.families.surface.host.confinement import read_confinement
from guestbench.families.surface.linux.hardening import Hardening, ask_hardening
from guestbench.families.surface.linux.shell import ask_surface
from guestbench.families.surface.network.link_host import LinkHost
from guestbench.families.surface.network.ports import PortScan, scan
from guestbench.families.surface.paging.page_tables import Stack, read_page_tables, read_stacks
from guestbench.guest.serial import SerialLog
from guestbench.guest.shell import Shell, open_shell
from guestbench.guest.watch import watch_boot
from guestbench.model import (
    Gap,
    GuestFamily,
    Incomplete,
    Mark,
    Ok,
    Outcome,
    Provenance,
    Sample,
    System,
    TrialResult,
    Unknown,
)
from guestbench.model.machine import MEMORY, PORTS, RegionKind, View
from guestbench.vmm import Introspection, Lacking, Machine

SHELL_S = 120.0
ADDRESS_BITS = (1 << 48) - 1
"""What of an address is more than a sign: JSON readers lose digits of larger numbers."""
LINUX_IMAGE = 0xFFFF_FFFF_8000_0000
"""From here on Linux on x86-64 has its own image (Documentation/arch/x86/x86_64/mm.rst)."""
KERNEL_WORK = "dd if=/dev/zero of=/dev/null bs=512 count=4000000 2>/dev/null &"
"""Some seconds of system calls, after which it is over by itself."""
LARGE_BYTES = 256 << 10
"""Evidence from this size on is compressed: the page tables of a Linux guest are some megabytes of text."""
LISTED = 12
"""How many ports or names are written out beside their number."""

TCP_METRICS = ("surface.open_tcp", "surface.closed_tcp", "surface.filtered_tcp")
SHELL_METRICS = (
    "surface.stack_guard",
    *("surface.listening_tcp", "surface.listening_udp", "surface.syscalls", "surface.processes"),
    *("surface.shells", "surface.interpreters", "surface.package_managers", "surface.users"),
    *("surface.passwords", "surface.suid", "surface.sgid", "surface.modules"),
    *("surface.hardening_met", "surface.hardening_unmet", "surface.cpu_flaws", "surface.lsms"),
)


class Findings:
    """Samples, gaps and evidence as they come."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.gaps: list[Gap] = []
        self.raw: dict[str, bytes] = {}

    def add(
        self,
        metric: str,
        value: int | float | Unknown,
        evidence: str = "",
        *,
        detail: str = "",
        provenance: Provenance = Provenance.MEASURED,
        labels: dict[str, str] | None = None,
    ) -> None:
        """Take a value, or the reason why there is none."""
        if isinstance(value, Unknown):
            self.miss([metric], f"unknown: {value.reason}", labels)
            return
        self.samples.append(
            Sample(
                metric=metric,
                value=int(value) if isinstance(value, bool) else value,
                labels=labels or {},
                provenance=provenance,
                detail=detail,
                evidence=evidence,
            )
        )

    def miss(self, metrics: Sequence[str], reason: str, labels: dict[str, str] | None = None) -> None:
        """Say why there is no value."""
        self.gaps += [Gap(metric=metric, reason=reason, labels=labels or {}) for metric in metrics]

    def keep(self, guest: Introspection) -> None:
        """Take what the VMM said, as far as it is new."""
        for name, said in guest.evidence.items():
            if len(said) > LARGE_BYTES:
                # Without a time in it, so that the same is the same.
                self.raw.setdefault(f"{name}.txt.gz", gzip.compress(said, mtime=0))
            else:
                self.raw.setdefault(f"{name}.txt", said)

    def to_result(self, outcome: Outcome, marks: tuple[Mark, ...] = ()) -> TrialResult:
        """What came of it all."""
        return TrialResult(
            outcome=outcome,
            marks=marks,
            samples=tuple(self.samples),
            gaps=tuple(self.gaps),
            raw=self.raw,
        )


def measure(machine: Machine, system: System, log: SerialLog, *, resumed: bool) -> TrialResult:
    """Probe a guest that was started to be looked at, and on a link of its own if it has a network.

    One that was `resumed` is ready; another is booted first. A guest that fails is an outcome.
    """
    host = None if isinstance(machine.link, Lacking) else LinkHost(machine.link)
    marks: tuple[Mark, ...] = ()
    if not resumed:
        boot = watch_boot(machine, system, log, host)
        marks = boot.marks
        if not isinstance(boot.outcome, Ok):
            return TrialResult(outcome=boot.outcome, marks=marks)
    found = Findings()
    add_page_tables(found, machine.introspection, system)
    add_host_facing(found, machine.introspection)
    add_confinement(found, machine)
    add_ports(found, scan(machine, log, host))
    outcome: Outcome = Ok()
    if system.login is None:
        add_declared(found, system)
    else:
        try:
            shell = open_shell(machine, system.login, log, timeout_s=SHELL_S, meanwhile=host)
            told = ask_surface(shell)
            found.samples += told.samples
            found.gaps += told.gaps
            found.raw |= {f"surface-{name}.txt": text for name, text in told.raw.items()}
            add_busy_stacks(found, machine.introspection, shell)
            defences = ask_hardening(shell)
            add_hardening(found, defences)
            add_defences(found, defences)
        except ShellError as error:
            answered = {sample.metric for sample in found.samples}
            found.miss([m for m in SHELL_METRICS if m not in answered], error.message)
            outcome = Incomplete(reason=error.message)
    return found.to_result(outcome, marks)


def measure_boot(machine: Machine, system: System, log: SerialLog) -> TrialResult:
    """Boot a guest that was started to be looked at, and see where its kernel's code is."""
    boot = watch_boot(machine, system, log)
    if not isinstance(boot.outcome, Ok):
        return TrialResult(outcome=boot.outcome, marks=boot.marks)
    found = Findings()
    guest = machine.introspection
    if isinstance(guest, Lacking):
        found.miss(["surface.text_base"], guest.reason)
        return found.to_result(Ok(), boot.marks)
    tables = read_page_tables(guest)
    base = tables if isinstance(tables, Unknown) else tables.text_base
    if isinstance(base, Unknown):
        found.add("surface.text_base", base)
    else:
        found.add("surface.text_base", base & ADDRESS_BITS, detail=f"{base:#x}")
    return found.to_result(Ok(), boot.marks)


def add_page_tables(found: Findings, guest: Introspection | Lacking, system: System) -> None:
    """What the page tables and control registers allow."""
    metrics = [
        f"surface.{name}"
        for name in ("paging", "wx_pages", "nx", "write_protect", "smep", "smap", "umip", "null_mapped")
    ]
    metrics += ["surface.stack_guard", "surface.text_writable", "surface.user_pages"]
    if isinstance(guest, Lacking):
        found.miss(metrics, guest.reason)
        return
    tables = read_page_tables(guest)
    found.keep(guest)
    if isinstance(tables, Unknown):
        found.miss(metrics, tables.reason)
        return
    registers, rights = tables.registers, tables.rights
    control, pages = "registers", "tlb" if "tlb" in guest.evidence else "registers"
    off = rights.provenance is Provenance.DERIVED
    share = f"{rights.writable_executable_share:.1%} of what is mapped"
    detail = "paging is off: all of memory" if off else share
    found.add("surface.paging", not off, control, detail=tables.mode.value)
    found.add(
        "surface.wx_pages",
        rights.writable_executable,
        pages,
        detail=detail,
        provenance=rights.provenance,
    )
    for name, flag in (
        ("nx", registers.no_execute),
        ("write_protect", registers.write_protect),
        ("smep", registers.smep),
        ("smap", registers.smap),
        ("umip", registers.umip),
    ):
        found.add(f"surface.{name}", flag, control)
    found.add("surface.null_mapped", tables.null_mapped, pages)
    if system.login is None:
        stack = tables.stack
        found.add("surface.stack_guard", stack if isinstance(stack, Unknown) else stack.guarded, pages)
    text = tables.text
    found.add("surface.text_writable", text if isinstance(text, Unknown) else text.writable, pages)
    found.add("surface.user_pages", rights.user, pages, provenance=rights.provenance)


def add_busy_stacks(found: Findings, guest: Introspection | Lacking, shell: Shell) -> None:
    """Whether the kernel's stacks have guard pages, in a guest whose kernel has work to do.

    An idle Linux stands on the one stack that is part of its own image, and has no guard page.
    """
    if isinstance(guest, Lacking):
        return  # said already, of all that the page tables tell
    shell.run(KERNEL_WORK)
    stacks = [stack for stack in read_stacks(guest) if isinstance(stack, Stack)]
    judged = [stack for stack in stacks if stack.pointer < LINUX_IMAGE and isinstance(stack.guarded, bool)]
    if judged:
        guarded = sum(stack.guarded is True for stack in judged)
        detail = f"{guarded} of {len(judged)} stacks seen in use"
        found.add("surface.stack_guard", guarded == len(judged), detail=detail)
    else:
        found.add("surface.stack_guard", Unknown(reason="no stack of a task was seen in use"))


def add_host_facing(found: Findings, guest: Introspection | Lacking) -> None:
    """What a guest can reach of its host through the VMM."""
    io_metrics = {"surface.pio_bytes": PORTS, "surface.mmio_bytes": MEMORY}
    if isinstance(guest, Lacking):
        found.miss(["surface.devices", *io_metrics, "surface.virtio_driven"], guest.reason)
        return
    devices = guest.list_devices()
    found.add("surface.devices", devices if isinstance(devices, Unknown) else len(devices), "devices")
    views = guest.list_views()
    for metric, space in io_metrics.items():
        found.add(metric, views if isinstance(views, Unknown) else _count_io(views, space), "regions")
    found.keep(guest)
    virtio = guest.list_virtio()
    if isinstance(virtio, Unknown):
        found.miss(["surface.virtio_driven"], virtio.reason)
    else:
        driven = [device.name for device in virtio if device.driven is True]
        found.add("surface.virtio_driven", len(driven), detail=_list(driven))


def _count_io(views: Sequence[View], space: str) -> int | Unknown:
    for view in views:
        if space in view.spaces:
            return sum(part.size_bytes for part in view.regions if part.kind is RegionKind.DEVICE)
    return Unknown(reason=f"the VMM lists no address space {space!r}")


def add_confinement(found: Findings, machine: Machine) -> None:
    """What the VMM's process may do."""
    held = read_confinement(machine.pid, machine.sandbox)
    found.add("surface.sandbox", held.sandbox, detail=machine.sandbox)
    found.add("surface.vmm_root", held.uid if isinstance(held.uid, Unknown) else held.uid == 0)
    rights = held.capabilities
    found.add("surface.vmm_capabilities", rights if isinstance(rights, Unknown) else rights.bit_count())


def add_ports(found: Findings, seen: PortScan) -> None:
    """What the scan of the network side found."""
    found.raw["ports.json"] = msgspec.json.format(msgspec.json.encode(seen), indent=2)
    if seen.tcp is None:
        found.miss(TCP_METRICS, seen.reason)
    else:
        undecided = f"; {seen.tcp.undecided:,} not decided: {seen.reason}" if seen.tcp.undecided else ""
        ports = _list(list(map(str, seen.tcp.open)))
        found.add("surface.open_tcp", len(seen.tcp.open), "ports", detail=f"{ports}{undecided}")
        found.add("surface.closed_tcp", seen.tcp.closed, "ports")
        found.add("surface.filtered_tcp", seen.tcp.filtered, "ports", detail=seen.tcp.filtered_ranges[:200])
    add_ipv6_ports(found, seen)
    if seen.udp is None:
        found.miss(["surface.open_udp"], seen.reason)
    else:
        ports = _list(list(map(str, seen.udp.open)))
        counted = (
            f"of {seen.udp.asked} asked, {seen.udp.closed} closed, {seen.udp.no_answer} without an answer"
        )
        detail = f"{ports}; {counted}" if ports else counted
        found.add("surface.open_udp", len(seen.udp.open), "ports", detail=detail)


def add_ipv6_ports(found: Findings, seen: PortScan) -> None:
    """What the scan of the link-local address found: a filter of IPv4 says nothing of it."""
    if seen.tcp_ipv6 is None:
        found.miss(["surface.open_tcp_ipv6"], seen.reason_ipv6 or seen.reason)
    else:
        ports = _list(list(map(str, seen.tcp_ipv6.open)))
        found.add("surface.open_tcp_ipv6", len(seen.tcp_ipv6.open), "ports", detail=ports)


def add_hardening(found: Findings, seen: Hardening) -> None:
    """Which recommended settings a Linux kernel has."""
    found.raw |= {f"hardening-{name}": text for name, text in seen.raw.items()}
    for kind, settings in (("options", seen.options), ("sysctls", seen.sysctls)):
        metrics = ("surface.hardening_met", "surface.hardening_unmet")
        if isinstance(settings, Unknown):
            found.miss(metrics, f"unknown: {settings.reason}", {"kind": kind})
            continue
        for metric, wanted in zip(metrics, (True, False), strict=True):
            names = [setting.name for setting in settings if setting.met is wanted]
            detail = "" if wanted else _list(names)
            evidence = {"options": "hardening-kernel-config", "sysctls": "hardening-sysctl"}[kind]
            found.add(metric, len(names), evidence, detail=detail, labels={"kind": kind})


def add_defences(found: Findings, seen: Hardening) -> None:
    """What a Linux kernel says of the CPU's flaws, and of its security modules."""
    flaws = seen.vulnerabilities
    if isinstance(flaws, Unknown):
        found.add("surface.cpu_flaws", flaws)
    else:
        names = [flaw.name for flaw in flaws if flaw.state.startswith("Vulnerable")]
        detail = f"{_list(names)}; of {len(flaws)}" if names else f"of {len(flaws)}"
        found.add("surface.cpu_flaws", len(names), "hardening-vulnerabilities", detail=detail)
    modules = seen.lsms
    if isinstance(modules, Unknown):
        found.add("surface.lsms", modules)
    else:
        found.add("surface.lsms", len(modules), "hardening-lsm", detail=_list(modules))


def add_declared(found: Findings, system: System) -> None:
    """What is so by construction in a guest that is one program, and cannot be asked."""
    if system.family is GuestFamily.LINUX:
        found.miss(SHELL_METRICS, "unknown: the system has no [login], so nothing can be asked inside it")
        return
    reason = "one program with its kernel in one address space: there is no such thing in it"
    for name in ("users", "suid", "sgid", "modules"):
        found.add(f"surface.{name}", 0, detail=reason, provenance=Provenance.DECLARED)
    one = "the program itself"
    found.add("surface.processes", 1, detail=one, provenance=Provenance.DECLARED)
    for name in ("listening_tcp", "listening_udp"):
        found.miss([f"surface.{name}"], "the guest cannot be asked; see the scan")
    found.miss(["surface.passwords"], "there are no users")
    found.miss(SHELL_METRICS[-4:], "a setting of Linux")


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
