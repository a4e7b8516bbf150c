"""`guestbench run`: measures an experiment, or goes on with an interrupted run, and writes its report."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from guestbench.cli import report
from guestbench.cli.talk import say
from guestbench.cli.where import INSECURE, ON, open_fleet
from guestbench.definition.rules import setting_meanings
from guestbench.definition.settings import (
    Changes,
    complete_setting,
    find_tables,
    list_settings,
    parse_settings,
)
from guestbench.definition.workloads import list_workloads
from guestbench.errors import GuestbenchError, Interrupted, StoreError, TrialError, UsageError
from guestbench.families import list_families
from guestbench.model import Accel, Ok
from guestbench.model.experiment import LARGEST_INTEGER, MOST_BOOTS

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from guestbench.model import Header, Record, StopRule
    from guestbench.run.fleet import Fleet
    from guestbench.run.request import Request
    from guestbench.run.store import Store

DEFAULT_EXPERIMENT = "seed"
WITH_RESUME = ("resume", "as_json", "no_build", "on", "insecure")
"""Options that say nothing of what is measured."""


class RunCommand(click.Command):
    """A command whose help ends with the families of metrics and the settings that `--set` knows."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the families, and the settings with their defaults."""
        with formatter.section("Families of metrics"):
            formatter.write_dl([(family.name, family.title) for family in list_families()])
        settings = list_settings(find_tables())
        with formatter.section("Settings, with their defaults"):
            formatter.write_dl([(f"{each.name}={each.default}", each.help) for each in settings])


def _complete_settings(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    found = complete_setting(begun, find_tables(), setting_meanings(list_workloads()))
    return [CompletionItem(text, help=told) for text, told in found]


def with_options_of_run(*names: str) -> Callable[[click.Command], click.Command]:
    """Give a command those options of `guestbench run`, behind its own."""

    def add(other: click.Command) -> click.Command:
        found = {option.name: option for option in command.params}
        other.params += (found[name] for name in names)
        return other

    return add


def parse_given(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, Path]:
    """The image files that `NAME=PATH` give to systems."""
    given: dict[str, Path] = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not (name and equals and path):
            raise click.BadParameter(f"{value!r} is not of the form NAME=PATH")
        given[name] = Path(path)
    return given


GIVEN = click.option(
    "--system",
    "given",
    multiple=True,
    metavar="NAME=PATH",
    callback=parse_given,
    help="Boot this image file for the system NAME. Repeatable.",
)


def _parse_metrics(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(filter(None, value.split(","))) if value is not None else ()


def _parse_until(_: click.Context, __: click.Parameter, value: str | None) -> StopRule | None:
    from guestbench.definition.until import parse_until

    return parse_until(value) if value is not None else None


def _parse_budget(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    from guestbench.definition.budget import parse_budget

    return parse_budget(value) if value is not None else None


def _parse_settings(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> Changes:
    return parse_settings(values, find_tables(), setting_meanings(list_workloads()))


@click.command("run", cls=RunCommand)
@click.argument("experiment", default=DEFAULT_EXPERIMENT)
@GIVEN
@click.option(
    "--only-system", "only", multiple=True, metavar="NAME", help="Measure only this system. Repeatable."
)
@click.option(
    "--metrics",
    metavar="FAMILY,…",
    callback=_parse_metrics,
    help="Measure only these families; see below.",
)
@click.option(
    "--cycles", type=click.IntRange(1, MOST_BOOTS), metavar="N", help="Measured boots of each system."
)
@click.option(
    "--until",
    metavar="RULE",
    callback=_parse_until,
    help="Boot in blocks until this is reached, not a fixed number of times. 'ci=3%': the 95% interval of "
    "each system's ratio to the baseline, within blocks, reaches at most 3% from it; looks after 10, 14, 20, "
    "28, 40, … blocks. 'verdict': each is told to be slower, faster or alike within 3%; looks after 10, "
    "20, 40, 80 and 160 blocks at 1.58% each. --cycles is then the most blocks [default: 160].",
)
@click.option(
    "--budget",
    "budget_s",
    metavar="TIME",
    callback=_parse_budget,
    help="Drop what does not fit into this time from the first trial on, such as 10m or 2h: rounds of all "
    "systems, so that there are fewer cycles. What is dropped is told before, as far as this host has made "
    "such trials already, and in the report.",
)
@click.option(
    "--warmups", type=click.IntRange(0, MOST_BOOTS), metavar="N", help="Boots before them that do not count."
)
@click.option(
    "--seed", type=click.IntRange(0, LARGEST_INTEGER), metavar="N", help="Seed of the order in each block."
)
@click.option(
    "--accel",
    type=click.Choice([accel.value for accel in Accel]),
    help="Accelerator of the VMs [default: the experiment's].",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="TABLE.KEY=VALUE",
    callback=_parse_settings,
    shell_complete=_complete_settings,
    help="Set a key of one of the experiment's tables; see below. Repeatable.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Folder of this run's results."
)
@click.option(
    "--images-of",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Refuse images that are not those of the run in DIR.",
)
@click.option("--no-build", is_flag=True, help="Fail where an image is missing instead of building it.")
@click.option("--json", "as_json", is_flag=True, help="Print results.json instead of the summary table.")
@click.option(
    "--resume", type=click.Path(path_type=Path), metavar="DIR", help="Go on with an interrupted run."
)
@ON
@INSECURE
def command(
    experiment: str,
    given: dict[str, Path],
    only: tuple[str, ...],
    metrics: tuple[str, ...],
    cycles: int | None,
    until: StopRule | None,
    budget_s: float | None,
    warmups: int | None,
    seed: int | None,
    accel: str | None,
    settings: Changes,
    output: Path | None,
    images_of: Path | None,
    no_build: bool,
    as_json: bool,
    resume: Path | None,
    on: str | None,
    insecure: bool,
) -> None:
    """Run EXPERIMENT (a name or a .toml file, by default the seed comparison) and write its report."""
    context = click.get_current_context()
    if resume is not None:
        _refuse_settings(context, resume)
        with open_fleet(on, insecure) as fleet:
            header, records = go_on(resume, fleet=fleet)
        _finish(resume, header, records, as_json)
        return
    from guestbench.run.request import Request

    request = Request(
        experiment=experiment,
        given=given,
        only=only,
        metrics=metrics,
        cycles=cycles,
        until=until,
        budget_s=budget_s,
        warmups=warmups,
        seed=seed,
        accel=Accel(accel) if accel else None,
        settings=settings,
        build=not no_build,
        images_of=images_of,
        command=context.obj,
    )
    with open_fleet(on, insecure) as fleet:
        made = start(request, output, fleet=fleet)
    _finish(*made, as_json)


def measure(request: Request, output: Path | None, as_json: bool) -> None:
    """Make a run, write its report into the folder `output`, and print its summary, or results.json.

    Raises:
        TrialError: a trial failed.
    """
    _finish(*start(request, output), as_json)


def _refuse_settings(context: click.Context, resume: Path) -> None:
    for name in context.params:
        if name not in WITH_RESUME and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(
                "--resume goes on with a run as it was begun and takes no other setting",
                f"guestbench run --resume {shlex.quote(str(resume))}",
            )


def start(
    request: Request, output: Path | None, again: str = "", fleet: Fleet | None = None
) -> tuple[Path, Header, tuple[Record, ...]]:
    """Begin a run and make its trials, on a fleet if there is one; its folder, its header and its records.

    `again` is the command that goes on with it, where it is not `guestbench run`.

    Raises:
        GuestbenchError: something stopped it; what was finished is in the store.
    """
    from guestbench.run.prepare import prepare, settle
    from guestbench.run.store import create_store, refuse_used

    if output is not None:
        refuse_used(output)  # before any image is built for nothing
    try:
        header = prepare(request, say)
        if fleet is not None:
            header = fleet.admit(settle(header, say))
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted before the first trial", shlex.join(["guestbench", *request.command])
        ) from None
    folder = output or Path("results") / header.run
    with create_store(folder, header) as store:
        return folder, header, _make_trials(store, header, (), again, fleet)


def go_on(folder: Path, again: str = "", fleet: Fleet | None = None) -> tuple[Header, tuple[Record, ...]]:
    """Go on with the run in a folder; its header and its records. Raises as `start` does."""
    from guestbench.run.prepare import check_resumable
    from guestbench.run.store import reopen_store

    with reopen_store(folder) as (store, header, done):
        check_resumable(header, folder)
        if bool(header.hosts) != (fleet is not None):
            line = shlex.join(["guestbench", "run", "--resume", str(folder)])
            raise StoreError(
                f"{folder} was begun {'on' if header.hosts else 'without'} a fleet, and goes on so",
                f"{line} --on tcp://127.0.0.1:8786" if header.hosts else line,
            )
        if fleet is not None:
            header = fleet.admit(header)
        return header, _make_trials(store, header, done, again, fleet)


def _finish(folder: Path, header: Header, records: tuple[Record, ...], as_json: bool) -> None:
    report.write(folder, header, records, as_json)
    _judge(folder, header, records)


def _make_trials(
    store: Store, header: Header, done: tuple[Record, ...], again: str, fleet: Fleet | None
) -> tuple[Record, ...]:
    from guestbench.report.budget import tell_plan
    from guestbench.run.partial import PartialReports
    from guestbench.run.progress import show_progress
    from guestbench.run.times import remember_times
    from guestbench.run.trials import make_trials

    folder = store.path.parent
    for line in tell_plan(header, done):
        say(line)
    on = ["--on", fleet.on] if fleet is not None else []
    resume = again or shlex.join(["guestbench", "run", "--resume", str(folder), *on])
    try:
        with show_progress() as progress, closing(PartialReports(folder, progress.show)) as reports:
            if fleet is not None:
                # No report meanwhile: this machine may be one of those that measure.
                return make_trials(store, header, done, progress, fleet)
            records = make_trials(store, header, done, progress, reports=reports)
        remember_times(header.host.digest, records)
        return records
    except KeyboardInterrupt:
        _report_part(folder)
        raise Interrupted("interrupted; every finished trial is kept", resume) from None
    except GuestbenchError as error:
        _report_part(folder)
        if resume not in error.hint:
            error.hint = f"{error.hint}  # then: {resume}"
        raise


def _report_part(folder: Path) -> None:
    """Write the report of what a run that was stopped has found, where that can be done."""
    from guestbench.run.store import read_store
    from guestbench.run.times import remember_times

    # Whoever presses Ctrl-C again does not want it, and the error that stopped the run is told all the same.
    with suppress(KeyboardInterrupt, GuestbenchError, OSError):
        header, records = read_store(folder)
        if records:
            remember_times(header.host.digest, records)
            _, paths = report.write_files(folder, header, records)
            say(f"what was found so far: {paths['report.html']}")


def _judge(folder: Path, header: Header, records: tuple[Record, ...]) -> None:
    from guestbench.analysis.budget import may_search
    from guestbench.analysis.quality import ask_measured
    from guestbench.analysis.stopping import trim

    look = f"less {shlex.quote(str(folder / 'comparison_results.md'))}"
    planned = {trial.id for trial in trim(header, records).trials}
    failed = [r for r in records if r.trial.id in planned and not isinstance(r.outcome, Ok)]
    if failed:
        raise TrialError(
            f"{len(failed)} of {len(planned)} trials failed; the first: {failed[0].trial.id}: "
            f"{failed[0].outcome.reason}",
            look,
        )
    # Of several hosts none may have all that an answer takes, and the report says what each has found.
    whole = len(header.hosts) < 2 and may_search(header, records)
    for text in ask_measured("unanswered", header, records) if whole else ():
        raise TrialError(text, look)
