"""What families have to say of a run: each is asked through the registry, and named nowhere.

A family may have a module `findings` with any of the functions below that begin with `ask_`, without that
prefix, and of the same meaning. They are light: reports that compare nothing call some of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from guestbench.families import find_hook, list_families
from guestbench.model import Header, Key, Provenance, Record


def ask_derive(header: Header, records: Sequence[Record]) -> tuple[Record, ...]:
    """The records, with samples added that are derived of several; one that has a sample keeps it.

    A family's `derive` gives each sample with the place of the record that gets it.
    """
    found = list(records)
    for derive in _find_hooks("derive"):
        for place, sample in derive(header, records):
            record = found[place]
            if not any((s.metric, s.labels) == (sample.metric, sample.labels) for s in record.samples):
                derived = msgspec.structs.replace(sample, provenance=Provenance.DERIVED)
                found[place] = msgspec.structs.replace(record, samples=(*record.samples, derived))
    return tuple(found)


def ask_unlike(header: Header, records: Sequence[Record]) -> set[tuple[str, str]]:
    """Metric and system of all figures that cannot be shown to be of the same thing as the others'."""
    return {each for find in _find_hooks("unlike") for each in find(header, records)}


def ask_changed(
    old: tuple[Header, Sequence[Record]], new: tuple[Header, Sequence[Record]]
) -> dict[tuple[str, Key], str]:
    """By system, metric and labels: why the figures of two runs are not of the same thing."""
    return {key: reason for find in _find_hooks("changed") for key, reason in find(old, new).items()}


def ask_settings(header: Header) -> Iterator[tuple[str, str]]:
    """What must be alike in two runs that are compared, and what it is in this one."""
    for describe in _find_hooks("settings", header):
        yield from describe(header)


def ask_notices(header: Header, records: Sequence[Record]) -> Iterator[str]:
    """A sentence for each thing that weakens the figures of the run."""
    for find in _find_hooks("notices", header):
        yield from find(header, records)


def ask_unfinished(header: Header, records: Sequence[Record]) -> Iterator[str]:
    """A sentence for each search that has not come to its end, although no planned trial is missing."""
    for find in _find_hooks("unfinished", header):
        yield from find(header, records)


def ask_unanswered(header: Header, records: Sequence[Record]) -> Iterator[str]:
    """A text for each question that the run came to its end without an answer to."""
    for find in _find_hooks("unanswered", header):
        yield from find(header, records)


def _find_hooks(name: str, header: Header | None = None) -> Iterator[Callable[..., Any]]:
    """The functions of this name, of those families that the run measures if one is given."""
    for family in list_families():
        if header is None or family.name in header.experiment.metrics:
            hook = find_hook(family.name, "findings", name)
            if hook is not None:
                yield hook
