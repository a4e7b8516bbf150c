"""Finds every mistake in plain data that is to become a type of the model, not only the first one.

A type says by itself what its values must satisfy: by constraints of msgspec's, and by a kind whose meaning
is handed in with the data. Where a registry knows more than the model, a meaning is a choice of names, or the
type of a table that the model leaves open; mistakes in it read the same.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

from guestbench.text import visible

Rule = Callable[[Any], Iterator[str]]
"""Says what is wrong with a value that already has the right type; yields nothing where all is well."""


class Choice(NamedTuple):
    """The meaning of a kind of text that is one of these names; `what` they are the names of."""

    names: tuple[str, ...]
    what: str = "value"


class Shape(NamedTuple):
    """The meaning of a kind of table that has this type: a struct, or a union of tagged ones."""

    type: Any


Meanings = Mapping[str, Rule | Choice | Shape]
"""What the kinds of `model.kinds` mean for the data at hand. A kind that is not here means nothing."""

Path = tuple[str | int, ...]
Mistake = tuple[Path, str]

SHOWN_CHARACTERS = 60
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")

SCALARS: dict[type[inspect.Type], tuple[tuple[type, ...], str]] = {
    inspect.StrType: ((str,), "text"),
    inspect.IntType: ((int,), "a whole number"),
    inspect.FloatType: ((int, float), "a number"),
    inspect.BoolType: ((bool,), "true or false"),
}
"""For each scalar type: the Python types that stand for it in parsed TOML, and its name for people."""


def find_mistakes(data: object, wanted: type, meanings: Meanings) -> tuple[str, ...]:
    """Compare parsed TOML with a struct type. Each text is `[table] key: what is wrong`.

    No text means that `msgspec.convert(data, wanted)` succeeds and that every rule is content.
    """
    found = tuple(_walk(data, inspect.type_info(wanted), (), meanings))
    if not found:
        try:
            msgspec.convert(data, wanted)
        except msgspec.ValidationError as wrong:
            return (str(wrong),)
    return tuple(f"{locate(path)}{text}" for path, text in found)


def locate(path: Path) -> str:
    """Where a value stands, as TOML writes it: `[table] key: `, `[[tables]] #2 key: `, or `key: `."""
    *tables, key = path or ("",)
    if isinstance(key, int):
        return f"{locate(tuple(tables)).removesuffix(': ')} #{key + 1}: "
    names = ".".join(_quote_key(part) for part in tables if isinstance(part, str))
    numbers = "".join(f" #{part + 1}" for part in tables if isinstance(part, int))
    brackets = f"[[{names}]]{numbers} " if numbers else f"[{names}] " if names else ""
    return f"{brackets}{_quote_key(key)}: " if key else ""


def suggest(name: str, valid: Collection[str]) -> str:
    """The nearest valid name as a question; all of them where none is near."""
    folded = {each.casefold(): each for each in valid}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    if near:
        return f"did you mean {folded[near[0]]}?"
    return f"known: {', '.join(valid)}" if valid else "there are none"


def show(value: object) -> str:
    """A value from a file as printable text of bounded length, after the name of its type."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {_shorten(repr(value))}"
        case str():
            return f"text {quote(value)}"
        case list():
            return f"a list of {len(value)}"
        case dict():
            return "a table"
        case _:
            return f"a {type(value).__name__}"


def quote(text: str) -> str:
    """Text from a file in double quotes: control characters escaped, bounded length."""
    return f'"{_shorten(visible(text))}"'


def _shorten(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"


def _quote_key(key: str) -> str:
    return key if BARE_KEY.fullmatch(key) else quote(key)


def _walk(value: object, kind: inspect.Type, path: Path, meanings: Meanings) -> Iterator[Mistake]:
    match kind:
        case inspect.Metadata():
            yield from _walk_kind(value, kind, path, meanings)
        case inspect.StructType():
            yield from _walk_struct(value, kind, path, meanings)
        case inspect.UnionType():
            yield from _walk_union(value, kind, path, meanings)
        case inspect.EnumType():
            yield from _walk_enum(value, [str(each.value) for each in kind.cls], path)
        case inspect.VarTupleType() | inspect.ListType():
            if not isinstance(value, list):
                yield path, _mismatch("a list", value)
                return
            if len(value) < (kind.min_length or 0):
                yield path, "must not be empty"
            for index, item in enumerate(value):
                yield from _walk(item, kind.item_type, (*path, index), meanings)
        case inspect.DictType():
            if not isinstance(value, dict):
                yield path, _mismatch("a table", value)
                return
            for key, item in value.items():
                yield from _walk(key, kind.key_type, path, meanings)
                yield from _walk(item, kind.value_type, (*path, key), meanings)
        case _:
            yield from _walk_scalar(value, kind, path)


def _walk_kind(value: object, kind: inspect.Metadata, path: Path, meanings: Meanings) -> Iterator[Mistake]:
    match meanings.get((kind.extra or {}).get("kind", "")):
        case Choice(names, what):
            yield from _walk_enum(value, names, path, what)
        case Shape(wanted):
            yield from _walk(value, inspect.type_info(wanted), path, meanings)
        case None:
            yield from _walk(value, kind.type, path, meanings)
        case rule:
            # A rule judges values of the right type, whatever other rules say of what is in them.
            if not any(_walk(value, kind.type, path, {})):
                yield from ((path, text) for text in rule(value))
            yield from _walk(value, kind.type, path, meanings)


def _walk_scalar(value: object, kind: inspect.Type, path: Path) -> Iterator[Mistake]:
    accepted, name = SCALARS.get(type(kind), ((object,), ""))
    # bool is a subclass of int in Python, but `cycles = true` is a mistake.
    if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in accepted):
        yield path, _mismatch(name, value)
    elif isinstance(kind, inspect.IntType | inspect.FloatType):
        assert isinstance(value, int | float)
        if kind.ge is not None and value < kind.ge:
            yield path, f"at least {kind.ge} is needed, found {value}"
        elif kind.le is not None and value > kind.le:
            yield path, f"at most {kind.le} is possible, found {value}"
    elif isinstance(kind, inspect.StrType) and kind.min_length and not value:
        yield path, "must not be empty"


def _walk_enum(value: object, names: Collection[str], path: Path, what: str = "value") -> Iterator[Mistake]:
    if not isinstance(value, str):
        yield path, _mismatch(f"one of {', '.join(names)}", value)
    elif value not in names:
        yield path, f"unknown {what} {quote(value)}; {suggest(value, names)}"


def _walk_struct(
    value: object, kind: inspect.StructType, path: Path, meanings: Meanings
) -> Iterator[Mistake]:
    if not isinstance(value, dict):
        yield path, _mismatch("a table", value)
        return
    fields = {field.encode_name: field for field in kind.fields}
    tag = [kind.tag_field] if kind.tag_field else []
    for key in value:
        if key not in fields and key not in tag:
            yield (*path, key), f"unknown key; {suggest(key, fields)}"
    for key, field in fields.items():
        if key in value:
            yield from _walk(value[key], field.type, (*path, key), meanings)
        elif field.required:
            yield (*path, key), f"missing; {_name_type(field.type)} is needed"


def _walk_union(value: object, kind: inspect.UnionType, path: Path, meanings: Meanings) -> Iterator[Mistake]:
    # TOML has no null: None in a union only means that the key may be left out.
    kinds = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
    structs = {
        str(each.tag): each for each in kinds if isinstance(each, inspect.StructType) and each.tag_field
    }
    if len(kinds) == 1:
        yield from _walk(value, kinds[0], path, meanings)
    elif isinstance(value, dict) and structs:
        yield from _walk_tagged(value, structs, path, meanings)
    elif not any(not list(_walk(value, each, path, meanings)) for each in kinds):
        yield path, _mismatch(_name_type(kind), value)


def _walk_tagged(
    value: dict[str, object], structs: dict[str, inspect.StructType], path: Path, meanings: Meanings
) -> Iterator[Mistake]:
    tag_field = str(next(iter(structs.values())).tag_field)
    tag = value.get(tag_field)
    if isinstance(tag, str) and tag in structs:
        yield from _walk_struct(value, structs[tag], path, meanings)
        return
    if tag_field in value:
        yield from _walk_enum(tag, list(structs), (*path, tag_field))
    else:
        yield (*path, tag_field), f"missing; one of {', '.join(structs)} is needed"
    # Which table it is to be is unknown, so only what fits none of them can be called a mistake.
    known = dict.fromkeys(field.encode_name for struct in structs.values() for field in struct.fields)
    for key in value:
        if key != tag_field and key not in known:
            yield (*path, key), f"unknown key; {suggest(key, known)}"


def _mismatch(wanted: str, value: object) -> str:
    return f"{wanted} is needed, found {show(value)}"


def _name_type(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata():
            return _name_type(kind.type)
        case inspect.StructType() | inspect.DictType():
            return "a table"
        case inspect.EnumType():
            return f"one of {', '.join(str(each.value) for each in kind.cls)}"
        case inspect.VarTupleType() | inspect.ListType():
            return "a list"
        case inspect.UnionType():
            names = (_name_type(each) for each in kind.types if not isinstance(each, inspect.NoneType))
            return " or ".join(dict.fromkeys(names))
        case _:
            return SCALARS.get(type(kind), ((), "a value"))[1]
