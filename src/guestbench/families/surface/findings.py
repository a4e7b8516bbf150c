"""Puts the figures of the attack surface into cells, one a metric and system; it guesses nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from guestbench.families.surface import BOOT, IMAGE, RUNNING
from guestbench.model import Frozen, Header, Key, LabelSet, Metric, Provenance, Record, Sample, to_key

BASE, BASE_BITS = "surface.text_base", "surface.text_bits"
SHOWN = (RUNNING, IMAGE)
"""Where cells come from; what a running guest showed goes before what its image tells."""

UNDIVIDED = "–"
"""The reason of a cell whose system has the figure, but not under these labels."""


class Cell(msgspec.Struct, frozen=True):
    """A figure of one system with where it comes from, or the reason why there is none.

    `evidence` is the path of a file, relative to the run folder; empty where none was kept.
    """

    value: int | float | None
    provenance: Provenance = Provenance.MEASURED
    detail: str = ""
    evidence: str = ""
    reason: str = ""


class Row(Frozen):
    """A metric, and its cell for each system by name."""

    metric: Metric
    labels: dict[str, str]
    cells: dict[str, Cell]

    @property
    def files(self) -> list[str]:
        """The names of the files that are evidence."""
        paths = (cell.evidence for cell in self.cells.values() if cell.evidence)
        return list(dict.fromkeys(path.rpartition("/")[2] for path in paths))


def find_rows(header: Header, records: Sequence[Record]) -> tuple[Row, ...]:
    """All rows of the attack surface that any system has a figure for, or says why not.

    They are in the order of the run's metrics.
    """
    found: dict[Key, dict[str, Cell]] = {}
    held = [record for record in records if record.holds]
    shown = [record for purpose in SHOWN for record in held if record.trial.purpose == purpose]
    samples = [(each, sample) for each in shown for sample in each.samples if sample.metric != BASE]
    # It is derived from boots of any purpose, and stands with the last of them.
    samples += [(each, sample) for each in held for sample in each.samples if sample.metric == BASE_BITS]
    for record, sample in samples:
        cells = found.setdefault(to_key(sample.metric, sample.labels), {})
        evidence = record.artifacts.get(sample.evidence, "")
        cell = Cell(sample.value, sample.provenance, sample.detail, evidence)
        cells.setdefault(record.trial.system, cell)
    measured = {name for name, _ in found}
    for record in records:
        if record.trial.purpose in SHOWN and record.holds:
            for gap in record.gaps:
                if gap.metric not in measured and not gap.labels:
                    found.setdefault((gap.metric, ()), {})
    rows = []
    for metric in (each for each in header.metrics if each.family == "surface"):
        mine = {labels: cells for (name, labels), cells in found.items() if name == metric.name}
        # A system that has the metric under other labels does not lack it: it is not divided so.
        others = {system for cells in mine.values() for system in cells}
        for labels, cells in mine.items():
            complete = {
                name: cells.get(name) or _missing(records, name, metric.name, labels, name in others)
                for name in (guest.system.name for guest in header.guests)
            }
            rows.append(Row(metric=metric, labels=dict(labels), cells=complete))
    return tuple(rows)


def _missing(records: Iterable[Record], system: str, metric: str, labels: LabelSet, has_others: bool) -> Cell:
    """Why a system has no such figure, by its own trials; it may have others of the metric."""
    reason = ""
    wanted = BASE if metric == BASE_BITS else metric
    for record in records:
        if record.trial.system == system:
            if record.trial.purpose in (*SHOWN, BOOT) and not record.holds:
                reason = reason or record.outcome.reason
            if gap := record.find_gap(wanted, dict(labels)):
                return Cell(value=None, reason=gap)
    return Cell(value=None, reason=UNDIVIDED if has_others else reason)


def derive(_: Header, records: Sequence[Record]) -> Iterator[tuple[int, Sample]]:
    """The randomised bits of the kernel's base, for each system's last fresh boot."""
    bases: dict[str, list[tuple[int, int]]] = {}
    for place, record in enumerate(records):
        if record.holds:
            found = (int(sample.value) for sample in record.samples if sample.metric == BASE)
            bases.setdefault(record.trial.system, []).extend((place, base) for base in found)
    for values in bases.values():
        if len(values) > 1:
            bits, distinct = count_varying_bits([base for _, base in values])
            choice = f"so at least {math.log2(distinct):.1f} bits of choice"
            detail = f"{distinct} different in {len(values)} boots, {choice}"
            yield values[-1][0], Sample(metric=BASE_BITS, value=bits, detail=detail)


def count_varying_bits(values: Sequence[int]) -> tuple[int, int]:
    """How many bits of an address differed between boots, and how many different addresses there were.

    A bit that varied was chosen from two values at least; the logarithm of the number of different addresses
    is a lower bound of the choice there is, and no estimate of it.
    """
    mask = 0
    for value in values:
        mask |= value ^ values[0]
    return mask.bit_count(), len(set(values))
