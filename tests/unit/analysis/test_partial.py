"""What a run that is not whole may say."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_factories import make_memory_run
from report_pages import compared_run, markdown_of

from guestbench.analysis.analyse import analyse
from guestbench.analysis.findings import Findings
from guestbench.analysis.partial import find_to_come
from guestbench.model import Method, Purpose, Ruling, Step, Verdict

HEADER, RECORDS = compared_run()
STEPS = (Step(what="a change", before="debian-12-nocloud", after="debian-12-direct"),)
HEADER = msgspec.structs.replace(HEADER, experiment=msgspec.structs.replace(HEADER.experiment, steps=STEPS))
WHOLE = analyse(HEADER, RECORDS)


def after(trials: int) -> Findings:
    """What is found of the run after so many trials."""
    return analyse(HEADER, RECORDS[:trials])


@given(st.integers(1, len(RECORDS) - 1))
def test_no_look_before_the_end_gives_a_verdict_on_what_scatters(trials: int) -> None:
    """Whoever stops a run when it shows what he hoped for would have a verdict of one error in four."""
    found = after(trials)
    compared = [*found.comparisons, *(each.found for each in found.gains)]
    compared += [each.found for each in found.beside if each.found]
    for each in compared:
        if each.method not in (Method.EXACT, Method.NONE):
            assert each.verdict is Verdict.PENDING
            assert (each.p, each.ratio_ci, each.ratio_bca, each.difference_ci) == (None,) * 4
    assert (found.known_ratios, found.recoveries) == ((), ())


@given(st.integers(1, len(RECORDS) - 1))
def test_what_is_decided_early_stays_decided(trials: int) -> None:
    """A claim would be confirmed in the morning and refuted at night."""
    last = {(each.claim.text, each.system): each.ruling for each in WHOLE.judgements}
    for each in after(trials).judgements:
        if each.ruling in (Ruling.CONFIRMED, Ruling.REFUTED):
            assert last[each.claim.text, each.system] is each.ruling
    verdicts = {(each.metric, each.system): each.verdict for each in WHOLE.comparisons}
    for found in after(trials).comparisons:
        if found.method is Method.EXACT and found.verdict is not Verdict.PENDING:
            assert verdicts[found.metric, found.system] is found.verdict


def test_sizes_of_files_are_decided_at_once() -> None:
    """What does not scatter would wait for ten boots of Debian."""
    found = after(30)
    (sizes,) = ({e.system: e.verdict for e in found.comparisons if e.metric == "image.file"},)
    assert sizes["linux-minimal"] is Verdict.SMALLER
    rulings = {each.claim.text: each for each in found.judgements}
    assert rulings["the image is 50 to 100 times smaller"].ruling is Ruling.REFUTED
    boots = rulings["it boots 10 to 50 times faster"]
    assert (boots.ruling, boots.reason) == (Ruling.PENDING, "10 of 20 trials are made")


def test_a_whole_run_has_nothing_to_come() -> None:
    """A finished run would be called partial, or keep its verdicts to itself."""
    assert WHOLE.to_come == ()
    assert Verdict.PENDING not in {each.verdict for each in WHOLE.comparisons}
    assert Ruling.PENDING not in {each.ruling for each in WHOLE.judgements}
    assert WHOLE.known_ratios
    assert "not yet" not in markdown_of(HEADER, RECORDS)


def test_report_says_what_is_to_come_by_family() -> None:
    """Nobody could tell what an interrupted run is good for."""
    (to_come,) = after(21).to_come
    assert (to_come.family, to_come.made, to_come.planned) == ("boot", 17, 56)
    assert to_come.missing == {"boot": 29, "twin": 10}
    assert to_come.seconds and to_come.seconds > 10
    shown = markdown_of(HEADER, RECORDS[:21])
    assert shown.startswith(f"# {HEADER.experiment.title} – partial: 21 of 60 planned trials\n")
    assert "| Boot time     | 17 of 56 | 29 × boot, 10 × twin |" in shown
    assert "… not yet" in shown


def test_a_search_that_goes_on_decides_nothing_of_what_it_searches() -> None:
    """A size that two boots have passed would be the least RAM."""
    header, records = make_memory_run()
    experiment = msgspec.structs.replace(header.experiment, baseline="linux-minimal")
    found = analyse(msgspec.structs.replace(header, experiment=experiment), records)
    (least,) = (each for each in found.comparisons if each.metric == "memory.min")
    assert (least.verdict, least.reason) == (Verdict.PENDING, "the search goes on")


def test_trials_of_a_family_that_is_gone_are_still_to_come() -> None:
    """A run with a family of another package would look whole where that is not installed."""
    tea = msgspec.structs.replace(HEADER.trials[0], id="tea", purpose="tea")
    header = msgspec.structs.replace(
        HEADER, trials=(*HEADER.trials, tea), purposes=(*HEADER.purposes, Purpose(name="tea"))
    )
    (to_come,) = find_to_come(header, RECORDS)
    assert (to_come.family, to_come.missing) == ("tea", {"tea": 1})


@pytest.mark.parametrize("trials", [0, 1])
def test_a_run_that_has_hardly_begun_has_a_report(trials: int) -> None:
    """The first look would end in a traceback."""
    assert f"partial: {trials} of 60" in markdown_of(HEADER, RECORDS[:trials])
