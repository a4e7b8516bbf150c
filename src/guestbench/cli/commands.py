"""The commands that hand finished runs on: to other programs, and to a gate; they measure nothing.

As in `cli`, what is heavy is imported inside its command.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from guestbench.errors import GateError, UsageError
from guestbench.model import Better, Ok
from guestbench.report.formats import Format


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--format",
    "kind",
    required=True,
    type=click.Choice([each.value for each in Format]),
    help="What to write.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write to FILE."
)
@click.option(
    "--bigger-is-better",
    "bigger",
    is_flag=True,
    help="Of github-action-benchmark: the rates, for its other tool.",
)
def export(folder: Path, kind: str, output: Path | None, bigger: bool) -> None:
    """Print the run in DIR in a format that other programs read."""
    from guestbench.report.export import export as render
    from guestbench.run.store import read_store

    wanted = Format(kind)
    if bigger and wanted is not Format.GITHUB_ACTION_BENCHMARK:
        again = shlex.join(["guestbench", "export", str(folder), "--format", kind])
        raise UsageError(
            f"--bigger-is-better says nothing of the format {kind}, which holds all metrics", again
        )
    header, records = read_store(folder)
    content = render(header, records, wanted, better=Better.HIGHER if bigger else Better.LOWER)
    failed = sum(r.trial.purpose == "boot" and not isinstance(r.outcome, Ok) for r in records)
    if failed and wanted is Format.HYPERFINE:
        click.echo(f"note: {failed} failed boots have no place in this format", err=True)
    if output is None:
        click.echo(content, nl=False)
    else:
        write_file(output, content)


def write_file(path: Path, content: bytes) -> None:
    """Write a file that the user has named.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        folder = shlex.quote(str(path.absolute().parent))
        raise UsageError(f"{path} cannot be written: {error.strerror}", f"ls -ld {folder}") from None


@click.command()
@click.argument("old", type=click.Path(path_type=Path), metavar="OLD")
@click.argument("new", type=click.Path(path_type=Path), metavar="NEW")
@click.option(
    "--fail-on",
    "wanted",
    multiple=True,
    metavar="GATE",
    help="Exit with 1 if the data show this: 'boot.ready>5%', 'SYSTEM:work.cpu<-3%', "
    "'memory.touched{state=idle}>5%'. Repeatable.",
)
@click.option("--fail-on-inconclusive", "strict", is_flag=True, help="Exit with 1 if they cannot tell, too.")
@click.option(
    "--effect",
    type=click.FloatRange(0, 100, min_open=True),
    default=3.0,
    show_default=True,
    metavar="PERCENT",
    help="A smaller change is no difference.",
)
@click.option("--json", "style", flag_value="json", help="Print JSON.")
@click.option("--markdown", "style", flag_value="markdown", help="Print Markdown.")
@click.option("--force", is_flag=True, help="Compare although hosts, platforms or tool versions differ.")
def diff(
    old: Path, new: Path, wanted: tuple[str, ...], strict: bool, effect: float, style: str | None, force: bool
) -> None:
    """Compare the run in NEW with the run in OLD, such as two versions of a unikernel."""
    from guestbench.analysis.diff import diff_runs
    from guestbench.analysis.gate import parse_gate
    from guestbench.report import diff as shown
    from guestbench.run.store import read_store, without_collection

    folders = [str(old), str(new)]
    again = ["guestbench", "diff", *folders]
    gates = [parse_gate(text) for text in wanted]
    if strict and not gates:
        hint = shlex.join([*again, "--fail-on", "boot.ready>5%", "--fail-on-inconclusive"])
        raise UsageError("--fail-on-inconclusive needs a --fail-on that could be inconclusive", hint)
    with without_collection():
        runs = read_store(old), read_store(new)
        if not force:
            shown.refuse_mismatches(runs[0][0], runs[1][0], folders, click.get_current_context().obj)
        found = diff_runs(*runs, gates, effect=effect / 100, hint=shlex.join(again))
    render = {"json": shown.render_json, "markdown": shown.render_markdown}.get(
        style or "", shown.render_text
    )
    click.echo(render(found), nl=False)
    failures = shown.tell_failures(found.decisions, inconclusive=strict)
    if failures:
        more = f"{len(failures)} of {len(found.decisions)} decisions: " if len(failures) > 1 else ""
        raise GateError(f"{more}{failures[0]}", shlex.join(["guestbench", "report", str(new)]))
