"""Makes one trial in a process of its own: a Job on standard input, its Record on standard output.

Nothing else happens in this process, so that nothing delays the stamps of the serial console: no
progress, no statistics, no threads. Modules that only some trials need are imported inside functions.
"""

from __future__ import annotations

import errno
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from guestbench.errors import GuestbenchError, ImageError, StoreError, hint_of
from guestbench.families import find_hook, load_hook
from guestbench.guest.serial import LOG_NAME, TIMING_NAME, SerialLog
from guestbench.host import facts as host
from guestbench.host.process import die_with_parent
from guestbench.model import FORMAT_VERSION, Frozen, Image, Job, NotMade, Ok, Record, Role, TrialResult
from guestbench.version import __version__
from guestbench.vmm import LaunchSpec, Machine, find_vmm

TRACEBACK = "traceback.txt"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Failure(Frozen, tag_field="kind", tag="failure"):
    """What a worker prints instead of a Record when something stops the run, not just this trial."""

    message: str
    hint: str
    exit_code: int


def trial_folder(trial_id: str) -> Path:
    """Where a trial's artifacts lie, relative to the run folder."""
    return Path("trials") / trial_id


def run_trial(job: Job) -> Record:
    """Make one trial. A guest, VMM or probe that fails is an outcome; only what stops the run is raised.

    Raises:
        ImageError: an image file is no longer the one the run began with.
        StoreError: the artifacts cannot be written.
    """
    images = job.guest.pristine if job.purpose.pristine else job.guest.images
    for image in (*images.values(), *(job.kit.files if job.kit is not None else ())):
        _check_unchanged(image)
    folder = Path(job.folder) / trial_folder(job.trial.id)
    begun, cpu_before = begin(), _own_cpu_ns()
    argv: tuple[str, ...] = ()
    artifacts: dict[str, str] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if job.obstacle:
            result = TrialResult(outcome=NotMade(reason=job.obstacle))
        elif job.purpose.boots:
            result, argv = _boot(job, images, folder)
            artifacts = {"serial": LOG_NAME, "timing": TIMING_NAME}
        else:
            measure_files = load_hook(job.family, "probe", "measure_files")
            result = _measure(job, lambda: measure_files(job, folder))
        for file, content in result.raw.items():
            (folder / file).write_bytes(content)
            artifacts[file.partition(".")[0]] = file
    except OSError as error:
        name = error.filename or folder
        raise StoreError(f"cannot write {name}: {error.strerror}", hint_of(error, job.folder)) from error
    return make_record(job, result, begun, _own_cpu_ns() - cpu_before, argv, artifacts)


class Begun(NamedTuple):
    """When a trial began, and what the host's CPUs had done until then."""

    started: datetime
    start_ns: int
    cpu: host.CpuTimes


def begin() -> Begun:
    """A trial begins."""
    return Begun(datetime.now(UTC), time.monotonic_ns(), host.read_cpu_times())


def make_record(
    job: Job,
    result: TrialResult,
    begun: Begun,
    own_cpu_ns: int,
    argv: tuple[str, ...] = (),
    artifacts: Mapping[str, str] = MappingProxyType({}),
) -> Record:
    """The record of a trial that has just ended, and itself took so much CPU time.

    `artifacts` maps names to files in the trial's folder.
    """
    relative = trial_folder(job.trial.id)
    images = job.guest.pristine if job.purpose.pristine else job.guest.images
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
        started=begun.started.isoformat(timespec="milliseconds"),
        wall_ns=time.monotonic_ns() - begun.start_ns,
        conditions=host.conditions(begun.cpu, host.read_cpu_times(), own_cpu_ns),
        artifacts={name: str(relative / file) for name, file in artifacts.items()},
        series=result.series,
        gaps=result.gaps,
        work=result.work,
        remark=result.remark,
        origin=Path(job.resume.state).parent.name if job.resume else "",
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


def _boot(job: Job, images: dict[Role, Image], folder: Path) -> tuple[TrialResult, tuple[str, ...]]:
    """Start the trial's machine and have it measured; the result, and the machine's command line."""
    platform, resume = job.platform, job.resume
    if job.trial.memory_mib is not None:
        platform = msgspec.structs.replace(platform, memory_mib=job.trial.memory_mib)
    spec = LaunchSpec(
        boot=job.system.boot,
        images=resume.images if resume else images,
        platform=platform,
        folder=folder,
        resume=Path(resume.state) if resume else None,
        longest_s=find_longest_s(job),
    )
    for family in (job.family, *job.asides):
        if equip := find_hook(family, "probe", "equip"):
            spec = equip(job, spec)
    log = SerialLog()
    argv: tuple[str, ...] = ()
    status: int | None = None
    measure = load_hook(job.family, "probe", "measure")

    def watch() -> TrialResult:
        nonlocal argv, status
        with find_vmm(platform.vmm).start(spec) as machine:
            argv = machine.argv
            found: TrialResult = measure(job, machine, log)
            if isinstance(found.outcome, Ok):
                for family in job.asides:
                    found = _look_aside(job, machine, family, found)
            status = machine.exit_status()
        return found

    result = _measure(job, watch)
    log.write(folder, status)
    return result, argv


def _look_aside(job: Job, machine: Machine, family: str, found: TrialResult) -> TrialResult:
    """What was found, and what another family sees of the guest; where it fails, the former stands."""
    look = load_hook(family, "probe", "look")
    seen = _measure(job, lambda: look(job, machine))
    failed = "" if isinstance(seen.outcome, Ok) else f"{family}: {seen.outcome.reason}"
    return msgspec.structs.replace(
        found,
        samples=(*found.samples, *seen.samples),
        gaps=(*found.gaps, *seen.gaps),
        raw={**seen.raw, **found.raw},
        remark="; ".join(filter(None, (found.remark, failed))),
    )


OWN_WAITS_S = 21_600.0
"""What a trial may wait for beside what its system and its experiment name, such as 60 long questions."""
SLOWER = 10
"""By how much trials that count instructions may be slower."""


def find_longest_s(job: Job) -> float:
    """How long a trial may take at the very most, in seconds: all that is waited for, one after another."""

    def find_waits(value: object, name: str = "") -> float:
        match value:
            case dict():
                return sum(find_waits(each, key) for key, each in value.items())
            case list() | tuple():
                return sum(map(find_waits, value))
            case int() | float() if name.endswith("_s"):
                return float(value)
        return 0.0

    known = (job.system, job.kit, job.settings, job.brief)
    return OWN_WAITS_S + SLOWER * sum(find_waits(msgspec.to_builtins(each)) for each in known)


def to_failure(error: GuestbenchError) -> Failure:
    """The error in words."""
    return Failure(message=error.message, hint=error.hint, exit_code=error.exit_code)


def _measure(job: Job, measure: Callable[[], TrialResult]) -> TrialResult:
    """What was found, or why nothing could be: the other trials of the run are none the worse for it.

    A mistake of ours is caught as well, and kept with its traceback. Raises what stops the run.
    """
    try:
        return measure()
    except StoreError:
        raise
    except GuestbenchError as error:
        return TrialResult(outcome=NotMade(reason=tell_obstacle(error)))
    except Exception as error:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            return TrialResult(outcome=NotMade(reason="this host has no memory left (mended by: free -h)"))
        if isinstance(error, OSError) and _is_of_folder(error, Path(job.folder)):
            raise
        told = " ".join(f"{type(error).__name__}: {error}".split())
        reason = f"a mistake in guestbench: {told} (see {TRACEBACK} beside the trial's console)"
        return TrialResult(
            outcome=NotMade(reason=reason), raw={TRACEBACK: traceback.format_exc().encode("utf-8", "replace")}
        )


def tell_obstacle(error: GuestbenchError) -> str:
    """Why a trial cannot be made, and what mends that."""
    return f"{error.message} (mended by: {error.hint})"


def _is_of_folder(error: OSError, folder: Path) -> bool:
    """Whether an error is that nothing can be written to the run's folder."""
    names = [Path(os.fsdecode(name)) for name in (error.filename,) if isinstance(name, str | bytes)]
    return error.errno in FULL or any(name.is_relative_to(folder) for name in names)


def main() -> int:
    """Read a Job, make the trial, print its Record (or a Failure). Returns the exit status."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    die_with_parent(job.parent_pid)
    answer: Record | Failure
    try:
        answer = run_trial(job)
    except GuestbenchError as error:
        answer = to_failure(error)
    sys.stdout.buffer.write(msgspec.json.encode(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
