"""Lets a file say `extends` instead of repeating what another file has.

A table has the other's keys besides its own. Of a list of named things an entry named as one of the other's
changes that one; a new one comes before the next that both have, or at the end.
"""

from __future__ import annotations

from typing import Any

Table = dict[str, Any]

NAMES = {"milestones": "name", "layers": "name", "failures": "pattern"}
"""The lists of named things, and what names their entries."""


def complete(own: Table, base: Table) -> Table:
    """What `own` says, with what it leaves out; to be judged, so its lists are as long as in the file."""
    whole = {**base, **own}
    for key in own.keys() & base.keys():
        if isinstance(own[key], dict) and isinstance(base[key], dict):
            whole[key] = complete(own[key], base[key])
        elif key in NAMES and isinstance(own[key], list):
            whole[key] = [_complete_entry(each, base[key], NAMES[key]) for each in own[key]]
    return whole


def _complete_entry(entry: object, base: list[Table], name: str) -> object:
    if not isinstance(entry, dict):
        return entry
    there = next((each for each in base if each[name] == entry.get(name)), {})
    return {**there, **entry}


def weave(own: Table, base: Table) -> Table:
    """A completed table without mistakes, with the entries that only `base` has in its lists."""
    return {
        key: _weave_list(value, base.get(key, []), NAMES[key]) if key in NAMES else value
        for key, value in own.items()
    }


def _weave_list(own: list[Table], base: list[Table], name: str) -> list[Table]:
    rest = list(base)
    woven: list[Table] = []
    fresh: list[Table] = []
    for entry in own:
        names = [each[name] for each in rest]
        if entry[name] in names:
            at = names.index(entry[name])
            woven += [*rest[:at], *fresh, entry]
            rest, fresh = rest[at + 1 :], []
        else:
            # One of the other's that comes later here.
            woven = [each for each in woven if each[name] != entry[name]]
            fresh.append(entry)
    return [*woven, *rest, *fresh]
