"""Settings given as TABLE.KEY=VALUE: keys of an experiment's tables, checked by what checks its file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import inspect

from guestbench.definition.decode import Choice, Meanings, find_mistakes, quote, suggest
from guestbench.errors import DefinitionError
from guestbench.families import list_families
from guestbench.model import Frozen, Platform

Tables = Mapping[str, type[Frozen]]
"""The tables of an experiment file by name; every key of theirs has a default."""
Changes = dict[str, dict[str, object]]
"""Values by table and key."""

PLATFORM = "platform"
BOOLEANS = {"true": True, "false": False}


class Setting(Frozen):
    """A key of a table: its default as one would type it, and what it is for, where it says so."""

    name: str
    default: str
    help: str = ""


def find_tables() -> Tables:
    """The tables of an experiment whose keys can be set one by one: the platform's, and the families'."""
    return {PLATFORM: Platform, **find_family_tables()}


def find_family_tables() -> Tables:
    """The tables of an experiment with the settings of families."""
    return {family.name: family.settings for family in list_families() if family.settings is not None}


def list_settings(tables: Tables) -> tuple[Setting, ...]:
    """All settings there are, in the order of their tables and keys."""
    return tuple(
        Setting(name=f"{table}.{key}", default=_show(field.default), help=_describe(field.type))
        for table, wanted in tables.items()
        for key, field in _fields_of(wanted).items()
    )


def parse_settings(texts: Sequence[str], tables: Tables, meanings: Meanings) -> Changes:
    """What the texts set, the last one of each key counting, with every mistake in them told at once.

    Raises:
        DefinitionError: one of them is not of that form, or sets what cannot be.
    """
    data: Changes = {}
    mistakes: list[str] = []
    for text in texts:
        try:
            table, key, value = _parse(text, tables)
        except ValueError as wrong:
            mistakes.append(f"{quote(text)}: {wrong}")
        else:
            data.setdefault(table, {})[key] = value
    for table, values in data.items():
        mistakes += (f"{table}.{each}" for each in find_mistakes(values, tables[table], meanings))
    if mistakes:
        raise DefinitionError(tuple(f"--set {each}" for each in mistakes), "guestbench run --help")
    converted = {table: msgspec.convert(values, tables[table]) for table, values in data.items()}
    return {table: {key: getattr(converted[table], key) for key in data[table]} for table in data}


def complete_setting(begun: str, tables: Tables, meanings: Meanings) -> Iterator[tuple[str, str]]:
    """What a setting that is begun to be typed may become, each with its help.

    Before the `=` these are all that begin so, with their defaults; behind it, the values that there are.
    """
    name, equals, value = begun.partition("=")
    if not equals:
        for setting in list_settings(tables):
            if setting.name.startswith(name):
                yield f"{setting.name}={setting.default}", setting.help
        return
    table, _, key = name.partition(".")
    if table in tables and (field := _fields_of(tables[table]).get(key)):
        before, comma, last = value.rpartition(",")
        for word in _list_values(field.type, meanings):
            if word.startswith(last):
                yield f"{name}={before}{comma}{word}", ""


def _fields_of(table: type[Frozen]) -> dict[str, inspect.Field]:
    described = inspect.type_info(table)
    assert isinstance(described, inspect.StructType)
    return {field.encode_name: field for field in described.fields}


def _parse(text: str, tables: Tables) -> tuple[str, str, object]:
    """The table, the key and the value as plain data. Raises ValueError with what is wrong."""
    name, equals, value = text.partition("=")
    table, dot, key = name.partition(".")
    if not (equals and dot):
        raise ValueError("TABLE.KEY=VALUE is needed")
    if table not in tables:
        raise ValueError(f"unknown table {quote(table)}; {suggest(table, tables)}")
    fields = _fields_of(tables[table])
    if key not in fields:
        raise ValueError(f"unknown key {quote(key)} of {table}; there are: {', '.join(fields)}")
    return table, key, _read(value, fields[key].type)


def _read(text: str, kind: inspect.Type) -> object:
    """A value as TOML would have it. Text that cannot be read so stays text, and is a mistake as such."""
    match kind:
        case inspect.Metadata():
            return _read(text, kind.type)
        case inspect.UnionType():
            return _read(text, next(each for each in kind.types if not isinstance(each, inspect.NoneType)))
        case inspect.VarTupleType():
            return [_read(item, kind.item_type) for item in text.split(",")] if text else []
        case inspect.BoolType():
            return BOOLEANS.get(text, text)
        case inspect.IntType() | inspect.FloatType():
            try:
                return int(text) if isinstance(kind, inspect.IntType) else float(text)
            except ValueError:
                return text
        case _:
            return text


def _show(default: object) -> str:
    """A default as one would type it."""
    match default:
        case bool():
            return str(default).lower()
        case tuple():
            return ",".join(map(_show, default))
        case None:
            return ""
        case _:
            return str(default)


def _describe(kind: inspect.Type) -> str:
    """What a type says of its values."""
    told = kind.extra_json_schema if isinstance(kind, inspect.Metadata) else None
    return str((told or {}).get("description", ""))


def _list_values(kind: inspect.Type, meanings: Meanings) -> tuple[str, ...]:
    """The values that a type, or an item of it, may have, where they can be counted."""
    match kind:
        case inspect.Metadata():
            meaning = meanings.get((kind.extra or {}).get("kind", ""))
            return meaning.names if isinstance(meaning, Choice) else _list_values(kind.type, meanings)
        case inspect.VarTupleType():
            return _list_values(kind.item_type, meanings)
        case inspect.EnumType():
            return tuple(str(each.value) for each in kind.cls)
        case inspect.BoolType():
            return tuple(BOOLEANS)
        case _:
            return ()
