"""The trials of work: in shuffled blocks, each guest does once all that it can do."""

from __future__ import annotations

from collections.abc import Iterator

from guestbench.families.work import CHECK, WORK, find_own, plan_blocks
from guestbench.families.work.check_guest import TOOL_NAMES
from guestbench.guest.programs import start_in_shell
from guestbench.model import (
    Batch,
    Guest,
    Header,
    ImageWork,
    Kit,
    Needs,
    Record,
    ShellWork,
    Start,
    Trial,
    Wanted,
)


def plan(header: Header) -> Iterator[Batch]:
    """Blocks of the workloads of the run, with known tools where a guest can run them."""
    if header.kit is not None:
        wanted = tuple(each for guest in header.guests for each in _list_work(guest, header.kit))
        yield plan_blocks(header, wanted)


def _list_work(guest: Guest, kit: Kit) -> Iterator[Wanted]:
    """Every trial in which this guest works, once each."""
    system = guest.system
    if isinstance(system.work, ImageWork):
        yield Wanted(purpose=WORK, system=system.name)
    elif system.work is not None:
        for work in kit.works:
            if work.program is not None and system.does(work.workload.name):
                yield Wanted(purpose=WORK, system=system.name, workload=work.workload.name)
    if isinstance(system.work, ShellWork) and system.work.disk and kit.tools_disk:
        for tool in kit.checks:
            yield Wanted(purpose=CHECK, system=system.name, workload=tool)


def find_needs(header: Header) -> Needs | None:
    """The programs of the workloads, if any guest works."""
    if not any(guest.system.work for guest in header.guests):
        return None
    settings = find_own(header)
    return Needs(workloads=settings.workloads, checks=TOOL_NAMES if settings.cross_checks else ())


def find_start(header: Header, trial: Trial) -> Start | None:
    """A guest with a shell is at work after its boot has settled."""
    if header.kit is None:
        return None
    checks = trial.purpose == CHECK
    disk = header.kit.tools_disk if checks else header.kit.disk
    return start_in_shell(header.find_guest(trial.system), disk, *find_own(header).choose_state(trial))


def describe(record: Record) -> str:
    """How long each piece of work took."""
    if record.trial.purpose != WORK:
        return ""
    times = (f"{each.workload} {each.seconds:.2f} s" for each in record.work if each.seconds is not None)
    return ", ".join(times) or "it does no such work"
