"""What a workload prints on its console, and how it is read back with its times; it waits for nothing.

Before the work a program prints, on a line of its own, `[work begin NAME key=value …]`, and after it
`[work end NAME done=N digest=HEX guest_ns=N]`. The time that counts is the host's: when the last byte of
each of the two arrived. What stands on a console is not to be trusted: whatever is not such a line is
passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from guestbench.guest.console import quote
from guestbench.model import ImageWork, WorkReport

LARGEST = 2**63 - 1
MOST_REPORTS = 1000
"""A console that tells of more work than this floods; what comes after it is not read."""
OWN_KEYS = ("source", "compiler", "flags")
"""Keys of a begin line that say what the program was made of; all others are parameters of the work."""

_VALUE = rb"[\x21-\x5a\x5c\x5e-\x7e]{0,100}"
_LINE = re.compile(
    rb"\[work (begin|end) ([a-z][a-z0-9-]{0,40})((?: [a-z][a-z0-9_]{0,30}=" + _VALUE + rb"){0,20})\]"
)

_NUMBER = rb"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)"

TimeOf = Callable[[int], int]
"""When the byte at a place of the log arrived, in nanoseconds."""


def find_reports(data: bytes | bytearray, time_of: TimeOf, start: int = 0) -> tuple[WorkReport, ...]:
    """The pieces of work that a console's bytes from `start` on tell of, in the order they began.

    An end without a beginning tells of nothing, and a beginning without an end of work that was not finished.
    """
    reports: list[WorkReport] = []
    for line in _LINE.finditer(data, start):
        name, last = line[2].decode(), line.end() - 1
        values = dict(word.decode().split("=", 1) for word in line[3].split())
        if line[1] == b"begin":
            if len(reports) >= MOST_REPORTS:
                break
            source, compiler, flags = (values.pop(key, "") for key in OWN_KEYS)
            reports.append(
                WorkReport(
                    workload=name,
                    begin_ns=time_of(last),
                    parameters=values,
                    source=source,
                    compiler=compiler,
                    flags=flags,
                )
            )
        elif reports and reports[-1].workload == name and reports[-1].end_ns is None:
            reports[-1] = _finish(reports[-1], time_of(last), values)
    return tuple(reports)


def _finish(begun: WorkReport, end_ns: int, values: dict[str, str]) -> WorkReport:
    return WorkReport(
        workload=begun.workload,
        begin_ns=begun.begin_ns,
        end_ns=end_ns,
        parameters=begun.parameters,
        source=begun.source,
        compiler=begun.compiler,
        flags=begun.flags,
        done=_to_count(values.get("done", "")),
        digest=values.get("digest", ""),
        guest_ns=_to_count(values.get("guest_ns", "")),
    )


def _to_count(text: str) -> int | None:
    """A number that a record can hold; one that is larger is none: to cut it would make another of it."""
    number = int(text) if re.fullmatch(r"[0-9]{1,19}", text) else None
    return number if number is not None and number <= LARGEST else None


def find_numbers(data: bytes | bytearray, before: str) -> Iterator[tuple[int | None, str]]:
    """Each whole number that stands behind a text, and the word it was read from.

    Its thousands may be grouped, and a total may follow, as in 50/1,000. The number is None where the whole
    word is none: of `1e309` or `0x1f` the first digits are no figure.
    """
    for found in re.finditer(re.escape(before.encode()) + rb"[ \t]*([^\s]{1,64})", data):
        word = re.fullmatch(rb"(%b)(?:/%b)?[.,;:)\]]*" % (_NUMBER, _NUMBER), found[1])
        yield _to_count(word[1].replace(b",", b"").decode()) if word else None, quote(found[1])


def find_unlabelled(
    data: bytes | bytearray, time_of: TimeOf, work: ImageWork, start: int = 0
) -> tuple[WorkReport, ...]:
    """The one piece of work of an image that prints no lines of the contract but a beginning and an end."""
    if not (work.workload and work.begin and work.end):
        return ()
    begin = data.find(work.begin.encode(), start)
    if begin < 0:
        return ()
    begin += len(work.begin.encode())
    end = data.find(work.end.encode(), begin)
    if end < 0:
        return (WorkReport(workload=work.workload, begin_ns=time_of(begin - 1)),)
    counts = [*find_numbers(data[begin:end], work.count)] if work.count else []
    done, word = counts[-1] if counts else (None, "")
    return (
        WorkReport(
            workload=work.workload,
            begin_ns=time_of(begin - 1),
            end_ns=time_of(end + len(work.end.encode()) - 1),
            done=done,
            unread=word if done is None else "",
        ),
    )
