"""What every other module builds on: the base of the types, and units that nobody has to write out again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, dataclass_transform

import msgspec

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
"""Bytes."""

Say = Callable[[str], None]
"""Tells the user a line about what is being done."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class FrozenMeta(msgspec.StructMeta):
    """Tells type checkers that subclasses of `Frozen` inherit its options, as they do at run time."""


class Frozen(msgspec.Struct, metaclass=FrozenMeta, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of every type here: immutable, keyword-only, strict."""


Filled = TypeVar("Filled", bound=Frozen)


def fill(kind: type[Filled], *sources: object, **own: object) -> Filled:
    """A value of this type: each field is its own, or that of the first source that has one of its name."""
    fields = {
        name: next(getattr(source, name) for source in sources if hasattr(source, name))
        for name in kind.__struct_fields__
        if name not in own
    }
    return kind(**fields, **own)


class Unknown(Frozen, tag_field="kind", tag="unknown"):
    """A value that cannot be had, and why."""

    reason: str
