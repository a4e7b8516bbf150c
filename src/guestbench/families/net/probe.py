"""Network: connects to the TCP services of a guest through the ports that its VMM forwards."""

from __future__ import annotations

import msgspec

from guestbench.families import work
from guestbench.families.net.services import serve
from guestbench.guest.programs import boot_to_shell, find_kit, with_disk
from guestbench.guest.serial import SerialLog
from guestbench.model import Job, Service, TrialResult, find_settings
from guestbench.vmm import LaunchSpec, Machine


def equip(job: Job, spec: LaunchSpec) -> LaunchSpec:
    """The services' ports are forwarded, and the guest has the disk with the program that serves."""
    forwards = tuple(service.port for service in Service)
    return msgspec.structs.replace(with_disk(spec, job, find_kit(job).disk), forwards=forwards)


def measure(job: Job, machine: Machine, log: SerialLog) -> TrialResult:
    """Measure the guest's services."""
    kit = find_kit(job)
    if lost := boot_to_shell(job, machine, log):
        return lost
    settings = find_settings(job.settings, work.FAMILY.name, work.Settings)
    open_ = job.resume.shell if job.resume else None
    return serve(machine, job.system, log, settings, kit.server, kit.host_tools.get("wrk", ()), open_)
