"""What a family of metrics says of itself: its metrics, what its trials are for, its settings."""

from __future__ import annotations

from guestbench.model.base import Frozen
from guestbench.model.record import Metric


class Purpose(Frozen):
    """What a trial is for; a `Trial` and the store hold its `name`.

    `counted`: its values enter the statistics. `timed`: it is made alone on the host, while others run side
    by side. `boots`: it starts a VM; else it is about files. `pristine`: it is about images as provisioned,
    not as settled. `works`: the guest is given work, and results are kept apart by workload. `search`: it
    asks a question to which a failure is an answer.
    """

    name: str
    counted: bool = True
    timed: bool = True
    boots: bool = True
    pristine: bool = False
    works: bool = False
    search: bool = False


class Family(Frozen):
    """Metrics that are measured together. `order` is its place in plans and reports, least first.

    `settings` is the type of its table in an experiment; a family without one has no settings.
    """

    name: str
    title: str
    metrics: tuple[Metric, ...]
    purposes: tuple[Purpose, ...]
    settings: type[Frozen] | None = None
    order: int = 1000
