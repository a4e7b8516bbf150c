"""A run that counts memory and searches for the least of it, with all that can come of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from factories import HOSTILE_REASON, make_guest, make_header, make_record, make_system, make_trials

from guestbench.families import find_metrics
from guestbench.families.memory.states import AT_WORK
from guestbench.model import (
    Command,
    Crashed,
    Gap,
    Guest,
    GuestFamily,
    Header,
    Incomplete,
    Login,
    MemoryPolicy,
    Ok,
    Outcome,
    OwnWork,
    Record,
    Sample,
    Series,
    System,
    TimedOut,
    Trial,
)

ARGV = ("qemu-system-x86_64", "-machine", "q35", "-m", "512M", "-serial", "stdio")
MEMORY_ARGV = (
    *("qemu-system-x86_64", "-machine", "q35,memory-backend=ram", "-m", "512M"),
    *("-object", "memory-backend-memfd,id=ram,size=512M,share=on", "-no-shutdown", "-serial", "stdio"),
    *("-chardev", "socket,id=qmp0,fd=9", "-mon", "chardev=qmp0,mode=control"),
)
PANIC = "kernel panic: [    1.648216] Kernel panic - not syncing: System is deadlocked on memory"
LATER_PANIC = PANIC.replace("1.648216", "1.402699")

SIZES: dict[str, dict[int, list[str]]] = {
    "floor": {2: ["", "", ""], 1: ["no '[floor ready]' within 5.1 s; last line: Booting from ROM.."]},
    "linux-minimal": {128: [""], 72: ["", "", ""], 71: [PANIC, LATER_PANIC, PANIC]},
    "unikernel": {
        64: [""],
        56: ["", "", ""],
        52: ["after it was ready: the OCaml runtime gave up: round: 3/9 Fatal error: out of memory"],
        50: ["", "hang"],
        48: [""],
    },
    "broken": {512: [HOSTILE_REASON], 1024: [HOSTILE_REASON]},
}
"""For each system and size: the reason why a boot was not enough, empty where it was."""

MEMINFO = {
    "MemFree": 450_968,
    "Buffers": 0,
    "Cached": 2404,
    "SReclaimable": 9052,
    "Shmem": 2404,
    "SwapTotal": 0,
    "SwapFree": 0,
}


def make_memory_run() -> tuple[Header, tuple[Record, ...]]:
    """A run of a floor, a Linux, a unikernel that works by itself, and a guest that never gets ready."""
    guests = tuple(map(make_guest, _systems()))
    names = [guest.system.name for guest in guests]
    trials = _memory_trials(names)
    header = make_header(guests, trials, title="Memory of four systems", cycles=1, warmups=0)
    experiment = msgspec.structs.replace(header.experiment, metrics=("memory",))
    header = msgspec.structs.replace(
        header,
        experiment=experiment,
        metrics=find_metrics(("memory",)),
        memory_policy=MemoryPolicy(huge_pages="madvise", shmem_huge_pages="never", ksm="0", swap_mib=0),
    )
    counted = [_count(trial, guests) for trial in trials]
    return header, (*counted, *(record for name in names for record in _search(name)))


def _systems() -> tuple[System, ...]:
    replace = msgspec.structs.replace
    linux = make_system("linux-minimal", title="Debian's cloud kernel with busybox")
    unikernel = make_system("unikernel", family=GuestFamily.UNIKERNEL, ready="[init done]")
    return (
        make_system("floor", title="Null guest", family=GuestFamily.FLOOR, ready="[floor ready]"),
        replace(linux, login=Login(user="root"), load=Command(command="stress", help="a program of 64 MiB")),
        replace(unikernel, load=OwnWork(end="[run done]", help="its own benchmark | <b>of commits</b>")),
        make_system("broken", title="A guest that dies"),
    )


def _memory_trials(names: Sequence[str]) -> tuple[Trial, ...]:
    trials = make_trials(names, cycles=2, images=False)
    return tuple(
        msgspec.structs.replace(
            trial,
            id=trial.id.replace("boot", "memory"),
            purpose="memory",
            block=0,
        )
        for trial in trials
    )


def _states(touched: Mapping[str, int], vmm: Mapping[str, int]) -> list[Sample]:
    return [
        Sample(metric=metric, value=value, labels={"state": state})
        for metric, values in (("memory.touched", touched), ("memory.vmm", vmm))
        for state, value in values.items()
    ]


def _gaps(state: str, reason: str) -> list[Gap]:
    return [
        Gap(metric=metric, reason=reason, labels={"state": state})
        for metric in ("memory.touched", "memory.vmm")
    ]


PRINTED_ONCE = (
    Gap(metric="memory.guest_used", reason=AT_WORK, labels={"state": "idle"}),
    Gap(metric="memory.guest_total", reason="not available: the guest prints no such figure"),
    Gap(metric="memory.guest_available", reason="not available: the guest prints no such figure"),
)
NOTHING_SAID = tuple(
    Gap(metric=f"memory.guest_{name}", reason="not available: the guest reports none")
    for name in ("total", "used", "available")
)


def _count(trial: Trial, guests: Sequence[Guest]) -> Record:
    """The record of a boot that counts memory; the second boot of a guest touches a little more."""
    more = 400 * (trial.cycle - 1)
    samples: list[Sample] = []
    gaps: list[Gap] = []
    outcome: Outcome = Ok()
    match trial.system:
        case "floor":
            samples = _states({"ready": 1168, "idle": 1168}, {"ready": 44_000, "idle": 24_000})
            gaps = [*_gaps("load", "no load is defined for this system"), *NOTHING_SAID]
        case "linux-minimal":
            samples = _states(
                {"ready": 116_000 + more, "idle": 116_792 + more, "load": 167_764, "load-end": 167_764},
                {"ready": 98_000, "idle": 100_000, "load": 116_000, "load-end": 116_000},
            )
            for state, available in (("idle", 450_720), ("load", 385_876)):
                samples += _view(state, available)
            if trial.cycle == 2:
                outcome = Incomplete(reason="the guest stopped answering")
                samples = [sample for sample in samples if sample.labels["state"] in ("ready", "idle")]
        case "unikernel":
            samples = _states(
                {"ready": 9000 + more, "load": 38_300, "load-end": 38_300},
                {"ready": 60_000, "load": 90_000, "load-end": 88_000},
            )
            samples.append(Sample(metric="memory.guest_used", value=22_043, labels={"state": "load"}))
            gaps = [*_gaps("idle", AT_WORK), *PRINTED_ONCE]
        case _:
            outcome = Crashed(reason=HOSTILE_REASON)
    images = next(guest.images for guest in guests if guest.system.name == trial.system)
    digests = {role: image.sha256 for role, image in images.items()}
    record = make_record(trial, samples, outcome=outcome, argv=MEMORY_ARGV, images=digests)
    return msgspec.structs.replace(record, gaps=tuple(gaps))


def _view(state: str, available: int) -> list[Sample]:
    labels = {"state": state}
    total = 481_296
    figures = {"total": total, "used": total - available, "available": available}
    balloon = {"stat-free-memory": 450_000, "stat-total-memory": total}
    return [
        *(Sample(metric=f"memory.guest_{name}", value=kib, labels=labels) for name, kib in figures.items()),
        *(
            Sample(metric="memory.guest_meminfo", value=kib, labels=labels | {"field": field})
            for field, kib in MEMINFO.items()
        ),
        *(
            Sample(metric="memory.balloon", value=kib, labels=labels | {"stat": stat})
            for stat, kib in balloon.items()
        ),
    ]


def _search(system: str) -> list[Record]:
    records = []
    for size, reasons in SIZES[system].items():
        for cycle, reason in enumerate(reasons, 1):
            trial = Trial(
                id=f"memory-min-{system}-{size}M-{cycle}",
                system=system,
                purpose="memory-min",
                block=0,
                cycle=cycle,
                definition="",
                memory_mib=size,
            )
            late = TimedOut(reason="no '[init done]' within 5.1 s; the serial console stayed silent")
            outcome = Ok() if not reason else late if reason == "hang" else Crashed(reason=reason)
            samples = [Sample(metric="memory.tried", value=size)]
            argv = [word.replace("512M", f"{size}M") for word in ARGV]
            records.append(make_record(trial, samples, outcome=outcome, argv=argv))
    return records


def with_series(record: Record) -> Record:
    """The record with a short series over time."""
    series = Series(metric="memory.touched", t_ns=(1_000_000, 20_000_000), values=(500, 1168))
    return msgspec.structs.replace(record, series=(series,))
