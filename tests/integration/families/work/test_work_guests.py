"""Work and network on real guests: the same work with the same result, and images left as they were."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
from replay import write_recording

from guestbench.definition.workloads import load_workload
from guestbench.host import process
from guestbench.model import Header, Needs, Ok, Record, Role, WorkReport, Wrong
from guestbench.provision.kit import prepare_kit, run_on_host
from guestbench.run.store import read_store

pytestmark = [pytest.mark.qemu, pytest.mark.network]

EXPERIMENT = """
name = "work"
title = "Work"
systems = [{systems}]
metrics = ["work", "net"]
[work]
cycles = 1
workloads = [{workloads}]
transfer_mib = 4
requests = 200
[platform]
accel = "tcg"
"""
TIMER = b"IO-APIC + timer doesn't work"
"""Linux panics with it where no tick comes in 40 ms, as on a host that is very busy: then it is run again."""
PARTS = {"cpu": 1, "memory": 3, "merkle": 1, "sqlite": 1}
"""How many reports each workload makes."""


def quote_all(words: tuple[str, ...]) -> str:
    """Words as the items of a list in TOML."""
    return ", ".join(f'"{word}"' for word in words)


def make_run(folder: Path, systems: tuple[str, ...], workloads: tuple[str, ...]) -> Path:
    """The folder of a run through the command line; it must have succeeded."""
    experiment = folder / "work.toml"
    experiment.write_text(EXPERIMENT.format(systems=quote_all(systems), workloads=quote_all(workloads)))
    for attempt in range(3):
        results = folder / f"results{attempt}"
        argv: list[str | Path] = [sys.executable, "-m", "guestbench", "run", experiment, "-o", results]
        done = process.run(argv, check=False, timeout_s=900.0)
        if TIMER not in done.stderr:
            break
    assert done.status == 0, done.stderr.decode()
    return results


def reports_of(records: tuple[Record, ...], system: str, workload: str) -> tuple[WorkReport, ...]:
    """What a system said of a workload."""
    (record,) = [r for r in records if (r.trial.system, r.trial.workload) == (system, workload)]
    assert isinstance(record.outcome, Ok)
    return record.work


def check_work(header: Header, records: tuple[Record, ...], system: str, workload: str) -> None:
    """A system did what this host does with the very same program, and took a time that can be."""
    assert header.kit is not None
    work = header.kit.find(workload)
    assert work is not None
    assert work.program is not None
    native = run_on_host(work.program, load_workload(workload))
    reports = reports_of(records, system, workload)
    assert len(reports) == PARTS[workload]
    wanted = [(each.key, each.source, each.done, each.digest) for each in native]
    assert [(each.key, each.source, each.done, each.digest) for each in reports] == wanted
    for report, own in zip(reports, native, strict=True):
        assert len(report.digest) == 32
        assert report.seconds is not None
        assert own.guest_ns is not None
        # No guest is faster than its host, but a noisy one may have been busy during its own run.
        assert report.seconds > own.guest_ns / 1e9 / 3
        # The guest's clock is its own, and emulated; it is there to be compared with the host's.
        assert report.guest_ns is not None
        assert report.guest_ns / 1e9 == pytest.approx(report.seconds, rel=0.5, abs=0.2)


def check_network(records: tuple[Record, ...], system: str, *, boots: bool) -> None:
    """A system has all figures of the network, and that of readiness if it was booted for them."""
    (record,) = [r for r in records if r.trial.system == system and r.trial.purpose == "net"]
    assert isinstance(record.outcome, Ok)
    values = {
        (sample.metric, sample.labels.get("quantile")): sample.value
        for sample in record.samples
        if sample.metric.startswith("net.")
    }
    transfers = {("net.goodput_in", None), ("net.goodput_out", None)}
    echoes = {("net.echo", "0.5"), ("net.echo", "0.99")}
    assert values.keys() == transfers | echoes | ({("net.ready", None)} if boots else set())
    assert all(value > 0 for value in values.values())
    assert values["net.echo", "0.5"] <= values["net.echo", "0.99"] < 5
    assert all(100e3 < values[transfer] < 100e9 for transfer in transfers)
    if boots:
        assert 0.05 < values["net.ready", None] < 60
    else:
        (gap,) = [gap for gap in record.gaps if gap.metric == "net.ready"]
        assert gap.reason


def hash_images(header: Header) -> dict[tuple[str, Role], str]:
    """The digests of all images as they are now, against which those of the run can be held."""
    return {
        (guest.system.name, role): hashlib.sha256(Path(image.path).read_bytes()).hexdigest()
        for guest in header.guests
        for role, image in guest.images.items()
    }


def check_images(header: Header) -> None:
    """All images are still what they were when the run began."""
    before = {(g.system.name, role): image.sha256 for g in header.guests for role, image in g.images.items()}
    assert hash_images(header) == before


def rows_of(report: str, title: str) -> list[list[str]]:
    """The cells of the rows of a report's tables whose first cell begins so."""
    rows = [line.strip("| ").split("|") for line in report.splitlines() if line.startswith(f"| {title}")]
    return [[cell.strip() for cell in row] for row in rows]


def test_small_guests_do_the_same_work(tmp_path: Path) -> None:
    """The report would compare speeds of unlike work, or a guest with a wrong result would have a speed."""
    systems = ("linux-minimal", "linux-app", "reference-unikernel")
    workloads = ("cpu", "memory", "merkle", "sqlite")
    results = make_run(tmp_path, systems, workloads)
    header, records = read_store(results)
    assert len(records) == len(header.trials) == len(systems) * (len(workloads) + 1)
    for system in systems:
        for workload in workloads:
            check_work(header, records, system, workload)
        check_network(records, system, boots=system != "linux-minimal")
    check_images(header)
    report = (results / "comparison_results.md").read_text()
    assert "\n## Work\n" in report
    assert "\n## Network\n" in report
    titles = ("CPU: primes", "Memory: sequential words", "Merkle tree in OCaml", "SQLite in memory")
    for title, count in zip(titles, PARTS.values(), strict=True):
        rows = [row for row in rows_of(report, title) if row[1].startswith("yes: the same program file (SHA")]
        assert len(rows) == count, (title, rows_of(report, title))
        assert all("/s" in cell and "n/a" not in cell for row in rows for cell in row[2:])
    for title in ("TCP into the guest", "TCP out of the guest"):
        row, *instrument = rows_of(report, title)
        assert all("net." in cell[1] for cell in instrument)
        assert all("B/s" in cell for cell in row[1:])


@pytest.mark.image
@pytest.mark.slow
def test_debian_works_from_a_snapshot(tmp_path: Path) -> None:
    """A distribution could not be given work, would pay a boot for each piece, or find its disk changed."""
    system = "debian-12-nocloud"
    results = make_run(tmp_path, (system,), ("cpu",))
    header, records = read_store(results)
    check_work(header, records, system, "cpu")
    check_network(records, system, boots=False)
    check_images(header)
    # It boots in no trial, which would take 45 s of each under emulation.
    assert all("-incoming" in record.argv for record in records)
    (row,) = rows_of((results / "comparison_results.md").read_text(), "CPU: primes")[:1]
    assert "nothing to compare" in row[1]


TWIN = """
name = "twin"
title = "An image that works by itself"
family = "unikernel"
ready = "[init done]"
timeout_s = 30
workloads = ["merkle"]
[boot]
type = "kernel"
[work]
type = "image"
end = "[run done]"
[provision]
path = "twin/serial.log"
"""
REPLAY = """
name = "replay"
title = "Images that work by themselves"
systems = ["mirage-unikraft", "./twin"]
metrics = ["work"]
[work]
cycles = 2
workloads = ["merkle"]
[platform]
vmm = "fake"
accel = "tcg"
"""


@pytest.mark.parametrize("lies", [False, True], ids=["right", "wrong"])
def test_images_that_work_by_themselves_are_held_against_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lies: bool
) -> None:
    """A unikernel that works on its own would be believed, or never be seen to do the same as Linux.

    Its console is replayed: no such image can be built in a test.
    """
    monkeypatch.chdir(tmp_path)
    (work,) = prepare_kit(Needs(workloads=("merkle",)), lambda _: None).works
    assert work.program is not None
    said = process.run([work.program.path]).stdout
    at = said.index(b"\n", said.index(b"[work begin ")) + 1
    for name in ("mirage", "twin"):
        last = said[at:].replace(b" digest=", b" digest=0") if lies and name == "mirage" else said[at:]
        write_recording(tmp_path / name, [(900, b"Powered by\n"), (1000, said[:at]), (3000, last)], 0)
    (tmp_path / "twin" / "system.toml").write_text(TWIN)
    (tmp_path / "replay.toml").write_text(REPLAY)
    argv = ["guestbench", "run", "replay.toml", "--system", "mirage-unikraft=mirage/serial.log", "-o", "out"]
    done = process.run([sys.executable, "-m", *argv], check=False)
    records = [r for r in read_store(tmp_path / "out")[1] if r.trial.system == "mirage-unikraft"]
    (row,) = rows_of((tmp_path / "out" / "comparison_results.md").read_text(), "Merkle tree in OCaml")[:1]
    if lies:
        assert done.status == 4
        assert all(isinstance(record.outcome, Wrong) for record in records)
        assert row[1].startswith("no, not equivalent: mirage-unikraft: its result has another digest")
    else:
        assert done.status == 0, done.stderr.decode()
        assert [report.seconds for record in records for report in record.work] == [2.0, 2.0]
        assert row[1] == "yes: same sources, compiler and flags; same result"


def test_the_kit_is_made_once() -> None:
    """Two runs would give their guests different programs, and their figures could not be compared."""
    said: list[str] = []
    first = prepare_kit(Needs(workloads=("cpu",)), said.append)
    said.clear()
    assert prepare_kit(Needs(workloads=("cpu",)), said.append).disk == first.disk
    assert said == []
