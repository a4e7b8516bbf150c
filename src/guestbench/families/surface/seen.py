"""What the rooms of the attack surface bring back: samples, gaps and evidence.

What cannot be known leaves a gap with its reason: nothing is guessed, and no cell is 0 for want of an answer.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence

from guestbench.model import Gap, Mark, Outcome, Provenance, Sample, TrialResult, Unknown

LARGE_BYTES = 256 << 10
"""Evidence from this size on is compressed: the page tables of a Linux guest are some megabytes of text."""
LISTED = 12
"""How many ports or names are written out beside their number."""


class Seen:
    """Samples, gaps, and evidence by the name of the file to keep it in."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.gaps: list[Gap] = []
        self.raw: dict[str, bytes] = {}

    def add(
        self,
        metric: str,
        value: int | float | Unknown,
        evidence: str = "",
        *,
        detail: str = "",
        provenance: Provenance = Provenance.MEASURED,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Take a value, or the reason why there is none."""
        if isinstance(value, Unknown):
            self.miss([metric], f"unknown: {value.reason}", labels)
            return
        self.samples.append(
            Sample(
                metric=metric,
                value=int(value) if isinstance(value, bool) else value,
                labels=dict(labels or {}),
                provenance=provenance,
                detail=detail,
                evidence=evidence,
            )
        )

    def miss(self, metrics: Sequence[str], reason: str, labels: Mapping[str, str] | None = None) -> None:
        """Say why there is no value."""
        self.gaps += [Gap(metric=metric, reason=reason, labels=dict(labels or {})) for metric in metrics]

    def keep(self, evidence: Mapping[str, bytes]) -> None:
        """Take texts that a VMM or a guest said, as far as they are new, each by its name."""
        for name, said in evidence.items():
            if len(said) > LARGE_BYTES:
                # Without a time in it, so that the same is the same.
                self.raw.setdefault(f"{name}.txt.gz", gzip.compress(said, mtime=0))
            else:
                self.raw.setdefault(f"{name}.txt", said)

    def take(self, *others: Seen) -> None:
        """Take what rooms have brought."""
        for other in others:
            self.samples += other.samples
            self.gaps += other.gaps
            self.raw |= other.raw

    def to_result(self, outcome: Outcome, marks: tuple[Mark, ...] = ()) -> TrialResult:
        """What came of it all."""
        return TrialResult(
            outcome=outcome,
            marks=marks,
            samples=tuple(self.samples),
            gaps=tuple(self.gaps),
            raw=self.raw,
        )


def name_some(names: Sequence[object]) -> str:
    """The first of some names or ports in words, and how many more there are."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(map(str, names[:LISTED])) + more
