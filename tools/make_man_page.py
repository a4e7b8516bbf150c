"""Prints guestbench's man page, in the format of man(7), from the commands' own help: `… | man -l -`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module

import click

from guestbench import __version__
from guestbench.cli import cli
from guestbench.cli.lazy import LazyGroup


def escape(text: str) -> str:
    """Text as roff takes it: no character of it is a command."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    text = "".join(each if each.isascii() else f"\\[u{ord(each):04X}]" for each in text)
    return "\n".join("\\&" + line if line.startswith(".") else line for line in text.splitlines())


def find_commands(group: LazyGroup, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command of a group and of the groups in it, by what one types to call it."""
    for name in sorted(group.commands):
        module = import_module(f"{group.package}.{name}")
        command: click.Command = module.command
        if isinstance(command, LazyGroup):
            yield from find_commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def describe(path: str, command: click.Command) -> Iterator[str]:
    """The lines of a command: how it is called, what it does, and its options."""
    context = click.Context(command, info_name=path)
    yield f'.SS "{escape(" ".join((path, *command.collect_usage_pieces(context))))}"'
    for paragraph in (command.help or "").split("\n\n"):
        yield ".PP"
        yield escape(" ".join(paragraph.replace("\b", "").split()))
    for parameter in command.get_params(context):
        row = parameter.get_help_record(context)
        if row:
            yield ".TP"
            yield f".B {escape(row[0])}"
            yield escape(" ".join(row[1].split()))


def make_page() -> str:
    """The whole page, as roff."""
    lines = [
        f'.TH GUESTBENCH 1 "" "guestbench {__version__}" "User Commands"',
        ".SH NAME",
        "guestbench \\- " + escape((cli.help or "").splitlines()[0].rstrip(".")),
        ".SH SYNOPSIS",
        ".B guestbench",
        ".I command",
        "[\\fIoptions\\fR]",
        ".SH COMMANDS",
    ]
    for path, command in find_commands(cli, "guestbench"):
        lines += describe(path, command)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(make_page())
