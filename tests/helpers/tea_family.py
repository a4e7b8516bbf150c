"""A family of metrics that another package adds: how long tea takes, and how many leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from factories import make_guest, make_header, make_record, make_system
from other_package import installed

from guestbench.families import find_metrics, list_purposes
from guestbench.model import Claim, Crashed, Header, Record, Sample, Trial

replace = msgspec.structs.replace

FAMILY = """
from guestbench.model import Better, Family, Metric, Purpose


def row(name, unit, **more):
    return Metric(name=name, title=name, family="tea", unit=unit, better=Better.LOWER, help="Tea.", **more)


FAMILY = Family(
    name="tea",
    title="Tea",
    metrics=(row("tea.boiling", "s", compared=True), row("tea.leaves", "leaves", exact=True)),
    purposes=(Purpose(name="brew", main="tea.boiling"),),
)
"""
FINDINGS = """
from guestbench.model import Sample


def derive(header, records):
    for place, record in enumerate(records):
        if record.trial.purpose == "brew" and record.holds:
            yield place, Sample(metric="tea.leaves", value=7)


def notices(header, records):
    yield "The water was hard."


def settings(header):
    yield "water", header.run


def unlike(header, records):
    return {("tea.boiling", "cold")}
"""


@contextmanager
def tea_installed(site: Path, *, findings: bool = True) -> Iterator[None]:
    """A package in `site` that adds the family, with or without what it has to say of its figures."""
    modules = {"tea/__init__.py": FAMILY, **({"tea/findings.py": FINDINGS} if findings else {})}
    with installed(site, "teahouse", "[guestbench.families]\ntea = teahouse.tea\n", modules):
        yield


def make_brews(factor: float = 1.0, run: str = "old") -> tuple[Header, tuple[Record, ...]]:
    """Ten brews of each system; one boils four times as fast as the baseline, one never, one other water."""
    names = {"kettle": 1.0, "pot": 4.0, "broken": 0.0, "cold": 9.0}
    trials = [
        Trial(id=f"{name}-{n}", system=name, purpose="brew", block=n, cycle=n, definition="")
        for n in range(1, 11)
        for name in names
    ]
    header = make_header([make_guest(make_system(name)) for name in names], trials)
    claims = (
        Claim(text="fast", metric="tea.boiling", system="kettle", against="pot", least=3),
        Claim(text="strong", metric="tea.leaves", system="kettle", least=8),
    )
    experiment = replace(header.experiment, metrics=("tea",), baseline="pot", claims=claims)
    purposes = tuple(each for each in list_purposes() if each.name == "brew")
    rows = find_metrics(("tea",))
    header = replace(header, run=run, experiment=experiment, metrics=rows, purposes=purposes)
    return header, tuple(_brew(trial, names[trial.system] * factor) for trial in trials)


def _brew(trial: Trial, seconds: float) -> Record:
    if not seconds:
        return make_record(trial, outcome=Crashed(reason="it leaks"))
    return make_record(trial, [Sample(metric="tea.boiling", value=seconds * (1 + trial.cycle % 3 / 100))])
