"""`guestbench history`: many runs of the same guests over time, and where a figure changed its level."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from guestbench.cli.output import write_file
from guestbench.cli.talk import slowly
from guestbench.errors import StoreError, UsageError
from guestbench.run.store import STORE_NAME

if TYPE_CHECKING:
    from guestbench.analysis.history import History, Run, Wanted
    from guestbench.model import Metric


@click.command("history")
@click.argument("places", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR…")
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME", help="Show this metric alone. Repeatable."
)
@click.option(
    "--only-system", "systems", multiple=True, metavar="NAME", help="Show this system alone. Repeatable."
)
@click.option("--json", "style", flag_value="json", help="Print JSON.")
@click.option("--markdown", "style", flag_value="markdown", help="Print Markdown.")
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write a page with plots.",
)
def command(
    places: tuple[Path, ...],
    metrics: tuple[str, ...],
    systems: tuple[str, ...],
    style: str | None,
    page: Path | None,
) -> None:
    """Show many runs of the same guests over time, and where a figure changed its level.

    DIR is a run's folder, its store, or a folder that holds runs at any depth.
    """
    from guestbench.report import history as shown
    from guestbench.report.html import render_html
    from guestbench.report.markdown import render_markdown
    from guestbench.report.terminal import render_text
    from guestbench.run.store import read_store, without_collection

    def is_wanted(system: str, metric: Metric, labels: Mapping[str, str]) -> bool:
        named = metric.name in metrics if metrics else metric.is_compared_with(labels)
        return named and (not systems or system in systems)

    runs: dict[Path, Run] = {}
    left_out: list[str] = []
    with without_collection(), slowly("reading runs, and looking for changes"):
        for folder in _find_runs(places):
            try:
                runs[folder] = read_store(folder)
            except StoreError as error:
                left_out.append(error.message)
        try:
            found = _trace(runs, is_wanted, left_out)
        except StoreError:
            _leave_out_misfits(runs, is_wanted, left_out)
            found = _trace(runs, is_wanted, left_out)
    if not found.series:
        known = {guest.system.name for header, _ in runs.values() for guest in header.guests}
        names = shlex.join(["guestbench", "history", *map(str, places)])
        what = ", ".join((*metrics, *systems)) or "anything that is compared"
        raise UsageError(f"no run has figures of {what}; there are the systems {', '.join(known)}", names)
    described = shown.describe_history(found)
    if page is not None:
        write_file(page, render_html(described).encode())
    if style == "json":
        click.echo(shown.render_json(found), nl=False)
    elif style == "markdown":
        click.echo(render_markdown(described), nl=False)
    else:
        click.echo(render_text(described), nl=False)


def _trace(runs: Mapping[Path, Run], is_wanted: Wanted, left_out: Sequence[str]) -> History:
    from guestbench.analysis.history import trace_runs
    from guestbench.run.store import showing

    if not runs:
        raise StoreError(left_out[0], "guestbench run")
    with showing(*runs):
        return trace_runs(tuple(runs.values()), is_wanted, left_out)


def _leave_out_misfits(runs: dict[Path, Run], is_wanted: Wanted, left_out: list[str]) -> None:
    """Leave out the runs that cannot be shown by themselves either."""
    for folder in list(runs):
        try:
            _trace({folder: runs[folder]}, is_wanted, ())
        except StoreError as error:
            left_out.append(error.message)
            del runs[folder]


def _find_runs(places: Sequence[Path]) -> Iterator[Path]:
    """The folders of all runs that these places hold, each once.

    Raises:
        UsageError: a place holds none.
    """
    seen: set[Path] = set()
    for place in places:
        stores = [place] if place.name == STORE_NAME else sorted(place.rglob(STORE_NAME))
        if not stores:
            hint = shlex.join(["find", str(place), "-name", STORE_NAME])
            raise UsageError(f"{place} holds no run: there is no {STORE_NAME} in it", hint)
        for store in stores:
            if store.resolve() not in seen:
                seen.add(store.resolve())
                yield store.parent
