"""Makes an artifact again from its parts, and tells what of it is not what is there."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec

from guestbench.artifact.derive import SUMMARY, SUMS, derive
from guestbench.artifact.parts import RUN, Parts, find_makers, list_files, read_member, read_parts
from guestbench.model.decoding import NOT_JSON, decode_as
from guestbench.page.numbers import count_things
from guestbench.report import CSV_NAME, JSON_NAME
from guestbench.text import visible

FIGURES = (SUMMARY, f"{RUN}/{JSON_NAME}", f"{RUN}/{CSV_NAME}")
"""Files of figures that a program can read."""
NEAR = 1e-9
"""Share by which figures may differ where other libraries have worked them out: no digit that is shown."""
WORDS = frozenset({"verdict", "ruling", "result", "outcome", "unit", "method", "sha256"})
"""Keys whose texts are findings, whichever version has said them; other texts may be put otherwise."""
NAMES = ("trial", "purpose", "system", "role", "metric", "labels", "text", "name")
"""Keys by which a row of a list is known."""
AHEAD, SHOWN = 20, 60
"""Characters that are shown of a line, before and behind where it differs."""


class Checked(msgspec.Struct, frozen=True):
    """What a check found: a line for each difference, and for what need not be one; what it amounts to."""

    differences: tuple[str, ...]
    notes: tuple[str, ...]
    verdict: str


def check_artifact(root: Path, *, whole: bool) -> Checked:
    """Make everything again that follows from the parts in a folder; `whole` if there is to be nothing else.

    Raises:
        StoreError, UsageError: the parts cannot be read.
    """
    parts = read_parts(root)
    made = {path: each.data for path, each in derive(parts).items()}
    expected = {*made, *parts.kept}
    paths = [path for path in list_files(root) if whole or path in expected]
    there = {path: read_member(root, path).data for path in paths if path not in parts.kept}
    others = _find_others(parts)
    differences = [f"{path}: is not there" for path in made if path not in there]
    differences += [f"{path}: is no part of the artifact" for path in there if path not in made]
    changed = sorted(path for path in made if path in there and there[path] != made[path])
    notes = [f"packed by {before}, checked by {now}" for before, now in others]
    values = {path: _flatten(path, made[path]) for path in FIGURES}
    alone = 0
    for path in changed:
        if path == SUMS:
            differences += _compare_sums(there[path], made[path], changed)
        elif path in FIGURES:
            found, missing = _compare_figures(path, there[path], values[path], loosely=bool(others))
            alone += missing
            differences += found or ([] if others else [_compare_lines(path, there[path], made[path])])
        elif others:
            notes.append(f"{path}: not compared, as another version may put it otherwise")
        else:
            differences.append(_compare_lines(path, there[path], made[path]))
    count = sum(map(len, values.values()))
    verdict = f"{count_things(len(made), 'file')} made again from the records of {parts.header.run}"
    if changed:
        same = f"{len(made) - len(changed)} are the same byte for byte"
        verdict += f": {same}, and {count - alone} of {count} values to nine digits"
    else:
        verdict += f", with {count} values: all the same, byte for byte"
    return Checked(tuple(differences), tuple(notes), verdict)


def _find_others(parts: Parts) -> list[tuple[str, str]]:
    """What an artifact was packed with and is not checked with."""
    before, now = parts.environment.makers, find_makers().makers
    return [
        (f"{name} {before.get(name, 'not there')}", now.get(name, "none"))
        for name in dict.fromkeys((*before, *now))
        if before.get(name) != now.get(name)
    ]


def _compare_sums(there: bytes, made: bytes, changed: list[str]) -> Iterator[str]:
    """A line for each file that is another one than was packed, but for those that are told elsewhere."""
    before, now = (
        {
            path: digest
            for digest, _, path in (
                line.partition("  ") for line in data.decode("ascii", "replace").splitlines()
            )
        }
        for data in (there, made)
    )
    for path in dict.fromkeys((*before, *now)):
        if before.get(path) != now.get(path) and path not in changed:
            yield f"{path}: is not the file that {SUMS} has the digest of"
    if before == now:
        yield f"{SUMS}: is written otherwise"


def _compare_lines(path: str, there: bytes, made: bytes) -> str:
    """Where a text begins to differ."""
    lines = (data.decode("utf-8", "replace").split("\n") for data in (there, made))
    for number, (before, now) in enumerate(zip_longest(*lines), 1):
        if before != now:
            return (
                f"{path}: line {number} is {_excerpt(before, now)}, and ought to be {_excerpt(now, before)}"
            )
    return f"{path}: is written otherwise"


def _excerpt(line: str | None, other: str | None) -> str:
    if line is None:
        return "not there"
    pairs = enumerate(zip(line, other or "", strict=False))
    at = next((place for place, (mine, its) in pairs if mine != its), min(len(line), len(other or "")))
    return repr(line[max(at - AHEAD, 0) : at + SHOWN])


def _compare_figures(
    path: str, there: bytes, now: Mapping[str, object], *, loosely: bool
) -> tuple[list[str], int]:
    """A line for each value that differs; and how many are not there, which another version may not know."""
    try:
        before = _flatten(path, there)
    except (*NOT_JSON, csv.Error) as error:
        return [f"{path}: cannot be read: {visible(str(error))}"], 0
    found = [
        f"{path}: {name} is {before[name]!r}, and ought to be {now[name]!r}"
        for name in before
        if name in now and not _is_same(name, before[name], now[name], loosely=loosely)
    ]
    missing = [name for name in now if name not in before]
    if not loosely:
        found += [f"{path}: {name} is not there" for name in missing]
        found += [f"{path}: {name} follows from nothing" for name in before if name not in now]
    return found, len(missing)


def _is_same(name: str, before: object, now: object, *, loosely: bool) -> bool:
    if type(before) is type(now) and before == now:
        return True
    if not loosely:
        return False
    if isinstance(before, int | float) and isinstance(now, int | float):
        return math.isclose(before, now, rel_tol=NEAR, abs_tol=1e-300)
    # An absence is one in every version.
    return isinstance(before, str) and isinstance(now, str) and name.rpartition(".")[2] not in WORDS


def _flatten(path: str, data: bytes) -> dict[str, object]:
    """The single values of a file of figures by what they are called in it."""
    found: dict[str, object] = {}
    if path.endswith(".csv"):
        rows = csv.DictReader(io.StringIO(data.decode("utf-8"), newline=""))
        _add(found, "", [{key: _to_number(value) for key, value in row.items()} for row in rows])
    else:
        _add(found, "", decode_as(data, Any))
    return found


def _to_number(text: str) -> str | float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return text


def _add(found: dict[str, object], name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for key, each in value.items():
            _add(found, f"{name}.{key}" if name else str(key), each)
    elif isinstance(value, list):
        seen: dict[str, int] = {}
        for each in value:
            known = [_show(each[key]) for key in NAMES if each.get(key)] if isinstance(each, Mapping) else []
            row = " ".join(known)
            seen[row] = seen.get(row, 0) + 1
            again = f"#{seen[row]}" if seen[row] > 1 or not row else ""
            _add(found, f"{name}[{' '.join(filter(None, (row, again)))}]", each)
    else:
        found[name] = value


def _show(value: object) -> str:
    if isinstance(value, Mapping):
        return ";".join(f"{key}={each}" for key, each in value.items())
    return visible(str(value))
