"""JUnit XML of gates: what a CI system makes of it, and that no text of a guest breaks it."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

from diff_factories import TEN, diff_boots, make_boots, scale, with_metric

from guestbench.analysis.diff import diff_runs
from guestbench.analysis.gate import Decision, GateState, parse_gate
from guestbench.report.junit import render_junit


def test_each_decision_is_a_test_case() -> None:
    """A gate that failed would be shown as passed, or one that decides nothing as a success."""
    found = diff_boots(
        {"slow": TEN, "quick": TEN, "unsure": TEN},
        {"slow": scale(TEN, 1.5), "quick": scale(TEN, 0.5), "unsure": scale(TEN, 1.06)},
        "boot.ready>5%",
    )
    (suite,) = Xml.fromstring(render_junit(found.decisions))
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    cases = {case.get("classname"): [part.tag for part in case] for case in suite}
    assert cases == {"slow": ["failure"], "quick": ["system-out"], "unsure": ["skipped"]}
    (failure,) = suite.iter("failure")
    assert "boot.ready +50.0% (" in (failure.get("message") or "")
    assert {case.get("name") for case in suite} == {"boot.ready>5%: boot.ready"}


def test_cases_of_one_gate_have_names_of_their_own() -> None:
    """A CI system would keep the last of several figures that a gate is about."""
    run = make_boots({"uk": TEN})
    for mark in ("kernel", "init"):
        run = with_metric(run, "boot.mark", TEN, mark=mark)
    found = diff_runs([run], [run], [parse_gate("boot.mark>5%")])
    names = [case.get("name") for case in Xml.fromstring(render_junit(found.decisions)).iter("testcase")]
    assert len(set(names)) == len(names) == 2


def test_hostile_text_breaks_no_document() -> None:
    """A guest could end the test case it stands in, or make the file one that no parser reads."""
    hostile = '"]]>&<a>\x00\x1b[31m\ud800\ufffe\u202e\n</testcase>'
    decision = Decision(
        gate="boot.ready>5%",
        system=hostile,
        metric="boot.ready",
        labels={"mark": hostile},
        state=GateState.FAILED,
        reason=hostile,
    )
    document = render_junit([decision])
    (case,) = Xml.fromstring(document).iter("testcase")
    assert [part.tag for part in case] == ["failure"]
    assert r"\x1b[31m" in (case.get("classname") or "") and document.decode().isprintable() is False
    assert all(line.isprintable() for line in document.decode().splitlines())
