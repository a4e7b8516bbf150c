"""Gates: the changes that a user will not have, read from the command line; it compares nothing itself.

A gate is written

    [SYSTEM:]METRIC[{LABEL=VALUE,…}]>PERCENT%      it fails if NEW is that much above OLD
    [SYSTEM:]METRIC[{LABEL=VALUE,…}]<-PERCENT%     it fails if NEW is that much below OLD

Without a system it is about all but the floors. Labels that are not named may have any value; where none is
named, the value without labels is meant, if there is one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

from guestbench.errors import UsageError
from guestbench.model import Frozen, Interval

_GATE = re.compile(
    r"""\s*(?:(?P<system>[^\s:{}<>]+)\s*:\s*)?
    (?P<metric>[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+)\s*
    (?:\{(?P<labels>[^{}]*)\}\s*)?
    (?P<sign>[<>])\s*(?P<percent>[+-]?\d+(?:\.\d+)?)\s*%\s*""",
    re.VERBOSE,
)
HINT = "guestbench diff --help"


class Gate(Frozen):
    """A bound on the change of a metric: `bound` is NEW / OLD - 1, above which (or below) it must not be.

    `plain` is whether only the value without labels is meant.
    """

    text: str
    system: str
    metric: str
    labels: dict[str, str]
    above: bool
    bound: float
    plain: bool = False

    def is_about(self, system: str, metric: str, labels: Mapping[str, str], *, floor: bool = False) -> bool:
        """Whether the gate judges this metric with these labels of this system."""
        wanted = system == self.system if self.system else not floor
        if not wanted or metric != self.metric or (self.plain and labels):
            return False
        return self.labels.items() <= labels.items()

    def is_passed_by(self, ratio: float) -> bool:
        """Whether a ratio NEW / OLD keeps within the bound."""
        # Times 100, so that 1.05 of a file of 100 bytes is 5% and not more by the last bit.
        change, bound = round((ratio - 1) * 100, 9), round(self.bound * 100, 9)
        return change <= bound if self.above else change >= bound


class GateState(StrEnum):
    """What the data say of a gate."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


class Decision(Frozen):
    """A gate held against one metric of one system; `interval` is the one that decided, if there was one."""

    gate: str
    system: str
    metric: str
    labels: dict[str, str]
    state: GateState
    ratio: float | None = None
    interval: Interval | None = None
    reason: str = ""


def parse_gate(text: str) -> Gate:
    """Read a gate.

    Raises:
        UsageError: it is not of the form above, or its sign and its percentage contradict each other.
    """
    found = _GATE.fullmatch(text)
    if found is None:
        raise UsageError(
            f"--fail-on {text!r} is not of the form METRIC>5% or METRIC<-5%, as in 'boot.ready>5%'", HINT
        )
    percent, above = float(found["percent"]), found["sign"] == ">"
    if above and percent < 0:
        raise UsageError(f"--fail-on {text!r}: after '>' a rise is needed, as in '>5%'", HINT)
    if not above and (percent > 0 or percent <= -100):
        raise UsageError(
            f"--fail-on {text!r}: after '<' a fall of less than 100% is needed, as in '<-5%'", HINT
        )
    return Gate(
        text=text,
        system=found["system"] or "",
        metric=found["metric"],
        labels=_parse_labels(text, found["labels"] or ""),
        above=above,
        bound=percent / 100,
    )


def _parse_labels(text: str, written: str) -> dict[str, str]:
    labels: dict[str, str] = {}
    for pair in filter(str.strip, written.split(",")):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not (name and equals) or name in labels:
            raise UsageError(
                f"--fail-on {text!r}: {pair.strip()!r} is not a label of the form NAME=VALUE", HINT
            )
        labels[name] = value
    return labels
