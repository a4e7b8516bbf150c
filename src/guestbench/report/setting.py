"""The report's account of how a run was made: host, platform, systems, command lines; no results."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

from guestbench.analysis.quality import ConditionSummary
from guestbench.model import (
    Accel,
    Boot,
    Frozen,
    Guest,
    Header,
    Image,
    Kernel,
    MemoryPolicy,
    Net,
    Record,
    Role,
)
from guestbench.page.escape import Markdown, code, escape
from guestbench.page.numbers import show_bytes_exactly, show_exact, show_share
from guestbench.page.table import Table


class CommandLine(Frozen):
    """How QEMU was started for one system: the whole line, and what of it the other systems do not share.

    `others` counts this system's boots that had another line, which differed in `varying`.
    """

    system: str
    full: str
    own: tuple[str, ...]
    boots: int
    others: int
    varying: tuple[str, ...]


def host_table(header: Header) -> Table:
    """The machine that measured."""
    host = header.host
    rows = (
        ("CPU", escape(host.cpu_model)),
        ("CPUs (logical)", str(host.cpus)),
        ("Memory", f"{show_exact(host.memory_mib)} MiB"),
        ("Kernel", escape(host.kernel)),
        ("Operating system", escape(host.os)),
        ("Virtualization around it", escape(host.virtualization or "none found")),
        ("QEMU", Markdown(f"{escape(host.qemu_version)}, {code(host.qemu_path)}")),
        ("Python", escape(host.python)),
        ("Load (1 min) at the start", f"{header.load_1m:.2f}"),
        ("Identity of this host", code(host.digest)),
        *policy_rows(header.memory_policy),
    )
    return Table(head=("Host", ""), rows=rows, words=2)


def policy_rows(policy: MemoryPolicy | None) -> tuple[tuple[str, str], ...]:
    """Rows about the host's kernel that move memory figures, for the table about the host."""
    if policy is None:
        return ()
    ksm = {"": "not there", "0": "off"}.get(policy.ksm, f"on ({policy.ksm})")
    return (
        ("Huge pages, anonymous memory", escape(policy.huge_pages or "not there")),
        ("Huge pages, shared memory", escape(policy.shmem_huge_pages or "not there")),
        ("Kernel same-page merging", escape(ksm)),
        ("Swap", f"{policy.swap_mib:,} MiB" if policy.swap_mib else "none"),
    )


def platform_table(header: Header) -> Table:
    """The virtual machine that every system got."""
    platform, accel = header.platform, header.accel
    net = {Net.USER: "user networking, virtio-net-pci", Net.NONE: "none"}[platform.net]
    rows = (
        ("VMM", escape(platform.vmm.value)),
        ("Machine type", code(platform.machine)),
        ("Guest memory", f"{show_exact(platform.memory_mib)} MiB"),
        ("vCPUs", str(platform.cpus)),
        ("Network", net),
        ("Accelerator used", code(accel.used.value)),
        ("Accelerator asked for", code(accel.requested.value)),
        ("Why that one", escape(accel.reason)),
        ("Further options", code(shlex.join(platform.extra)) if platform.extra else "none"),
    )
    return Table(head=("Platform, the same for all", ""), rows=rows, words=2)


def conditions_table(conditions: Iterable[ConditionSummary]) -> Table:
    """What else the host did during the counted boots."""
    rows = tuple(
        (
            code(c.system),
            str(c.n),
            f"{c.load_low:.2f} to {c.load_high:.2f}",
            show_share(c.others_median),
            show_share(c.others_high),
            show_share(c.steal_high),
        )
        for c in conditions
    )
    head = ("System", "Boots", "Load (1 min)", "Others' CPU, median", "Others' CPU, most", "Steal, most")
    return Table(head=head, rows=rows)


def order_table(records: Sequence[Record]) -> Table:
    """The blocks in the order they were run, each with its systems in the order they were booted."""
    blocks: dict[int, list[Markdown]] = {}
    for record in records:
        if record.trial.purpose == "boot":
            blocks.setdefault(record.trial.block, []).append(code(record.trial.system))
    rows = tuple((str(block), Markdown(", ".join(names))) for block, names in blocks.items())
    return Table(head=("Block", "Order"), rows=rows, words=2)


def fairness_table(header: Header) -> Table:
    """What the systems' set-ups do not have in common."""
    rows = tuple(
        (
            code(guest.system.name),
            escape(guest.system.title),
            guest.system.family.value,
            describe_boot(guest.system.boot),
            code(guest.system.ready),
            Markdown(f"{escape(guest.origin.kind)}: {escape(guest.origin.detail)}"),
            "yes" if guest.origin.settled else "no",
            f"{guest.system.timeout_s:g} s",
        )
        for guest in header.guests
    )
    head = ("System", "What it is", "Family", "Boots from", "Ready when it prints", "Image is")
    return Table(head=(*head, "Booted once before", "Time limit"), rows=rows, words=8)


def describe_boot(boot: Boot) -> str:
    """How a system is booted, in words."""
    if not isinstance(boot, Kernel):
        return f"disk ({boot.format.value}), by firmware and the disk's boot loader"
    parts = ["kernel", *(["initrd"] if boot.initrd else [])]
    disk = f", disk ({boot.disk.value}) as root" if boot.disk else ""
    return f"{' and '.join(parts)} given to QEMU{disk}; no boot loader"


def kernel_cmdlines(header: Header) -> tuple[tuple[str, str], ...]:
    """Name and kernel command line of every system to which QEMU gives one."""
    return tuple(
        (guest.system.name, guest.system.boot.cmdline)
        for guest in header.guests
        if isinstance(guest.system.boot, Kernel) and guest.system.boot.cmdline
    )


def digest_table(header: Header) -> Table:
    """Every image file with its size and SHA-256; where a settled one is booted, both."""
    rows = []
    for guest in header.guests:
        for state, images in _image_sets(guest):
            for role, image in images.items():
                rows.append(
                    (
                        code(guest.system.name),
                        role.value,
                        state,
                        code(image.path),
                        code(image.sha256),
                        show_bytes_exactly(image.size_bytes),
                    )
                )
    return Table(head=("System", "Role", "State", "File", "SHA-256", "Size"), rows=tuple(rows), words=5)


def command_lines(
    header: Header, records: Sequence[Record]
) -> tuple[tuple[str, ...], tuple[CommandLine, ...]]:
    """What all systems' command lines have in common, option by option, and each system's line once.

    The line shown is that of the system's first counted boot, or of its first boot of any purpose.
    """
    lines: dict[str, list[tuple[str, ...]]] = {}
    for guest in header.guests:
        booted = [r for r in records if r.trial.system == guest.system.name and r.argv]
        counted = [r for r in booted if r.trial.purpose == "boot"]
        if booted:
            lines[guest.system.name] = [r.argv for r in counted or booted[:1]]
    split = {name: split_options(argvs[0]) for name, argvs in lines.items()}
    shared: Counter[str] = Counter()
    for number, options in enumerate(split.values()):
        shared = Counter(options) if number == 0 else shared & Counter(options)
    common = _take(next(iter(split.values()), ()), shared)[0]
    found = []
    for name, argvs in lines.items():
        different = [argv for argv in argvs if argv != argvs[0]]
        varying = {option for argv in different for option in split_options(argv)} - set(split[name])
        found.append(
            CommandLine(
                system=name,
                full=shlex.join(argvs[0]),
                own=_take(split[name], shared)[1],
                boots=len(argvs),
                others=len(different),
                varying=tuple(sorted(varying)),
            )
        )
    return common, tuple(found)


@lru_cache(maxsize=1024)  # a run has few different command lines, and many boots of each
def split_options(argv: tuple[str, ...]) -> tuple[str, ...]:
    """A command line as the program and its options, each with its values, quoted for a shell."""
    groups: list[list[str]] = []
    for index, word in enumerate(argv):
        if index < 2 or word.startswith("-"):
            groups.append([word])
        else:
            groups[-1].append(word)
    return tuple(shlex.join(group) for group in groups)


def emulated(header: Header) -> bool:
    """Whether the guests' instructions were emulated rather than run by the CPU."""
    return header.accel.used is Accel.TCG


def _take(options: Sequence[str], shared: Counter[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    left = shared.copy()
    common, own = [], []
    for option in options:
        if left[option] > 0:
            left[option] -= 1
            common.append(option)
        else:
            own.append(option)
    return tuple(common), tuple(own)


def _image_sets(guest: Guest) -> Iterable[tuple[str, dict[Role, Image]]]:
    shared = {role: image for role, image in guest.images.items() if guest.pristine.get(role) == image}
    yield "booted", shared
    yield "as provisioned", {r: image for r, image in guest.pristine.items() if r not in shared}
    yield "booted, after settling", {r: image for r, image in guest.images.items() if r not in shared}
