"""Memory, one boot at a time: what a guest takes, or whether a size is enough for it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from guestbench.families.memory import TRIED, Settings, search
from guestbench.families.memory.least import try_boot
from guestbench.families.memory.states import measure_load, measure_states
from guestbench.guest.programs import boot_with
from guestbench.guest.serial import SerialLog
from guestbench.model import SERVER, Job, ProgramLoad, Sample, TrialResult, find_settings
from guestbench.vmm import LaunchSpec, Machine, Need


def equip(job: Job, spec: LaunchSpec) -> LaunchSpec:
    """The machine's memory can be counted, unless a size is only tried; it may be booted with its load."""
    if job.purpose.search:
        return spec
    load, kit = job.system.load, job.kit
    if job.trial.workload and isinstance(load, ProgramLoad) and kit is not None:
        spec = boot_with(spec, job.system, SERVER, load.arguments, kit.server)
    return msgspec.structs.replace(spec, needs=frozenset({Need.MEMORY, Need.BALLOON}))


def measure(job: Job, machine: Machine, log: SerialLog) -> TrialResult:
    """Count a guest's memory, or see whether the trial's is enough."""
    settings = find_settings(job.settings, job.family, Settings)
    size_mib = job.trial.memory_mib or job.platform.memory_mib
    program = Path(job.kit.server.path) if job.kit is not None and job.kit.server is not None else None
    if job.purpose.search:
        expected = msgspec.convert(job.brief, search.Expectation) if job.brief else None
        tried = try_boot(machine, job.system, log, settings, expected, program)
        return msgspec.structs.replace(tried, samples=(Sample(metric=TRIED, value=size_mib),))
    if job.trial.workload:
        return measure_load(machine, job.system, log, settings)
    return measure_states(machine, job.system, log, settings, program, size_mib * 1024)
