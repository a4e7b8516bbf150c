"""A group of commands, each a module that is imported when its command is called."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """A group whose commands are the modules of a package, each with its click command as `command`.

    `helps` has for each command the help that lists and completions show without importing it.
    """

    def __init__(self, name: str, *, package: str, helps: Mapping[str, str], **settings: Any) -> None:
        stand_ins = {each: click.Command(each, help=text) for each, text in helps.items()}
        super().__init__(name, stand_ins, **settings)
        self.package = package

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Import the module of the command that is called."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None:
            command = import_module(f"{self.package}.{name}").command
        return name, command, rest
