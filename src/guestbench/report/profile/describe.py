"""Shows a profile, and two compared, as blocks for the terminal and for a page; it counts nothing anew."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from guestbench.analysis.profile.growth import Growth, ProfileDiff
from guestbench.model.profile import Profile, Region, Spent, count
from guestbench.page.blocks import (
    Block,
    Bullets,
    Cells,
    Code,
    Figure,
    Page,
    Paragraph,
    Section,
    Table,
    read_words,
)
from guestbench.page.numbers import NOTHING, show_exact
from guestbench.page.plots import Bar, Frame, Icicle, Look

tell = read_words(__file__)

LISTED = 30
"""So many places are shown in the terminal; files have all."""
LISTED_ON_PAGE = 300
PLAIN = 7
"""The colour of what is of no single region."""
KINDS = {
    Region.FIRMWARE: 5,
    Region.LOADER: 6,
    Region.SETUP: 6,
    Region.DECOMPRESSOR: 3,
    Region.KERNEL: 0,
    Region.MODULES: 2,
    Region.PROGRAM: 1,
    Region.USER: 4,
    Region.UNKNOWN: PLAIN,
}
"""The colours of regions, by their number."""
MANY = 100
"""From so many symbols of one file on, or of no file, those whose names begin alike are drawn together."""
BEGINS = re.compile(r"_*([A-Za-z0-9]+)_")
HEAD = ("Region", "File or module", "Symbol", "Instructions", "Share", "Of the guest's", "Most of it until")


def describe_profile(profile: Profile, listed: int = LISTED) -> tuple[Block, ...]:
    """What it is of, the phases by region, the places that took most, and what is to be known of it."""
    return (
        _tell_whole(profile),
        _tabulate_phases(profile),
        _tabulate_places(profile, listed),
        _note(profile),
    )


def describe_page(profile: Profile) -> Page:
    """The whole as a page with the icicle."""
    places = min(LISTED_ON_PAGE, len(_sum_places(profile)))
    return Page(
        title=("Where the instructions of a boot go: ", Code(profile.system)),
        blocks=(_tell_whole(profile), _note(profile)),
        sections=(
            Section("icicle", "Phase, region, file and symbol", (_draw(profile),)),
            Section("phases", "Phases by region", (_tabulate_phases(profile),)),
            Section("symbols", f"The {places} places that took most", (_tabulate_places(profile, places),)),
            Section("reading", "How to read it", (Bullets(tell("reading").lines),)),
        ),
    )


def _tell_whole(profile: Profile) -> Paragraph:
    guest = _count_guest(profile)
    named = count(row for row in profile.spent if row.symbol)
    lines = [
        f"{show_exact(profile.instructions)} instructions from reset to ready, {show_exact(guest)} of them "
        "outside of the firmware",
    ]
    if guest:
        lines.append(f"of those, {named / guest:.1%} are attributed to a symbol")
    return Paragraph((("System ", Code(profile.system), f" ({profile.origin})."), "; ".join(lines) + "."))


def _count_guest(profile: Profile) -> int:
    """The instructions outside of the firmware."""
    return count(row for row in profile.spent if row.region is not Region.FIRMWARE)


def _note(profile: Profile) -> Bullets:
    return Bullets(profile.notes)


def _tabulate_phases(profile: Profile) -> Table:
    """A row for each phase and one for all, a column for each region that there is."""
    regions = [each for each in Region if any(row.region is each for row in profile.spent)]
    rows: list[Cells] = []
    for phase in (*profile.phases, None):
        spent = [row for row in profile.spent if phase in (row.phase, None)]
        by_region = (count(row for row in spent if row.region is each) for each in regions)
        cells = (show_exact(each) if each else NOTHING for each in by_region)
        share = f"{count(spent) / (profile.instructions or 1):.1%}"
        rows.append((Code(phase) if phase else "all", show_exact(count(spent)), share, *cells))
    return Table(("Until", "Instructions", "Share", *(each.value for each in regions)), tuple(rows))


# --- places -----------------------------------------------------------------------------------------------


def _sum_places(profile: Profile) -> dict[tuple[Region, str, str], Counter[str]]:
    """The places with what each took in every phase, that which took most first."""
    places: dict[tuple[Region, str, str], Counter[str]] = {}
    for row in profile.spent:
        places.setdefault((row.region, row.group, row.symbol), Counter())[row.phase] += row.instructions
    return dict(sorted(places.items(), key=lambda item: (-item[1].total(), item[0])))


def _tabulate_places(profile: Profile, listed: int) -> Table:
    places = list(_sum_places(profile).items())
    whole, guest = profile.instructions or 1, _count_guest(profile) or 1

    def show(instructions: int, of_guest: int) -> tuple[str, str, str]:
        share = f"{of_guest / guest:.2%}" if of_guest else NOTHING
        return show_exact(instructions), f"{instructions / whole:.2%}", share

    rows: list[Cells] = []
    for (region, group, symbol), phases in places[:listed]:
        own = 0 if region is Region.FIRMWARE else phases.total()
        most = Code(max(phases, key=phases.__getitem__))
        rows.append((*_name_place(region, group, symbol), *show(phases.total(), own), most))
    if rest := places[listed:]:
        own = sum(phases.total() for place, phases in rest if place[0] is not Region.FIRMWARE)
        total = sum(phases.total() for _, phases in rest)
        rows.append((f"{len(rest)} others", NOTHING, NOTHING, *show(total, own), NOTHING))
    return Table(HEAD, tuple(rows), 3)


def _name_place(region: Region, group: str, symbol: str) -> Cells:
    return region.value, group or NOTHING, Code(symbol) if symbol else NOTHING


# --- the icicle -------------------------------------------------------------------------------------------


def _draw(profile: Profile) -> Figure:
    phases = [
        _fold(phase, [row for row in profile.spent if row.phase == phase], 0, index)
        for index, phase in enumerate(profile.phases)
    ]
    root = Frame(f"boot of {profile.system}", profile.instructions, PLAIN, tuple(phases))
    regions = [each for each in Region if any(row.region is each for row in profile.spent)]
    legend = tuple((Bar(0, 1, KINDS[each], look=Look.INTERVAL), each.value) for each in regions)
    described = "; ".join(f"until {each.name} {each.value / (root.value or 1):.1%}" for each in phases)
    description = (
        f"Instructions by phase, region, file and symbol. Of all {show_exact(root.value)}: {described}."
    )
    plot = Icicle("Where the instructions go", description, root, "instructions", legend)
    return Figure("Where the instructions go", tell("icicle"), (plot,))


def _fold(name: str, rows: Sequence[Spent], level: int, phase: int) -> Frame:
    """The rows as parts of one another, the largest first; `level` of their place is yet to be told apart."""
    parts: dict[str, list[Spent]] = {}
    for row in rows:
        if len(row.place) > level:
            parts.setdefault(row.place[level], []).append(row)
    kind = KINDS[rows[0].region] if rows and level else PLAIN
    folded = [_fold(part, held, level + 1, phase) for part, held in parts.items()]
    folded = _gather(folded) if level and len(folded) > MANY else folded
    return Frame(name, count(rows), kind, _sort(folded))


def _gather(symbols: Sequence[Frame]) -> list[Frame]:
    """The symbols, those whose names begin alike as parts of one: of a kernel's subsystem, often."""
    alike: dict[str, list[Frame]] = {}
    for symbol in symbols:
        begins = BEGINS.match(symbol.name)
        alike.setdefault(begins[1] if begins and not symbol.parts else symbol.name, []).append(symbol)
    return [
        held[0]
        if len(held) == 1
        else Frame(f"{begins}_…", sum(each.value for each in held), held[0].kind, _sort(held))
        for begins, held in alike.items()
    ]


def _sort(parts: Sequence[Frame]) -> tuple[Frame, ...]:
    return tuple(sorted(parts, key=lambda part: (-part.value, part.name)))


# --- two compared -----------------------------------------------------------------------------------------


def describe_growth(diff: ProfileDiff, listed: int = LISTED) -> tuple[Block, ...]:
    """What changed in all, and the places that did, what grew most first."""
    change = diff.instructions_new - diff.instructions_old
    told = Paragraph(
        (
            ("old: ", diff.old),
            ("new: ", diff.new),
            f"{show_exact(diff.instructions_old)} instructions in old, {show_exact(diff.instructions_new)} "
            f"in new: {change:+,}, and {diff.firmware:+,} of that in the firmware, which waits by the host's "
            "clock.",
        )
    )
    if not diff.changes:
        return told, Paragraph(("Outside of the firmware nothing changed.",))
    grown = [each for each in diff.changes if each.change > 0]
    shrunk = [each for each in reversed(diff.changes) if each.change < 0]
    head = ("Region", "File or module", "Symbol", "Old", "New", "Change", "Most of it until")
    shown = [*_list_growth(grown, listed), *_list_growth(shrunk, listed)]
    return told, Table(head, tuple(shown), 3)


def _list_growth(changes: Sequence[Growth], listed: int) -> list[Cells]:
    rows: list[Cells] = [
        (
            *_name_place(each.region, each.group, each.symbol),
            show_exact(each.old),
            show_exact(each.new),
            f"{each.change:+,}",
            Code(each.phase),
        )
        for each in changes[:listed]
    ]
    if rest := changes[listed:]:
        sums = show_exact(sum(each.old for each in rest)), show_exact(sum(each.new for each in rest))
        change = f"{sum(each.change for each in rest):+,}"
        rows.append((f"{len(rest)} others", NOTHING, NOTHING, *sums, change, NOTHING))
    return rows
