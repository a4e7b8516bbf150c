"""A run and what analysis makes of it, found once for all that is said of the run."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from guestbench import model
from guestbench.analysis.summary import find_metric, find_summary


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """A run with its summaries of the counted trials, comparisons with the baseline, and judged claims.

    `records` have what is derived of several, and the header has no trials that its rule made needless.
    `known_ratios` and `recoveries` say how well its own instruments and this host tell things apart.
    `gains` is what the steps of the experiment bring. `to_come` is empty where the run is whole, and
    `dropped` what it had no time for.
    """

    header: model.Header
    records: tuple[model.Record, ...]
    summaries: tuple[model.Summary, ...]
    comparisons: tuple[model.Comparison, ...] = ()
    judgements: tuple[model.Judgement, ...] = ()
    looks: model.Looks = model.Looks()
    known_ratios: tuple[model.KnownRatio, ...] = ()
    recoveries: tuple[model.Recovery, ...] = ()
    beside: tuple[model.Beside, ...] = ()
    gains: tuple[model.Gain, ...] = ()
    to_come: tuple[model.ToCome, ...] = ()
    dropped: tuple[model.ToCome, ...] = ()

    @property
    def names(self) -> list[str]:
        """The names of the systems, in the run's order."""
        return [system.name for system in self.header.systems]

    def metric(self, name: str) -> model.Metric:
        """The row of a metric."""
        return find_metric(self.header, name)

    def find(self, system: str, metric: str, labels: model.LabelSet = ()) -> model.Summary | None:
        """The summary of a system's figure, or None."""
        return find_summary(self.summaries, system, metric, dict(labels))

    def find_all(self, metric: str, labels: model.LabelSet = ()) -> list[model.Summary]:
        """The summaries of a figure, of all systems that have it."""
        return [found for name in self.names if (found := self.find(name, metric, labels))]

    def find_trials(self, purposes: Iterable[str], system: str = "") -> list[model.Record]:
        """The records of these purposes, of one system if it is named."""
        wanted = {*purposes}
        return [
            record
            for record in self.records
            if record.trial.purpose in wanted and system in ("", record.trial.system)
        ]
