"""The README of an artifact: what was claimed and found, how to check it, and what it takes to repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from guestbench.analysis.quality import find_notices
from guestbench.artifact.parts import Parts
from guestbench.artifact.summary import FEWER, How, Summary, Times
from guestbench.page.blocks import (
    Block,
    Bullets,
    Code,
    Listing,
    Page,
    Paragraph,
    Section,
    Table,
    Text,
    read_words,
)
from guestbench.page.figures import tabulate
from guestbench.page.numbers import count_things, show_bytes, show_seconds
from guestbench.report.contents import Contents
from guestbench.report.front import tabulate_front, tell_best
from guestbench.report.markdown import render_markdown

tell = read_words(__file__)

TOLD = 3
"""Missing files that are named."""
FILES = {
    "reproduce.sh": "makes the run again",
    "experiment.toml": "what was compared, how often, on what machine, and what was claimed",
    "guests/": "the guests that do not come with guestbench, and what they are built from",
    "run/store.jsonl": "every trial as it was measured; all else is made of it",
    "run/trials/": "the serial console of every boot, and what else is evidence",
    "run/report.html, run/comparison_results.md": "the report, for a browser and as text",
    "run/profiles/": "where the instructions of boots go",
    "run/results.json, run/results.csv": "every value, estimate and comparison",
    "artifact.json": "claims with verdicts, images, host, versions and times, for programs",
    "environment.json": "with what this was packed, and the packages of the host that measured",
}


def render_page(contents: Contents, summary: Summary, parts: Parts) -> str:
    """The page as Markdown."""
    sections = (
        *(each for each in contents.page.sections if each.id == "claims"),
        Section("found", "What was found", tuple(_tell_found(contents))),
        Section(
            "check",
            "Check the figures",
            (_listing("guestbench artifact --check ."), tell("check", vmm=summary.vmm)),
        ),
        Section("repeat", "Make the run again", tuple(_tell_repeat(summary, parts))),
        Section("where", "Where it was measured", tuple(_tell_where(summary))),
        Section("contents", "What is in here", tuple(_tell_contents(summary, parts))),
    )
    return render_markdown(Page(contents.found.header.experiment.title, (tell("about"),), sections))


def _tell_found(contents: Contents) -> Iterator[Block]:
    found = contents.found
    yield Bullets(find_notices(found.header, found.records), "About this run:")
    yield Bullets(tuple(tell_best(found)) if found.comparisons else ())
    yield tabulate_front(found)
    whole = (
        "The whole report is ",
        Code("run/comparison_results.md"),
        ", or for a browser ",
        Code("run/report.html"),
    )
    unclaimed = () if found.header.experiment.claims else ("The experiment claimed nothing beforehand.",)
    yield Paragraph(((*whole, "."), *unclaimed))


def _tell_repeat(summary: Summary, parts: Parts) -> Iterator[Block]:
    times = summary.times
    given = sorted({each.system for each in summary.images if each.how is How.GIVEN})
    words = [word for name in given for word in ("--system", f"{name}=PATH")]
    yield _listing(shlex.join(["sh", "reproduce.sh", "-o", "again", *words]), "guestbench diff run again")
    yield tell("repeat", vmm=summary.vmm)
    yield Paragraph(tuple(_tell_times(times, parts)))
    yield tabulate(
        times.trials,
        {
            "Trials of": lambda each: Code(each.purpose),
            "How many": lambda each: str(each.trials),
            "Together": lambda each: show_seconds(each.wall_s),
        },
    )
    platform = parts.header.platform
    largest = max((each.memory_mib or platform.memory_mib for each in parts.header.trials), default=0)
    yield Paragraph(
        (
            *tell("needed", vmm=summary.vmm).lines,
            f"A guest has up to {largest} MiB of memory and {count_things(platform.cpus, 'CPU')}.",
            f"The images have {show_bytes(sum(each.size_bytes for each in summary.images))}.",
        )
    )
    yield tabulate(
        summary.images,
        {
            "Guest": lambda each: Code(each.system),
            "Image": lambda each: each.role.value,
            "How to come by it": lambda each: each.how.value,
            "What it was": lambda each: f"{each.origin}: {each.detail}",
            "Digest": lambda each: Code(each.sha256),
        },
        words=5,
    )
    unbuilt = [name for name in given if name in parts.strangers]
    if unbuilt:
        names = ", ".join(unbuilt)
        yield Paragraph(
            (f"What these are built from is not in here, so whoever made them has to pass them on: {names}.",)
        )


def _tell_times(times: Times, parts: Parts) -> Iterator[Text]:
    yield ("The run took ", show_time(times.elapsed_s), " from its first trial to its last.")
    if times.paused_s:
        yield f"The {show_time(times.paused_s)} in which it stood still are left out."
    if times.fewer_s is not None and parts.header.until is None:
        fewer = f" it would have taken about {show_time(times.fewer_s)}, "
        enough = "which is enough to see that all works, and too little to conclude from."
        yield ("With ", Code(f"--cycles {FEWER}"), fewer, enough)
    yield from tell("time").lines


def _tell_where(summary: Summary) -> Iterator[Block]:
    host, environment = summary.host, summary.environment
    rows: dict[str, Text] = {
        "Run": (Code(summary.run), f", begun {summary.created}"),
        "Measured by": f"guestbench {summary.tool}, Python {host.python}",
        summary.vmm: f"{host.vmm_version}, accelerator {summary.accel.used.value} ({summary.accel.reason})",
        "Host": f"{host.cpu_model}, {host.cpus} logical CPUs, {host.memory_mib} MiB",
        "System": f"{host.os}, Linux {host.kernel}, virtualization: {host.virtualization}",
        "Packed by": ", ".join(f"{name} {version}" for name, version in environment.makers.items()),
    }
    yield Table(("What", "Which"), tuple(rows.items()), 2)
    if environment.reason:
        yield Paragraph((f"Packages of the host are not listed. {environment.reason}",))
    else:
        packages = ", ".join(f"{name} {version}" for name, version in environment.packages.items())
        yield Paragraph(
            (f"Its Debian packages, of those that guestbench needs, when this was packed: {packages}.",)
        )


def _tell_contents(summary: Summary, parts: Parts) -> Iterator[Block]:
    there = {path[: path.index("/", path.index("/") + 1) + 1] for path in parts.kept if path.count("/") > 1}
    shown = [
        name
        for name in FILES
        if not name.endswith("/") or name in there or (parts.strangers and name == "guests/")
    ]
    yield Table(("File", "What it is"), tuple((Code(name), FILES[name]) for name in shown), 2)
    yield tell("contents")
    if summary.missing:
        yield tell("missing")
        yield Bullets(tuple(Code(path) for path in summary.missing[:TOLD]))
        more = len(summary.missing) - TOLD
        yield Paragraph((f"And {more} more, in artifact.json.",) if more > 0 else ())


def show_time(seconds: float) -> str:
    """About how long something takes, as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _listing(*lines: str) -> Listing:
    return Listing(lines, "sh")
