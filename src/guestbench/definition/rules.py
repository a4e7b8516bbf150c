"""What values in definition files must satisfy beyond their type and its constraints, by kind of value.

Each rule takes one value of the right type and yields what is wrong with it (see `decode.Rule`).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from guestbench.definition.decode import Choice, Meanings, Rule, Shape, quote, suggest
from guestbench.families import list_families
from guestbench.model import FIRST_BYTE, READY
from guestbench.model.kinds import Kind
from guestbench.registry import VMMS

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MILESTONE_NAME = re.compile(r"[^\s;=,|]+( [^\s;=,|]+)*")
"""Milestone names are label values in the CSV and column heads in tables; these signs separate there."""

DEBIAN_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
"""Debian Policy Manual, section 5.6.1."""

RESERVED_MILESTONES = frozenset({FIRST_BYTE, READY})
"""Marks that every boot has; a system's own milestones cannot take their names."""

ALGORITHMS = tuple(sorted(name for name in hashlib.algorithms_guaranteed if not name.startswith("shake")))


def meanings() -> Meanings:
    """What those kinds mean that mean the same everywhere."""
    families = list_families()
    return {
        Kind.FILE_NAME: file_name,
        Kind.LINE: not_blank,
        Kind.SECONDS: _duration,
        Kind.DISTINCT: not_twice,
        Kind.ABSOLUTE_PATH: _absolute_path,
        Kind.URL: _url,
        Kind.CHECKSUM: Choice(ALGORITHMS, Kind.CHECKSUM),
        Kind.DEBIAN_PACKAGE: _package,
        Kind.ARGUMENT: _argument,
        Kind.FAMILY: Choice(tuple(family.name for family in families), Kind.FAMILY),
        Kind.VMM: Choice(VMMS.names(), Kind.VMM),
        Kind.METRIC: _metric,
        Kind.PRINTED_METRIC: Choice(
            tuple(name for family in families for name in family.printed), Kind.PRINTED_METRIC
        ),
        Kind.MILESTONES: _milestones,
        Kind.WORK_CMDLINE: _work_cmdline,
    }


def setting_meanings(workloads: tuple[str, ...]) -> Meanings:
    """What kinds mean in the tables of an experiment."""
    return {**meanings(), Kind.WORKLOAD: Choice(workloads, Kind.WORKLOAD)}


def experiment_meanings(check_reference: Rule, workloads: tuple[str, ...]) -> Meanings:
    """What kinds mean in an experiment file. `check_reference` judges a reference to a system."""
    return {**setting_meanings(workloads), Kind.SYSTEM: check_reference}


def system_meanings(
    folder: Path,
    catalogue: Collection[str],
    workloads: tuple[str, ...],
    programs: Collection[str] = (),
    recipe: Any = dict[str, object],
) -> Meanings:
    """What kinds mean in a system file in `folder`; `catalogue` holds the names that `share` may name.

    `programs` are the workload programs that can be built, `recipe` the type of the recipe's table.
    """
    source_file = _beside(folder, "file", Path.is_file)
    return {
        **setting_meanings(workloads),
        Kind.SHARED_SYSTEM: _unless(("",), one_of("system", catalogue)),
        Kind.SOURCE_FILE: source_file,
        Kind.SOURCE_FOLDER: _unless(("",), _beside(folder, "folder", Path.is_dir)),
        Kind.PROGRAM: _unless(programs, source_file),
        Kind.RECIPE: Shape(recipe),
    }


def one_of(kind: str, names: Collection[str]) -> Rule:
    """A name out of `names`; `kind` says what it names."""

    def rule(value: str) -> Iterator[str]:
        if value not in names:
            yield f"unknown {kind} {quote(value)}; {suggest(value, names)}"

    return rule


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


def _argument(value: str) -> Iterator[str]:
    # It is typed into shells and stands in kernel command lines.
    if not re.fullmatch(r"[A-Za-z0-9=:,._/+-]+", value):
        yield f"letters, digits and the characters = : , . _ / + - are possible, found {quote(value)}"


def _metric(value: str) -> Iterator[str]:
    families = list_families()
    family, _, rest = value.partition(".")
    if family not in {each.name for each in families} or not rest:
        spans = sorted(metric.name for each in families for metric in each.metrics if metric.span)
        yield f"a metric is needed, such as {' or '.join(spans[:2])}, found {quote(value)}"


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


def _absolute_path(name: str) -> Iterator[str]:
    path = PurePosixPath(name)
    if not path.is_absolute() or ".." in path.parts or not name.isprintable():
        yield f"{quote(name)} is not an absolute path"


def _unless(known: Collection[str], rule: Rule) -> Rule:
    """A rule that is content with what is known."""
    return lambda value: iter(()) if value in known else rule(value)


def _beside(folder: Path, what: str, is_one: Callable[[Path], bool]) -> Rule:
    """The name of a file, or a folder, beside system.toml."""

    def rule(value: str) -> Iterator[str]:
        if not FILE_NAME.fullmatch(value):
            yield f"the name of a {what} beside system.toml is needed, found {quote(value)}"
        elif not is_one(folder / value):
            names = {each.name for each in folder.iterdir() if is_one(each)} - {"system.toml"}
            yield f"no {what} {quote(value)} beside system.toml; {suggest(value, sorted(names))}"

    return rule
