"""Writes a run's experiment and guests as files that `guestbench run` reads, from what the store has of them.

They say what was run, and not what was typed: whatever the command line changed is in them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress

import msgspec

from guestbench.definition.systems import SYSTEM_FILE, Catalogue, load_catalogue
from guestbench.errors import DefinitionError
from guestbench.model import Guest, GuestFamily, Header, Role, System

GUESTS = "guests"
"""The folder of the guests that are not of the catalogue."""
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def find_strangers(header: Header) -> frozenset[str]:
    """The names of those guests of a run that the catalogue does not have, or has otherwise."""
    catalogue = load_catalogue()
    return frozenset(each.name for each in header.systems if not _is_known(each, catalogue))


def _is_known(system: System, catalogue: Catalogue) -> bool:
    with suppress(DefinitionError):
        known = catalogue.get(system.name)
        if known is not None and known.boot.roles == system.boot.roles and Role.DISK in system.boot.roles:
            # The format of a disk is that of the file that was given.
            known = msgspec.structs.replace(known, boot=system.boot)
        return known == system
    return False


def write_experiment(header: Header, strangers: Collection[str]) -> bytes:
    """The experiment of a run, with the systems that it had, its accelerator and its seed.

    `strangers` are the names of those that lie beside it, in the folder GUESTS.
    """
    names = {system.name for system in header.systems}
    compared = {*names, GuestFamily.UNIKERNEL.value}
    asked = header.experiment
    experiment = msgspec.structs.replace(
        asked,
        systems=tuple(f"./{GUESTS}/{n}" if n in strangers else n for n in (s.name for s in header.systems)),
        optional=(),
        platform=msgspec.structs.replace(header.platform, accel=header.accel.used),
        baseline=asked.baseline if asked.baseline in names else "",
        claims=tuple(each for each in asked.claims if {each.system, each.against or each.system} <= compared),
        steps=tuple(each for each in asked.steps if {each.before, each.after} <= names),
    )
    fields = msgspec.to_builtins(experiment)
    fields |= fields.pop("settings")
    return to_toml(fields)


def write_system(guest: Guest, *, sources: bool) -> tuple[str, bytes]:
    """The definition of a guest and the file's path; without its `sources`, its images have to be given."""
    system = guest.system
    if not sources:
        system = msgspec.structs.replace(
            system, provision=msgspec.structs.replace(system.provision, build=None)
        )
    return f"{GUESTS}/{system.name}/{SYSTEM_FILE}", to_toml(msgspec.to_builtins(system))


def to_toml(table: Mapping[str, object]) -> bytes:
    """A table as TOML 1.0; what is None has no place in it, and is left out."""
    return "".join(f"{line}\n" for line in _write_table(table)).encode()


def _write_table(table: Mapping[str, object]) -> Iterator[str]:
    sections: list[tuple[str, Mapping[str, object]]] = []
    for key, value in table.items():
        if isinstance(value, dict):
            sections.append((f"[{_write_key(key)}]", value))
        elif isinstance(value, list | tuple) and value and isinstance(value[0], dict):
            sections += ((f"[[{_write_key(key)}]]", row) for row in value)
        elif value is not None:
            yield f"{_write_key(key)} = {_write_value(value)}"
    for head, row in sections:
        yield from ("", head, *_write_pairs(row))


def _write_pairs(table: Mapping[str, object]) -> list[str]:
    return [f"{_write_key(key)} = {_write_value(value)}" for key, value in table.items() if value is not None]


def _write_value(value: object) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(_write_pairs(value))}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_write_value, value))}]"
    # What JSON writes is TOML as well, but for one control character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _write_key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _write_value(key)
