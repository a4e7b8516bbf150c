"""Calibration: what is planted in which trial, and what is made of it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from calibration_factories import BASE_KIB, make_calibration_run
from replay import FAKE, make_guest, make_header, make_system, write_recording
from report_pages import markdown_of

from guestbench.analysis.calibration import find_known_ratios, find_recoveries
from guestbench.definition.until import limit, parse_until
from guestbench.families.calibration import CALIBRATION, DELAYS_MS, READY, STAMP, TOUCHED, WORKER_CPU
from guestbench.families.calibration.findings import known_ratios, planted
from guestbench.families.calibration.plan import describe, plan
from guestbench.families.calibration.probe import equip, find_late_ns
from guestbench.model import Experiment, Header, Kernel, Provision
from guestbench.run.jobs import make_job
from guestbench.run.worker import run_trial
from guestbench.vmm import Chunk, Lacking, LaunchSpec, Need
from guestbench.vmm.fake import FakeMachine

LOG = [(80.0, b"SeaBIOS\r\n[refuk ready]\n[init done]\n")]


def make_replay(folder: Path) -> Header:
    """A header of a run that replays the console of a guest that does as it is told."""
    told = make_system("told", provision=Provision(build={"method": "library-os"}))
    wanted = Experiment(
        name="test", title="Test", systems=("told",), metrics=("calibration",), cycles=1, warmups=0
    )
    return make_header((make_guest(told, write_recording(folder, LOG)),), wanted)


def test_each_block_plants_each_delay_once_and_none_twice() -> None:
    """What is planted would be compared with boots of another time, or a guest not with itself."""
    trials = [trial for trial in make_calibration_run()[0].trials if trial.purpose == CALIBRATION]
    for block in range(1, 11):
        mine = [trial for trial in trials if trial.block == block]
        delays = [trial.workload for trial in mine if trial.workload.startswith(("delay", "again"))]
        assert sorted(delays) == sorted([*(f"delay-{ms}" for ms in DELAYS_MS), "again-0"])
        assert {trial.system for trial in mine if trial.workload == "stamps-0"} == {"floor", "told"}
    assert {trial.system for trial in trials} == {"floor", "told"}
    assert len({trial.id for trial in trials}) == len(trials)


def test_a_run_that_ends_by_a_rule_is_calibrated_in_its_least_blocks() -> None:
    """A run that is to end after ten blocks would go on with all that there might have been."""
    header, _ = make_calibration_run()
    experiment = msgspec.structs.replace(header.experiment, cycles=160)
    rule = limit(parse_until("ci=3%"), 160)
    header = msgspec.structs.replace(header, experiment=experiment, until=rule)
    assert max(batch.rounds for batch in plan(header)) == 10


def test_only_the_kernel_is_booted_and_told(tmp_path: Path) -> None:
    """The program's own start, or nothing at all, would be measured in the place of what was planted."""
    header = make_replay(tmp_path)
    found = {}
    for trial in header.trials:
        job = make_job(trial, header, tmp_path)
        spec = LaunchSpec(boot=job.system.boot, images=job.guest.images, platform=FAKE, folder=tmp_path)
        found[trial.workload] = equip(job, spec)
    assert found["delay-5"].boot == Kernel(cmdline="refuk.ready-after-ms=5 refuk.halt")
    assert found["again-0"].boot == found["delay-0"].boot
    assert found["memory-16"].boot == Kernel(cmdline="refuk.touch-mib=16 refuk.ready-after-ms=0 refuk.halt")
    assert found["memory-16"].needs == {Need.MEMORY}
    assert found["stamps-0"].needs == {Need.STAMPS}


def test_a_trial_has_the_figure_of_what_it_planted(tmp_path: Path) -> None:
    """A figure would be missing, or stand under another amount."""
    header = make_replay(tmp_path)
    records = {
        trial.workload: run_trial(make_job(trial, header, tmp_path))
        for trial in header.trials
        if trial.system == "told"
    }
    samples = {each.metric: each for each in records["delay-5"].samples}
    assert samples[READY].value == pytest.approx(0.08)
    assert samples[READY].labels == {"planted": "5 ms"}
    # Once in a block, or it would be told several times of one guest.
    assert WORKER_CPU not in samples
    assert [each.value > 0 for each in records["again-0"].samples if each.metric == WORKER_CPU] == [True]
    assert "planted 5 ms; ready after 80.00 ms" in describe(records["delay-5"])
    # A VMM that has no such thing says so, and nothing takes the figure's place.
    for workload, metric in (("memory-16", TOUCHED), ("stamps-0", STAMP)):
        assert [gap.metric for gap in records[workload].gaps] == [metric]
        assert not [each for each in records[workload].samples if each.metric == metric]


def test_the_stamps_of_the_vmm_are_those_of_the_ready_byte() -> None:
    """The error of our stamps would be that of another byte."""

    class Stamped:
        def read(self) -> tuple[Chunk, ...]:
            return tuple(Chunk(t_ns=1000 * n, data=bytes([each])) for n, each in enumerate(b"xx[ready]yy"))

    silent = Lacking(reason="the VMM stamps no bytes of the console")
    machine = FakeMachine((), None, ())
    assert find_late_ns(machine, b"[ready]", 9000) == silent
    machine.stamps = Stamped()
    assert find_late_ns(machine, b"[ready]", 9000) == 9000 - 8000
    assert find_late_ns(machine, b"[never]", 9000) == silent


def test_the_known_difference_is_the_one_nearest_to_three_percent() -> None:
    """The front page would tell of a difference that no one doubts."""
    header, records = make_calibration_run()
    found = list(known_ratios(header, records))
    assert [dict(key[1])["planted"] for _, key, _, _, _ in found] == ["0 ms, again", "5 ms"]
    assert [expected for *_, expected in found] == [1, pytest.approx(1 + 0.005 / 0.15055, rel=1e-3)]
    same, longer = (each for each in find_known_ratios(header, records) if each.system == "told")
    assert same.holds and same.ratio == pytest.approx(1)
    assert longer.ratio == pytest.approx(longer.expected, rel=1e-3)


def test_what_was_planted_is_in_the_unit_of_the_metric() -> None:
    """The slope would be off by a factor."""
    header, records = make_calibration_run()
    found = {metric: points for _, metric, points in planted(header, records)}
    assert {x for _, x, _ in found[READY]} == {ms * 0.001 for ms in DELAYS_MS}
    assert {y - x for _, x, y in found[TOUCHED]} == {BASE_KIB}
    assert {system for system, _, _ in planted(header, records)} == {"told"}
    slopes = {each.metric: each.slope for each in find_recoveries(header, records)}
    assert slopes == {READY: pytest.approx(1), TOUCHED: pytest.approx(1)}


def test_the_report_shows_what_was_planted_and_what_came_of_it() -> None:
    """An instrument that is off would look like one that is not."""
    page = markdown_of(*make_calibration_run(longer_s=0.02))
    (row,) = [line for line in page.splitlines() if line.startswith("| `told`") and "| 10.0 ms" in line]
    assert [cell.strip() for cell in row.split("|")[3:-1]] == ["10", "181 ms", "30.0 ms", "20.0 ms"]
    assert "`told` was held against a known ratio of 1.033 and came out at 1.166" in page
    sound = markdown_of(*make_calibration_run())
    assert "held against" not in sound
    assert "`told` was measured twice in each of 10 blocks" in sound
    assert "By that scatter this host tells differences of" in sound
