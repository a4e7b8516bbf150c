"""The page of a run that goes on, in a real browser: it follows the run, and keeps its reader's place."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, find_browser
from report_pages import Run, compared_run

from guestbench.cli.report import write_files
from guestbench.report import HTML_NAME, STAMP_NAME

pytestmark = [
    pytest.mark.skipif(find_browser() is None, reason="there is neither chromium nor google-chrome in PATH"),
    pytest.mark.timeout(300),
]
STAMP = "document.body.dataset.stamp || ''"
HEAD = "document.getElementById('host-and-conditions').getBoundingClientRect().top"
ASKED_S = 3.0
"""How often the page looks at the stamp."""


def write(folder: Path, run: Run, trials: int, *, running: bool = True) -> None:
    """The reports of a run after so many trials."""
    write_files(folder, run[0], run[1][:trials], running=running)


def wait_for_other(browser: Browser, before: str) -> str:
    """The stamp of the page that comes after one; empty for one that has none."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found: Any = browser.evaluate(f"document.readyState === 'complete' ? {STAMP} : {before!r}")
        if found != before:
            return str(found)
        time.sleep(0.2)
    raise AssertionError("the page did not reload")


def complaints(browser: Browser) -> list[object]:
    """What the browser has to say of the page's script and policy."""
    kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Audits.issueAdded")
    return [event["params"] for event in browser.events if event["method"] in kinds]


def stamps_asked(browser: Browser) -> int:
    """How often a stamp was asked for."""
    sent = [event for event in browser.events if event["method"] == "Network.requestWillBeSent"]
    return sum(STAMP_NAME in event["params"]["request"]["url"] for event in sent)


def test_page_follows_a_run_and_keeps_its_readers_place(browser: Browser, tmp_path: Path) -> None:
    """Who reads a run while it goes on would read an old page, or be thrown to its top every minute."""
    run = compared_run()
    write(tmp_path, run, 21)
    browser.open((tmp_path / HTML_NAME).as_uri(), 1000, 800)
    first = browser.evaluate(STAMP)
    assert first
    browser.evaluate("[...document.querySelectorAll('details')].at(1).open = true")
    open_now = (
        "[...document.querySelectorAll('details')].filter(e => e.open)"
        ".map(e => e.firstChild.textContent.startsWith('Not decided by'))"
    )
    assert browser.evaluate(open_now) == [True]
    browser.evaluate("document.getElementById('host-and-conditions').scrollIntoView(); scrollBy(0, 40)")
    place = browser.evaluate(HEAD)
    write(tmp_path, run, 50)
    second = wait_for_other(browser, first)
    assert second > first
    assert "50 of 60" in browser.evaluate("document.querySelector('h1').textContent")
    assert browser.evaluate(open_now) == [True]
    assert abs(browser.evaluate(HEAD) - place) < 2
    assert browser.evaluate("scrollY") > 400
    write(tmp_path, run, 60, running=False)
    assert wait_for_other(browser, second) == ""
    assert browser.evaluate(open_now) == [True]
    assert abs(browser.evaluate(HEAD) - place) < 2
    assert not (tmp_path / STAMP_NAME).exists()
    assert complaints(browser) == []
    asked = stamps_asked(browser)
    time.sleep(ASKED_S + 1)
    assert browser.evaluate("document.querySelector('h1').textContent.includes('partial')") is False
    assert stamps_asked(browser) == asked > 0


def test_copy_of_a_page_stays_as_it_is(browser: Browser, tmp_path: Path) -> None:
    """A page that was sent to somebody in the middle of a run would reload without end."""
    write(tmp_path, compared_run(), 21)
    copy = tmp_path / "elsewhere" / HTML_NAME
    copy.parent.mkdir()
    shutil.copyfile(tmp_path / HTML_NAME, copy)
    browser.open(copy.as_uri(), 1000, 800)
    time.sleep(4 * ASKED_S)
    browser.evaluate("0")
    loaded = [event for event in browser.events if event["method"] == "Page.loadEventFired"]
    assert len(loaded) == 2
    assert stamps_asked(browser) == 2


def test_policy_of_a_page_that_reloads_stops_the_others(browser: Browser, tmp_path: Path) -> None:
    """Text of a guest that became an element one day would run while the run goes on."""
    write(tmp_path, compared_run(), 21)
    (tmp_path / "evil.js").write_text("document.title = 'evil'")
    page = (tmp_path / HTML_NAME).read_text("utf-8")
    tags = '<script src="evil.js"></script><img src="x" onerror="document.title = 1">'
    tags += "<script>document.title = 2</script>"
    assert page.count("</main>") == 1
    (tmp_path / HTML_NAME).write_text(page.replace("</main>", f"{tags}</main>"), encoding="utf-8")
    browser.open((tmp_path / HTML_NAME).as_uri(), 1000, 800)
    first = browser.evaluate(STAMP)
    assert "partial: 21 of 60" in browser.evaluate("document.title")
    write(tmp_path, compared_run(), 22)
    assert wait_for_other(browser, first) > first
