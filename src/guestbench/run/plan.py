"""Turns an experiment into the list of its trials; pure, and the same for the same seed on any machine."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from guestbench.families import memory, surface, work
from guestbench.model import (
    BootWork,
    Experiment,
    Guest,
    ImageWork,
    Kit,
    Platform,
    ProgramLoad,
    ShellWork,
    System,
    Trial,
    find_settings,
)

LOAD = "load"
"""The workload of boots that count the memory of a guest at its load and at nothing else."""


def plan_trials(
    experiment: Experiment,
    guests: Sequence[Guest],
    platform: Platform,
    seed: int,
    kit: Kit | None = None,
) -> tuple[Trial, ...]:
    """All trials in the order in which they are to be made.

    Images first; then first boots and warm-ups; then `experiment.cycles` blocks, each of which boots every
    guest once in an order shuffled by `seed`, so that drift of the host hits all systems alike; then the
    boots that count memory; then the attack surface; then work, in blocks shuffled likewise, of which each
    has every guest do once all that it can do. The search for the least memory comes after all of these and
    cannot be planned: which size is tried depends on what the one before showed (see `search` and
    `plan_sizes`).
    """
    trials: list[Trial] = []
    definitions = {guest.system.name: define(guest, platform) for guest in guests}

    def add(name: str, purpose: str, block: int, cycle: int, workload: str = "") -> None:
        what = f"{workload}-{name}" if workload else name
        trials.append(
            Trial(
                id=f"{len(trials) + 1:03}-{purpose}-{what}-{cycle}",
                system=name,
                purpose=purpose,
                block=block,
                cycle=cycle,
                definition=definitions[name],
                workload=workload,
            )
        )

    if "image" in experiment.metrics:
        for guest in guests:
            add(guest.system.name, "image", 0, 1)
    if "boot" in experiment.metrics:
        for guest in guests:
            if guest.origin.settled and guest.system.provision.settle:
                add(guest.system.name, "first-boot", 0, 1)
        names = [guest.system.name for guest in guests]
        for cycle, order in enumerate(_shuffles(names, experiment.warmups, f"{seed}/warmup"), 1):
            for name in order:
                add(name, "warmup", 0, cycle)
        for cycle, order in enumerate(_shuffles(names, experiment.cycles, f"{seed}/boot"), 1):
            for name in order:
                add(name, "boot", cycle, cycle)
    if "memory" in experiment.metrics:
        for cycle in range(1, find_settings(experiment.settings, "memory", memory.Settings).cycles + 1):
            for guest in guests:
                add(guest.system.name, "memory", 0, cycle)
                if kit is not None and needs_load_boot(guest.system):
                    add(guest.system.name, "memory", 0, cycle, LOAD)
    if "surface" in experiment.metrics:
        for guest in guests:
            add(guest.system.name, "surface-image", 0, 1)
        for guest in guests:
            add(guest.system.name, "surface", 0, 1)
        for cycle in range(1, find_settings(experiment.settings, "surface", surface.Settings).boots + 1):
            for guest in guests:
                add(guest.system.name, "surface-boot", 0, cycle)
    for cycle, jobs in enumerate(_shuffle_work(experiment, guests, seed, kit), 1):
        for name, purpose, workload in jobs:
            add(name, purpose, cycle, cycle, workload)
    return tuple(trials)


def needs_load_boot(system: System) -> bool:
    """Whether a system's load takes a boot of its own: it is its only work, from power-on to power-off."""
    return isinstance(system.load, ProgramLoad) and isinstance(system.work, BootWork)


def _shuffle_work(
    experiment: Experiment, guests: Sequence[Guest], seed: int, kit: Kit | None
) -> Iterator[list[tuple[str, str, str]]]:
    """The blocks of trials of work, each with all of them once in an order of its own."""
    if kit is None:
        return
    cycles = find_settings(experiment.settings, "work", work.Settings).cycles
    jobs = {" ".join(job): job for guest in guests for job in _list_work(guest, experiment, kit)}
    for order in _shuffles(list(jobs), cycles, f"{seed}/work"):
        yield [jobs[text] for text in order]


def _list_work(guest: Guest, experiment: Experiment, kit: Kit) -> Iterator[tuple[str, str, str]]:
    """System, purpose and workload of every trial in which this guest works, once each."""
    system = guest.system
    if system.work is None:
        return
    in_shell = isinstance(system.work, ShellWork)
    if "work" in experiment.metrics:
        if isinstance(system.work, ImageWork):
            yield system.name, "work", ""
        else:
            for work in kit.works:
                if work.program is not None and work.workload.name in system.workloads:
                    yield system.name, "work", work.workload.name
        if isinstance(system.work, ShellWork) and system.work.disk and kit.tools_disk:
            for tool in kit.checks:
                yield system.name, "cross-check", tool
    if "net" in experiment.metrics and (in_shell or system.services):
        yield system.name, "net", ""


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
                id=f"{'memory-min'}-{name}-{size}M-{cycle}",
                system=name,
                purpose="memory-min",
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
    content = msgspec.json.encode([guest.system, platform, digests])
    return hashlib.sha256(content).hexdigest()[:16]


def _shuffles(names: Sequence[str], count: int, seed: str) -> Iterator[list[str]]:
    # Only Random.random() is promised to give the same numbers in every Python version; shuffle() is not.
    generator = random.Random(seed)
    for _ in range(count):
        yield sorted(names, key=lambda _: generator.random())
