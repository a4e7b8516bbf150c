"""The probes: one module a family of metrics, each with its `METRICS` rows; this file only finds them."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from guestbench.model import Metric, MetricFamily


def find_metrics(families: tuple[MetricFamily, ...]) -> tuple[Metric, ...]:
    """The metric rows of the families, in the order of the families and then of their module."""
    names = sorted(info.name for info in pkgutil.iter_modules(__path__))
    rows = [row for name in names for row in import_module(f"{__name__}.{name}").METRICS]
    return tuple(row for family in families for row in rows if row.family is family)
