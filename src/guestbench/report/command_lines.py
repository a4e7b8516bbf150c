"""How QEMU was started for each system: what their command lines share, and what they do not."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from guestbench.families import list_families
from guestbench.model import Header, Record
from guestbench.page.blocks import Block, Code, Listing, Paragraph, Text, join
from guestbench.page.command_line import split_options


class CommandLine(msgspec.Struct, frozen=True, kw_only=True):
    """How QEMU was started for one system: the whole line, and what of it the other systems do not share.

    `others` counts this system's boots that had another line, which differed in `varying`.
    """

    system: str
    full: str
    own: tuple[str, ...]
    boots: int
    others: int
    varying: tuple[str, ...]


def describe_command_lines(header: Header, records: Sequence[Record]) -> tuple[Block, ...]:
    """What all lines share, then each system's; nothing of a run that started no QEMU."""
    common, lines = find_command_lines(header, records)
    if not lines:
        return ()
    blocks: list[Block] = [Paragraph(("All systems share:",)), Listing(common)]
    for line in lines:
        whole = _tell_whole(line)
        name = Code(line.system)
        if line.own:
            blocks += (Paragraph(((name, " has of its own:"),)), Listing(line.own), Paragraph((whole,)))
        else:
            blocks.append(Paragraph(((name, " has nothing of its own."), whole)))
        blocks.append(Listing((line.full,), "sh"))
    return tuple(blocks)


def _tell_whole(line: CommandLine) -> Text:
    if line.others:
        differed = f"The whole line, of the first of its boots; {line.others} of {line.boots} differed, in "
        return (differed, *join(Code(option) for option in line.varying), ":")
    same = f", the same for all {line.boots} boots" if line.boots > 1 else ""
    return f"The whole line{same}:"


def find_command_lines(
    header: Header, records: Sequence[Record]
) -> tuple[tuple[str, ...], tuple[CommandLine, ...]]:
    """What all systems' command lines have in common, option by option, and each system's line once.

    The line shown is that of the system's first counted boot in a block, or of its first boot at all.
    """
    argvs = {name: lines for name, lines in _find_argvs(header, records) if lines}
    split = {name: split_options(lines[0]) for name, lines in argvs.items()}
    shared: Counter[str] = Counter()
    for number, options in enumerate(split.values()):
        shared = Counter(options) if number == 0 else shared & Counter(options)
    common = _take(next(iter(split.values()), ()), shared)[0]
    found = []
    for name, lines in argvs.items():
        different = [argv for argv in lines if argv != lines[0]]
        varying = {option for argv in different for option in split_options(argv)} - set(split[name])
        found.append(
            CommandLine(
                system=name,
                full=shlex.join(lines[0]),
                own=_take(split[name], shared)[1],
                boots=len(lines),
                others=len(different),
                varying=tuple(sorted(varying)),
            )
        )
    return common, tuple(found)


def _find_argvs(header: Header, records: Sequence[Record]) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """For each system the lines of its counted boots in blocks, or else that of its first boot."""
    counted = [
        purpose.name
        for family in list_families()
        for purpose in family.purposes
        if purpose.counted and purpose.boots and not purpose.works
    ]
    for system in header.systems:
        booted = [record for record in records if record.trial.system == system.name and record.argv]
        blocks = [record for record in booted if record.trial.block]
        by_purpose = ([r.argv for r in blocks if r.trial.purpose == name] for name in counted)
        yield system.name, next(filter(None, by_purpose), [record.argv for record in booted[:1]])


def _take(options: Sequence[str], shared: Counter[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    left = shared.copy()
    common, own = [], []
    for option in options:
        if left[option] > 0:
            left[option] -= 1
            common.append(option)
        else:
            own.append(option)
    return tuple(common), tuple(own)
