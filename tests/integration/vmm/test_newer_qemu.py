"""Every family of metrics under a newer QEMU than this host's, which is only put first on PATH."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from newer_qemu import find_newer_qemu

from guestbench.errors import GuestbenchError
from guestbench.host.facts import QEMU
from guestbench.model import Header, Ok, Record
from guestbench.run.store import read_store

pytestmark = [pytest.mark.qemu, pytest.mark.network, pytest.mark.slow]

SEARCH = "memory-min"
FAMILIES = ("image", "boot", "cost", "memory", "surface", "work", "net")
SYSTEMS = ("floor", "reference-unikernel", "linux-minimal")
EXPERIMENT = f"""\
name = "families"
title = "Every family, with as few boots as it can be"
systems = {list(SYSTEMS)}
metrics = {list(FAMILIES)}
cycles = 1
warmups = 0

[cost]
boots = 1

[memory]
cycles = 1
boots = 1
settle_s = 0.5
well_s = 0.2

[surface]
boots = 2

[work]
cycles = 1
snapshots = 1
settle_s = 0.5
workloads = ["cpu"]
transfer_mib = 1
requests = 20

[platform]
accel = "tcg"
memory_mib = 96
"""


class Run(NamedTuple):
    """What a run left in its folder, and what it said."""

    header: Header
    records: tuple[Record, ...]
    said: str


def measure(folder: Path, first_on_path: Path | None) -> Run:
    """Measure all families, with the QEMU in that folder."""
    folder.mkdir()
    experiment = folder / "families.toml"
    experiment.write_text(EXPERIMENT)
    path = os.pathsep.join([*([str(first_on_path)] if first_on_path else []), os.environ["PATH"]])
    argv = [sys.executable, "-m", "guestbench", "run", str(experiment), "-o", str(folder / "run")]
    done = subprocess.run(argv, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)
    header, records = read_store(folder / "run")
    failed = [r for r in records if not isinstance(r.outcome, Ok) and r.trial.purpose != SEARCH]
    told = [f"{record.trial.id}: {record.outcome.reason}" for record in failed]
    assert (done.returncode, told) == (0, []), done.stderr[-2000:]
    return Run(header, records, done.stdout)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """The same run with the host's QEMU and with the newer one."""
    try:
        newer = find_newer_qemu()
    except GuestbenchError as error:
        pytest.skip(f"no newer QEMU can be had: {error.message}")
    folder = tmp_path_factory.mktemp("newer-qemu")
    # Nothing here is about time, so both may be made at once.
    with ThreadPoolExecutor(2) as pool:
        ours = pool.submit(measure, folder / "host", None)
        theirs = pool.submit(measure, folder / "newer", newer)
        return ours.result(), theirs.result()


def test_the_qemu_that_is_first_on_path_is_measured_and_named(runs: tuple[Run, Run]) -> None:
    """Figures of one QEMU would stand under the version of another."""
    ours, newer = (run.header.host for run in runs)
    assert newer.vmm_path == str(find_newer_qemu() / QEMU)
    versions = [tuple(map(int, each.vmm_version.split(".")[:2])) for each in (ours, newer)]
    assert versions[1] > versions[0]
    assert versions[1] >= (10, 0)
    assert ours.digest != newer.digest


def test_every_family_measures_the_same_metrics_under_both(runs: tuple[Run, Run]) -> None:
    """Under a newer QEMU a column would be empty, and nobody would have been told."""
    had = [
        {
            (record.trial.purpose, record.trial.system, metric, kind)
            for record in run.records
            for kind, metrics in (
                ("value", [sample.metric for sample in record.samples]),
                ("gap", [gap.metric for gap in record.gaps]),
            )
            for metric in metrics
            if record.trial.purpose != SEARCH
        }
        for run in runs
    ]
    assert had[0] == had[1]
    families = {metric.name: metric.family for metric in runs[1].header.metrics}
    assert {families[metric] for _, _, metric, _ in had[1]} == set(FAMILIES)
    assert {system for _, system, _, _ in had[1]} == set(SYSTEMS)


def test_the_least_memory_is_found_under_both(runs: tuple[Run, Run]) -> None:
    """A QEMU that says otherwise why a guest did not boot would end the search, or mislead it."""
    for run in runs:
        boots = Counter(
            (record.trial.system, isinstance(record.outcome, Ok))
            for record in run.records
            if record.trial.purpose == SEARCH
        )
        assert all(boots[system, well] for system in SYSTEMS for well in (True, False)), boots


def test_nothing_that_qemu_warns_of_is_taken_for_a_reason(runs: tuple[Run, Run]) -> None:
    """A user would look for a fault in an option that is only old."""
    reasons = [record.outcome.reason for run in runs for record in run.records]
    assert not [reason for reason in reasons if "deprecated" in reason]


def test_boots_that_count_memory_show_where_the_kernel_is(runs: tuple[Run, Run]) -> None:
    """Randomised addresses would be found in no boot but those that are made for them."""
    for run in runs:
        looked_at = {"memory", "surface"}
        assert not any(record.trial.purpose == "surface-boot" for record in run.records)
        bases = {
            record.trial.purpose: sample.value
            for record in run.records
            if record.trial.system == "reference-unikernel"
            for sample in record.samples
            if sample.metric == "surface.text_base"
        }
        assert set(bases) == looked_at
