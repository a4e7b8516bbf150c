"""A run on a fleet with a real QEMU: the same trials and metrics as without one."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from guestbench.host import process
from guestbench.model import Ok, Record
from guestbench.run.store import read_store

pytestmark = [pytest.mark.qemu, pytest.mark.image]
pytest.importorskip("distributed")

EXPERIMENT = """
name = "small"
title = "The null guest, a unikernel and a small Linux"
systems = ["floor", "reference-unikernel"]
optional = ["linux-minimal"]
metrics = ["image", "boot", "cost"]
baseline = "reference-unikernel"
cycles = 1
warmups = 0
seed = 1
[cost]
boots = 1
"""


def test_a_fleet_measures_what_one_machine_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever adds a machine would get another table than before."""
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(EXPERIMENT)
    found = {}
    for name, options in (("alone", ()), ("fleet", ("--on", "local:2"))):
        process.run(
            [
                sys.executable,
                "-m",
                "guestbench",
                "run",
                "./small.toml",
                "-o",
                name,
                "--accel",
                "tcg",
                *options,
            ]
        )
        header, records = read_store(Path(name))
        assert all(isinstance(r.outcome, Ok) for r in records), [r.outcome for r in records]
        assert Path(name, "report.html").exists() and Path(name, "comparison_results.md").exists()
        assert sorted(r.trial.id for r in records) == sorted(t.id for t in header.trials)
        assert {r.host for r in records} == {header.host.digest}
        found[name] = header, {r.trial.id: r for r in records}
    (alone, first), (fleet, second) = found["alone"], found["fleet"]
    assert len(fleet.hosts) == 1 and fleet.host == alone.host
    assert fleet.trials == alone.trials and first.keys() == second.keys()
    for trial, record in first.items():
        other = second[trial]
        assert metrics_of(record) == metrics_of(other), trial
        assert record.images == other.images and record.artifacts == other.artifacts
        for file in other.artifacts.values():
            assert Path("fleet", file).exists()
    exact = {m.name for m in alone.metrics if m.exact and m.family == "image"}
    for trial in (t.id for t in alone.trials if t.purpose == "image"):
        one, two = (
            {
                (s.metric, msgspec.json.encode(s.labels)): s.value
                for s in made[trial].samples
                if s.metric in exact
            }
            for made in (first, second)
        )
        assert one and one == two


def metrics_of(record: Record) -> set[tuple[str, str]]:
    """What a record has values of."""
    return {(s.metric, str(sorted(s.labels.items()))) for s in record.samples}
