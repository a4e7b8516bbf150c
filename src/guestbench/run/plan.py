"""Turns what families want of a run into its trials: pure, and the same for the same seed on any machine."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import groupby
from typing import NamedTuple

import msgspec

from guestbench.families import find_purpose, list_families, load_hook
from guestbench.model import Batch, Guest, Header, Platform, Record, Trial, Wanted


def plan_trials(header: Header) -> tuple[Trial, ...]:
    """All trials of a run in the order in which they are to be made; the header tells all but these.

    First comes one round of everything, then what deepens all of it in turn: of 10 rounds and of 3 the second
    ones after a tenth and after a third of the way. What is shuffled is so by the run's seed, each round in
    an order of its own: drift of the host then hits all systems alike. A search cannot be planned, and comes
    after all of these (see `plan_more`).
    """
    definitions = {guest.system.name: define(guest, header.platform) for guest in header.guests}
    placed = [
        (_find_place(batches, cycle, rounds), cycle, batches[0], round_)
        for batches in _mix(_list_batches(header))
        for rounds in [max(batch.rounds for batch in batches)]
        for cycle, round_ in enumerate(_list_rounds(batches, header), 1)
    ]
    trials: list[Trial] = []
    made: Counter[tuple[str, str]] = Counter()
    for number, (_, cycle, batch, round_) in enumerate(sorted(placed, key=lambda each: each[0]), 1):
        for wanted in round_:
            if cycle <= sum(made[wanted.system, purpose] for purpose in batch.instead):
                continue
            made[wanted.system, wanted.purpose] += not wanted.workload
            what = "-".join(filter(None, (wanted.purpose, wanted.workload, wanted.system)))
            trials.append(
                Trial(
                    id=f"{len(trials) + 1:03}-{what}-{cycle}",
                    system=wanted.system,
                    purpose=wanted.purpose,
                    block=cycle if batch.blocks else 0,
                    cycle=cycle,
                    definition=definitions[wanted.system],
                    workload=wanted.workload,
                    round=number,
                )
            )
    return tuple(trials)


def _find_place(batches: Sequence[Batch], cycle: int, rounds: int) -> tuple[Fraction, bool]:
    """Where a round stands: how far on the way, and there behind what is cheap and telling."""
    first = batches[0]
    return Fraction(rounds if first.last else 0 if first.at_once else cycle - 1, rounds), not first.soon


def _list_batches(header: Header) -> Iterator[Batch]:
    for family in list_families():
        if family.name in header.experiment.metrics:
            yield from load_hook(family.name, "plan", "plan")(header)


def _mix(batches: Iterator[Batch]) -> list[list[Batch]]:
    """The batches with those together that are shuffled together, where the first of them stands."""
    groups: list[list[Batch]] = []
    shuffled: dict[str, list[Batch]] = {}
    for batch in batches:
        if batch.shuffle in shuffled:
            shuffled[batch.shuffle].append(batch)
            continue
        groups.append([batch])
        if batch.shuffle:
            shuffled[batch.shuffle] = groups[-1]
    return groups


def _list_rounds(batches: Sequence[Batch], header: Header) -> Iterator[list[Wanted]]:
    """The trials of each round, in its order."""
    places = {guest.system.name: place for place, guest in enumerate(header.guests)}
    # Only Random.random() is promised to give the same numbers in every Python version; shuffle() is not.
    generator = random.Random(f"{header.experiment.seed}/{batches[0].shuffle}")
    for number in range(max(batch.rounds for batch in batches)):
        wanted = [each for batch in batches if number < batch.rounds for each in batch.trials]
        if batches[0].shuffle:
            wanted.sort(key=lambda each: places[each.system])
            wanted.sort(key=lambda _: generator.random())
        yield wanted


def plan_more(
    header: Header, wanted: Sequence[Wanted], records: Sequence[Record], under_way: Sequence[Trial] = ()
) -> tuple[Trial, ...]:
    """Trials of a search, without those that are `under_way`.

    `records` tell which were made before, so that each has an id of its own.
    """
    trials: list[Trial] = []
    waiting = Counter(_find_key(trial) for trial in under_way)
    made = [*(record.trial for record in records), *under_way]
    for each in wanted:
        key = _find_key(each)
        if waiting[key]:
            waiting[key] -= 1
            continue
        platform = header.platform
        if each.memory_mib is not None:
            platform = msgspec.structs.replace(platform, memory_mib=each.memory_mib)
        cycle = 1 + max((t.cycle for t in (*made, *trials) if _find_key(t) == key), default=0)
        size = f"{each.memory_mib}M" if each.memory_mib is not None else ""
        trials.append(
            Trial(
                id="-".join(filter(None, (each.purpose, each.workload, each.system, size, str(cycle)))),
                system=each.system,
                purpose=each.purpose,
                block=0,
                cycle=cycle,
                definition=define(header.find_guest(each.system), platform),
                memory_mib=each.memory_mib,
                workload=each.workload,
            )
        )
    return tuple(trials)


def _find_key(trial: Trial | Wanted) -> tuple[str, str, str, int | None]:
    return trial.purpose, trial.system, trial.workload, trial.memory_mib


def define(guest: Guest, platform: Platform) -> str:
    """A digest of everything that defines what is booted and how: system, platform, image contents."""
    digests = {role.value: image.sha256 for role, image in sorted(guest.pristine.items())}
    content = msgspec.json.encode([guest.system, platform, digests], order="deterministic")
    return hashlib.sha256(content).hexdigest()[:16]


class Task(NamedTuple):
    """Trials to be made one after another on one host.

    Those of a `timed` task are made alone there. Tasks of one `group` are to be made on the same host, so
    that its values can be compared; `host` is the digest of the one that has begun with them, empty if none
    has.
    """

    trials: tuple[Trial, ...]
    timed: bool
    group: str
    host: str = ""


def list_tasks(trials: Sequence[Trial], records: Sequence[Record]) -> Iterator[Task]:
    """The trials that have no record yet, in their order: timed ones by whole rounds, others one by one."""
    hosts = {record.trial.id: record.host for record in records}
    for group, round_ in groupby(trials, key=_find_group):
        together = tuple(round_)
        missing = tuple(trial for trial in together if trial.id not in hosts)
        begun = next((hosts[trial.id] for trial in together if trial.id in hosts), "") if group else ""
        if missing and find_purpose(missing[0].purpose).timed:
            yield Task(missing, True, group, begun)
        else:
            yield from (Task((trial,), False, group, begun) for trial in missing)


def _find_group(trial: Trial) -> str:
    """What is the same of trials of one round; empty for those of a search, each of which stands alone."""
    purpose = find_purpose(trial.purpose)
    if purpose.search:
        return ""
    return f"{'timed' if purpose.timed else purpose.name}/{trial.block}/{trial.cycle}"
