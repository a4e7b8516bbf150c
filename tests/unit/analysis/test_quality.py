"""What is told of a run that measures nothing of some system."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from factories import make_guest, make_header, make_run, make_system

from guestbench.analysis.quality import find_idle, find_notices, find_suspended
from guestbench.errors import UsageError
from guestbench.families.net.plan import plan
from guestbench.model import GuestFamily, Header, Kit, Service, ShellWork, System
from guestbench.run.plan import plan_trials
from guestbench.run.prepare import prepare
from guestbench.run.request import Request

SERVES = msgspec.structs.replace(make_system("serves"), services=(Service.ECHO,))
SHELL = msgspec.structs.replace(make_system("shell"), work=ShellWork())
NEITHER = make_system("neither")
FLOOR = make_system("null", family=GuestFamily.FLOOR)


def make(*systems: System, metrics: tuple[str, ...] = ("net",)) -> Header:
    """A run of systems with all their trials."""
    header = make_header([make_guest(system) for system in systems], ())
    experiment = msgspec.structs.replace(header.experiment, metrics=metrics)
    header = msgspec.structs.replace(header, experiment=experiment, kit=Kit(works=()))
    return msgspec.structs.replace(header, trials=plan_trials(header))


def test_a_guest_that_serves_by_itself_is_measured_without_other_work() -> None:
    """A system with `services` and no [work] would be left out without a word."""
    wanted = {each.system for batch in plan(make(SERVES, SHELL, NEITHER)) for each in batch.trials}
    assert wanted == {"serves", "shell"}


def test_a_system_of_which_a_family_measures_nothing_is_named_with_what_it_lacks() -> None:
    """An empty column would look like a failure, or like nothing at all."""
    header = make(FLOOR, SERVES, NEITHER, metrics=("net", "work"))
    network, work = sorted(find_idle(header))
    assert network.startswith("Network: nothing is measured of neither, for want of services")
    assert work.startswith("Work: nothing is measured of serves, neither, for want of a [work] table")
    assert {network, work} <= set(find_notices(header, ()))


def test_a_run_in_which_everybody_has_something_says_nothing() -> None:
    """Every report would open with a warning."""
    assert list(find_idle(make(FLOOR, SERVES, SHELL))) == []
    assert list(find_idle(make(FLOOR, NEITHER, metrics=("boot",)))) == []


def test_a_run_that_would_measure_nothing_is_refused(tmp_path: Path) -> None:
    """An empty summary with exit status 0 would pass for a result."""
    file = tmp_path / "mine.toml"
    file.write_text(
        'name = "mine"\ntitle = "mine"\nsystems = ["floor"]\nmetrics = ["net", "work"]\n'
        '[platform]\nvmm = "fake"\n'
    )
    with pytest.raises(UsageError, match="nothing to measure: floor has nothing of net, work") as caught:
        prepare(Request(experiment=str(file)), lambda _: None)
    assert str(file) in caught.value.hint


def test_trials_during_which_the_host_slept_are_named() -> None:
    """A boot with a closed lid in its middle would be taken for one like the others."""
    header, records = make_run()
    assert list(find_suspended(records)) == []
    slept = msgspec.structs.replace(records[1].conditions, suspended_s=4000.04)
    changed = (records[0], msgspec.structs.replace(records[1], conditions=slept), *records[2:])
    (told,) = find_suspended(changed)
    assert told.startswith(f"The host was suspended during 1 of {len(records)} trials, for up to 4,000.0 s")
    assert told.endswith(f": {records[1].trial.id}.")
    assert told in find_notices(header, changed)
