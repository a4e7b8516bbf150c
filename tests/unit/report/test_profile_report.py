"""A profile as text, as a page, as folded stacks, and as speedscope reads it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hostile_run import HOSTILE
from profiles import ROWS, make_hostile_profile, make_profile

from guestbench.analysis.profile.growth import compare_profiles
from guestbench.errors import UsageError
from guestbench.model.profile import Profile, Region
from guestbench.page.plots import Frame, Icicle
from guestbench.report import profile as shown
from guestbench.report.icicle import draw_icicle
from guestbench.report.terminal import render_lines

WHOLE = sum(row[-1] for row in ROWS)
SAID = (
    "9,000 instructions from reset to ready, 3,000 of them outside of the firmware; "
    "of those, 96.7% are attributed to a symbol."
)
TEXT = f"""\
System mine (a file).
{SAID}

Until     Instructions   Share  firmware  kernel  kernel modules  unknown
firmware         6,000   66.7%     6,000       –               –        –
ready            3,000   33.3%         –   2,700             200      100
all              9,000  100.0%     6,000   2,700             200      100

Region    File or module          Symbol  Instructions   Share  Of the guest's  Most of it until
firmware  BIOS (0xe0000–0xfffff)  –              6,000  66.67%               –  firmware
kernel    –                       memset         2,000  22.22%          66.67%  ready
3 others  –                       –              1,000  11.11%          33.33%  –

kernel.elf: symbols of the image
"""


class Elements(HTMLParser):
    """The elements of a page, and the names of the parts of its icicle."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.parts: list[dict[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if ("role", "treeitem") in attrs:
            self.parts.append(dict(attrs))


def page_of(profile: Profile) -> str:
    """The HTML of a profile."""
    return shown.render_files(profile)[shown.HTML_NAME].decode()


def test_terminal_shows_phases_and_the_places_that_took_most() -> None:
    """The table would not add up, or not say what took most."""
    assert render_lines(shown.describe_profile(make_profile(), 2)) == TEXT


def test_a_diff_is_shown_largest_first() -> None:
    """The symbol that grew would not be the first row."""
    rows = [*ROWS, ("ready", Region.KERNEL, "", "loop", 100_000)]
    said = render_lines(shown.describe_growth(compare_profiles(make_profile(), make_profile(rows)), 5))
    table = said.split("\n\n")[1].splitlines()
    assert re.fullmatch(r"kernel +– +loop +0 +100,000 +\+100,000 +ready", table[1])
    same = render_lines(shown.describe_growth(compare_profiles(make_profile(), make_profile())))
    assert "nothing changed" in same


def test_folded_stacks_have_a_line_for_each_place() -> None:
    """Flame graph tools would show another profile."""
    lines = shown.render_files(make_profile())[shown.FOLDED_NAME].decode().splitlines()
    assert lines[1] == "ready;kernel;main.c;start 700"
    assert sum(int(line.rpartition(" ")[2]) for line in lines) == WHOLE


def test_folded_stacks_take_no_frames_from_hostile_names() -> None:
    """A symbol's name would become several frames, or another line."""
    texts = ["a;b", "x\n1", "\x1b[2J", "<script>"]
    lines = shown.render_files(make_hostile_profile(texts))[shown.FOLDED_NAME].decode()
    assert all(each.isprintable() for each in lines.split("\n"))
    assert all(line.count(";") <= 3 and re.search(r" \d+$", line) for line in lines.splitlines())
    assert len(lines.splitlines()) == len(texts)


def test_speedscope_reads_it() -> None:
    """Speedscope would refuse the file: every rule of its schema for sampled profiles is checked."""
    document = json.loads(shown.render_files(make_profile())[shown.SPEEDSCOPE_NAME])
    assert document["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    assert document.keys() <= {"$schema", "name", "exporter", "activeProfileIndex", "shared", "profiles"}
    assert document["shared"].keys() == {"frames"}
    frames = document["shared"]["frames"]
    assert all(frame.keys() == {"name"} and isinstance(frame["name"], str) for frame in frames)
    assert len({frame["name"] for frame in frames}) == len(frames)
    (profile,) = document["profiles"]
    assert profile.keys() == {"type", "name", "unit", "startValue", "endValue", "samples", "weights"}
    assert (profile["type"], profile["unit"], profile["startValue"]) == ("sampled", "none", 0)
    assert len(profile["samples"]) == len(profile["weights"]) == len(ROWS)
    assert sum(profile["weights"]) == profile["endValue"] == WHOLE
    assert all(0 <= index < len(frames) for sample in profile["samples"] for index in sample)
    stack = [frames[index]["name"] for index in profile["samples"][1]]
    assert stack == ["ready", "kernel", "main.c", "start"]


def test_json_is_read_again() -> None:
    """A saved profile could not be compared."""
    profile = make_profile()
    assert shown.read_json(shown.render_json(profile), "x") == profile


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"version": 1, "other": 2}', b"\xff"])
def test_what_is_no_profile_is_refused(content: bytes) -> None:
    """Another program's JSON would end in a traceback."""
    with pytest.raises(UsageError, match="x is no profile") as caught:
        shown.read_json(content, "x")
    assert caught.value.hint


def test_a_profile_of_another_version_is_refused() -> None:
    """Fields that mean something else would be compared."""
    newer = shown.render_json(make_profile()).replace(b'"version": 1', b'"version": 99')
    with pytest.raises(UsageError, match="version 99"):
        shown.read_json(newer, "x")


def test_icicle_is_as_wide_as_its_parts() -> None:
    """Parts would lie over one another, or be wider than what they are part of."""
    parts = Elements(page_of(make_profile())).parts
    levels: dict[str | None, list[tuple[int, int]]] = {}
    for part in parts:
        start, value = int(part["data-start"] or 0), int(part["data-value"] or 0)
        levels.setdefault(part["data-level"], []).append((start, value))
    assert levels["0"] == [(0, WHOLE)]
    for level in ("1", "2"):
        assert sum(value for _, value in levels[level]) == WHOLE
    for each in levels.values():
        ordered = sorted(each)
        assert all(a + value <= b for (a, value), (b, _) in pairwise(ordered))
    assert [part for part in parts if part["tabindex"] == "0"] == parts[:1]


def test_many_symbols_stand_together_by_how_they_begin() -> None:
    """A kernel's thousands of symbols would lie side by side, each too narrow to be seen."""
    names = (
        [f"tcp_{number}" for number in range(60)] + [f"__udp_{number}" for number in range(50)] + ["alone"]
    )
    rows = [("ready", Region.KERNEL, "", name, 10) for name in names]
    parts = Elements(page_of(make_profile(rows))).parts
    labels = [str(part["aria-label"]).partition(":")[0] for part in parts if part["data-level"] == "3"]
    assert labels == ["tcp_…", "udp_…", "alone"]
    assert sum(part["data-level"] == "4" for part in parts) == 110
    few = Elements(page_of(make_profile(rows[:20]))).parts
    assert {part["data-level"] for part in few} == {"0", "1", "2", "3"}


def test_icicle_draws_what_no_screen_shows_as_one() -> None:
    """A kernel's ten thousand symbols would make a page that no browser likes, or be left out."""
    small = tuple(Frame(f"f{number}", 1) for number in range(1000))
    root = Frame("all", 1_001_000, 0, (Frame("large", 1_000_000), *small))
    drawn = draw_icicle(Icicle("x", "y", root, "instructions"))
    parts = Elements(drawn).parts
    assert [part["aria-label"] for part in parts][2] == "1000 others: 1,000 instructions, 0.10%"
    assert len(parts) == 3


def test_hostile_names_are_text() -> None:
    """A symbol's name would run in the reader's browser, or do something in a terminal."""
    profile = make_hostile_profile(HOSTILE)
    plain, hostile = Elements(page_of(make_profile())), Elements(page_of(profile))
    assert hostile.tags <= plain.tags
    assert hostile.attributes <= plain.attributes
    assert "style" not in hostile.attributes
    said = render_lines(shown.describe_profile(profile))
    assert all(c.isprintable() or c == "\n" for c in said)
    assert all(c.isprintable() or c == "\n" for c in page_of(profile).split("<body>")[1].split("<script>")[0])
