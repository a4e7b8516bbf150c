"""Work: has a guest do a workload or run a known tool, in the way that its system allows."""

from __future__ import annotations

import msgspec

from guestbench.families.work import CHECK, check_guest
from guestbench.families.work.measure import work_at_boot, work_in_shell, work_of_image
from guestbench.guest.programs import boot_to_shell, boot_with, find_kit, with_disk
from guestbench.guest.serial import SerialLog
from guestbench.model import BootWork, ImageWork, Job, TrialResult
from guestbench.vmm import LaunchSpec, Machine


def equip(job: Job, spec: LaunchSpec) -> LaunchSpec:
    """The guest has the disk with the programs, or is booted with the one that it is to run."""
    kit = find_kit(job)
    if job.trial.purpose == CHECK:
        return msgspec.structs.replace(with_disk(spec, job, kit.tools_disk), forwards=check_guest.PORTS)
    work = kit.find(job.trial.workload)
    if work is not None:
        workload = work.workload
        spec = boot_with(spec, job.system, workload.program, workload.arguments, work.program)
    return with_disk(spec, job, kit.disk)


def measure(job: Job, machine: Machine, log: SerialLog) -> TrialResult:
    """Have the guest do the work of a trial."""
    system, kit = job.system, find_kit(job)
    work = kit.find(job.trial.workload)
    if work is None and job.trial.purpose != CHECK and not isinstance(system.work, ImageWork):
        raise RuntimeError(f"the kit has no workload {job.trial.workload}")
    if lost := boot_to_shell(job, machine, log):
        return lost
    open_ = job.resume.shell if job.resume else None
    if job.trial.purpose == CHECK:
        return check_guest.run_tool(machine, system, log, kit, job.trial.workload, open_)
    if isinstance(system.work, ImageWork):
        return work_of_image(machine, system, log, kit, system.work)
    assert work is not None
    if isinstance(system.work, BootWork):
        return work_at_boot(machine, system, log, kit, work)
    return work_in_shell(machine, system, log, kit, work, open_)
