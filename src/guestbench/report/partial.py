"""Says of a run that is not whole that it is not, and what is still to come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guestbench.analysis.findings import Findings
from guestbench.families import find_purpose
from guestbench.model import ToCome
from guestbench.page.blocks import Block, Bullets, Paragraph, Strong, Text, read_words
from guestbench.page.figures import tabulate
from guestbench.page.numbers import NOTHING, count_things, show_duration

tell = read_words(__file__)


def tell_how_far(found: Findings) -> str:
    """How much of a run is there, in a few words; empty where it is whole."""
    if not found.to_come:
        return ""
    missing, planned = sum(each.planned - each.made for each in found.to_come), len(found.header.trials)
    if not missing:
        return "partial: a search has not ended"
    return f"partial: {planned - missing} of {planned} planned trials"


def describe_partial(found: Findings, *, running: bool) -> Iterator[Block]:
    """The blocks that a report of a run begins with that is not whole; `running` while it goes on."""
    if not found.to_come:
        return
    last = max((record.started for record in found.records), default="")
    when = f"; the last one was begun at {last}" if last else ""
    first: tuple[Text, ...] = ((Strong("The run is not complete"), f" ({tell_how_far(found)}{when})."),)
    yield Paragraph((*first, *tell("running" if running else "resume").lines, *tell("not-yet").lines))
    yield from tabulate_to_come(found.to_come)


def tabulate_to_come(to_come: Sequence[ToCome]) -> Iterator[Block]:
    """What is still to come, a family a row, and what is searched for."""
    yield tabulate(
        to_come,
        {
            "Still to come": lambda each: each.title,
            "Made": lambda each: f"{each.made} of {each.planned}",
            "Trials": list_trials,
            "About": lambda each: show_duration(each.seconds) if each.seconds else NOTHING,
        },
        words=3,
    )
    yield Bullets(tuple(each.search for each in to_come if each.search))


def list_trials(each: ToCome) -> str:
    """What trials are to come of a family, by kind."""
    named = [
        f"{count} × {find_purpose(name).title or name.replace('-', ' ')}"
        for name, count in each.missing.items()
    ]
    return ", ".join((*named, *(("a search",) if each.search else ())))


def summarise_to_come(found: Findings) -> Iterator[str]:
    """What is still to come, in a line for a terminal."""
    if found.to_come:
        told = (
            f"{each.title.lower()} ({count_things(each.planned - each.made, 'trial')})"
            if each.made < each.planned
            else f"{each.title.lower()} (a search)"
            for each in found.to_come
        )
        yield f"{tell_how_far(found)}; to come: {', '.join(told)}"
