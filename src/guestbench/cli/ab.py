"""`guestbench ab`: two versions of a guest in one run, block by block, with gates for CI."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guestbench.cli import diff, run
from guestbench.cli.output import print_blocks, write_file
from guestbench.cli.report import write_files
from guestbench.cli.talk import say, slowly
from guestbench.errors import Interrupted, TrialError, UsageError
from guestbench.families import list_families
from guestbench.text import visible

if TYPE_CHECKING:
    from guestbench.analysis.diff import Run, RunDiff
    from guestbench.model import Header, Record
    from guestbench.run.request import Request, Version

AB = ("guestbench", "ab")
METRICS = ("image", "boot")
GATES = {"boot": ("boot.ready>5%", "failures")}
"""What is judged where the user names no gate, by the family that has to be measured for it."""
AS = click.option(
    "--as",
    "reference",
    metavar="SYSTEM",
    help="Boot the images as this system, a name or a folder [default: the one of the catalogue that boots "
    "such images, if there is just one].",
)


@run.with_options_of_run("metrics", "cycles", "until", "warmups", "seed", "accel", "settings", "output")
@click.command("ab", cls=run.RunCommand)
@click.argument("old", required=False, metavar="OLD")
@click.argument("new", required=False, metavar="NEW")
@AS
@click.option(
    "--build",
    metavar="COMMAND",
    help="OLD and NEW are git revisions of the repository around the current folder. Build each by this "
    "command, without a shell, in a checkout of its own.",
)
@click.option("--image", metavar="PATH", help="What --build makes: an image, or a folder with a system.toml.")
@click.option(
    "--fail-on",
    "wanted",
    multiple=True,
    metavar="GATE",
    help="Exit with 1 if the data show this: 'boot.ready>5%', 'image.file>0%', 'failures'; see guestbench "
    "diff --help [default: boot.ready>5% and failures]. Repeatable.",
)
@diff.STRICT
@diff.EFFECT
@diff.JUNIT
@click.option("--json", "style", flag_value="json", help="Print JSON.")
@click.option("--markdown", "style", flag_value="markdown", help="Print Markdown.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Go on with an interrupted run, or judge a finished one by other gates; without OLD and NEW.",
)
def command(
    old: str | None,
    new: str | None,
    reference: str | None,
    build: str | None,
    image: str | None,
    wanted: tuple[str, ...],
    strict: bool,
    effect: float,
    junit: Path | None,
    style: str | None,
    resume: Path | None,
    output: Path | None,
    **chosen: Any,
) -> None:
    """Tell whether NEW is worse than OLD, both measured in one run and compared block by block.

    OLD and NEW are image files, folders with a system.toml, systems of the catalogue, or, with --build, git
    revisions. Without --fail-on the question is whether NEW boots slower: it fails if the data show that the
    boot time rose and the best estimate is beyond 5%, or that more trials fail. What the data cannot tell
    fails nothing. There are 20 blocks, in each of which both boot once, and the null guest, in random order.
    """
    from guestbench.analysis.gate import parse_gate

    for text in wanted:
        parse_gate(text)
    again = [*AB, *(word for text in wanted for word in ("--fail-on", text)), "--resume"]
    if resume is not None:
        if old is not None or build is not None:
            raise UsageError(
                "--resume goes on with a run as it was begun, and takes no versions",
                shlex.join([*again, str(resume)]),
            )
        folder, (header, records) = resume, run.go_on(resume, shlex.join([*again, str(resume)]))
    elif old is None or new is None:
        raise UsageError("OLD and NEW are needed", "guestbench ab --help")
    else:
        folder, request = _ask(old, new, reference, (build, image), output, wanted, chosen)
        folder, header, records = run.start(request, folder, shlex.join([*again, str(folder)]))
    found = judge((header, records), wanted or choose_gates(header), effect, folder)
    _show(folder, header, records, found, style)
    if junit is not None:
        from guestbench.report.junit import render_junit

        write_file(junit, render_junit(found.decisions))
    _fail(folder, records, found, strict)


def _ask(
    old: str,
    new: str,
    reference: str | None,
    recipe: tuple[str | None, str | None],
    output: Path | None,
    wanted: Sequence[str],
    chosen: dict[str, Any],
) -> tuple[Path, Request]:
    """The run's folder, and what is asked of it; images of revisions are built."""
    from guestbench.run import ab
    from guestbench.run.prepare import name_run
    from guestbench.run.store import refuse_used

    name = name_run(datetime.now(UTC), "ab")
    folder = output or Path("results") / name
    refuse_used(folder)  # before anything is built for nothing
    chosen["metrics"] = find_families(chosen["metrics"], wanted)
    if recipe == (None, None):
        with slowly(f"reading {visible(old)} and {visible(new)}"):
            versions = [ab.find_version(text, reference) for text in (old, new)]
    elif recipe[0] is None or recipe[1] is None:
        raise UsageError("--build and --image need one another", "guestbench ab --help")
    else:
        versions = _build_versions((old, new), reference, (recipe[0], recipe[1]), folder)
    command = click.get_current_context().obj
    title = f"{old} and {new}"
    return folder, ab.make_request(title, *versions, run=name, command=command, **chosen)


def _build_versions(
    revisions: Sequence[str], reference: str | None, recipe: tuple[str, str], folder: Path
) -> list[Version]:
    """The versions that git revisions are, their images built into the run's folder."""
    from guestbench.provision.revisions import Repository, read_recipe
    from guestbench.run import ab

    repository, read = Repository(Path.cwd()), read_recipe(*recipe)
    commits = [repository.find_commit(each) for each in revisions]
    if repository.has_changes():
        say("note: what is not committed is no part of any revision, and is not measured")
    versions = []
    try:
        for commit in commits:
            image = repository.build(commit, read, folder / "builds", say)
            versions.append(ab.find_version(str(image), reference, told=read.describe(commit)))
    except KeyboardInterrupt:
        again = shlex.join(["guestbench", *click.get_current_context().obj])
        raise Interrupted("interrupted before the first trial", again) from None
    return versions


def find_families(
    asked: Sequence[str], gates: Sequence[str], usual: Sequence[str] = METRICS
) -> tuple[str, ...]:
    """The families to measure: those asked for, or the usual ones and what the gates are about.

    Raises:
        UsageError: a gate is about a family that is not asked for, or that does not exist.
    """
    from guestbench.analysis.gate import FAILURES, parse_gate

    named = {gate: parse_gate(gate).metric.partition(".")[0] for gate in gates}
    known = [family.name for family in list_families()]
    for gate, family in named.items():
        if family == FAILURES:
            continue
        if family not in known:
            raise UsageError(f"--fail-on {gate!r}: there is no {family}", "guestbench ab --help")
        if asked and family not in asked:
            hint = shlex.join([*AB, "OLD", "NEW", "--metrics", ",".join((*asked, family))])
            raise UsageError(f"--fail-on {gate!r} is about {family}, which --metrics leaves out", hint)
    return tuple(asked) or tuple(name for name in known if name in (*usual, *named.values())) or METRICS


def choose_gates(header: Header) -> tuple[str, ...]:
    """What is judged where the user names no gate: what was measured of it."""
    return tuple(
        gate for family, gates in GATES.items() if family in header.experiment.metrics for gate in gates
    )


def judge(measured: Run, gates: Sequence[str], effect: float, folder: Path) -> RunDiff:
    """The versions of a run compared, by the gates; of one that looked for a verdict at the level of a look.

    Raises:
        UsageError: a gate is about something that there is not, or the run is not one of two versions.
    """
    from guestbench.analysis.compare import ALPHA
    from guestbench.analysis.sides import compare_versions
    from guestbench.analysis.stopping import trim
    from guestbench.model import Goal
    from guestbench.run.ab import NEW, OLD
    from guestbench.run.store import showing

    header, records = measured
    if not {OLD, NEW} <= {system.name for system in header.systems}:
        report = shlex.join(["guestbench", "report", str(folder)])
        raise UsageError(f"{folder} is no run of two versions", report)
    hint = shlex.join([*AB, "--resume", str(folder)])
    looked = header.until is not None and header.until.goal is Goal.VERDICT
    alpha = header.until.alpha if header.until and looked else ALPHA
    with showing(folder):
        run_ = trim(header, records), records
        return compare_versions(run_, (OLD, NEW), gates, effect=effect / 100, alpha=alpha, hint=hint)


def _show(
    folder: Path, header: Header, records: tuple[Record, ...], found: RunDiff, style: str | None
) -> None:
    from guestbench.page.blocks import Paragraph
    from guestbench.report import diff as shown
    from guestbench.report.opening import tell_resolved
    from guestbench.run.ab import tell_alike

    contents, paths = write_files(folder, header, records)
    alike = tell_alike(header)
    if alike:
        say(f"note: {alike}")
    blocks = shown.describe_diff(found)
    if style is None:
        blocks = (*blocks, Paragraph(tuple(tell_resolved(contents.found))))
    print_blocks(blocks, style, shown.render_json(found))
    if style is None:
        click.echo()
        for name in ("comparison_results.md", "report.html"):
            click.echo(str(paths[name]))


def _fail(folder: Path, records: Sequence[Record], found: RunDiff, strict: bool) -> None:
    """Leave with the error that the run ends in, if it ends in one."""
    from guestbench.run.ab import OLD

    look = shlex.join(["less", str(folder / "comparison_results.md")])
    booted = [record for record in records if record.trial.system == OLD and record.argv]
    if booted and not any(record.holds for record in booted):
        why = booted[0].outcome.reason
        raise TrialError(f"no boot of OLD succeeded, so that nothing can be said of NEW: {why}", look)
    diff.refuse_failures(found, strict, look)
