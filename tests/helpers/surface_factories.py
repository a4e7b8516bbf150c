"""A run that looked at the attack surface of three systems, with every kind of cell that can come of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from factories import HOSTILE_REASON, make_guest, make_header, make_record, make_system

from guestbench.families import find_metrics
from guestbench.model import Crashed, Gap, GuestFamily, Header, Outcome, Provenance, Record, Sample, Trial

WHY = "one program with its kernel: there is no such thing in it"


def make_surface_run() -> tuple[Header, tuple[Record, ...]]:
    """A finished run: a Linux, a unikernel, and a guest that never got ready and says hostile things."""
    guests = (
        make_guest(make_system("linux")),
        make_guest(make_system("unikernel", family=GuestFamily.UNIKERNEL, ready="[init done]")),
        make_guest(make_system("broken", title="A guest that dies")),
    )
    records = (*_linux(), *_unikernel(), *_broken())
    trials = tuple(record.trial for record in records)
    header = make_header(guests, trials, title="Attack surface of three systems", cycles=1, warmups=0)
    experiment = msgspec.structs.replace(header.experiment, metrics=("surface",))
    metrics = find_metrics(("surface",))
    return msgspec.structs.replace(header, experiment=experiment, metrics=metrics), records


def _record(
    system: str,
    purpose: str,
    samples: Sequence[Sample] = (),
    gaps: Sequence[Gap] = (),
    *,
    cycle: int = 1,
    outcome: Outcome | None = None,
) -> Record:
    name = f"{purpose}-{system}-{cycle}"
    trial = Trial(id=name, system=system, purpose=purpose, block=0, cycle=cycle, definition="")
    files = dict.fromkeys(sample.evidence for sample in samples if sample.evidence)
    artifacts = {file: f"trials/{name}/{file}.txt" for file in files}
    record = make_record(trial, samples, outcome=outcome, artifacts=artifacts)
    return msgspec.structs.replace(record, gaps=tuple(gaps))


def sample(name: str, value: int, evidence: str = "", detail: str = "", **labels: str) -> Sample:
    """A measured sample of the attack surface."""
    return Sample(metric=f"surface.{name}", value=value, labels=labels, evidence=evidence, detail=detail)


def declared(name: str, value: int) -> Sample:
    """A declared sample."""
    return msgspec.structs.replace(sample(name, value, detail=WHY), provenance=Provenance.DECLARED)


def gap(name: str, reason: str) -> Gap:
    """A missing sample."""
    return Gap(metric=f"surface.{name}", reason=reason)


def _linux() -> tuple[Record, ...]:
    live = (
        sample("open_tcp", 1, "ports", "5355"),
        sample("open_udp", 1, "ports", "5355; of 100 asked, 98 closed, 1 without an answer"),
        sample("syscalls", 430, "surface-kallsyms"),
        sample("processes", 84, "surface-processes"),
        sample("processes", 12, "surface-processes", kind="user"),
        sample("shells", 4, "surface-programs"),
        sample("users", 24, "surface-passwd"),
        sample("suid", 10, "surface-suid"),
        sample("modules", 52, "surface-modules"),
        sample("wx_pages", 0, "mem"),
        sample("nx", 1, "mem"),
        sample("mmio_bytes", 269_526_088, "mtree"),
        sample("sandbox", 0),
        sample("hardening_met", 11, kind="sysctls"),
    )
    gaps = (
        Gap(metric="surface.hardening_met", reason="unknown: no config", labels={"kind": "options"}),
        gap("passwords", "unknown: the guest gave no such answer"),
        gap("package_managers", f"unknown: {HOSTILE_REASON}"),
    )
    image = (sample("packages", 294, "inspect-disk"), sample("suid", 99, "inspect-disk"))
    boots = [
        _record("linux", "surface-boot", [sample("text_base", base)], cycle=number)
        for number, base in enumerate((0xFFFFAB400000, 0xFFFF86A00000, 0xFFFF86A00000), 1)
    ]
    return (
        _record("linux", "surface-image", image),
        _record("linux", "surface", live, gaps),
        *boots,
    )


def _unikernel() -> tuple[Record, ...]:
    live = (
        sample("open_tcp", 2, "ports", "7, 9"),
        declared("processes", 1),
        declared("users", 0),
        declared("suid", 0),
        declared("modules", 0),
        sample("wx_pages", 1_048_575, "mem", "100.0% of what is mapped"),
        sample("nx", 0, "mem"),
        sample("hardening_met", 3, kind="options"),
    )
    derived = sample("syscalls", 0, "inspect-kernel", "code that sets LSTAR: 0")
    image = (msgspec.structs.replace(derived, provenance=Provenance.DERIVED),)
    return (
        _record("unikernel", "surface-image", image, [gap("packages", "the image holds no files")]),
        _record("unikernel", "surface", live, [gap("open_udp", "the scan took too long")]),
        _record("unikernel", "surface-boot", (), [gap("text_base", "unknown: paging is off")]),
    )


def _broken() -> tuple[Record, ...]:
    return (_record("broken", "surface", outcome=Crashed(reason=HOSTILE_REASON)),)
