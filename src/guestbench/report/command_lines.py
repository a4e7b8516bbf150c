"""How QEMU was started for each system: what their command lines share, and what they do not."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import and_

from guestbench.families import list_families
from guestbench.model import Header, Record
from guestbench.page.blocks import Block, Code, Listing, Paragraph, Text, join
from guestbench.page.command_line import split_options


def describe_command_lines(header: Header, records: Sequence[Record]) -> Iterator[Block]:
    """What all lines share, option by option, then each system's; nothing of a run that started no QEMU.

    The line shown is that of the system's first counted boot in a block, or of its first boot at all.
    """
    argvs = {name: lines for name, lines in _find_argvs(header, records) if lines}
    if not argvs:
        return
    split = {name: split_options(lines[0]) for name, lines in argvs.items()}
    shared = reduce(and_, map(Counter, split.values()))
    common, _ = _take(next(iter(split.values())), shared)
    yield Paragraph(("All systems share:",))
    yield Listing(common)
    for name, lines in argvs.items():
        _, own = _take(split[name], shared)
        whole = _tell_whole(lines)
        if own:
            yield Paragraph(((Code(name), " has of its own:"),))
            yield Listing(own)
            yield Paragraph((whole,))
        else:
            yield Paragraph(((Code(name), " has nothing of its own."), whole))
        yield Listing((shlex.join(lines[0]),), "sh")


def _tell_whole(lines: Sequence[tuple[str, ...]]) -> Text:
    first, *_ = lines
    others = [line for line in lines if line != first]
    if others:
        options = {option for line in others for option in split_options(line)} - {*split_options(first)}
        differed = f"The whole line, of the first of its boots; {len(others)} of {len(lines)} differed, in "
        return (differed, *join(map(Code, sorted(options))), ":")
    same = f", the same for all {len(lines)} boots" if len(lines) > 1 else ""
    return f"The whole line{same}:"


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
