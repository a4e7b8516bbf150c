"""Has a guest do a workload, in the way its system allows, and reads what it said with the host's times.

A guest with a shell runs a program of the tools disk; a kernel that starts one program is booted with that;
an image that works by itself is watched. Nothing here starts a VM, and no time is taken from the guest's
clock.
"""

from __future__ import annotations

from guestbench.errors import ShellError
from guestbench.families.work.result import incomplete, judge, judge_image, to_gaps, to_samples
from guestbench.guest.console import End, Watched, judge_failure, last_words, quote, watch
from guestbench.guest.contract import find_reports, find_unlabelled
from guestbench.guest.idle import IDLE_SHARE
from guestbench.guest.programs import bring_program, open_tools
from guestbench.guest.serial import SerialLog
from guestbench.guest.shell import Answer, Shell
from guestbench.guest.watch import find_vmm_failure, watch_boot
from guestbench.model import (
    Crashed,
    Gap,
    ImageWork,
    Kit,
    KitWork,
    Mark,
    Ok,
    OpenShell,
    Outcome,
    System,
    TimedOut,
    TrialResult,
)
from guestbench.vmm import Machine

OUT_OF_MEMORY = "dmesg | grep -a 'Out of memory: Killed process' | tail -n 1"
KILLED = 128 + 9
LAST_SIGNAL = 64
LOOK_S = 2.0
"""How often it is looked whether an image that works by itself does so."""


# --- guests with a shell --------------------------------------------------------------------------------


def work_in_shell(
    machine: Machine, system: System, log: SerialLog, kit: Kit, work: KitWork, open_: OpenShell | None = None
) -> TrialResult:
    """Run the workload's program from the tools disk, in the shell that is open, or after a login."""
    workload, marks, begin = work.workload, [], 0
    if work.program is None:
        return TrialResult(outcome=Crashed(reason=work.missing))
    try:
        shell = open_tools(machine, system, log, open_)
        program = bring_program(shell, system, work.program)
        begin = len(log.data)
        marks.append(Mark(name="shell", t_ns=machine.now_ns()))
        # Its standard output is the console itself: the lines are stamped when they are printed.
        command = " ".join([program, *workload.arguments, ">/dev/tty"])
        answer = shell.run(command, timeout_s=workload.timeout_s)
        ended = _explain(shell, answer)
    except ShellError as error:
        reports = find_reports(log.data, log.time_of, begin)
        broken = find_vmm_failure(machine)
        outcome = incomplete(work, reports, broken.reason if broken else error.message)
        return TrialResult(
            outcome=broken if broken and isinstance(outcome, Crashed) else outcome,
            marks=tuple(marks),
            samples=to_samples(kit, reports),
            gaps=to_gaps(kit, reports),
            work=reports,
        )
    reports = find_reports(log.data, log.time_of, begin)
    outcome = judge(work, reports, ended)
    if isinstance(outcome, Ok) and answer.status != 0:
        outcome = Crashed(reason=f"{workload.name} {ended}")
    return TrialResult(
        outcome=outcome,
        marks=tuple(marks),
        samples=to_samples(kit, reports),
        gaps=to_gaps(kit, reports),
        work=reports,
        raw=_keep(answer),
    )


def _explain(shell: Shell, answer: Answer) -> str:
    """How a program ended, in words, and what the guest's kernel knows of it."""
    said = f"; it said: {quote(answer.stderr)}" if answer.stderr.strip() else ""
    if answer.status == KILLED:
        line = shell.run(OUT_OF_MEMORY).stdout.strip()
        if line:
            return f"was killed by the guest's kernel for want of memory: {quote(line)}"
    if 128 < answer.status <= 128 + LAST_SIGNAL:
        return f"was ended by signal {answer.status - 128}{said}"
    return f"ended with status {answer.status}{said}"


def _keep(answer: Answer) -> dict[str, bytes]:
    return {"work-stderr.txt": answer.stderr} if answer.stderr else {}


# --- guests that are booted with their work ---------------------------------------------------------------


def work_at_boot(machine: Machine, system: System, log: SerialLog, kit: Kit, work: KitWork) -> TrialResult:
    """Watch a guest that was booted with the workload's program until it powers off."""
    seconds = system.timeout_s + work.workload.timeout_s
    watched = watch(
        machine, log, texts={}, until=None, failures=system.failures, deadline_ns=round(seconds * 1e9)
    )
    reports = find_reports(log.data, log.time_of)
    outcome = _lost(machine, system, log, watched) or judge(work, reports, _tell_end(machine, log, watched))
    if watched.end is End.LATE and isinstance(outcome, Ok):
        outcome = Crashed(reason=f"{work.workload.name} was done, but the guest did not power off")
    elif watched.end is End.LATE and isinstance(outcome, Crashed):
        outcome = TimedOut(reason=f"{outcome.reason}; it took more than {seconds:g} s")
    samples, gaps = to_samples(kit, reports), to_gaps(kit, reports)
    return TrialResult(outcome=outcome, samples=samples, gaps=gaps, work=reports)


def _tell_end(machine: Machine, log: SerialLog, watched: Watched) -> str:
    """The last that is known of a guest that ended, or of the VMM if that never got to run it."""
    said = machine.complaint() if watched.end is End.CLOSED and not log.data else ""
    return f"the VMM said: {said.splitlines()[-1]}" if said else last_words(log)


def _lost(machine: Machine, system: System, log: SerialLog, watched: Watched) -> Outcome | None:
    """What befell a guest at its work; None if it only ended, or its time is up."""
    match watched.end:
        case End.LOST:
            return judge_failure(machine, system.failures, log, watched)
        case End.FLOOD:
            return Crashed(reason=f"it flooded the console; {last_words(log)}")
        case End.CLOSED if broken := find_vmm_failure(machine):
            return broken
        case End.CLOSED if status := machine.exit_status():
            return Crashed(reason=f"the VMM exited with status {status}; {_tell_end(machine, log, watched)}")
        case End.LATE | End.FOUND | End.CLOSED:
            return None


# --- images that work by themselves -----------------------------------------------------------------------


def work_of_image(machine: Machine, system: System, log: SerialLog, kit: Kit, own: ImageWork) -> TrialResult:
    """Boot an image that works as soon as it is ready, and watch it until its work is over or it is idle."""
    booted = watch_boot(machine, system, log)
    if not isinstance(booted.outcome, Ok):
        return TrialResult(outcome=booted.outcome, marks=booted.marks)
    end_ns = machine.now_ns() + round(own.timeout_s * 1e9)
    idle = False
    while True:
        began_ns, cpu_ns = machine.now_ns(), machine.cpu_ns() or 0
        watched = watch(
            machine,
            log,
            texts={"end": own.end.encode()} if own.end else {},
            until="end",
            failures=system.failures,
            deadline_ns=min(end_ns, began_ns + round(LOOK_S * 1e9)),
        )
        share = ((machine.cpu_ns() or cpu_ns) - cpu_ns) / max(1, machine.now_ns() - began_ns)
        idle = watched.end is End.LATE and share < IDLE_SHARE
        if watched.end is not End.LATE or idle or machine.now_ns() >= end_ns:
            break
    reports = find_reports(log.data, log.time_of)
    if not reports:
        found = find_unlabelled(log.data, log.time_of, own)
        # An image that is idle after its text of ready has not begun anything.
        reports = tuple(report for report in found if not idle or report.end_ns is not None)
    outcome = _lost(machine, system, log, watched) or judge_image(reports, kit, last_words(log))
    if watched.end is End.LATE and not idle and not isinstance(outcome, Ok):
        outcome = TimedOut(reason=f"its work took more than {own.timeout_s:g} s; {last_words(log)}")
    done = {report.workload for report in reports}
    return TrialResult(
        outcome=outcome,
        marks=booted.marks,
        samples=to_samples(kit, reports),
        gaps=(
            *to_gaps(kit, reports),
            *(
                Gap(metric=work.workload.metric, reason="this image does no such work")
                for work in kit.works
                if work.workload.name in system.workloads and work.workload.name not in done
            ),
        ),
        work=reports,
    )
