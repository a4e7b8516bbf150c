"""Memory: the least RAM to boot, and what a running guest takes, as the host and as the guest sees it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from guestbench.model import Better, Family, Frozen, Metric, Purpose
from guestbench.model.kinds import Seconds, within

LEAST, TRIED = "memory.min", "memory.tried"
TOUCHED, VMM, VMM_ABOVE_FLOOR = "memory.touched", "memory.vmm", "memory.vmm_above_floor"
IDLE, LOAD = (("state", "idle"),), (("state", "load"),)


def _metric(name: str, title: str, text: str, better: Better = Better.LOWER) -> Metric:
    touched = name == TOUCHED
    return Metric(
        name=name,
        title=title,
        family="memory",
        unit="KiB",
        better=better,
        help=text,
        compared=touched,
        compared_labels=(IDLE, LOAD) if touched else (),
        difference=name == VMM_ABOVE_FLOOR,
        headline="RAM touched, idle" if touched else "",
        span="RAM touched when idle" if touched else "",
        shown_labels=IDLE if touched else (),
    )


METRICS = (
    Metric(
        name=LEAST,
        title="Least RAM",
        family="memory",
        unit="MiB",
        better=Better.LOWER,
        help="Least -m with which every boot got ready and stayed well, and above which no size failed. Well "
        "means: no failure on the console for a while, a small program that does its work over the "
        "shell where there is one, and the guest's own work done where it does any.",
        compared=True,
        exact=True,
        headline="Least RAM",
        span="least RAM to boot",
    ),
    Metric(
        name=TRIED,
        title="Memory size tried",
        family="memory",
        unit="MiB",
        better=Better.NEITHER,
        help="The -m of a boot in the search for the least RAM; its outcome says whether that was enough.",
    ),
    _metric(
        TOUCHED,
        "Guest RAM touched",
        "Guest RAM that was ever touched, by the guest, its firmware or its devices. Resident pages of the "
        "memfd that holds it (/proc/PID/smaps); label state=ready, idle (after the settle time), load (the "
        "most while the load ran) or load-end.",
    ),
    _metric(
        VMM,
        "VMM's own memory",
        "All other memory of the VMM process, pages shared with other processes counted by their share "
        "(PSS): its code, its heap, and under TCG the translator's buffer; label state=NAME.",
    ),
    _metric(
        VMM_ABOVE_FLOOR,
        "VMM's own memory above the floor",
        "memory.vmm less the floor's median in the same state of the same run: what this guest makes the "
        "VMM take.",
    ),
    _metric(
        "memory.guest_total",
        "Total, as the guest says",
        "Memory that the guest says it has: MemTotal of /proc/meminfo, or what it prints; label state=NAME.",
        Better.NEITHER,
    ),
    _metric(
        "memory.guest_used",
        "Used, as the guest says",
        "Memory that the guest says is in use: MemTotal less MemAvailable, which is what free(1) of procps 4 "
        "prints as used; or what the guest prints; label state=NAME, for load the most seen.",
    ),
    _metric(
        "memory.guest_available",
        "Available, as the guest says",
        "Memory that the guest says a new program could have: MemAvailable; label state=NAME, for load the "
        "least seen.",
        Better.HIGHER,
    ),
    _metric(
        "memory.guest_meminfo",
        "Field of /proc/meminfo",
        "Further fields of the guest's /proc/meminfo, see proc(5); labels field=NAME, state=NAME.",
        Better.NEITHER,
    ),
    _metric(
        "memory.balloon",
        "Balloon statistics",
        "What the guest's balloon driver tells the VMM, where it has one; labels stat=NAME, state=NAME.",
        Better.NEITHER,
    ),
)


class Settings(Frozen):
    """How memory is measured. A memory size counts as enough if enough boots in a row get ready with it."""

    cycles: Annotated[int, within(1, 1000, "Boots that count each system's memory.")] = 2
    settle_s: Annotated[Seconds, Meta(description="How long after ready a guest counts as idle.")] = 10.0
    boots: Annotated[int, within(1, 100, "Boots in a row that a memory size must pass.")] = 3
    well_s: Annotated[Seconds, Meta(description="How long each of them must stay well.")] = 2.0


FAMILY = Family(
    name="memory",
    title="Memory",
    order=3,
    metrics=METRICS,
    printed=("memory.guest_total", "memory.guest_used", "memory.guest_available"),
    settings=Settings,
    purposes=(Purpose(name="memory"), Purpose(name="memory-min", timed=False, search=True)),
)
