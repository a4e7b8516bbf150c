"""The icicle of a profile in a real browser: it asks for nothing, and lets a reader look closer and find."""

from __future__ import annotations

import pytest
from browser import Browser, find_browser
from hostile_run import HOSTILE
from profiles import make_hostile_profile, make_profile
from report_pages import compared_run

from guestbench.analysis.analyse import analyse
from guestbench.report.contents import compose
from guestbench.report.html import render_html
from guestbench.report.profile import HTML_NAME, render_files
from guestbench.report.profile.section import Profiles

PATH = find_browser()
pytestmark = [
    pytest.mark.skipif(PATH is None, reason="there is neither chromium nor google-chrome in PATH"),
    pytest.mark.timeout(300),
]
PHONE, DESK = 360, 1280
PART = "[...document.querySelectorAll('.icicle > svg')].find(each => each.textContent.includes('{name}'))"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Addresses of pages: of a plain profile, of one with hostile names, and of a report with both."""
    folder = tmp_path_factory.mktemp("pages")
    profiles = {"plain": make_profile(), "hostile": make_hostile_profile(HOSTILE)}
    for name, profile in profiles.items():
        (folder / f"{name}.html").write_bytes(render_files(profile)[HTML_NAME])
    added = Profiles((*profiles.values(),), (f"profiles/{HOSTILE} cannot be read",))
    contents = compose(analyse(*compared_run()), added)
    (folder / "report.html").write_text(render_html(contents.page), encoding="utf-8")
    return {name: (folder / f"{name}.html").as_uri() for name in (*profiles, "report")}


def width(browser: Browser, name: str) -> float:
    """How many pixels a part is wide."""
    found: float = browser.evaluate(
        f"{PART.format(name=name)}.querySelector('rect').getBoundingClientRect().width"
    )
    return found


@pytest.mark.parametrize("name", ["plain", "hostile", "report"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("across", [PHONE, DESK])
def test_page_asks_for_nothing_and_fits(
    browser: Browser, pages: dict[str, str], name: str, scheme: str, across: int
) -> None:
    """The page would need a network, break its own policy, or run a symbol's name."""
    browser.open(pages[name], across, 800, scheme)
    browser.evaluate(
        "document.querySelectorAll('.icicle > svg').forEach(each => each.dispatchEvent(new Event('click')))"
    )
    kinds = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Audits.issueAdded")
    assert [event["params"] for event in browser.events if event["method"] in kinds] == []
    sent = [event for event in browser.events if event["method"] == "Network.requestWillBeSent"]
    assert [event["params"]["request"]["url"] for event in sent] == [pages[name]]
    assert browser.evaluate("document.documentElement.scrollWidth") == across
    assert browser.evaluate("[...document.scripts].length") == 1


def test_a_pressed_part_takes_the_whole_width(browser: Browser, pages: dict[str, str]) -> None:
    """A reader could not look closer, or not go back."""
    browser.open(pages["plain"], DESK, 800)
    whole = width(browser, "boot of mine")
    assert width(browser, "memset") == pytest.approx(whole * 2000 / 9000, abs=2)
    browser.evaluate(f"{PART.format(name='memset')}.dispatchEvent(new Event('click'))")
    assert width(browser, "memset") == pytest.approx(whole, abs=2)
    assert width(browser, "boot of mine") == pytest.approx(whole, abs=2)
    hidden = f"getComputedStyle({PART.format(name='virtio_net')}).visibility"
    assert browser.evaluate(hidden) == "hidden"
    assert "memset: 2,000 instructions, 22.22%" in browser.evaluate(
        "document.querySelector('output').textContent"
    )
    browser.evaluate("document.querySelector('.look button').click()")
    assert width(browser, "memset") == pytest.approx(whole * 2000 / 9000, abs=2)
    assert browser.evaluate(hidden) == "visible"


def test_parts_are_reached_by_keys(browser: Browser, pages: dict[str, str]) -> None:
    """Who has no mouse would see the whole alone."""
    browser.open(pages["plain"], DESK, 800)
    browser.evaluate("document.querySelector('.icicle > svg').focus()")
    press = (
        "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}', bubbles: true}}))"
    )
    reached = []
    for key in ("ArrowDown", "ArrowRight", "ArrowDown", "ArrowDown", "Enter", "ArrowUp"):
        browser.evaluate(press.format(key=key))
        reached.append(browser.evaluate("document.activeElement.querySelector('text').textContent"))
    assert reached == ["firmware", "ready", "kernel", "memset", "memset", "kernel"]
    assert width(browser, "memset") == pytest.approx(width(browser, "boot of mine"), abs=2)
    assert browser.evaluate("document.querySelectorAll('.icicle > svg[tabindex=\"0\"]').length") == 1


def test_parts_are_found_by_name(browser: Browser, pages: dict[str, str]) -> None:
    """A reader who knows a function's name would have to hunt for it."""
    browser.open(pages["plain"], DESK, 800)
    browser.evaluate(
        "(field => { field.value = 'MEM'; field.dispatchEvent(new Event('input')) })"
        "(document.querySelector('.look input'))"
    )
    assert browser.evaluate("document.querySelectorAll('.icicle .found').length") == 1
    said = browser.evaluate("document.querySelector('output').textContent")
    assert said == "2,000 of 9,000 (22.22%) found"


def test_the_report_of_a_run_tells_where_instructions_go(browser: Browser, pages: dict[str, str]) -> None:
    """The section would not be in the contents, or be empty, or lie outside a phone's screen."""
    browser.open(pages["report"], PHONE, 800)
    title = "Where the instructions of a boot go"
    link = f"[...document.querySelectorAll('nav a')].find(each => each.textContent === '{title}')"
    browser.evaluate(f"{link}.click()")
    target = "document.querySelector(location.hash)"
    assert browser.evaluate(f"{target}.textContent") == title
    assert browser.evaluate(f"{target}.getBoundingClientRect().top") < 800
    behind = "[...document.querySelectorAll('{where}')].map(each => each.textContent)"
    rows = browser.evaluate(behind.format(where="#profiles ~ .scroll tbody tr"))
    # 2,000 of 9,000 instructions.
    assert any("memset" in row and "2,000" in row and "22.22%" in row for row in rows)
    said = browser.evaluate(behind.format(where="#profiles ~ p"))
    assert any("profiles/mine/profile.html" in each for each in said)
