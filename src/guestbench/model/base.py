"""The base of every type of the model: immutable, keyword-only, strict; it holds no type of its own."""

from __future__ import annotations

from typing import dataclass_transform

import msgspec


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class FrozenMeta(msgspec.StructMeta):
    """Tells type checkers that subclasses of `Frozen` inherit its options, as they do at run time."""


class Frozen(msgspec.Struct, metaclass=FrozenMeta, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of every type here: immutable, keyword-only, strict."""
