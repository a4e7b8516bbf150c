"""`guestbench diff`: two runs against each other, as text, JSON or Markdown, and a gate for CI."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from guestbench.errors import GateError, UsageError


@click.command("diff")
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
def command(
    old: Path, new: Path, wanted: tuple[str, ...], strict: bool, effect: float, style: str | None, force: bool
) -> None:
    """Compare the run in NEW with the run in OLD, such as two versions of a unikernel."""
    from guestbench.analysis.diff import diff_runs
    from guestbench.analysis.gate import parse_gate
    from guestbench.report import diff as shown
    from guestbench.report.markdown import render_blocks
    from guestbench.report.terminal import render_lines
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
    if style == "json":
        click.echo(shown.render_json(found), nl=False)
    elif style == "markdown":
        click.echo(render_blocks(shown.describe_diff(found)))
    else:
        click.echo(render_lines(shown.describe_diff(found)), nl=False)
    failures = shown.tell_failures(found.decisions, inconclusive=strict)
    if failures:
        more = f"{len(failures)} of {len(found.decisions)} decisions: " if len(failures) > 1 else ""
        raise GateError(f"{more}{failures[0]}", shlex.join(["guestbench", "report", str(new)]))
