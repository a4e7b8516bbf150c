"""Looks for what a reader must know before trusting a run; never changes or drops a value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from guestbench.analysis.stopping import trim
from guestbench.families import ask, list_families, list_purposes
from guestbench.model import REPLAYING_VMM, Frozen, Guest, GuestFamily, Header, Ok, Outcome, Record, Role


class Failed(Frozen):
    """Trials of one system and purpose that failed alike: `n` of `of`; `run` says in which of two runs."""

    run: str
    system: str
    purpose: str
    outcome: Outcome
    n: int
    of: int


def find_failures(header: Header, records: Sequence[Record], run: str = "") -> dict[Failed, Record]:
    """The failed trials, those alike in system, purpose, outcome and reason together, and the first of each.

    What a search tries and fails with is an answer, and no failure.
    """
    searches = {each.name for each in list_purposes(header) if each.search}
    groups: dict[tuple[str, str, type[Outcome], str], list[Record]] = {}
    for record in records:
        if not isinstance(record.outcome, Ok) and record.trial.purpose not in searches:
            key = (record.trial.system, record.trial.purpose, type(record.outcome), record.outcome.reason)
            groups.setdefault(key, []).append(record)
    tried = Counter((record.trial.system, record.trial.purpose) for record in records)
    return {
        Failed(
            run=run,
            system=system,
            purpose=purpose,
            outcome=members[0].outcome,
            n=len(members),
            of=tried[system, purpose],
        ): members[0]
        for (system, purpose, _, _), members in groups.items()
    }


def find_notices(header: Header, records: Sequence[Record]) -> tuple[str, ...]:
    """One sentence for each thing about the run as a whole that weakens it; empty for a sound run.

    What is still to come of it is told elsewhere: see `analysis.partial`.
    """
    header = trim(header, records)
    replayed = "This run replayed recorded consoles: nothing was booted, and no time is a measurement."
    return (
        *((replayed,) if header.platform.vmm == REPLAYING_VMM else ()),
        *find_idle(header),
        *ask_measured("notices", header, records),
        *find_mismatches(header, records),
        *find_suspended(records),
    )


def find_suspended(records: Sequence[Record]) -> Iterator[str]:
    """A sentence where the host slept during trials: what their guests took its sleep for is not known."""
    slept = {
        record.trial.id: seconds
        for record in records
        if isinstance(seconds := record.conditions.suspended_s, float)
    }
    if slept:
        yield (
            f"The host was suspended during {len(slept)} of {len(records)} trials, for up to "
            f"{max(slept.values()):,.1f} s; their times leave that out, but look at each of them before you "
            f"believe it: {', '.join(slept)}."
        )


def find_idle(header: Header) -> Iterator[str]:
    """One sentence for each family of which some systems have no trial, for want of what it needs."""
    for family in list_families():
        if family.name not in header.experiment.metrics or not family.needs:
            continue
        mine = {purpose.name for purpose in family.purposes}
        busy = {trial.system for trial in header.trials if trial.purpose in mine}
        others = (s for s in header.systems if s.family is not GuestFamily.FLOOR and s.name not in busy)
        if names := ", ".join(system.name for system in others):
            yield f"{family.title}: nothing is measured of {names}, for want of {family.needs}."


def ask_measured(hook: str, header: Header, records: Sequence[Record]) -> Iterator[str]:
    """What the families that a run measures say of it, in their functions of that name."""
    return ask("findings", hook, header, records, names=header.experiment.metrics)


def count_missing(header: Header, records: Sequence[Record]) -> int:
    """How many of the planned trials have no record, and are not needless by the rule of the run."""
    done = {record.trial.id for record in records}
    return sum(trial.id not in done for trial in trim(header, records).trials)


def find_settled(guest: Guest, records: Sequence[Record]) -> dict[Role, str]:
    """The SHA-256 of a guest's disk that was booted once in the run, by the first of its records that has it.

    Empty where no trial has booted one yet, or the header has it.
    """
    if guest.origin.settled and guest.images == guest.pristine:
        for record in records:
            disk = record.images.get(Role.DISK)
            if record.trial.system == guest.system.name and disk not in (
                None,
                guest.pristine[Role.DISK].sha256,
            ):
                return {Role.DISK: disk}
    return {}


def find_mismatches(header: Header, records: Sequence[Record]) -> tuple[str, ...]:
    """One sentence for each way in which records do not belong to the host, tool and images of the header."""
    found = []
    foreign = sum(record.host != header.host.digest for record in records)
    if foreign:
        found.append(f"{foreign} of {len(records)} records come from another host than the one described.")
    tools = sorted({record.tool for record in records} - {header.tool})
    if tools:
        found.append(f"Some records were made by another version of the tool: {', '.join(tools)}.")
    for guest in header.guests:
        known = {
            (role, image.sha256)
            for images in (guest.images, guest.pristine)
            for role, image in images.items()
        }
        mine = [record for record in records if record.trial.system == guest.system.name]
        known |= find_settled(guest, mine).items()
        changed = sum(not record.images.items() <= known for record in mine)
        if changed:
            found.append(
                f"{changed} records of {guest.system.name} carry other image digests than the run began with."
            )
    return tuple(found)
