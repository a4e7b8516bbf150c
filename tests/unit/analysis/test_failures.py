"""Trials that fail: their share, whether it is more than chance, and what it decides."""

from __future__ import annotations

import pytest
from diff_factories import TEN, diff_boots, make_boots, states
from msgspec.structs import replace
from report_pages import markdown_of
from verdicts_between_runs import rate_crashes

from guestbench.analysis.claims import judge_claims
from guestbench.analysis.diff import diff_runs
from guestbench.analysis.failures import find_rate, more_failed_p, tell_rate, worst_rank_p
from guestbench.analysis.gate import parse_gate
from guestbench.analysis.samples import Sampled
from guestbench.model import Claim, Crashed, Header, Record, Ruling, VmmFailed
from guestbench.report.diff import describe_diff
from guestbench.report.terminal import render_lines

CRASHES = [0.0] * 10


def loose(*values: float, failed: int = 0) -> Sampled:
    """Values of no block."""
    return Sampled(values=tuple((0, value) for value in values), failed=failed)


@pytest.mark.parametrize(
    ("failed", "of", "low", "high"),
    # Published for Wilson's interval: 0 of 10 and 5 of 10 in Newcombe (1998), Statistics in Medicine 17.
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (0, 0, 0.0, 1.0)],
)
def test_the_share_of_failures_has_wilsons_interval(failed: int, of: int, low: float, high: float) -> None:
    """No failure of ten boots would be taken for a proof that there is none."""
    rate = find_rate(failed, of)
    assert rate.low == pytest.approx(low, abs=1e-4)
    assert rate.high == pytest.approx(high, abs=1e-4)


@pytest.mark.parametrize(
    ("table", "p"),
    # Counted by hand from the hypergeometric distribution.
    [
        ((5, 10, 0, 10), 252 / 15504),
        ((4, 10, 0, 10), 210 / 4845),
        ((3, 3, 0, 3), 1 / 20),
        ((0, 10, 5, 10), 1.0),
    ],
)
def test_more_failures_have_fishers_p(table: tuple[int, int, int, int], p: float) -> None:
    """Chance would be taken for a crash that a commit has brought, or the other way round."""
    assert more_failed_p(*table) == pytest.approx(p)


def test_a_failed_trial_is_the_worst_of_all() -> None:
    """A boot that was given up after a minute would count less than one that took half of that."""
    good, bad = loose(*TEN), loose(*TEN[:6], failed=6)
    assert worst_rank_p(bad, good, larger_is_worse=True) < 0.05
    assert worst_rank_p(bad, good, larger_is_worse=False) < 0.05
    assert worst_rank_p(good, bad, larger_is_worse=True) > 0.9
    assert worst_rank_p(loose(), good, larger_is_worse=True) == 1.0


@pytest.mark.parametrize(
    ("new", "gate", "state"),
    [
        ([*CRASHES[:5], *TEN[5:]], "boot.ready>5%", "failed"),
        ([*CRASHES[:9], 1.0], "boot.ready>5%", "failed"),
        ([*CRASHES[:8], 0.9, 0.91], "boot.ready>5%", "failed"),
        ([*CRASHES[:8], 0.9, 0.91], "boot.ready>60s", "failed"),
        ([*CRASHES[:5], *TEN[5:]], "failures", "failed"),
        ([*CRASHES[:5], *TEN[5:]], "uk:failures{purpose=boot}", "failed"),
        ([*CRASHES[:3], *TEN[3:]], "failures", "inconclusive"),
        (TEN, "failures", "passed"),
    ],
)
def test_a_version_that_crashes_passes_no_gate(new: list[float], gate: str, state: str) -> None:
    """A version that crashes in half of its boots would pass, since the others are as quick as before."""
    found = diff_boots({"uk": TEN}, {"uk": new}, gate)
    assert states(found) == {"uk": state}
    if state == "failed":
        assert "Fisher's exact test p = " in found.decisions[0].reason


def break_vmm(run: tuple[Header, tuple[Record, ...]], times: int) -> tuple[Header, tuple[Record, ...]]:
    """The run, its first failures being the VMM's own."""
    header, records = run
    failed = [record for record in records if isinstance(record.outcome, Crashed)][:times]
    broke = VmmFailed(reason="the VMM itself ended by SIGABRT; it said nothing")
    return header, tuple(replace(r, outcome=broke) if r in failed else r for r in records)


@pytest.mark.parametrize("gate", ["boot.ready>5%", "boot.ready>60s", "failures", "uk:failures{purpose=boot}"])
@pytest.mark.parametrize(("crashes", "by_vmm"), [(5, 3), (5, 5), (9, 1), (5, 0)])
def test_a_gate_names_the_failures_that_are_the_vmms(gate: str, crashes: int, by_vmm: int) -> None:
    """A QEMU that aborts would be told as a guest that a commit has made crash."""
    old, new = make_boots({"uk": TEN}), make_boots({"uk": [*CRASHES[:crashes], *TEN[crashes:]]}, "new")
    found = diff_runs([old], [break_vmm(new, by_vmm)], [parse_gate(gate)])
    (decision,) = found.decisions
    named = f", {by_vmm} of them by the VMM itself, of OLD 0 of 10"
    assert (named in decision.reason) == (by_vmm > 0)
    assert ("by the VMM itself" in decision.reason) == (by_vmm > 0)
    assert decision.reason.startswith(f"{crashes} of 10 failed (")
    assert ("by the VMM itself" in render_lines(describe_diff(found))) == (by_vmm > 0)


@pytest.mark.parametrize(("boots", "reason"), [(10, "4 of 10 failed ("), (4, "all 4 trials failed")])
def test_a_claim_names_the_failures_that_are_the_vmms(boots: int, reason: str) -> None:
    """A claim would be left undecided for crashes that are none of the guest's, without a word about it."""
    header, records = break_vmm(make_boots({"uk": [*CRASHES[:4], *TEN[: boots - 4]]}), 2)
    claim = Claim(text="fast", metric="boot.ready", system="uk", most=5)
    (judged,) = judge_claims(replace(header, experiment=replace(header.experiment, claims=(claim,))), records)
    assert judged.ruling is Ruling.UNDECIDED
    assert reason in judged.reason
    assert "2 of them by the VMM itself" in judged.reason


def test_a_version_that_stopped_crashing_passes() -> None:
    """Whoever mends a crash would be stopped for it."""
    found = diff_boots({"uk": [*CRASHES[:5], *TEN[5:]]}, {"uk": TEN}, "failures")
    assert states(found) == {"uk": "passed"}


def test_failures_are_adjusted_for_the_systems_that_have_any() -> None:
    """Of twelve systems one would fail for a crash that chance explains, or all twelve count for one."""
    names = [f"s{n}" for n in range(12)]
    old = dict.fromkeys(names, TEN)
    one = {**old, "s0": [*CRASHES[:4], *TEN[4:]]}
    assert states(diff_boots(old, one, "boot.ready>50%"))["s0"] == "failed"
    found = states(diff_boots(old, dict.fromkeys(names, one["s0"]), "boot.ready>50%"))
    assert set(found.values()) == {"inconclusive"}


def test_what_fails_is_said_before_how_quick_the_rest_is() -> None:
    """A version of which eight boots of ten crash would be told to be a tenth quicker."""
    found = diff_boots({"uk": [2.0] * 10}, {"uk": [*CRASHES[:8], 1.0, 1.01]})
    text = render_lines(describe_diff(found))
    assert "fails more often (8 of 10); of the others: smaller, which is better" in text
    assert "old: 0 of 10 failed (0% to 28%); new: 8 of 10 failed (49% to 94%): more than before" in text
    assert tell_rate(8, 10) == "8 of 10 failed (49% to 94%)"


def test_the_report_of_a_run_says_who_fails_more_often() -> None:
    """A guest that crashes in eight boots of ten would be told to be quicker than the baseline."""
    header, records = make_boots({"debian": [2.0] * 10, "uk": [*CRASHES[:8], 1.0, 1.01]})
    header = replace(header, experiment=replace(header.experiment, baseline="debian"))
    report = markdown_of(header, records)
    assert "fails more often (8 of 10); of the others: " in report
    assert "8 of 10 (49% to 94%); of the baseline 0 of 10 (0% to 28%)" in report


@pytest.mark.parametrize(("crashes", "least", "most"), [(0, 0.0, 0.05), (5, 1.0, 1.0), (9, 1.0, 1.0)])
def test_crashes_fail_a_gate_whatever_the_rest_takes(crashes: int, least: float, most: float) -> None:
    """Whether a crash is noticed would be luck."""
    assert least <= rate_crashes(60, crashes) <= most
