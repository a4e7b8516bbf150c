"""The probes: modules with `METRICS` rows, and what these modules share; this file only finds the rows."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from guestbench.model import Metric, MetricFamily


def find_metrics(families: tuple[MetricFamily, ...]) -> tuple[Metric, ...]:
    """The metric rows of the families, in the order of the families and then of their module."""
    names = sorted(info.name for info in pkgutil.iter_modules(__path__))
    modules = [import_module(f"{__name__}.{name}") for name in names]
    rows: list[Metric] = [row for module in modules for row in getattr(module, "METRICS", ())]
    return tuple(row for family in families for row in rows if row.family is family)
