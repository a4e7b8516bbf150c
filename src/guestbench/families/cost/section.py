"""The section on instructions: of boots, up to each milestone, and of work."""

from __future__ import annotations

from collections.abc import Iterator

from guestbench.analysis.findings import Findings
from guestbench.analysis.reasons import find_reason
from guestbench.families.cost import ALL, BOOT, FAMILY, GUEST, OF_WORK, WAITING, WORK, Settings
from guestbench.model import Accel, Key, find_settings
from guestbench.page.blocks import Block, Bullets, Section, Table, read_words
from guestbench.page.figures import by_system, name_figure, show_summary, tell_metrics
from guestbench.page.numbers import NOTHING

tell = read_words(__file__)

UNTIL = "until"


def sections(found: Findings) -> Iterator[Section]:
    """What boots and work cost, if anything was counted."""
    names = (GUEST, WAITING, ALL, OF_WORK)
    trials = found.find_trials((BOOT, WORK))
    if not trials:
        return
    keys = _list_keys(found)
    boots: list[Key] = [(name, ()) for name in (GUEST, WAITING, ALL)]
    marks = [key for key in keys if key[0] == GUEST and key[1]]
    work = [key for key in keys if key[0] == OF_WORK]
    parts = [
        Section(f"cost-{name}", title, (_tabulate(found, title, rows),))
        for name, title, rows in (("milestones", "Up to each milestone", marks), ("work", "Of work", work))
        if rows
    ]
    helps = Bullets(tell_metrics(each for each in found.header.metrics if each.name in names))
    blocks = (_tabulate(found, "To ready", boots), *_tell(found), helps)
    yield Section("cost", FAMILY.title, blocks, tuple(parts), metrics=names)


def summary_lines(found: Findings) -> Iterator[tuple[str, str]]:
    """For the terminal: the waiting and the work, since the boot itself has a column."""
    for key in _list_keys(found):
        if key[0] in (WAITING, OF_WORK) and UNTIL not in dict(key[1]):
            cells = [
                f"{each.system} {_show(found, key, each.system)}" for each in found.find_all(*key) if each.n
            ]
            yield _name(found, key), "; ".join(cells)


def _list_keys(found: Findings) -> list[Key]:
    keys = {
        (each.metric, tuple(each.labels.items())): None
        for each in found.summaries
        if each.metric in (GUEST, WAITING, ALL, OF_WORK) and each.n
    }
    return list(keys)


def _tabulate(found: Findings, title: str, keys: list[Key]) -> Table:
    names = found.names
    return by_system(
        (title,), names, keys, lambda key: (_name(found, key),), lambda key, name: _show(found, key, name)
    )


def _name(found: Findings, key: Key) -> str:
    metric, labels = found.metric(key[0]), dict(key[1])
    if mark := labels.pop(UNTIL, ""):
        return mark
    return name_figure(metric.title, labels)


def _show(found: Findings, key: Key, name: str) -> str:
    summary = found.find(name, *key)
    if summary is not None and summary.n:
        return show_summary(summary, found.metric(key[0]).unit)
    reason = find_reason(found.find_trials((BOOT, WORK)), name, key[0], dict(key[1]))
    return f"n/a: {reason}" if reason else NOTHING


def _tell(found: Findings) -> Iterator[Block]:
    yield tell("about")
    yield tell("waits")
    if found.header.accel.used is Accel.KVM:
        yield tell("hardware")
    if find_settings(found.header.experiment.settings, FAMILY.name, Settings).icount:
        yield tell("virtual")
