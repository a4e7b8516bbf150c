"""Calibration in the report: what was planted beside what was found, and pairs of a known ratio."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from guestbench.analysis.findings import Findings
from guestbench.analysis.summary import CONFIDENCE
from guestbench.families.calibration import CALIBRATION, READY, TOUCHED
from guestbench.families.calibration.findings import ABOUT, planted
from guestbench.model import Recovery
from guestbench.page.blocks import Block, Cells, Code, Section, Table, read_words
from guestbench.page.figures import add_interval, show_amount, show_labels, show_near_one
from guestbench.page.numbers import show_share

tell = read_words(__file__)


def sections(found: Findings) -> Iterator[Section]:
    """Planted quantities and how they were recovered, if any was planted."""
    rows = tuple(_tabulate_planted(found))
    if not rows:
        return
    head = ("System", "Planted", "n", "Measured, median", "More than with none", "Off by")
    blocks: tuple[Block, ...] = (
        tell("planted"),
        Table(head, rows, 2),
        *_describe_recoveries(found),
        *_describe_ratios(found),
    )
    yield Section("calibration", "Calibration", blocks, metrics=(READY, TOUCHED))


def _tabulate_planted(found: Findings) -> Iterator[Cells]:
    """A row for each amount; what is more than with none is of the same block."""
    for system, metric, points in planted(found.header, found.find_trials((CALIBRATION,))):
        unit = found.metric(metric).unit
        none = {block: value for block, amount, value in points if amount == 0}
        for amount in sorted({amount for _, amount, _ in points}):
            mine = [(block, value) for block, each, value in points if each == amount]
            more = [value - none[block] for block, value in mine if block in none] if amount else []
            measured = show_amount(median(value for _, value in mine), unit)
            told = show_amount(amount, unit) if amount else "none"
            off = [median(more), median(more) - amount] if more else [None, None]
            yield (Code(system), told, str(len(mine)), measured, *(show_amount(each, unit) for each in off))


def _describe_recoveries(found: Findings) -> Iterator[Block]:
    mine = [each for each in found.recoveries if found.metric(each.metric).family == "calibration"]
    if mine:
        yield tell("recovered")
        head = ("System", "Figure", "n", "Blocks", "Slope (interval)", "SD around the line")
        yield Table(head, tuple(_to_row(found, each) for each in mine), 2)


def _to_row(found: Findings, each: Recovery) -> Cells:
    metric = found.metric(each.metric)
    slope = add_interval(f"{each.slope:.4f}", each.interval, lambda end: f"{end:.4f}")
    sd = show_amount(each.residual_sd, metric.unit)
    return (Code(each.system), metric.title, str(each.n), str(each.blocks), slope, sd)


def _describe_ratios(found: Findings) -> Iterator[Block]:
    rows: list[Cells] = []
    sizes = sorted({told.blocks for each in found.known_ratios for told in each.told})
    for each in found.known_ratios:
        what = show_labels(each.labels) or "twice the same"
        effects = {told.blocks: told.effect for told in each.told}
        blocks = (show_share(effects.get(size)) for size in sizes)
        holds = "yes" if each.holds else "no"
        ratios = [show_near_one(each.expected)]
        ratios.append(add_interval(show_near_one(each.ratio), each.interval, show_near_one))
        rows.append((Code(each.system), what, str(each.n), *ratios, holds, *blocks))
    if rows:
        yield tell("ratios", about=show_share(ABOUT), confidence=f"{CONFIDENCE:.0%}")
        head = ("System", "Pair", "n", "True ratio", "Ratio found (interval)", "Holds it")
        yield Table((*head, *(f"Told in {size} blocks" for size in sizes)), tuple(rows), 2)
