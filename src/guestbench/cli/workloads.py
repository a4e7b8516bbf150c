"""`guestbench workloads`: the pieces of work that guests can be given."""

from __future__ import annotations

import contextlib

import click
import msgspec

from guestbench.cli.output import align
from guestbench.definition.systems import load_catalogue
from guestbench.definition.workloads import list_workloads, load_workload
from guestbench.errors import GuestbenchError
from guestbench.model import Frozen


class Entry(Frozen):
    """A workload and the systems of the catalogue that can do it."""

    name: str
    title: str
    metric: str
    unit: str
    program: str
    arguments: tuple[str, ...]
    systems: tuple[str, ...]


@click.command("workloads")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """List the workloads: what each does, with which program, and which systems can do it."""
    entries = list_entries()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(entries), indent=2))
    else:
        rows = [(e.name, e.title, " ".join((e.program, *e.arguments)), ", ".join(e.systems)) for e in entries]
        click.echo(align(rows))


def list_entries() -> list[Entry]:
    """Every workload; a system whose file is broken is not among those that can do it."""
    catalogue = load_catalogue()
    able: dict[str, list[str]] = {}
    for name in catalogue:
        with contextlib.suppress(GuestbenchError):
            for workload in filter(catalogue[name].does, list_workloads()):
                able.setdefault(workload, []).append(name)
    entries = []
    for name in list_workloads():
        found = load_workload(name)
        entries.append(
            Entry(
                name=name,
                title=found.title,
                metric=found.metric,
                unit=f"{found.unit}/s",
                program=found.program,
                arguments=found.arguments,
                systems=tuple(able.get(name, ())),
            )
        )
    return entries
