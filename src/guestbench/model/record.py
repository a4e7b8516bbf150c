"""What is measured, and the record of a trial; no type here compares or judges."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from guestbench.model.base import Frozen
from guestbench.model.system import Role
from guestbench.model.work import WorkReport

FORMAT_VERSION = 5
"""Version of the store's lines. Raised whenever an older reader would misread a newer store."""


LabelSet = tuple[tuple[str, str], ...]
"""Labels of a value with their values, in alphabetical order."""
Key = tuple[str, LabelSet]
"""A metric and its labels: what values are looked up by."""


def to_key(metric: str, labels: Mapping[str, str]) -> Key:
    """What values of a metric with these labels are looked up by."""
    return metric, tuple(sorted(labels.items()))


class Better(StrEnum):
    """Which direction of a metric is the better one."""

    LOWER = "lower"
    HIGHER = "higher"
    NEITHER = "neither"


class Metric(Frozen):
    """A row of the metric table: it says all that others need to know of the metric.

    `group` names the table of its family in which a report shows it, where the family has several. Systems
    and runs are compared in it if it is `compared`: in its values with one of `compared_labels`, `()` being
    those without labels, or in all of them where none is named. `exact` values do not scatter; a
    `difference` may be near 0, so that nothing is relative to it. The instrument reads to `resolution`, in
    the metric's unit, or to the share `relative_error` of a value, whichever is more: it cannot tell apart
    what lies closer together. Both are 0 for what is counted one by one, and `read_to_why` says how the
    rest is known. `headline` is the title of its column in the headline and in the terminal's table, empty
    where it has none, `span` what the summary calls it in a sentence on how far the systems lie apart; both
    are of the value with `shown_labels`. Whether a run has blocks enough is decided by a metric that
    `steers`, which is the main one of its trials. `method` names the way it is measured, where versions of
    guestbench differ in that: what was measured in another is not compared. `like` names the metric that
    stands beside it where systems are compared, since its own says more of how files are packed.
    """

    name: str
    title: str
    family: str
    unit: str
    better: Better
    help: str
    group: str = ""
    compared: bool = False
    compared_labels: tuple[LabelSet, ...] = ()
    exact: bool = False
    difference: bool = False
    resolution: float = 0.0
    relative_error: float = 0.0
    read_to_why: str = ""
    headline: str = ""
    span: str = ""
    shown_labels: LabelSet = ()
    steers: bool = False
    method: str = ""
    like: str = ""

    def is_compared_with(self, labels: Mapping[str, str]) -> bool:
        """Whether systems and runs are compared in its values with these labels."""
        _, found = to_key(self.name, labels)
        return self.compared and (not self.compared_labels or found in self.compared_labels)

    def read_to(self, value: float) -> float:
        """What the instrument can tell apart at that value, in the metric's unit; 0 if it counts."""
        return max(self.resolution, self.relative_error * abs(value))

    @property
    def is_timed(self) -> bool:
        """Whether it is a time or a rate, so that whatever else the host does shows in it."""
        return self.unit == "s" or self.unit.endswith("/s")


class Provenance(StrEnum):
    """Where a value comes from."""

    MEASURED = "measured"
    DERIVED = "derived"
    DECLARED = "declared"


class Trial(Frozen):
    """One measurement to make: one worker process and, except for `image`, one VM.

    `block` counts the shuffled blocks from 1, and is 0 outside them; `cycle` counts this system's trials
    of this purpose (and memory size) from 1. `definition` is a digest of all that defines what is booted
    and how. `memory_mib` is the guest's memory where it is not the platform's. `workload` names the work of
    trials of work and cross-checks; it is empty where the image does what it does by itself. `round` counts
    the rounds of the plan from 1, and is 0 for a trial that was not planned.
    """

    id: str
    system: str
    purpose: str
    block: int
    cycle: int
    definition: str
    memory_mib: int | None = None
    workload: str = ""
    round: int = 0


FIRST_BYTE, READY = "first byte", "ready"
"""The marks that every boot has which comes so far, beside the milestones of its system."""


class Mark(Frozen):
    """A milestone reached, in nanoseconds of `clock` since the exec of the VMM."""

    name: str
    t_ns: int
    clock: str = "monotonic"


class Sample(Frozen):
    """One value of a metric, in the metric's unit.

    `detail` says in words what was found, or why a declared value is so; `evidence` names the artifact of the
    record that shows it.
    """

    metric: str
    value: int | float
    labels: dict[str, str] = {}
    provenance: Provenance = Provenance.MEASURED
    detail: str = ""
    evidence: str = ""


class Series(Frozen):
    """Values of a metric over time: `values[i]` in its unit, `t_ns[i]` after the exec of the VMM."""

    metric: str
    t_ns: tuple[int, ...]
    values: tuple[int | float, ...]
    labels: dict[str, str] = {}


class Gap(Frozen):
    """Why a trial has no sample of these labels of a metric."""

    metric: str
    reason: str
    labels: dict[str, str] = {}


class Ok(Frozen, tag_field="result", tag="ok"):
    """The trial did what it was for."""

    reason: str = ""


class TimedOut(Frozen, tag_field="result", tag="timed-out"):
    """The guest did not get ready in its time."""

    reason: str


class Crashed(Frozen, tag_field="result", tag="crashed"):
    """The guest or its VMM died too early; the reason quotes the line that says so."""

    reason: str


class VmmFailed(Frozen, tag_field="result", tag="vmm-failed"):
    """The VMM ended by a mistake of its own, such as a failed assertion: this says nothing of the guest."""

    reason: str


class NotMade(Frozen, tag_field="result", tag="not-made"):
    """Guestbench itself failed, or what it asked of this host: this says nothing of the guest."""

    reason: str


class Unsupported(Frozen, tag_field="result", tag="unsupported"):
    """The trial cannot be made for this system on this host."""

    reason: str


class Incomplete(Frozen, tag_field="result", tag="incomplete"):
    """The trial was made in part: its samples hold, and the reason says what stopped it."""

    reason: str


class Wrong(Frozen, tag_field="result", tag="wrong"):
    """The work was done, but it was other work than asked for, or its result is not what it must be."""

    reason: str


Outcome = Ok | TimedOut | Crashed | VmmFailed | NotMade | Unsupported | Incomplete | Wrong
NOT_OF_GUEST = VmmFailed | NotMade
"""Failures that say nothing of the guest."""


class TrialResult(Frozen):
    """What a probe found. `raw` holds texts and other evidence by the name of the file to keep each in.

    `remark` is what followed a success and may belie it, in words.
    """

    outcome: Outcome
    marks: tuple[Mark, ...] = ()
    samples: tuple[Sample, ...] = ()
    series: tuple[Series, ...] = ()
    gaps: tuple[Gap, ...] = ()
    work: tuple[WorkReport, ...] = ()
    raw: dict[str, bytes] = {}
    remark: str = ""


class Conditions(Frozen):
    """What else the host did during a trial, as shares of all its CPUs' time (0 to 1).

    `pressure` has for `cpu`, `io` and `memory` the share of the trial's time in which some task of the host
    waited for it, the trial's own among them; it is empty where the kernel does not tell. `suspended_s` is
    how long the host slept meanwhile, which no other time has in it; it is unset where it did not.
    """

    load_1m: float
    cpu_others: float
    cpu_steal: float
    pressure: dict[str, float] = {}
    suspended_s: float | msgspec.UnsetType = msgspec.UNSET


class Record(Frozen, tag_field="kind", tag="record"):
    """All that a trial produced. Failures are records too.

    `images` maps a role to the file's SHA-256; `artifacts` a name to a path relative to the run folder;
    `started` is UTC in ISO 8601. `origin` names the state of a guest from which the trial went on, and is
    empty where it booted one: trials of one origin say nothing of how boots differ.
    """

    version: int
    trial: Trial
    outcome: Outcome
    marks: tuple[Mark, ...]
    samples: tuple[Sample, ...]
    argv: tuple[str, ...]
    host: str
    images: dict[Role, str]
    tool: str
    started: str
    wall_ns: int
    conditions: Conditions
    artifacts: dict[str, str] = {}
    series: tuple[Series, ...] = ()
    gaps: tuple[Gap, ...] = ()
    work: tuple[WorkReport, ...] = ()
    origin: str = ""
    remark: str = ""

    @property
    def holds(self) -> bool:
        """Whether its samples enter the statistics."""
        return isinstance(self.outcome, Ok | Incomplete)

    def find_gap(self, metric: str, labels: Mapping[str, str] | None = None) -> str:
        """Why it has no sample of a metric, with these labels if any are given; empty if it does not say."""
        gaps = (gap for gap in self.gaps if gap.metric == metric)
        return next((gap.reason for gap in gaps if labels is None or gap.labels in ({}, labels)), "")
