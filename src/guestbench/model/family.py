"""What a family of metrics says of itself: its metrics, what its trials are for, its settings."""

from __future__ import annotations

from guestbench.model.base import Frozen
from guestbench.model.record import Metric


class Purpose(Frozen):
    """What a trial is for; a `Trial` and the store hold its `name`.

    `counted`: its values enter the statistics. `timed`: it is made alone on the host, while others run side
    by side. `waits`: most of such a trial is waiting, where its guest is ready soon. `boots`: it starts a VM;
    else it is about files. `pristine`: it is about images as provisioned, not as settled. `works`: the guest
    is given work, and results are kept apart by workload. `search`: it asks a question to which a failure is
    an answer, and of its samples only what is derived of several is a value. `facts`: its values are shown
    and claims are judged by them, but no statistics are made of them. `main` is the metric that stands
    without a value where every such trial of a system failed. `title` is what such a trial is called while it
    is made, its name where that is empty; `like` is the name of a purpose whose trials take about as long.
    """

    name: str
    title: str = ""
    like: str = ""
    counted: bool = True
    timed: bool = True
    waits: bool = False
    boots: bool = True
    pristine: bool = False
    works: bool = False
    search: bool = False
    facts: bool = False
    main: str = ""


class Family(Frozen):
    """Metrics that are measured together. `order` is its place in plans and reports, least first.

    `settings` is the type of its table in an experiment; a family without one has no settings. `printed` are
    the names of those metrics of which a guest without a shell can print a value. `needs` says in words what
    a system has to have for its trials, where not every system has it. `aside` are purposes of other
    families: where both are measured, its probe looks at the guest at the end of their trials, too.
    """

    name: str
    title: str
    metrics: tuple[Metric, ...]
    purposes: tuple[Purpose, ...]
    settings: type[Frozen] | None = None
    printed: tuple[str, ...] = ()
    order: int = 1000
    needs: str = ""
    aside: tuple[str, ...] = ()
