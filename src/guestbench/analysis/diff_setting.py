"""What two runs have in common besides the systems compared, and what not; it compares no measurement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guestbench.analysis import quality
from guestbench.analysis.quality import count_missing
from guestbench.families import ask
from guestbench.model import REPLAYING_VMM, Frozen, Guest, Header, Record


class RunFacts(Frozen):
    """Which run it is; `missing` counts its trials that were planned and not made.

    `notices` has a sentence for each way in which its records do not belong together.
    """

    run: str
    created: str
    tool: str
    records: int
    missing: int
    notices: tuple[str, ...] = ()


class Mismatch(Frozen):
    """Something other than the guests' images in which two runs differ."""

    what: str
    old: str
    new: str


def describe_run(header: Header, records: Sequence[Record]) -> RunFacts:
    """The run's name, time and tool, how complete it is, and whether its records belong together."""
    replayed = header.platform.vmm == REPLAYING_VMM
    return RunFacts(
        run=header.run,
        created=header.created,
        tool=header.tool,
        records=len(records),
        missing=count_missing(header, records),
        notices=(
            *(("it replayed recorded consoles: no time is a measurement",) if replayed else ()),
            *quality.find_mismatches(header, records),
        ),
    )


def find_mismatches(old: Header, new: Header) -> tuple[Mismatch, ...]:
    """In what hosts, platforms, tools and settings of two runs differ; nothing if they can be compared."""
    theirs, ours = dict(_facts(old)), dict(_facts(new))
    return tuple(
        Mismatch(what=what, old=theirs.get(what, "none"), new=ours.get(what, "none"))
        for what in dict.fromkeys((*theirs, *ours))
        # What only one of the runs did is not compared, and needs no like setting.
        if what in theirs and what in ours and theirs[what] != ours[what]
    )


def _facts(header: Header) -> Iterator[tuple[str, str]]:
    host, platform = header.host, header.platform
    yield "host", host.digest[:16]
    yield "CPU", host.cpu_model
    yield "kernel of the host", host.kernel
    yield header.vmm, host.vmm_version
    yield "guestbench", header.tool
    yield "VMM", platform.vmm
    yield "accelerator", header.accel.used.value
    yield "machine", platform.machine
    yield "memory", f"{platform.memory_mib} MiB"
    yield "CPUs", str(platform.cpus)
    yield "network", platform.net.value
    yield "sandbox of the VMM", "on" if platform.sandbox else "off"
    yield "way to the internet", "open" if platform.internet else "closed"
    yield "options of the VMM", " ".join(platform.extra) or "none"
    yield from ask("findings", "settings", header, names=header.experiment.metrics)


def find_same_images(old: Header, new: Header) -> tuple[str, ...]:
    """The systems that are byte for byte the same in both runs, and booted in the same way."""
    before = {guest.system.name: guest for guest in old.guests}
    return tuple(
        guest.system.name
        for guest in new.guests
        if (other := before.get(guest.system.name))
        and (other.system.boot, _digests(other)) == (guest.system.boot, _digests(guest))
    )


def find_mixed_images(headers: Sequence[Header]) -> tuple[str, ...]:
    """The systems that are not the same in all of these runs, which are taken for runs of one version."""
    first, *others = headers
    names = {system.name for system in first.systems}
    different = {
        system.name
        for other in others
        for system in other.systems
        if system.name in names and system.name not in find_same_images(first, other)
    }
    return tuple(sorted(different))


def _digests(guest: Guest) -> dict[str, str]:
    return {role: image.sha256 for role, image in guest.pristine.items()}
