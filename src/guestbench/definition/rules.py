"""What values in definition files must satisfy beyond their type; it reads no file and builds no model.

Each rule takes one value of the right type and yields what is wrong with it (see `decode.Rule`).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from itertools import chain
from pathlib import Path, PurePosixPath

from guestbench import model
from guestbench.definition.decode import (
    Rule,
    Rules,
    quote,
    suggest,
)

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MILESTONE_NAME = re.compile(r"[^\s;=,|]+( [^\s;=,|]+)*")
"""Milestone names are label values in the CSV and column heads in tables; these signs separate there."""

DEBIAN_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
"""Debian Policy Manual, section 5.6.1."""

RESERVED_MILESTONES = frozenset({"first byte", "ready"})
"""Marks that every boot has; a system's own milestones cannot take their names."""

ALGORITHMS = tuple(sorted(name for name in hashlib.algorithms_guaranteed if not name.startswith("shake")))
PRINTED_METRICS = ("memory.guest_total", "memory.guest_used", "memory.guest_available")
LARGEST_INTEGER = 2**63 - 1


def experiment_rules(check_reference: Rule, workloads: Collection[str]) -> Rules:
    """The rules of an experiment file. `check_reference` judges one entry of `systems` and `optional`."""
    references = all_of(not_twice, each(check_reference))
    return {
        (model.Experiment, "name"): file_name,
        (model.Experiment, "title"): not_blank,
        (model.Experiment, "systems"): all_of(not_empty, references),
        (model.Experiment, "optional"): references,
        (model.Experiment, "metrics"): all_of(not_empty, not_twice),
        (model.Experiment, "cycles"): within(1, 100_000),
        (model.Experiment, "warmups"): within(0, 100_000),
        (model.Experiment, "seed"): within(0, LARGEST_INTEGER),
        (model.MemoryPlan, "cycles"): within(1, 1000),
        (model.MemoryPlan, "settle_s"): _duration,
        (model.MemoryPlan, "boots"): within(1, 100),
        (model.MemoryPlan, "well_s"): _duration,
        (model.SurfacePlan, "boots"): within(1, 100),
        (model.WorkPlan, "cycles"): within(1, 1000),
        (model.WorkPlan, "workloads"): all_of(not_twice, each(one_of("workload", workloads))),
        (model.WorkPlan, "transfer_mib"): within(1, 2**20),
        (model.WorkPlan, "requests"): within(1, 1_000_000),
        (model.Claim, "text"): not_blank,
        (model.Claim, "metric"): _metric,
        (model.Platform, "machine"): not_blank,
        (model.Platform, "memory_mib"): within(1, 2**24),
        (model.Platform, "cpus"): within(1, 255),
        (model.Platform, "extra"): each(not_blank),
    }


def system_rules(
    folder: Path, catalogue: Collection[str], workloads: Collection[str], programs: Collection[str] = ()
) -> Rules:
    """The rules of a system file in `folder`; `catalogue` holds the names that `share` may name.

    `programs` are the workload programs that can be built.
    """
    return {
        (model.System, "name"): file_name,
        (model.System, "title"): not_blank,
        (model.System, "ready"): not_empty,
        (model.System, "timeout_s"): _duration,
        (model.System, "milestones"): _milestones,
        (model.System, "services"): not_twice,
        (model.System, "workloads"): all_of(not_twice, each(one_of("workload", workloads))),
        (model.BootWork, "cmdline"): _work_cmdline,
        (model.ImageWork, "timeout_s"): _duration,
        (model.Milestone, "pattern"): not_empty,
        (model.Layer, "name"): not_blank,
        (model.FailurePattern, "pattern"): not_empty,
        (model.FailurePattern, "reason"): not_blank,
        (model.Command, "command"): not_blank,
        (model.Command, "timeout_s"): _duration,
        (model.ProgramLoad, "arguments"): all_of(not_empty, each(_argument)),
        (model.ProgramLoad, "timeout_s"): _duration,
        (model.OwnWork, "end"): not_empty,
        (model.OwnWork, "timeout_s"): _duration,
        (model.MemoryReport, "metric"): one_of("metric that a guest can print", PRINTED_METRICS),
        (model.MemoryReport, "before"): not_empty,
        (model.MemoryReport, "unit_bytes"): within(1, 2**30),
        (model.Login, "user"): not_blank,
        (model.Login, "prompt"): not_empty,
        (model.Provision, "share"): _shared_system(catalogue),
        (model.Fetch, "url"): _url,
        (model.Fetch, "sums_url"): _url,
        (model.Fetch, "algorithm"): one_of("checksum algorithm", ALGORITHMS),
        (model.DebianDisk, "suite"): file_name,
        (model.DebianDisk, "packages"): all_of(not_empty, not_twice, each(_package)),
        (model.DebianDisk, "size_mib"): within(1, 2**24),
        (model.DebianDisk, "grub_timeout_s"): within(0, 3600),
        (model.DebianDisk, "hostname"): file_name,
        (model.DebianDisk, "files"): _guest_files,
        (model.DebianInitramfs, "suite"): file_name,
        (model.DebianInitramfs, "kernel_package"): _package,
        (model.DebianInitramfs, "tree"): _source_folder(folder),
        (model.DebianInitramfs, "modules"): all_of(not_twice, each(file_name)),
        (model.DebianInitramfs, "drivers"): all_of(not_twice, each(file_name)),
        (model.DebianInitramfs, "programs"): all_of(not_twice, each(file_name)),
        (model.AlpineInitramfs, "tree"): _source_folder(folder),
        (model.AlpineInitramfs, "modules"): all_of(not_twice, each(file_name)),
        (model.Assembly, "source"): _source_file(folder),
        (model.LibraryOs, "program"): _program(folder, programs),
        (model.LibraryOs, "suite"): file_name,
    }


def all_of(*rules: Rule) -> Rule:
    """A rule that is content where each of `rules` is."""
    return lambda value: chain.from_iterable(rule(value) for rule in rules)


def each(rule: Rule) -> Rule:
    """`rule` for every item of a list."""
    return lambda values: chain.from_iterable(rule(value) for value in values)


def within(low: int, high: int) -> Rule:
    """A whole number between two, both included."""

    def rule(value: int) -> Iterator[str]:
        if value < low:
            yield f"at least {low} is needed, found {value}"
        elif value > high:
            yield f"at most {high} is possible, found {value}"

    return rule


def one_of(kind: str, names: Collection[str]) -> Rule:
    """A name out of `names`; `kind` says what it names."""

    def rule(value: str) -> Iterator[str]:
        if value not in names:
            yield f"unknown {kind} {quote(value)}; {suggest(value, names)}"

    return rule


def not_empty(value: Collection[object]) -> Iterator[str]:
    """Text of at least one character, or a list of at least one item."""
    if not value:
        yield "must not be empty"


def not_blank(value: str) -> Iterator[str]:
    """Text with something to see in it, on one line."""
    if not value.strip():
        yield "must not be empty"
    elif not value.isprintable():
        yield f"must be one line of printable text, found {quote(value)}"


def not_twice(values: Collection[str]) -> Iterator[str]:
    """A list in which nothing is named twice."""
    yield from (f"{quote(value)} is named {n} times" for value, n in Counter(values).items() if n > 1)


def file_name(value: str) -> Iterator[str]:
    """A name that is safe as a file's name, in a command line and in a report."""
    if not FILE_NAME.fullmatch(value):
        yield f"{quote(value)} cannot be a name: a letter or digit, then letters, digits, '.', '_' or '-'"


def _duration(value: float) -> Iterator[str]:
    if not (math.isfinite(value) and value > 0):
        yield f"more than 0 seconds are needed, found {value:g}"


def _work_cmdline(value: str) -> Iterator[str]:
    missing = [word for word in ("{program}", "{arguments}") if value.count(word) != 1]
    if missing or "{" in value.replace("{program}", "").replace("{arguments}", ""):
        yield f"{{program}} and {{arguments}} must be in it once each, and no other brace: {quote(value)}"


def workload_rules() -> Rules:
    """The rules of a workload file."""
    return {
        (model.Workload, "name"): file_name,
        (model.Workload, "title"): not_blank,
        (model.Workload, "program"): file_name,
        (model.Workload, "metric"): file_name,
        (model.Workload, "unit"): not_blank,
        (model.Workload, "arguments"): each(_argument),
        (model.Workload, "timeout_s"): _duration,
    }


def _argument(value: str) -> Iterator[str]:
    # It is typed into shells and stands in kernel command lines.
    if not re.fullmatch(r"[A-Za-z0-9=:,._/+-]+", value):
        yield f"letters, digits and the characters = : , . _ / + - are possible, found {quote(value)}"


def _metric(value: str) -> Iterator[str]:
    families = tuple(family.value for family in model.MetricFamily)
    if value.partition(".")[0] not in families or not value.partition(".")[2]:
        yield f"a metric is needed, such as boot.ready or image.file, found {quote(value)}"


def _milestones(milestones: list[dict[str, str]]) -> Iterator[str]:
    names = [each["name"] for each in milestones]
    yield from not_twice(names)
    for name in dict.fromkeys(names):
        if name in RESERVED_MILESTONES:
            yield f"the name {quote(name)} is taken: every boot has that mark"
        elif not MILESTONE_NAME.fullmatch(name) or not name.isprintable():
            yield f"{quote(name)} cannot be a name: spaces at its ends, or one of ; = , |"


def _url(value: str) -> Iterator[str]:
    if not value.startswith(("https://", "http://")) or not value.isprintable() or " " in value:
        yield f"an address that begins with https:// is needed, found {quote(value)}"


def _package(value: str) -> Iterator[str]:
    if not DEBIAN_NAME.fullmatch(value):
        yield f"{quote(value)} cannot be a Debian package"


def _guest_files(files: dict[str, str]) -> Iterator[str]:
    for name in files:
        path = PurePosixPath(name)
        if not path.is_absolute() or ".." in path.parts or not name.isprintable():
            yield f"{quote(name)} is not an absolute path"


def _shared_system(catalogue: Collection[str]) -> Rule:
    known = one_of("system", catalogue)
    return lambda value: known(value) if value else iter(())


def _source_file(folder: Path) -> Callable[[str], Iterator[str]]:
    def rule(value: str) -> Iterator[str]:
        if not FILE_NAME.fullmatch(value):
            yield f"the name of a file beside system.toml is needed, found {quote(value)}"
        elif not (folder / value).is_file():
            there = sorted(each.name for each in folder.iterdir() if each.name != "system.toml")
            yield f"no file {quote(value)} beside system.toml; {suggest(value, there)}"

    return rule


def _program(folder: Path, programs: Collection[str]) -> Callable[[str], Iterator[str]]:
    """A workload program, or a file beside system.toml."""

    def rule(value: str) -> Iterator[str]:
        if value not in programs:
            yield from _source_file(folder)(value)

    return rule


def _source_folder(folder: Path) -> Rule:
    def rule(value: str) -> Iterator[str]:
        if value == "":
            return
        if not FILE_NAME.fullmatch(value):
            yield f"the name of a folder beside system.toml is needed, found {quote(value)}"
        elif not (folder / value).is_dir():
            there = sorted(each.name for each in folder.iterdir() if each.is_dir())
            yield f"no folder {quote(value)} beside system.toml; {suggest(value, there)}"

    return rule
