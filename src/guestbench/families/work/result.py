"""What a trial of work leaves, and how reports of work become samples; it talks to no guest."""

from __future__ import annotations

from collections.abc import Sequence

from guestbench.families.work import TIME
from guestbench.guest.console import quote
from guestbench.model import Crashed, Gap, Incomplete, Kit, KitWork, Ok, Outcome, Sample, WorkReport, Wrong


def to_samples(kit: Kit, reports: Sequence[WorkReport]) -> tuple[Sample, ...]:
    """Rates and times of the pieces of work that were finished and are known to the kit."""
    samples: list[Sample] = []
    for report in reports:
        known = kit.find(report.workload)
        if known is None or not report.seconds:
            continue
        workload = known.workload
        labels = {name: report.parameters.get(name, "") for name in workload.labels}
        if report.done is not None:
            samples.append(Sample(metric=workload.metric, value=report.done / report.seconds, labels=labels))
        times = {"host": report.seconds, "guest": (report.guest_ns or 0) / 1e9 or None}
        samples += [
            Sample(metric=TIME, value=value, labels={"workload": workload.name, **labels, "clock": clock})
            for clock, value in times.items()
            if value is not None
        ]
    return tuple(samples)


def to_gaps(kit: Kit, reports: Sequence[WorkReport]) -> tuple[Gap, ...]:
    """Why finished pieces of work have no rate whose begin and end have the same stamp."""
    reason = "its begin and its end came in one piece of the console: too quick to be timed"
    return tuple(
        Gap(
            metric=known.workload.metric,
            reason=reason,
            labels={name: report.parameters.get(name, "") for name in known.workload.labels},
        )
        for report in reports
        if report.seconds == 0 and (known := kit.find(report.workload)) is not None
    )


def judge(work: KitWork, reports: Sequence[WorkReport], otherwise: str) -> Outcome:
    """Whether a guest has done what the very same program did on the host; `otherwise` says how it ended.

    It has to have done all of it, in the same order, with the same result.
    """
    name = work.workload.name
    for number, wanted in enumerate(work.expected):
        if number >= len(reports):
            what = "did not begin its work" if number == 0 else f"did {number} of {len(work.expected)} parts"
            return Crashed(reason=f"{name} {what}; {otherwise}")
        report = reports[number]
        if report.key != wanted.key or report.source != wanted.source:
            return Wrong(reason=f"{name} was not asked for what it began: {_describe(report)}")
        if report.end_ns is None:
            return Crashed(reason=f"{name} began but did not end; {otherwise}")
        if (report.done, report.digest) != (wanted.done, wanted.digest):
            return Wrong(
                reason=f"{name} printed digest {quote(report.digest.encode())} for {report.done} of its work"
                f"; on the host the same program printed {wanted.digest} for {wanted.done}"
            )
    if len(reports) > len(work.expected):
        more = _describe(reports[len(work.expected)])
        return Wrong(reason=f"{name} printed more work than its program does: {more}")
    return Ok()


def judge_image(reports: Sequence[WorkReport], kit: Kit, otherwise: str) -> Outcome:
    """Whether an image that works by itself came to an end, and with the result that its own sources have."""
    unfinished = [report for report in reports if report.end_ns is None]
    if unfinished:
        return Crashed(reason=f"{unfinished[0].workload} began but did not end; {otherwise}")
    for report in reports:
        known = kit.find(report.workload)
        for wanted in known.expected if known else ():
            same = report.key == wanted.key and report.source == wanted.source
            if same and (report.done, report.digest) != (wanted.done, wanted.digest):
                return Wrong(
                    reason=f"{report.workload} printed digest {quote(report.digest.encode())}; on the host "
                    f"a program of the same sources printed {wanted.digest}"
                )
    return Ok()


def incomplete(work: KitWork, reports: Sequence[WorkReport], reason: str) -> Outcome:
    """The outcome of a trial that was stopped: what was finished holds, unless it was done wrong."""
    judged = judge(work, reports, reason)
    if isinstance(judged, Wrong):
        return judged
    finished = any(report.end_ns is not None for report in reports)
    return Incomplete(reason=reason) if finished else Crashed(reason=reason)


def _describe(report: WorkReport) -> str:
    words = [f"{key}={value}" for key, value in sorted(report.parameters.items())]
    return quote(" ".join([report.workload, f"source={report.source}", *words]).encode())
