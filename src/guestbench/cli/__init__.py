"""The command line: parses, calls, prints, and never measures. What is heavy is imported inside its command.

Standard output is data; talk, progress and errors go to standard error.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from guestbench import __version__
from guestbench.cli import commands
from guestbench.errors import (
    GuestbenchError,
    Interrupted,
    TrialError,
    UsageError,
)
from guestbench.model import Accel, Ok

if TYPE_CHECKING:
    from guestbench.model import Header, Record
    from guestbench.run.prepare import Request
    from guestbench.run.store import Store

DEFAULT_EXPERIMENT = "seed"
OWN_NAME = re.compile(r"\bguestbench(?= (run|report|diff|export|workloads|systems|doctor|inspect|--help)\b)")


def say(text: str) -> None:
    """Tell the user something on standard error."""
    click.echo(text, err=True)


def fail(messages: Sequence[str], hint: str) -> None:
    """Print `error:` lines and a `hint:` line that works when typed where the user is."""
    for message in messages:
        say(f"error: {message}")
    say(f"hint: {as_typed(hint, sys.argv[0])}")


def as_typed(hint: str, program: str) -> str:
    """A hint that calls guestbench as the user called it, where it is not on the PATH."""
    if Path(program).name != "guestbench" or shutil.which("guestbench"):
        return hint
    return OWN_NAME.sub(lambda _: shlex.quote(program), hint)


def main() -> None:
    """Run the command line and exit with its status."""
    sys.exit(run_cli(sys.argv[1:]))


def run_cli(arguments: Sequence[str]) -> int:
    """Run one command line; errors become text on standard error. Returns the exit status."""
    try:
        cli.main(args=list(arguments), prog_name="guestbench", standalone_mode=False, obj=tuple(arguments))
    except GuestbenchError as error:
        fail(error.messages, error.hint)
        return error.exit_code
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "guestbench"
        fail([error.format_message()], f"{command} --help")
        return UsageError.exit_code
    except click.ClickException as error:
        fail([error.format_message()], "guestbench --help")
        return UsageError.exit_code
    except (click.Abort, KeyboardInterrupt):
        fail(["interrupted"], "guestbench --help")
        return Interrupted.exit_code
    except BrokenPipeError:
        # The reader of our output has gone; the interpreter must not try to flush to it again.
        sys.stdout = None
        return 0
    return 0


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", message="guestbench %(version)s")
def cli() -> None:
    """Boot virtual machine guests side by side and measure what they cost."""


# --- run and report ---------------------------------------------------------------------------------


def _parse_given(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, Path]:
    given: dict[str, Path] = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not (name and equals and path):
            raise click.BadParameter(f"{value!r} is not of the form NAME=PATH")
        given[name] = Path(path)
    return given


def _parse_metrics(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(filter(None, value.split(","))) if value is not None else ()


@cli.command()
@click.argument("experiment", default=DEFAULT_EXPERIMENT)
@click.option(
    "--system",
    "given",
    multiple=True,
    metavar="NAME=PATH",
    callback=_parse_given,
    help="Boot this image file for the system NAME. Repeatable.",
)
@click.option(
    "--only-system", "only", multiple=True, metavar="NAME", help="Measure only this system. Repeatable."
)
@click.option(
    "--metrics",
    metavar="FAMILY,…",
    callback=_parse_metrics,
    help="Measure only these families: image, boot, memory, surface, work, net.",
)
@click.option("--cycles", type=click.IntRange(1), metavar="N", help="Measured boots of each system.")
@click.option("--warmups", type=click.IntRange(0), metavar="N", help="Boots before them that do not count.")
@click.option(
    "--memory-boots", type=click.IntRange(1), metavar="N", help="Boots that a memory size must pass."
)
@click.option(
    "--memory-cycles", type=click.IntRange(1), metavar="N", help="Boots that count each system's memory."
)
@click.option(
    "--surface-boots", type=click.IntRange(1), metavar="N", help="Fresh boots compared for their addresses."
)
@click.option(
    "--workloads",
    metavar="NAME,…",
    callback=_parse_metrics,
    help="Have only these workloads done; see guestbench workloads.",
)
@click.option("--work-cycles", type=click.IntRange(1), metavar="N", help="How often each workload is done.")
@click.option("--seed", type=click.IntRange(0), metavar="N", help="Seed of the order in each block.")
@click.option(
    "--accel",
    type=click.Choice([accel.value for accel in Accel]),
    help="QEMU's accelerator [default: the experiment's].",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Folder of this run's results."
)
@click.option("--no-build", is_flag=True, help="Fail where an image is missing instead of building it.")
@click.option("--json", "as_json", is_flag=True, help="Print results.json instead of the summary table.")
@click.option(
    "--resume", type=click.Path(path_type=Path), metavar="DIR", help="Go on with an interrupted run."
)
def run(
    experiment: str,
    given: dict[str, Path],
    only: tuple[str, ...],
    metrics: tuple[str, ...],
    cycles: int | None,
    warmups: int | None,
    memory_boots: int | None,
    memory_cycles: int | None,
    surface_boots: int | None,
    workloads: tuple[str, ...],
    work_cycles: int | None,
    seed: int | None,
    accel: str | None,
    output: Path | None,
    no_build: bool,
    as_json: bool,
    resume: Path | None,
) -> None:
    """Run EXPERIMENT (a name or a .toml file, by default the seed comparison) and write its report."""
    if resume is not None:
        counts = (cycles, warmups, memory_boots, memory_cycles, surface_boots, work_cycles)
        settings = (*counts, seed, accel, output)
        if (
            experiment != DEFAULT_EXPERIMENT
            or given
            or only
            or metrics
            or workloads
            or any(s is not None for s in settings)
        ):
            raise UsageError(
                "--resume goes on with a run as it was begun and takes no other setting",
                f"guestbench run --resume {shlex.quote(str(resume))}",
            )
        _finish(resume, *_go_on(resume), as_json)
        return
    from guestbench.run.prepare import Request

    request = Request(
        experiment=experiment,
        given=given,
        only=only,
        metrics=metrics,
        cycles=cycles,
        warmups=warmups,
        memory_boots=memory_boots,
        memory_cycles=memory_cycles,
        surface_boots=surface_boots,
        workloads=workloads,
        work_cycles=work_cycles,
        seed=seed,
        accel=Accel(accel) if accel else None,
        build=not no_build,
        command=click.get_current_context().obj,
    )
    _finish(*_start(request, output), as_json)


def _start(request: Request, output: Path | None) -> tuple[Path, Header, tuple[Record, ...]]:
    from guestbench.run.prepare import prepare
    from guestbench.run.store import create_store, refuse_used

    if output is not None:
        refuse_used(output)  # before any image is built for nothing
    try:
        header = prepare(request, say)
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted before the first trial", shlex.join(["guestbench", *request.command])
        ) from None
    folder = output or Path("results") / header.run
    with create_store(folder, header) as store:
        return folder, header, _make_trials(store, header, ())


def _go_on(folder: Path) -> tuple[Header, tuple[Record, ...]]:
    from guestbench.run.prepare import check_resumable
    from guestbench.run.store import reopen_store

    with reopen_store(folder) as (store, header, done):
        check_resumable(header, folder)
        return header, _make_trials(store, header, done)


def _finish(folder: Path, header: Header, records: tuple[Record, ...], as_json: bool) -> None:
    _report(folder, header, records, as_json)
    _judge(folder, header, records)


def _make_trials(store: Store, header: Header, done: tuple[Record, ...]) -> tuple[Record, ...]:
    from guestbench.run.progress import show_progress
    from guestbench.run.trials import make_trials

    resume = f"guestbench run --resume {shlex.quote(str(store.path.parent))}"
    try:
        with show_progress() as progress:
            return make_trials(store, header, done, progress)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; every finished trial is kept", resume) from None
    except GuestbenchError as error:
        if resume not in error.hint:
            error.hint = f"{error.hint}  # then: {resume}"
        raise


def _report(folder: Path, header: Header, records: tuple[Record, ...], as_json: bool) -> None:
    from guestbench.analysis.summary import add_derived
    from guestbench.report import write_reports
    from guestbench.report.findings import analyse
    from guestbench.report.terminal import render_summary_table

    derived = add_derived(header, records)
    findings = analyse(header, derived)
    paths = write_reports(folder, header, derived, findings)
    if as_json:
        click.echo(paths["results.json"].read_bytes(), nl=False)
    else:
        click.echo(render_summary_table(header, derived, findings.summaries))
        click.echo(str(paths["comparison_results.md"]))
        click.echo(str(paths["report.html"]))


def _judge(folder: Path, header: Header, records: tuple[Record, ...]) -> None:
    from guestbench.families.memory.findings import find_least

    look = f"less {shlex.quote(str(folder / 'comparison_results.md'))}"
    planned = {trial.id for trial in header.trials}
    failed = [r for r in records if r.trial.id in planned and not isinstance(r.outcome, Ok)]
    if failed:
        raise TrialError(
            f"{len(failed)} of {len(header.trials)} trials failed; the first: {failed[0].trial.id}: "
            f"{failed[0].outcome.reason}",
            look,
        )
    found = {g.system.name: find_least(header, records, g.system.name) for g in header.guests}
    without = [name for name, least in found.items() if least is not None and least.least_mib is None]
    if without:
        raise TrialError(f"no memory size was found with which it always boots: {', '.join(without)}", look)


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print results.json instead of the summary table.")
@click.option(
    "--update-stack",
    "stack",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write what each layer costs between the markers in FILE.",
)
def report(folder: Path, as_json: bool, stack: Path | None) -> None:
    """Write the reports of the run in DIR again, from its store alone."""
    import gc

    from guestbench.analysis.quality import count_missing
    from guestbench.run.store import read_store

    # All that is made here is needed to the end, and looking for garbage in it takes a tenth of the time.
    gc.disable()
    header, records = read_store(folder)
    missing = count_missing(header, records)
    if missing:
        say(f"note: {missing} of {len(header.trials)} trials have not been made")
    if stack is not None:
        from guestbench.report.stack import update_stack

        update_stack(stack, header, records)
    _report(folder, header, records, as_json)


cli.add_command(commands.export)
cli.add_command(commands.diff)


# --- workloads --------------------------------------------------------------------------------------


@cli.command("workloads")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_workloads(as_json: bool) -> None:
    """List the workloads: what each does, with which program, and which systems can do it."""
    from guestbench.cli import inventory

    click.echo(inventory.render_workloads(as_json))


# --- systems ----------------------------------------------------------------------------------------


@cli.group()
def systems() -> None:
    """The guests: what there is, and their images."""


@systems.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_systems(as_json: bool) -> None:
    """List the systems of the catalogue and whether their images are there."""
    from guestbench.cli import inventory

    click.echo(inventory.render_list(as_json))


@systems.command("show")
@click.argument("name")
def show_system(name: str) -> None:
    """Show the definition of system NAME and where its images come from."""
    from guestbench.cli import inventory

    click.echo(inventory.render_system(name))


@systems.command("boot")
@click.argument("name")
@click.option(
    "--system", "image", type=click.Path(path_type=Path), metavar="PATH", help="Boot this image file."
)
@click.option(
    "--accel",
    type=click.Choice([Accel.KVM.value, Accel.TCG.value]),
    default=Accel.TCG.value,
    show_default=True,
)
def boot_system(name: str, image: Path | None, accel: str) -> None:
    """Boot system NAME with its serial console on this terminal; Ctrl-A X leaves."""
    from guestbench.cli import inventory

    sys.exit(inventory.boot_interactively(name, image, Accel(accel), say))


@systems.command("exec")
@click.argument("name")
@click.argument("command")
@click.option(
    "--system", "image", type=click.Path(path_type=Path), metavar="PATH", help="Boot this image file."
)
@click.option(
    "--accel",
    type=click.Choice([Accel.KVM.value, Accel.TCG.value]),
    default=Accel.TCG.value,
    show_default=True,
)
def exec_in_system(name: str, command: str, image: Path | None, accel: str) -> None:
    """Run the shell COMMAND in system NAME and print exactly its output; its exit status is ours."""
    from guestbench.cli import inventory

    answer = inventory.execute(name, image, Accel(accel), command, say)
    click.echo(answer.stdout, nl=False)
    click.echo(answer.stderr, nl=False, err=True)
    sys.exit(answer.status)


@systems.command("build")
@click.argument("name")
def build_system(name: str) -> None:
    """Build the images of system NAME from Debian packages, official archives or source."""
    _provision(name, "build")


@systems.command("fetch")
@click.argument("name")
def fetch_system(name: str) -> None:
    """Download the official image of system NAME and verify it."""
    _provision(name, "fetch")


def _provision(name: str, way: str) -> None:
    from guestbench.cli import inventory

    try:
        for path in inventory.provide(name, way, say):
            click.echo(path)
    except KeyboardInterrupt:
        raise Interrupted("interrupted", f"guestbench systems {way} {name}") from None


# --- inspect ----------------------------------------------------------------------------------------


@cli.command()
@click.argument("image", type=click.Path(path_type=Path), metavar="IMAGE")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all items of every list.")
@click.option(
    "--sbom",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the packages as a CycloneDX bill of materials.",
)
def inspect(image: Path, as_json: bool, sbom: Path | None) -> None:
    """Tell what is in IMAGE (a disk, initramfs, ELF unikernel or bzImage) without booting or mounting it."""
    import tempfile

    import msgspec

    from guestbench.images.inspector import inspect_image
    from guestbench.report.inspection import render_inspection
    from guestbench.report.sbom import render_sbom

    with tempfile.TemporaryDirectory(prefix="guestbench-") as scratch:
        found = inspect_image(image, Path(scratch))
    if sbom is not None:
        commands.write_file(sbom, render_sbom(found, image))
    click.echo(msgspec.json.format(msgspec.json.encode(found)) if as_json else render_inspection(found))


# --- doctor -----------------------------------------------------------------------------------------


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Tell what this host has and lacks for measuring, each with the line that mends it."""
    import msgspec

    from guestbench.errors import HostError
    from guestbench.host.doctor import Status, render_checks, run_checks
    from guestbench.run.prepare import try_kvm

    checks = run_checks(try_kvm)
    click.echo(msgspec.json.encode(checks) if as_json else render_checks(checks))
    lacks = [check for check in checks if check.status is Status.FAIL]
    if lacks:
        names = ", ".join(check.name for check in lacks)
        raise HostError(f"the default comparison cannot run on this host: {names}", lacks[0].mend)
