"""Turns an experiment into the list of its trials; pure, and the same for the same seed on any machine."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from guestbench.model import Experiment, Guest, MetricFamily, Platform, Purpose, Trial


def plan_trials(
    experiment: Experiment, guests: Sequence[Guest], platform: Platform, seed: int
) -> tuple[Trial, ...]:
    """All trials in the order in which they are to be made.

    Images first; then first boots and warm-ups; then `experiment.cycles` blocks, each of which boots every
    guest once in an order shuffled by `seed`, so that drift of the host hits all systems alike; then the
    boots that count memory; then the attack surface. The search for the least memory comes after all of
    these and cannot be planned: which size is tried depends on what the one before showed (see `search` and
    `plan_sizes`).
    """
    trials: list[Trial] = []
    definitions = {guest.system.name: define(guest, platform) for guest in guests}

    def add(name: str, purpose: Purpose, block: int, cycle: int) -> None:
        trials.append(
            Trial(
                id=f"{len(trials) + 1:03}-{purpose.value}-{name}-{cycle}",
                system=name,
                purpose=purpose,
                block=block,
                cycle=cycle,
                definition=definitions[name],
            )
        )

    if MetricFamily.IMAGE in experiment.metrics:
        for guest in guests:
            add(guest.system.name, Purpose.IMAGE, 0, 1)
    if MetricFamily.BOOT in experiment.metrics:
        for guest in guests:
            if guest.origin.settled and guest.system.provision.settle:
                add(guest.system.name, Purpose.FIRST_BOOT, 0, 1)
        names = [guest.system.name for guest in guests]
        for cycle, order in enumerate(_shuffles(names, experiment.warmups, f"{seed}/warmup"), 1):
            for name in order:
                add(name, Purpose.WARMUP, 0, cycle)
        for cycle, order in enumerate(_shuffles(names, experiment.cycles, f"{seed}/boot"), 1):
            for name in order:
                add(name, Purpose.BOOT, cycle, cycle)
    if MetricFamily.MEMORY in experiment.metrics:
        for cycle in range(1, experiment.memory.cycles + 1):
            for guest in guests:
                add(guest.system.name, Purpose.MEMORY, 0, cycle)
    if MetricFamily.SURFACE in experiment.metrics:
        for guest in guests:
            add(guest.system.name, Purpose.SURFACE_IMAGE, 0, 1)
        for guest in guests:
            add(guest.system.name, Purpose.SURFACE, 0, 1)
        for cycle in range(1, experiment.surface.boots + 1):
            for guest in guests:
                add(guest.system.name, Purpose.SURFACE_BOOT, 0, cycle)
    return tuple(trials)


def plan_sizes(
    guest: Guest, platform: Platform, sizes: Sequence[int], tried: Mapping[int, Sequence[bool]]
) -> tuple[Trial, ...]:
    """Trials that boot `guest` with memory sizes in MiB; `tried` has the results of those made before."""
    name, made = guest.system.name, {size: len(results) for size, results in tried.items()}
    trials = []
    for size in sizes:
        made[size] = cycle = made.get(size, 0) + 1
        trials.append(
            Trial(
                id=f"{Purpose.MEMORY_MIN.value}-{name}-{size}M-{cycle}",
                system=name,
                purpose=Purpose.MEMORY_MIN,
                block=0,
                cycle=cycle,
                definition=define(guest, msgspec.structs.replace(platform, memory_mib=size)),
                memory_mib=size,
            )
        )
    return tuple(trials)


def define(guest: Guest, platform: Platform) -> str:
    """A digest of everything that defines what is booted and how: system, platform, image contents."""
    digests = {role.value: image.sha256 for role, image in sorted(guest.images.items())}
    content = msgspec.json.encode([guest.system, platform, digests], order="deterministic")
    return hashlib.sha256(content).hexdigest()[:16]


def _shuffles(names: Sequence[str], count: int, seed: str) -> Iterator[list[str]]:
    # Only Random.random() is promised to give the same numbers in every Python version; shuffle() is not.
    generator = random.Random(seed)
    for _ in range(count):
        yield sorted(names, key=lambda _: generator.random())
