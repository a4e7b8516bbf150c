"""The trials: so many boots of every guest."""

from __future__ import annotations

from collections.abc import Iterator

from chatter import BYTES, Settings
from guestbench.model import Batch, Header, Record, Wanted, find_settings


def plan(header: Header) -> Iterator[Batch]:
    """Each guest once in every round."""
    trials = tuple(Wanted(purpose="listen", system=guest.system.name) for guest in header.guests)
    yield Batch(trials=trials, rounds=find_settings(header.experiment.settings, "chatter", Settings).boots)


def describe(record: Record) -> str:
    """How much the guest printed."""
    printed = (sample.value for sample in record.samples if sample.metric == BYTES)
    return next((f"{value} bytes printed" for value in printed), "")
