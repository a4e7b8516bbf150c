"""Makes one trial in a process of its own: a Job on standard input, its Record on standard output.

Nothing else happens in this process, so that nothing delays the stamps of the serial console: no
progress, no statistics, no threads. Modules that only some trials need are imported inside functions.
"""

from __future__ import annotations

import resource
import shlex
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from guestbench import __version__
from guestbench.errors import GuestbenchError, ImageError, StoreError
from guestbench.families import memory
from guestbench.families import work as work_family
from guestbench.host import facts as host
from guestbench.host.process import die_with_parent
from guestbench.model import (
    FORMAT_VERSION,
    SERVER,
    Boot,
    BootWork,
    Frozen,
    Image,
    ImageWork,
    Job,
    Kernel,
    Net,
    Ok,
    ProgramLoad,
    Record,
    Role,
    Sample,
    Service,
    ShellWork,
    TrialResult,
    find_settings,
)

if TYPE_CHECKING:
    from guestbench.guest.serial import SerialLog
    from guestbench.vmm import Machine


NEEDS = {
    "memory": ("memory", "balloon"),
    "surface": ("introspection", "link"),
    "surface-boot": ("introspection",),
}
"""What the machine has to be able to do for trials of a purpose, by the names of `vmm.Need`."""


class Failure(Frozen, tag_field="kind", tag="failure"):
    """What a worker prints instead of a Record when something stops the run, not just this trial."""

    message: str
    hint: str
    exit_code: int


def trial_folder(trial_id: str) -> Path:
    """Where a trial's artifacts lie, relative to the run folder."""
    return Path("trials") / trial_id


def run_trial(job: Job) -> Record:
    """Make one trial. A guest that fails is an outcome; only what stops the run is raised.

    Raises:
        ImageError: an image file is no longer the one the run began with.
        StoreError: the artifacts cannot be written.
        HostError: this host cannot make the trial.
    """
    pristine = job.trial.purpose in ("image", "first-boot", "surface-image")
    images = job.guest.pristine if pristine else job.guest.images
    for image in images.values():
        _check_unchanged(image)
    relative = trial_folder(job.trial.id)
    folder = Path(job.folder) / relative
    started, start_ns = datetime.now(UTC), time.monotonic_ns()
    before, cpu_before = host.read_cpu_times(), _own_cpu_ns()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        argv: tuple[str, ...] = ()
        artifacts: dict[str, str] = {}
        if job.trial.purpose in ("image", "surface-image"):
            result = _measure_files(job, folder)
        else:
            result, argv, artifacts = _boot(job, images, folder)
        for file, content in result.raw.items():
            (folder / file).write_bytes(content)
            artifacts[file.partition(".")[0]] = file
    except OSError as error:
        name = error.filename or folder
        raise StoreError(
            f"cannot write {name}: {error.strerror}", f"df -h {shlex.quote(job.folder)}"
        ) from error
    after, cpu_after = host.read_cpu_times(), _own_cpu_ns()
    return Record(
        version=FORMAT_VERSION,
        trial=job.trial,
        outcome=result.outcome,
        marks=result.marks,
        samples=result.samples,
        argv=argv,
        host=job.host,
        images={role: image.sha256 for role, image in images.items()},
        tool=__version__,
        started=started.isoformat(timespec="milliseconds"),
        wall_ns=time.monotonic_ns() - start_ns,
        conditions=host.conditions(before, after, cpu_after - cpu_before),
        artifacts={name: str(relative / file) for name, file in artifacts.items()},
        series=result.series,
        gaps=result.gaps,
        work=result.work,
    )


def _check_unchanged(image: Image) -> None:
    try:
        stat = Path(image.path).stat()
    except OSError as error:
        raise ImageError(f"{image.path}: {error.strerror}", "guestbench systems list") from error
    if (stat.st_size, stat.st_mtime_ns) != (image.size_bytes, image.mtime_ns):
        raise ImageError(f"{image.path} has changed since the run began", "guestbench run")


def _own_cpu_ns() -> int:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return round(sum(usage.ru_utime + usage.ru_stime for usage in usages) * 1e9)


def _measure_files(job: Job, folder: Path) -> TrialResult:
    if job.trial.purpose == "image":
        from guestbench.families.image import probe as image

        return TrialResult(outcome=Ok(), samples=image.measure(job.guest, folder))
    from guestbench.families.surface.probe import measure_images

    return measure_images(job.guest, folder)


def _boot(
    job: Job, images: dict[Role, Image], folder: Path
) -> tuple[TrialResult, tuple[str, ...], dict[str, str]]:
    """Start the trial's machine and probe it: the result, the command line, and the console's files."""
    from guestbench.guest.serial import LOG_NAME, TIMING_NAME, SerialLog
    from guestbench.vmm import LaunchSpec, Need, find_vmm

    platform = job.platform
    if job.trial.memory_mib is not None:
        platform = msgspec.structs.replace(platform, memory_mib=job.trial.memory_mib)
    resume = job.resume
    tools = _find_tools(job)
    if tools:
        _check_unchanged(tools)
    boot, program = _find_boot(job)
    if program is not None:
        _check_unchanged(program)
        images = {**images, Role.INITRD: program}
    spec = LaunchSpec(
        boot=boot,
        images=resume.images if resume else images,
        platform=platform,
        folder=folder,
        needs=frozenset(Need(need) for need in NEEDS.get(job.trial.purpose, ())),
        resume=Path(resume.state) if resume else None,
        tools=Path(tools.path) if tools else None,
        forwards=_find_forwards(job),
    )
    log = SerialLog()
    with find_vmm(job.platform.vmm).start(spec) as machine:
        result = _probe(job, machine, log)
        status = machine.exit_status()
        argv = machine.argv
    log.write(folder, status)
    return result, argv, {"serial": LOG_NAME, "timing": TIMING_NAME}


def _find_boot(job: Job) -> tuple[Boot, Image | None]:
    """How the guest is booted, and the program that is its initial ramdisk where its own is not.

    A guest that is given its work so has it as an argument of its kernel.
    """
    system, trial, kit = job.guest.system, job.trial, job.kit
    if not trial.workload or not isinstance(system.work, BootWork) or not isinstance(system.boot, Kernel):
        return system.boot, None
    work = kit.find(trial.workload) if kit and trial.purpose == "work" else None
    if work is not None:
        name, arguments, program = work.workload.program, work.workload.arguments, work.program
    elif isinstance(system.load, ProgramLoad) and kit:
        name, arguments, program = SERVER, system.load.arguments, kit.server
    else:
        return system.boot, None
    cmdline = system.work.cmdline.format(program=name, arguments=" ".join(arguments))
    return msgspec.structs.replace(system.boot, cmdline=cmdline), program if system.work.initrd else None


def _find_program(job: Job) -> Path | None:
    """The C workload program, where the run has it."""
    if job.kit is None or job.kit.server is None:
        return None
    _check_unchanged(job.kit.server)
    return Path(job.kit.server.path)


def _find_tools(job: Job) -> Image | None:
    """The disk that the guest is to find its tools on, if it is given work over its shell."""
    work = job.guest.system.work
    if job.kit is None or not (isinstance(work, ShellWork) and work.disk):
        return None
    match job.trial.purpose:
        case "work" | "net":
            return job.kit.disk
        case "cross-check":
            return job.kit.tools_disk
        case _:
            return None


def _find_forwards(job: Job) -> tuple[int, ...]:
    """The guest's ports that the host is to reach."""
    if job.platform.net is Net.NONE:
        return ()
    match job.trial.purpose:
        case "net":
            return tuple(service.port for service in Service)
        case "cross-check":
            from guestbench.families.work.check_guest import PORTS

            return PORTS
        case _:
            return ()


def _give_work(job: Job, machine: Machine, log: SerialLog) -> TrialResult:
    """Have the guest do the work of a trial, and keep what it wrote."""
    from guestbench.families.net import probe as network
    from guestbench.families.work import measure
    from guestbench.guest.watch import watch_boot

    system, kit = job.guest.system, job.kit
    plan = find_settings(job.settings, "work", work_family.Settings)
    if kit is None:
        raise RuntimeError("a trial of work came without its kit")
    work = kit.find(job.trial.workload)
    if work is None and job.trial.purpose == "work" and not isinstance(system.work, ImageWork):
        raise RuntimeError(f"the kit has no workload {job.trial.workload}")
    if job.resume is None and isinstance(system.work, ShellWork):
        # There is no snapshot to go on from: the guest has to boot, or to show why it does not.
        booted = watch_boot(machine, system, log)
        if not isinstance(booted.outcome, Ok):
            return TrialResult(outcome=booted.outcome, marks=booted.marks)
    if job.trial.purpose == "net":
        return network.serve(machine, system, log, plan, kit.server, kit.host_tools.get("wrk", ()))
    if job.trial.purpose == "cross-check":
        from guestbench.families.work import check_guest

        return check_guest.run_tool(machine, system, log, kit, job.trial.workload)
    if isinstance(system.work, ImageWork):
        return measure.work_of_image(machine, system, log, kit, system.work)
    assert work is not None
    do_work = measure.work_at_boot if isinstance(system.work, BootWork) else measure.work_in_shell
    return do_work(machine, system, log, kit, work)


def _probe(job: Job, machine: Machine, log: SerialLog) -> TrialResult:
    """Do with a machine that has just been started what the trial is for."""
    system = job.guest.system
    plan = find_settings(job.settings, "memory", memory.Settings)
    match job.trial.purpose:
        case "memory":
            from guestbench.families.memory import probe as counting

            if job.trial.workload:
                return counting.measure_load(machine, system, log, plan)
            return counting.measure(machine, system, log, plan, _find_program(job))
        case "memory-min":
            from guestbench.families.memory import least as least_memory

            program = _find_program(job)
            tried = least_memory.try_boot(machine, system, log, plan, job.expected, program)
            size = Sample(metric="memory.tried", value=job.trial.memory_mib or job.platform.memory_mib)
            return msgspec.structs.replace(tried, samples=(size,))
        case "surface":
            from guestbench.families.surface import probe as surface

            resumed = job.resume is not None
            return surface.measure(machine, system, log, resumed=resumed)
        case "surface-boot":
            from guestbench.families.surface import probe as surface

            return surface.measure_boot(machine, system, log)
        case "work" | "net" | "cross-check":
            return _give_work(job, machine, log)
        case _:
            from guestbench.guest.watch import watch_boot

            return watch_boot(machine, system, log)


def main() -> int:
    """Read a Job, make the trial, print its Record (or a Failure). Returns the exit status."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    die_with_parent(job.parent_pid)
    answer: Record | Failure
    try:
        answer = run_trial(job)
    except GuestbenchError as error:
        answer = Failure(message=error.message, hint=error.hint, exit_code=error.exit_code)
    sys.stdout.buffer.write(msgspec.json.encode(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
