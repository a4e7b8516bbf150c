"""Each hostile guest of the table in docs/security.md, booted: it comes to what the table says, in time."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from hostile_guests import GUESTS, check_reports
from small_guests import GUEST, SAY_READY, SYSTEM

from guestbench.host import process
from guestbench.model import Record
from guestbench.page.figures import outcome_name
from guestbench.run.store import read_store

pytestmark = pytest.mark.qemu

TIMEOUT_S = 6
"""As the systems have it."""
EXPERIMENT = """
name = "hostile"
title = "Guests that do harm"
systems = [{systems}]
baseline = "well"
"""


class Done(NamedTuple):
    """What came of the run: its folder, its records by system, and what was printed."""

    folder: Path
    records: Mapping[str, Record]
    printed: str


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """All of them in one run, with one that is well."""
    folder = tmp_path_factory.mktemp("hostile")
    bodies = {"well": SAY_READY} | {name: guest.body for name, guest in GUESTS.items()}
    for name, body in bodies.items():
        (folder / name).mkdir()
        (folder / name / "system.toml").write_text(SYSTEM.format(name=name))
        (folder / name / "guest.S").write_text(GUEST.format(body=body))
    names = ", ".join(f'"./{name}"' for name in bodies)
    (folder / "hostile.toml").write_text(EXPERIMENT.format(systems=names))
    argv = [sys.executable, "-m", "guestbench", "run", "hostile.toml", "--metrics", "boot", "--accel", "tcg"]
    argv += ["--cycles", "1", "--warmups", "0", "--set", "platform.net=none", "-o", "out"]
    began_s = time.monotonic()
    ended = process.run(argv, cwd=folder, check=False, timeout_s=600)
    said = (ended.stdout + ended.stderr).decode()
    assert ended.status in (0, 4), said[-2000:]
    # Some of them use up their time; none more than that, and the preparation of all.
    assert time.monotonic() - began_s < 5 * TIMEOUT_S * len(bodies)
    _, records = read_store(folder / "out")
    assert len(records) == len(bodies)
    return Done(folder / "out", {record.trial.system: record for record in records}, said)


@pytest.mark.parametrize("name", GUESTS)
def test_hostile_guest_comes_to_what_it_must(name: str, done: Done) -> None:
    """A guest would be ready that is not, or stop the run, or take the others with it."""
    outcome = done.records[name].outcome
    found = f"{outcome_name(outcome)}: {getattr(outcome, 'reason', '')}".removesuffix(": ")
    assert re.match(GUESTS[name].outcome, found), found
    assert found.isprintable()
    assert GUESTS[name].told in (done.folder / "comparison_results.md").read_text()


def test_others_are_measured_all_the_same(done: Done) -> None:
    """One hostile guest would spoil a comparison."""
    well = done.records["well"]
    assert [sample.value > 0 for sample in well.samples if sample.metric == "boot.ready"] == [True]


def test_reports_of_hostile_guests_do_nothing_but_show(done: Done) -> None:
    """A guest would write into the terminal, the page or the spreadsheet of whoever reads about it."""
    check_reports(done.folder)
    assert all(each.isprintable() or each == "\n" for each in done.printed)
    assert "Traceback" not in done.printed
    assert "alert(1)" in (done.folder / "comparison_results.md").read_text()
