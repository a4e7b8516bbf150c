"""The families of metrics, one folder each; other packages add theirs by an entry point.

A family is a package whose `__init__` has `FAMILY` and imports nothing heavy. What it does is in modules of
it that are imported when they are needed: `plan`, `probe`, `findings`, `section`.
"""

from __future__ import annotations

from collections.abc import Collection

from guestbench.model import Family, Metric, Purpose
from guestbench.registry import Axis

AXIS = Axis("guestbench.families", "guestbench.families")


def list_families() -> tuple[Family, ...]:
    """All families, in their order."""
    found: list[Family] = [AXIS.load(name).FAMILY for name in AXIS.names()]
    return tuple(sorted(found, key=lambda family: (family.order, family.name)))


def find_metrics(names: Collection[str]) -> tuple[Metric, ...]:
    """The metric rows of the families of these names, in the order of the families."""
    return tuple(row for family in list_families() if family.name in names for row in family.metrics)


def find_purpose(name: str) -> Purpose:
    """The purpose of that name; one of a family that is not there counts for nothing."""
    known = {purpose.name: purpose for family in list_families() for purpose in family.purposes}
    return known.get(name) or Purpose(name=name, counted=False)
