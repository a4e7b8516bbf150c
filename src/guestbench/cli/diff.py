"""`guestbench diff`: runs of two versions against each other, as text, JSON or Markdown, and gates for CI."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from guestbench.cli.output import print_blocks, write_file
from guestbench.cli.talk import slowly
from guestbench.errors import GateError, UsageError
from guestbench.text import visible

if TYPE_CHECKING:
    from guestbench.analysis.diff import RunDiff


class Folders(click.ParamType[tuple[Path, ...]]):
    """Results folders, set apart by commas; one that exists as it is written may have commas in its name."""

    name = "folders"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Path, ...]:
        """The folders' paths."""
        text = str(value)
        parts = [text] if Path(text).exists() else re.split(r"(?<!\\),", text)
        if not all(parts):
            self.fail(f"{text!r} names a folder that has no name", param, ctx)
        return tuple(Path(part.replace("\\,", ",")) for part in parts)


STRICT = click.option(
    "--fail-on-inconclusive", "strict", is_flag=True, help="Exit with 1 if they cannot tell, too."
)
EFFECT = click.option(
    "--effect",
    type=click.FloatRange(0, 100, min_open=True),
    default=3.0,
    show_default=True,
    metavar="PERCENT",
    help="A smaller change is no difference.",
)
JUNIT = click.option(
    "--junit",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write what became of the gates as JUnit XML.",
)


@click.command("diff")
@click.argument("old", type=Folders(), metavar="OLD[,OLD…]")
@click.argument("new", type=Folders(), metavar="NEW[,NEW…]")
@click.option(
    "--fail-on",
    "wanted",
    multiple=True,
    metavar="GATE",
    help="Exit with 1 if the data show this: of the change 'boot.ready>5%', 'SYSTEM:work.cpu<-3%', "
    "'memory.touched{state=idle}>5%'; of the new value 'surface.open_tcp>0', 'boot.ready>500ms'; or "
    "'failures'. Repeatable.",
)
@STRICT
@EFFECT
@click.option(
    "--run-sd",
    type=click.FloatRange(0, 100),
    default=3.0,
    show_default=True,
    metavar="PERCENT",
    help="How much the times of runs of the same thing scatter (SD), which one run a side does not show; "
    "guestbench history says what yours do.",
)
@JUNIT
@click.option("--json", "style", flag_value="json", help="Print JSON.")
@click.option("--markdown", "style", flag_value="markdown", help="Print Markdown.")
@click.option("--force", is_flag=True, help="Compare although hosts, platforms or tool versions differ.")
def command(
    old: tuple[Path, ...],
    new: tuple[Path, ...],
    wanted: tuple[str, ...],
    strict: bool,
    effect: float,
    run_sd: float,
    junit: Path | None,
    style: str | None,
    force: bool,
) -> None:
    r"""Compare the run in NEW with the run in OLD, such as two versions of a unikernel.

    Several runs of a version are set apart by commas: then runs are compared, and not trials. A folder with a
    comma in its name is given alone, or with \\, in its name.
    """
    from guestbench.analysis.diff import diff_runs
    from guestbench.analysis.gate import parse_gate
    from guestbench.report import diff as shown
    from guestbench.report.junit import render_junit
    from guestbench.run.store import read_store, showing, without_collection

    folders = [str(folder) for folder in (*old, *new)]
    typed: tuple[str, ...] = click.get_current_context().obj
    again = ["guestbench", "diff", *(_write_folders(side) for side in (old, new))]
    gates = [parse_gate(text) for text in wanted]
    if not gates and (strict or junit is not None):
        option = "--fail-on-inconclusive" if strict else "--junit"
        more = [option] if strict else [option, str(junit)]
        what = "could be inconclusive" if strict else "it is to tell of"
        hint = shlex.join([*again, "--fail-on", "boot.ready>5%", *more])
        raise UsageError(f"{option} needs a --fail-on that {what}", hint)
    with without_collection(), slowly(f"comparing {visible(' and '.join(folders))}"):
        before, after = ([read_store(folder) for folder in side] for side in (old, new))
        if not force:
            shown.refuse_mismatches([header for header, _ in (*before, *after)], folders, typed)
        with showing(*old, *new):
            found = diff_runs(
                before, after, gates, effect=effect / 100, run_sd=run_sd / 100, hint=shlex.join(again)
            )
            told = render_junit(found.decisions), shown.describe_diff(found), shown.render_json(found)
    if junit is not None:
        write_file(junit, told[0])
    print_blocks(told[1], style, told[2])
    refuse_failures(found, strict, shlex.join(["guestbench", "report", str(new[-1])]))


def refuse_failures(found: RunDiff, strict: bool, look: str) -> None:
    """Leave with an error where gates failed, or decide nothing if that is `strict`; `look` shows more."""
    from guestbench.report.diff import tell_failures

    failures = tell_failures(found.decisions, inconclusive=strict)
    if failures:
        more = f"{len(failures)} of {len(found.decisions)} decisions: " if len(failures) > 1 else ""
        raise GateError(f"{more}{failures[0]}", look)


def _write_folders(side: Sequence[Path]) -> str:
    """The folders as they are typed."""
    if len(side) == 1:
        return str(side[0])
    return ",".join(str(folder).replace(",", "\\,") for folder in side)
