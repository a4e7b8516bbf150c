"""`guestbench history`: many runs of the same guests over time, and where a figure changed its level."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from guestbench.cli.output import write_file
from guestbench.cli.talk import slowly
from guestbench.errors import StoreError, UsageError
from guestbench.run.store import STORE_NAME


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
    from guestbench.analysis.history import trace_runs
    from guestbench.report import history as shown
    from guestbench.report.html import render_html
    from guestbench.report.markdown import render_markdown
    from guestbench.report.terminal import render_text
    from guestbench.run.store import read_store, without_collection

    runs, left_out = [], []
    with without_collection(), slowly("reading runs, and looking for changes"):
        for folder in _find_runs(places):
            try:
                runs.append(read_store(folder))
            except StoreError as error:
                left_out.append(error.message)
        if not runs:
            raise StoreError(left_out[0], "guestbench run")
        found = trace_runs(
            runs,
            lambda system, metric, labels: (
                (not systems or system in systems)
                and (metric.name in metrics if metrics else metric.is_compared_with(labels))
            ),
            left_out,
        )
    if not found.series:
        known = {guest.system.name for header, _ in runs for guest in header.guests}
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
