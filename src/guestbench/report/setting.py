"""The sections on how a run was made: its host, its platform, its systems, and how to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence

from guestbench.analysis.findings import Findings
from guestbench.analysis.quality import find_mismatches, find_settled
from guestbench.families import ask
from guestbench.model import Boot, Guest, Header, Kernel, Metric, Net, Record, Role
from guestbench.page.blocks import (
    Block,
    Bullets,
    Cells,
    Code,
    Listing,
    Paragraph,
    Section,
    Table,
    Text,
    read_words,
    say,
)
from guestbench.page.figures import outcome_name, show_read_to, tabulate
from guestbench.page.numbers import NOTHING, show_bytes_exactly, show_exact, show_seconds, show_share
from guestbench.report.command_lines import describe_command_lines
from guestbench.report.stopping import describe_looks

tell = read_words(__file__)

SETTLED = "booted, after settling"
FINE_S = 1e-9
"""A spread so small that single values are written with all the decimals there are."""


def describe_setting(found: Findings) -> Iterator[Section]:
    """The sections behind the results."""
    header = found.header
    host = host_table(header), *ask("section", "conditions", found)
    yield Section("host-and-conditions", "Host and conditions", host)
    lines = tuple(describe_command_lines(header, found.records))
    titles = {"instruments": "What the instruments read to", "command-lines": "Command lines"}
    contents = {"instruments": tuple(_describe_instruments(found)), "command-lines": lines}
    own = (Section(name, titles[name], blocks) for name, blocks in contents.items() if blocks)
    parts = (*describe_looks(found), *own)
    method = platform_table(found), Bullets(tuple(_tell_method(found))), *ask("section", "order", found)
    yield Section("how-it-was-measured", "How it was measured", method, parts)
    images = Section("image-files", "Image files", tuple(_describe_images(found)))
    fairness = tuple(_describe_fairness(header))
    yield Section("fairness", "Fairness: what the systems do not share", fairness, (images,))
    yield Section("how-to-repeat-it", "How to repeat it", tuple(_tell_how_to_repeat(header)))
    yield Section("every-trial", "Every trial", (trial_table(found.records),))


# --- host and platform ------------------------------------------------------------------------------------


def host_table(header: Header) -> Table:
    """The machine that measured, with the settings of its kernel that move memory figures."""
    host, policy = header.host, header.memory_policy
    rows: list[Cells] = [
        ("CPU", host.cpu_model),
        ("CPUs (logical)", str(host.cpus)),
        ("Memory", f"{show_exact(host.memory_mib)} MiB" if host.memory_mib else "unknown"),
        ("Kernel", host.kernel),
        ("Operating system", host.os),
        ("Virtualization around it", host.virtualization or "none found"),
        (header.vmm, (f"{host.vmm_version}, ", Code(host.vmm_path))),
        ("Python", host.python),
        ("Load (1 min) at the start", f"{header.load_1m:.2f}"),
        ("Identity of this host", Code(host.digest)),
    ]
    if policy is not None:
        ksm = {"": "not there", "0": "off"}.get(policy.ksm, f"on ({policy.ksm})")
        rows += (
            ("Huge pages, anonymous memory", policy.huge_pages or "not there"),
            ("Huge pages, shared memory", policy.shmem_huge_pages or "not there"),
            ("Kernel same-page merging", ksm),
            ("Swap", f"{policy.swap_mib:,} MiB" if policy.swap_mib else "none"),
        )
    if header.cpu_policy is not None:
        boost = {None: "unknown", True: "on", False: "off"}[header.cpu_policy.boost]
        rows += (("CPU governor", header.cpu_policy.governor or "unknown"), ("CPU boost", boost))
    return Table(("Host", ""), tuple(rows), 2)


def _describe_instruments(found: Findings) -> Iterator[Block]:
    """What each metric's instrument can tell apart, and how that is known; counts are exact and left out."""
    rows = [each for each in found.header.metrics if each.read_to_why]
    if rows:
        yield tell("instruments")
        columns: dict[str, Callable[[Metric], Text]] = {
            "Figure": lambda metric: metric.title,
            "Metric": lambda metric: Code(metric.name),
            "Read to": show_read_to,
            "How that is known": lambda metric: metric.read_to_why,
        }
        yield tabulate(rows, columns, 4)


def platform_table(found: Findings) -> Table:
    """The virtual machine that every system got."""
    platform, accel = found.header.platform, found.header.accel
    net = "none" if platform.net is Net.NONE else f"user networking, {_find_card(found.records)}"
    rows: tuple[Cells, ...] = (
        ("VMM", platform.vmm),
        ("Machine type", Code(platform.machine)),
        ("Guest memory", f"{show_exact(platform.memory_mib)} MiB"),
        ("vCPUs", str(platform.cpus)),
        ("Network", net),
        ("Way to the internet", "open" if platform.internet and platform.net is not Net.NONE else "none"),
        ("Sandbox of the VMM", "asked for" if platform.sandbox else "off"),
        ("Accelerator used", Code(accel.used.value)),
        ("Accelerator asked for", Code(accel.requested.value)),
        ("Why that one", accel.reason),
        ("Further options", Code(shlex.join(platform.extra)) if platform.extra else "none"),
    )
    return Table(("Platform, the same for all", ""), rows, 2)


def _find_card(records: Sequence[Record]) -> str:
    """The network card that the guests had, by the VMM's own name for it."""
    words = (word.partition(",")[0] for record in records for word in record.argv)
    return next((word for word in words if word.startswith("virtio-net-")), "virtio-net-pci")


def _tell_method(found: Findings) -> Iterator[Text]:
    yield from tell("console", vmm=found.header.vmm).lines
    yield from ask("section", "method", found)
    yield "No image was changed: what a guest wrote to its disk was thrown away after each boot."
    if found.records and not find_mismatches(found.header, found.records):
        yield from tell("records").lines


# --- systems ----------------------------------------------------------------------------------------------


def _describe_fairness(header: Header) -> Iterator[Block]:
    yield tabulate(
        header.guests,
        {
            "System": lambda guest: Code(guest.system.name),
            "What it is": lambda guest: guest.system.title,
            "Family": lambda guest: guest.system.family.value,
            "Boots from": lambda guest: _tell_boot(guest.system.boot, header.vmm),
            "Ready when it prints": lambda guest: Code(guest.system.ready),
            "Image is": lambda guest: f"{guest.origin.kind}: {guest.origin.detail}",
            "Booted once before": lambda guest: "yes" if guest.origin.settled else "no",
            "Time limit": lambda guest: f"{guest.system.timeout_s:g} s",
        },
        words=8,
    )
    yield tell("ready")
    for system in header.systems:
        if system.help:
            yield Paragraph(((Code(system.name), f": {' '.join(system.help.split())}"),))
    for system in header.systems:
        if isinstance(system.boot, Kernel) and system.boot.cmdline:
            gives = (f"Kernel command line that {header.vmm} gives to ", Code(system.name), ": ")
            yield Paragraph(((*gives, Code(system.boot.cmdline)),))
    for guest in header.guests:
        if guest.origin.differences:
            name = Code(guest.system.name)
            yield Paragraph((("The image of ", name, " is not the official one. It differs:"),))
            yield Bullets(guest.origin.differences)


def _tell_boot(boot: Boot, vmm: str) -> str:
    if not isinstance(boot, Kernel):
        return f"disk ({boot.format.value}), by firmware and the disk's boot loader"
    parts = ["kernel", *(["initrd"] if boot.initrd else [])]
    disk = f", disk ({boot.disk.value}) as root" if boot.disk else ""
    return f"{' and '.join(parts)} given to {vmm}{disk}; no boot loader"


def _describe_images(found: Findings) -> Iterator[Block]:
    """Every image file with its size and SHA-256; where a settled one is booted, both."""
    guests = found.header.guests
    rows = [row for guest in guests for row in _list_images(guest, find_settled(guest, found.records))]
    yield Table(("System", "Role", "State", "File", "SHA-256", "Size"), tuple(rows), 5)
    if any(":" in image.sha256 for guest in guests for image in guest.images.values()):
        yield tell("blocks")
    if any(SETTLED in row for row in rows):
        yield tell("settled")


def _list_images(guest: Guest, settled: Mapping[Role, str]) -> Iterator[Cells]:
    """A row for each file; a disk that was `settled` in the run is told by the digest of what was booted."""
    alike = {
        role: image
        for role, image in guest.images.items()
        if guest.pristine.get(role) == image and role not in settled
    }
    parts = (
        ("booted", alike),
        ("as provisioned", {role: image for role, image in guest.pristine.items() if role not in alike}),
        (SETTLED, {role: i for role, i in guest.images.items() if guest.pristine.get(role) != i}),
    )
    for state, images in parts:
        for role, image in images.items():
            size = show_bytes_exactly(image.size_bytes)
            yield Code(guest.system.name), role.value, state, Code(image.path), Code(image.sha256), size
    for role, digest in settled.items():
        told = "a layer on it in the cache"
        yield Code(guest.system.name), role.value, SETTLED, told, Code(digest), NOTHING


# --- the run ----------------------------------------------------------------------------------------------


def _tell_how_to_repeat(header: Header) -> Iterator[Block]:
    seed = header.experiment.seed
    made = (f"Made by guestbench {header.tool}, begun {header.created}, run ", Code(header.run), ".")
    order = say(f"`seed = {seed}` in the experiment file gives the same order of boots.")
    same = say("`results.json` and `results.csv` beside this file hold the same measurements for programs.")
    yield Listing((shlex.join(("guestbench", *header.command)),), "sh")
    yield Paragraph((made, *(order.lines if seed is not None else ()), *same.lines))


def trial_table(records: Sequence[Record]) -> Table:
    """Every trial in the order made."""
    columns: dict[str, str] = dict(ask("section", "trial_columns"))
    rows: list[Cells] = []
    for number, record in enumerate(records, 1):
        trial, conditions = record.trial, record.conditions
        values = {sample.metric: sample.value for sample in record.samples if not sample.labels}
        rows.append(
            (
                Code(trial.id),
                Code(trial.system),
                trial.purpose,
                outcome_name(record.outcome),
                str(number),
                str(trial.block or NOTHING),
                str(trial.cycle),
                *(show_seconds(values.get(metric), FINE_S) for metric in columns.values()),
                show_share(conditions.cpu_others),
                show_share(conditions.cpu_steal),
                f"{conditions.load_1m:.2f}",
                record.started,
            )
        )
    head = ("Trial", "System", "Purpose", "Outcome", "No.", "Block", "Cycle", *columns)
    return Table((*head, "Others' CPU", "Steal", "Load", "Started"), tuple(rows), 4)
