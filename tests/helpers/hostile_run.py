"""A run whose every text is hostile, and what a report made of one must not contain."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from factories import HOSTILE_REASON, make_run, with_outcome
from markdown_it import MarkdownIt

from guestbench.model import Absent, Header, Record, Sample, TimedOut

replace = msgspec.structs.replace

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
HOSTILE = [
    HOSTILE_REASON,
    "|",
    "`",
    "```\n# x",
    "<script>alert(1)</script>",
    "![x](http://e.example)",
    "\x1b[2J\x9b1m",
    "\u202etxt",
    "a\\",
    "",
    "{{ 7 * 7 }}",
]


def section(report: str, title: str) -> str:
    """The text below a heading, up to the next one."""
    after = report.split(f"# {title}\n", 1)[1]
    return after.split("\n#", 1)[0]


def check_safe(report: str) -> None:
    """Fail on HTML, links, images, emphasis and rows with another number of cells than their head."""
    assert all(c.isprintable() or c == "\n" for c in report)
    tokens = PARSER.parse(report)
    forbidden = {"html_block", "html_inline", "link_open", "image", "em_open", "s_open", "code_block"}
    found = {child.type for token in tokens for child in token.children or ()} | {t.type for t in tokens}
    assert not found & forbidden
    row: list[int] = []
    for token in tokens:
        if token.type == "table_open":
            row = []
        elif token.type == "tr_open":
            row.append(0)
        elif token.type in ("th_open", "td_open"):
            row[-1] += 1
        elif token.type == "table_close":
            assert len(set(row)) == 1


def make_hostile_run(texts: Sequence[str]) -> tuple[Header, tuple[Record, ...]]:
    """A run in which everything that can be text is one of `texts`, in turn."""
    header, records = make_run()
    guests = []
    for number, guest in enumerate(header.guests):
        text = texts[number % len(texts)]
        images = {role: replace(image, path=text) for role, image in guest.images.items()}
        system = replace(guest.system, title=text, ready=text, help=text)
        origin = replace(guest.origin, detail=text, differences=(text,))
        guests.append(replace(guest, system=system, images=images, pristine=images, origin=origin))
    text = texts[0]
    host = replace(header.host, cpu_model=text, kernel=text, os=text, virtualization=text, vmm_path=text)
    header = replace(
        header,
        guests=tuple(guests),
        host=host,
        absent=(Absent(system=text, reason=text),),
        accel=replace(header.accel, reason=text),
        experiment=replace(header.experiment, title=text),
        command=(text,),
    )
    hostile = []
    for number, record in enumerate(records):
        text = texts[number % len(texts)]
        argv = (*record.argv, text) if record.argv else ()
        samples = (*record.samples, Sample(metric="boot.mark", value=0.01, labels={"mark": text}))
        record = replace(record, argv=argv, samples=samples, artifacts={"serial": text}, started=text)
        hostile.append(with_outcome(record, TimedOut(reason=text)) if number % 9 == 8 else record)
    return header, tuple(hostile)
