"""What families want of a run: trials, what they need to give guests work, and states to go on from."""

from __future__ import annotations

from guestbench.model.base import Frozen
from guestbench.model.system import Image


class Wanted(Frozen):
    """A trial that a family wants. `memory_mib` is the guest's memory where it is not the platform's."""

    purpose: str
    system: str
    workload: str = ""
    memory_mib: int | None = None


GIVEN_WORK = "work"
"""The shuffle of all trials in which guests are given work."""


class Batch(Frozen):
    """Trials that a family wants in so many `rounds`, each of which makes all of them once.

    A `shuffle` is the name of an order: each of its rounds has one of its own, which the run's seed tells.
    Batches with the same shuffle are mixed, those of several families too. With `blocks` the rounds are the
    blocks within which systems are compared. Rounds of what is cheap and telling are `soon`: they come
    before the others that are as far on the way. With `at_once` no round waits for the first ones of what
    comes behind: these need all of them. Those of one that is `last` come behind all others. `instead` are
    purposes whose trials do as well: for each that comes before of a guest, one of the batch is left out.
    """

    trials: tuple[Wanted, ...]
    rounds: int = 1
    shuffle: str = ""
    blocks: bool = False
    soon: bool = False
    at_once: bool = False
    last: bool = False
    instead: tuple[str, ...] = ()


class Needs(Frozen):
    """What a family needs to give guests work, beside the program that every kit has.

    `checks` are the known tools that are to run in guests; `tools` asks for those that run on the host.
    `plugin` asks for what a VMM loads to count instructions, `inspector` for what looks into disks; without
    `programs` nothing is given to guests.
    """

    workloads: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    tools: bool = False
    plugin: bool = False
    inspector: bool = False
    programs: bool = True


class Start(Frozen):
    """A state from which a trial can go on instead of booting: so long after the guest was ready.

    `tools` is the disk that the guest then has, with the drivers for it. `with_shell`, one is open on its
    console, and that disk mounted. States of another `variant` are of another boot of the same guest: what
    differs from boot to boot shows only in several of them.
    """

    settle_s: float = 0.0
    tools: Image | None = None
    with_shell: bool = False
    variant: int = 0
