"""Workloads, what programs print of them, and a finished run in which four systems worked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from factories import HOSTILE_REASON, make_guest, make_header, make_image, make_record, make_system

from guestbench.families import find_metrics
from guestbench.families.work.check_guest import TOOL_NAMES
from guestbench.families.work.result import to_samples
from guestbench.model import (
    BootWork,
    Crashed,
    Experiment,
    Gap,
    Guest,
    GuestFamily,
    Header,
    ImageWork,
    Incomplete,
    Kit,
    KitWork,
    Mark,
    Outcome,
    Record,
    Sample,
    Service,
    ShellWork,
    System,
    TimedOut,
    Trial,
    Workload,
    WorkReport,
    Wrong,
)

SOURCE = "0123456789abcdef"
DIGEST = "d1" * 16
GCC = {"compiler": "gcc-12.2.0", "flags": "-O2,-march=x86-64,-static"}
OCAML = {"compiler": "ocaml-4.13.1", "flags": "-static"}

CPU = Workload(
    name="cpu", title="CPU: primes", program="guestwork", metric="work.cpu", unit="events",
    arguments=("cpu", "events=1200"), timeout_s=5.0, help="An event counts primes.",
)  # fmt: skip
MEMORY = Workload(
    name="memory", title="Memory: sequential words", program="guestwork", metric="work.memory",
    unit="bytes", arguments=("memory",), labels=("op", "block"), timeout_s=5.0, help="Words of 8 bytes.",
)  # fmt: skip
MERKLE = Workload(
    name="merkle", title="Merkle tree in OCaml", program="merkle", metric="work.merkle", unit="commits",
    timeout_s=5.0, help="Commits to a small tree.",
)  # fmt: skip
IRMIN = Workload(
    name="irmin", title="Irmin in OCaml", program="irmin", metric="work.irmin", unit="commits",
    timeout_s=5.0, help="Commits to an Irmin store.",
)  # fmt: skip


def begin_line(name: str, made: Mapping[str, str] = GCC, source: str = SOURCE, **parameters: object) -> str:
    """The line with which a program begins its work."""
    words = {"source": source, **made, **parameters}
    return f"[work begin {name} {' '.join(f'{key}={value}' for key, value in words.items())}]\n"


def end_line(name: str, done: object = 1200, digest: str = DIGEST, guest_ns: object = 2_000_000_000) -> str:
    """The line with which it ends."""
    return f"[work end {name} done={done} digest={digest} guest_ns={guest_ns}]\n"


def make_report(
    name: str,
    done: int | None = 1200,
    seconds: float | None = 2.0,
    *,
    begin_s: float = 1.0,
    made: Mapping[str, str] = GCC,
    digest: str = DIGEST,
    source: str = SOURCE,
    **parameters: str,
) -> WorkReport:
    """What a program reports of work that took so long by the host's clock, and 1% less by the guest's."""
    end_s = None if seconds is None else begin_s + seconds
    return WorkReport(
        workload=name,
        begin_ns=round(begin_s * 1e9),
        end_ns=None if end_s is None else round(end_s * 1e9),
        parameters=parameters,
        source=source,
        compiler=made["compiler"],
        flags=made["flags"],
        done=done,
        digest=digest,
        guest_ns=None if seconds is None else round(seconds * 0.99e9),
    )


def make_kit_work(workload: Workload, *expected: WorkReport) -> KitWork:
    """A workload whose program the host has run."""
    return KitWork(workload=workload, program=make_image(workload.program, 18_432), expected=expected)


def make_kit(*works: KitWork, checks: tuple[str, ...] = (), no_tools: str = "") -> Kit:
    """A kit with a disk, and tools for `checks`."""
    return Kit(
        works=works,
        disk=make_image("kit.ext4"),
        server=make_image("guestwork"),
        tools_disk=make_image("tools.ext4") if checks else None,
        checks=checks,
        no_tools=no_tools,
    )


# --- a whole run ----------------------------------------------------------------------------------------

PARTS = (("write", "1048576"), ("read", "1048576"), ("write", "1024"))
HOSTILE_VALUE = "<b>|`x`*http://evil.example/*\\"
"""A value that the contract allows, and that markup could be made of."""
LIMIT: dict[str, Any] = {"limit": "10000", "events": "1200"}


def make_work_kit() -> Kit:
    """Four workloads, one of which has no program here, and tools for cross-checks."""
    parts = [make_report("memory", 4 << 30, 1.0, op=op, block=block) for op, block in PARTS]
    return make_kit(
        make_kit_work(CPU, make_report("cpu", **LIMIT)),
        make_kit_work(MEMORY, *parts),
        make_kit_work(MERKLE, make_report("merkle", 400, 0.5, made=OCAML, commits="400")),
        KitWork(
            workload=IRMIN,
            missing="there is no program for it: irmin for Linux has not been built (mended by: guestbench "
            "systems build mirage-unikraft)",
        ),
        checks=TOOL_NAMES,
    )


def make_work_systems() -> tuple[System, ...]:
    """A guest with a shell, one booted with its work, an image that works by itself, and the floor."""
    replace = msgspec.structs.replace
    services = (Service.ECHO, Service.DISCARD)
    return (
        make_system("floor", title="Null guest", family=GuestFamily.FLOOR, ready="[floor ready]"),
        replace(
            make_system("debian", title="A guest with a shell"),
            work=ShellWork(),
            workloads=("cpu", "memory", "merkle", "irmin"),
        ),
        replace(
            make_system("linux-app", title="A kernel with one program"),
            work=BootWork(cmdline="rdinit=/{program} -- {arguments}"),
            workloads=("cpu", "memory"),
            services=services,
        ),
        replace(
            make_system("mirage", title="A unikernel", family=GuestFamily.UNIKERNEL, ready="[init done]"),
            work=ImageWork(),
            workloads=("merkle", "irmin"),
            services=services,
        ),
    )


def make_work_header(systems: Sequence[System], kit: Kit | None, trials: Sequence[Trial] = ()) -> Header:
    """The header of a run of work and network."""
    families = ("work", "net")
    guests = tuple(map(make_guest, systems))
    header = make_header(guests, trials, title="Work of several systems", cycles=1, warmups=0)
    experiment = msgspec.structs.replace(
        header.experiment, metrics=families, settings={"work": {"cycles": 2}}
    )
    return msgspec.structs.replace(
        header, experiment=experiment, metrics=find_metrics(families, kit), kit=kit
    )


def make_work_run() -> tuple[Header, tuple[Record, ...]]:
    """A finished run of two blocks: equal and unequal work, failures, gaps, cross-checks, and a network."""
    kit = make_work_kit()
    records = [record for cycle in (1, 2) for record in _cycle(kit, cycle)]
    header = make_work_header(make_work_systems(), kit, [record.trial for record in records])
    return header, tuple(records)


def work_record(
    system: str,
    reports: Sequence[WorkReport] = (),
    *,
    kit: Kit | None = None,
    workload: str = "",
    cycle: int = 1,
    purpose: str = "work",
    samples: Sequence[Sample] = (),
    gaps: Sequence[Gap] = (),
    outcome: Outcome | None = None,
) -> Record:
    """The record of a trial of work; rates and times are those of its reports."""
    what = f"{workload}-{system}" if workload else system
    trial = Trial(
        id=f"{purpose}-{what}-{cycle}", system=system, purpose=purpose, block=cycle, cycle=cycle,
        definition="", workload=workload,
    )  # fmt: skip
    found = (*samples, *(to_samples(kit, reports) if kit else ()))
    record = make_record(trial, found, outcome=outcome)
    marks = (Mark(name="shell", t_ns=900_000_000),) if reports and system == "debian" else ()
    return msgspec.structs.replace(record, work=tuple(reports), gaps=tuple(gaps), marks=marks)


def _cycle(kit: Kit, cycle: int) -> list[Record]:
    slower = 1 + cycle / 50
    cpu = make_report("cpu", seconds=2.4 * slower, **LIMIT)
    parts = [make_report("memory", 4 << 30, 1.2 * slower, op=op, block=block) for op, block in PARTS]
    other = make_report("memory", 4 << 30, 2.0, op="write", block="1048576", how=HOSTILE_VALUE)
    merkle = make_report("merkle", 400, 0.8 * slower, made=OCAML, commits="400")
    theirs = make_report(
        "merkle", 400, 0.6 * slower, made={"compiler": "ocaml-5.3.0", "flags": "-O3"}, commits="400"
    )
    second = cycle == 2
    wrong = Wrong(reason=f"memory printed digest {HOSTILE_REASON}")
    crash = Crashed(reason="cpu was killed by the guest's kernel for want of memory: [  9.1] Out of memory: "
                    "Killed process 211 (guestwork)")  # fmt: skip
    late = Incomplete(reason="`/run/guestbench/memory` took more than 5 s in the guest and was ended")
    irmin = Gap(metric="work.irmin", reason="this image does no such work")
    return [
        work_record("debian", [cpu], kit=kit, workload="cpu", cycle=cycle),
        work_record("linux-app", () if second else [cpu], kit=kit, workload="cpu", cycle=cycle,
                    outcome=crash if second else None),
        work_record("debian", parts[:1] if second else parts, kit=kit, workload="memory", cycle=cycle,
                    outcome=late if second else None),
        work_record("linux-app", [other], workload="memory", cycle=cycle, outcome=wrong),
        work_record("debian", [merkle], kit=kit, workload="merkle", cycle=cycle),
        work_record("mirage", [theirs], kit=kit, cycle=cycle, gaps=[irmin]),
        *_network(cycle),
        *_checks(cycle),
    ]  # fmt: skip


def _network(cycle: int) -> list[Record]:
    def sample(metric: str, value: float, **labels: str) -> Sample:
        return Sample(metric=metric, value=value, labels=labels)

    echo = [
        sample("net.echo", 0.00041 * cycle, quantile="0.5"),
        sample("net.echo", 0.0029, quantile="0.99"),
    ]
    debian = [sample("net.goodput_in", 61e6 + cycle * 1e6), sample("net.goodput_out", 112e6), *echo]
    mirage = [sample("net.ready", 1.31 + cycle / 100), sample("net.goodput_in", 5.4e6), *echo]
    late = Gap(metric="net.ready", reason="its image answers nobody: the server is started over the shell")
    missing = Gap(metric="net.goodput_out", reason="the system lists no chargen service")
    silent = TimedOut(reason="no '[serve ready]' within 60 s; last line: Run /guestwork as init process")
    return [
        work_record("debian", purpose="net", cycle=cycle, samples=debian, gaps=[late]),
        work_record("linux-app", purpose="net", cycle=cycle, outcome=silent),
        work_record("mirage", purpose="net", cycle=cycle, samples=mirage, gaps=[missing]),
    ]


def _checks(cycle: int) -> list[Record]:
    figures = {
        "sysbench-cpu": 498.0 + cycle,
        "sysbench-memory-write-1m": 3.5e9,
        "stress-ng-matrix": 71.0,
        "iperf3-in": 64e6,
    }
    return [
        work_record(
            "debian", purpose="cross-check", workload=tool, cycle=cycle,
            samples=[Sample(metric=f"check.{tool.replace('-', '_')}", value=value)],
        )
        for tool, value in figures.items()
    ]  # fmt: skip


def make_experiment(**fields: object) -> Experiment:
    """An experiment of work and network with these settings of work."""
    return Experiment(
        name="work", title="Work", systems=("debian",), metrics=("work", "net"), settings={"work": fields}
    )


def guests_of(systems: Sequence[System]) -> tuple[Guest, ...]:
    """Guests with image files that are not there."""
    return tuple(map(make_guest, systems))


def trial_of(system: str, purpose: str, workload: str = "") -> Trial:
    """A trial."""
    return Trial(id="t", system=system, purpose=purpose, block=1, cycle=1, definition="", workload=workload)
