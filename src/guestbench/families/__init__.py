"""The families of metrics, one folder each; other packages add theirs by an entry point.

A family is a package whose `__init__` has `FAMILY` and imports nothing heavy, with the rows of its metrics in
`metrics.toml` beside it; it may have `list_metrics(kit)` where they depend on the work that a run gives to
guests. What it does is in modules of it that are imported when they are needed, and in functions there that
are found by name:

`plan.plan(header)` yields each `Batch` of trials that it wants of a run; the header tells all but these.
`plan.follow_up(header, records, slots)` returns the trials `Wanted` next, where that depends on those made.
`plan.find_needs(header)` returns its `Needs` of a kit, or None; without it its trials get none.
`plan.find_start(header, trial)` returns the `Start` from which a trial can go on, or None.
`plan.brief(header, trial, records)` returns a struct that the probe gets to know as `job.brief`, or None.
`plan.describe(record)` says in a few words what came of a trial.
`probe.equip(job, spec)` returns the `LaunchSpec` with what the machine must offer or be given for a trial.
`probe.measure(job, machine, log)` makes a trial on a machine that was just started: a `TrialResult`.
`probe.look(job, machine)` is for what one in `FAMILY.aside` tells of a guest at its end: a `TrialResult`.
`probe.measure_files(job, scratch)` makes one of a purpose that boots nothing.
`findings.derive(header, records)` yields samples that follow from several records, or gaps, each with its
place.
`findings.tried(header, records)` yields system, key, and what a search for that figure tried and found.
`findings.unlike(header, records)` yields metric and system of what cannot be shown to be the same thing.
`findings.changed(old, new)` yields system and key, and why figures of two runs are not of the same thing.
`findings.settings(header)` yields what must be alike in two runs that are compared, and what it is.
`findings.known_ratios(header, records)` yields system, key, two samples and the ratio that they truly have.
`findings.planted(header, records)` yields system, metric, and points: block, what was planted, and the value.
`findings.notices(header, records)` yields a sentence for each thing that weakens the run's figures.
`findings.unfinished(header, records)` yields one for each search that has not ended; no trial is missing.
`findings.unanswered(header, records)` yields a text for each question that was not answered in the end.
What `section` may have stands in `guestbench.report.families`.

Of these, a family must have `plan`, and `measure` or `measure_files`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec

from guestbench.errors import UsageError
from guestbench.model import Family, Header, Kit, Metric, Purpose
from guestbench.registry import Axis

AXIS = Axis("guestbench.families", "guestbench.families")


def read_metrics(module: str) -> tuple[Metric, ...]:
    """The rows of `metrics.toml` beside the `__init__` of a family, whose folder has the family's name.

    There a set of labels is a table. Raises ValueError if a row is not that of a `Metric`.
    """
    folder = Path(module).parent
    rows = tomllib.loads((folder / "metrics.toml").read_text())["metrics"]
    for row in rows:
        row["family"] = folder.name
        row["compared_labels"] = [sorted(labels.items()) for labels in row.get("compared_labels", ())]
        row["shown_labels"] = sorted(row.get("shown_labels", {}).items())
    return msgspec.convert(rows, tuple[Metric, ...])


def list_families() -> tuple[Family, ...]:
    """All families, in their order."""
    found: list[Family] = [AXIS.load(name).FAMILY for name in AXIS.names()]
    return tuple(sorted(found, key=lambda family: (family.order, family.name)))


def find_metrics(names: Collection[str], kit: Kit | None = None) -> tuple[Metric, ...]:
    """The metric rows of a run of the families of these names, in the order of the families.

    A family whose rows depend on the programs that a run has to give guests work says so in `list_metrics`.
    """
    rows: list[Metric] = []
    for family in list_families():
        if family.name in names:
            own = getattr(AXIS.load(family.name), "list_metrics", None)
            rows += own(kit) if own else family.metrics
    return tuple(rows)


def complete_metrics(header: Header) -> Header:
    """The header, its metrics described as today in all but its words for them and how they were measured.

    So a run of an earlier version, whose rows say less, is analysed and shown like one of today's. A metric
    that no family has any more says of itself what it said then.
    """
    families = list_families()
    known = [row for family in families for row in family.metrics]
    known += find_metrics([family.name for family in families], header.kit)
    today = {row.name: row for row in known}
    rows = tuple(
        msgspec.structs.replace(
            today[row.name],
            title=row.title,
            unit=row.unit,
            better=row.better,
            help=row.help,
            method=row.method,
        )
        if row.name in today
        else row
        for row in header.metrics
    )
    return msgspec.structs.replace(header, metrics=rows)


def list_purposes(header: Header | None = None) -> tuple[Purpose, ...]:
    """What trials are for, in the order of the families; behind them those that only a run knows of."""
    found = [purpose for family in list_families() for purpose in family.purposes]
    names = {purpose.name for purpose in found}
    return (*found, *(each for each in (header.purposes if header else ()) if each.name not in names))


def find_hook(family: str, part: str, name: str) -> Any:
    """The function of that name in a module of the family; None where there is none."""
    return getattr(AXIS.find_part(family, part), name, None)


def ask(part: str, hook: str, *arguments: object, names: Collection[str] | None = None) -> Iterator[Any]:
    """What the functions of that name yield, in the order of the families, or of those of these names."""
    for family in list_families():
        if names is None or family.name in names:
            function = find_hook(family.name, part, hook)
            yield from function(*arguments) if function else ()


def load_hook(family: str, part: str, name: str) -> Any:
    """A function that a family must have.

    Raises:
        UsageError: it does not.
    """
    hook = find_hook(family, part, name)
    if hook is None:
        raise UsageError(
            f"the family of metrics {family} has no function {name} in its module {part}",
            "guestbench run --help  # which families there are",
        )
    return hook


def find_family(purpose: str) -> Family:
    """The family whose trials have that purpose.

    Raises:
        UsageError: no family that is there has such trials.
    """
    for family in list_families():
        if any(each.name == purpose for each in family.purposes):
            return family
    raise UsageError(
        f"no family of metrics is there that makes trials of {purpose!r}", "guestbench run --help"
    )


def find_purpose(name: str) -> Purpose:
    """The purpose of that name; one of a family that is not there counts for nothing."""
    known = {purpose.name: purpose for purpose in list_purposes()}
    return known.get(name) or Purpose(name=name, counted=False)
