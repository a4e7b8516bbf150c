"""A run that ends by its rule: it makes no block beyond it, and goes on under it after an interruption."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from silent_progress import SilentProgress
from steered import make_steered

from guestbench.analysis.stopping import find_looks
from guestbench.cli.run import command
from guestbench.definition.experiments import load_experiment
from guestbench.definition.systems import load_catalogue
from guestbench.definition.until import parse_until
from guestbench.errors import UsageError
from guestbench.model import Header, Job, Record, Trial
from guestbench.run.pool import Execute, Local
from guestbench.run.prepare import adjust, check_until
from guestbench.run.request import Request
from guestbench.run.store import create_store, read_store, reopen_store
from guestbench.run.trials import make_trials


class Counting(SilentProgress):
    """Remembers how many trials there were to be, each time that was said."""

    def __init__(self) -> None:
        self.totals: list[int] = []

    def begin(self, trials: Sequence[Trial], done: Sequence[Record]) -> None:
        """Remember it."""
        self.totals.append(len(trials))


@pytest.fixture
def steered() -> tuple[Header, tuple[Record, ...]]:
    """A run of at most 40 blocks that is to end after some of them, and all that it could have made."""
    header, records = make_steered("ci=2.5%", 0.05)
    experiment = msgspec.structs.replace(header.experiment, metrics=("boot",))
    return msgspec.structs.replace(header, experiment=experiment), records


def replay(records: Sequence[Record], most: int = 10_000) -> Execute:
    """Make trials by looking them up; Ctrl-C comes after `most` of them."""
    known = {record.trial.id: record for record in records}
    made: list[str] = []

    def execute(jobs: Iterable[Job], _: int, __: Callable[[], None]) -> Iterator[Record]:
        for job in jobs:
            if len(made) == most:
                raise KeyboardInterrupt
            made.append(job.trial.id)
            yield known[job.trial.id]

    return execute


def test_a_run_makes_no_block_after_the_look_that_ends_it(
    tmp_path: Path, steered: tuple[Header, tuple[Record, ...]]
) -> None:
    """The host would go on booting for nothing, and progress would never get to its end."""
    header, records = steered
    end = find_looks(header, records).end
    assert end is not None
    progress = Counting()
    with create_store(tmp_path / "run", header) as store:
        made = make_trials(store, header, (), progress, Local(replay(records)))
    assert [r.trial.id for r in made] == [t.id for t in header.trials if t.block <= end]
    assert progress.totals == [len(header.trials), len(made)]
    again, kept = read_store(tmp_path / "run")
    assert again.until == header.until
    assert find_looks(again, kept).end == end


@pytest.mark.parametrize("stop_after", [1, 29, 30, 31, 41])
def test_an_interrupted_run_goes_on_to_the_same_end(
    tmp_path: Path, steered: tuple[Header, tuple[Record, ...]], stop_after: int
) -> None:
    """Ctrl-C at the right moment would decide how many blocks a run has."""
    header, records = steered
    end = find_looks(header, records).end
    with create_store(tmp_path / "run", header) as store, pytest.raises(KeyboardInterrupt):
        make_trials(store, header, (), SilentProgress(), Local(replay(records, stop_after)))
    for _ in range(2):  # the second time there is nothing left to do
        with reopen_store(tmp_path / "run") as (store, again, done):
            made = make_trials(store, again, done, SilentProgress(), Local(replay(records)))
        assert [r.trial.id for r in made] == [t.id for t in header.trials if t.block <= (end or 0)]


def test_the_floor_is_not_booted_again_after_the_look_that_ends_it(
    tmp_path: Path, steered: tuple[Header, tuple[Record, ...]]
) -> None:
    """Its second boots of all the blocks that there might have been would follow the run."""
    header, records = steered
    end = find_looks(header, records).end
    floors = [record for record in records if record.trial.system == "floor"]
    twins = [
        msgspec.structs.replace(
            each, trial=msgspec.structs.replace(each.trial, id=f"twin-{each.trial.id}", purpose="twin")
        )
        for each in floors
    ]
    both = sorted([*(each.trial for each in (*records, *twins))], key=lambda trial: trial.block)
    header = msgspec.structs.replace(header, trials=tuple(both))
    assert find_looks(header, (*records, *twins)).end == end
    with create_store(tmp_path / "run", header) as store:
        made = make_trials(store, header, (), SilentProgress(), Local(replay((*records, *twins))))
    assert sum(each.trial.purpose == "twin" for each in made) == end
    assert max(each.trial.block for each in made) == end


def test_the_cap_is_the_users_or_the_rules_and_never_the_experiments() -> None:
    """Ten cycles that an experiment has by habit would end every run at its first look."""
    experiment = load_experiment("seed", load_catalogue())
    rule = parse_until("ci=3%")
    assert adjust(experiment, Request(experiment="seed", until=rule)).cycles == 160
    assert adjust(experiment, Request(experiment="seed", until=rule, cycles=30)).cycles == 30
    with pytest.raises(UsageError, match="--cycles"):
        adjust(experiment, Request(experiment="seed", until=rule, cycles=5))


@pytest.mark.parametrize(
    ("changes", "names", "told"),
    [
        ({}, ("floor", "debian-12-nocloud"), "no other"),
        ({}, ("floor", "linux-minimal"), "no baseline"),
        ({"baseline": ""}, ("linux-minimal", "debian-12-nocloud"), "no baseline"),
        ({"metrics": ("image",)}, ("linux-minimal", "debian-12-nocloud"), "boot"),
    ],
)
def test_a_run_that_has_nothing_to_look_at_is_refused(
    changes: dict[str, object], names: tuple[str, ...], told: str
) -> None:
    """It would build images for an hour, and then boot 160 blocks of what no rule can end."""
    catalogue = load_catalogue()
    experiment = msgspec.structs.replace(load_experiment("seed", catalogue), **changes)
    with pytest.raises(UsageError, match="--until") as caught:
        check_until(experiment, [catalogue[name] for name in names])
    assert told in caught.value.message
    check_until(load_experiment("seed", catalogue), list(catalogue.values()))


def test_help_says_what_cycles_is_then() -> None:
    """A user who caps a run would not know that it is capped, or by what."""
    (option,) = (each for each in command.params if each.name == "until")
    assert "--cycles is then the most blocks" in str(getattr(option, "help", ""))
