"""Compares how often trials failed; it says nothing of how long those took that did not.

Sources of the choices made here:
[Wilson] E. B. Wilson: Probable inference, the law of succession, and statistical inference, J. American
    Statistical Association 22 (1927).
[BCD] L. D. Brown, T. T. Cai, A. DasGupta: Interval estimation for a binomial proportion, Statistical Science
    16 (2001), which recommends it for 40 trials and fewer.
[Fisher] R. A. Fisher: The logic of inductive inference, J. Royal Statistical Society 98 (1935).
[Tarone] R. E. Tarone: A modified Bonferroni method for discrete data, Biometrics 46 (1990).
[Lachin] J. M. Lachin: Worst-rank score analysis with informatively missing observations in clinical trials,
    Controlled Clinical Trials 20 (1999).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, ndtri

from guestbench.analysis.samples import Sampled
from guestbench.families import list_purposes
from guestbench.model import Frozen, Header, Interval, Record, VmmFailed

CONFIDENCE = 0.95
ALPHA = 0.05
MOST_FAILED = 0.10
"""Share of failed trials beyond which nothing is concluded from the times of the others."""


class FailedShare(Frozen):
    """How many of a system's trials of one purpose failed, in NEW and in OLD.

    In `by_vmm` of them the VMM itself broke, which says nothing of the guest. `p` is one-sided, of Fisher's
    exact test: how likely so many of all failures are NEW's by chance.
    """

    system: str
    purpose: str
    failed: int
    of: int
    failed_baseline: int
    of_baseline: int
    p: float
    by_vmm: int = 0
    by_vmm_baseline: int = 0

    def tell(self) -> tuple[str, str]:
        """What NEW's share is and OLD's, in words."""
        new = tell_rate(self.failed, self.of, by_vmm=self.by_vmm)
        return new, tell_rate(self.failed_baseline, self.of_baseline, by_vmm=self.by_vmm_baseline)


def find_rate(failed: int, of: int) -> Interval:
    """The interval of the share of trials that fail [Wilson, BCD]; of no trials it is all from 0 to 1."""
    if not of:
        return Interval(low=0.0, high=1.0, confidence=CONFIDENCE)
    z = float(ndtri((1 + CONFIDENCE) / 2))
    share, weight = failed / of, z**2 / of
    middle = (share + weight / 2) / (1 + weight)
    reach = z * math.sqrt(share * (1 - share) / of + weight / (4 * of)) / (1 + weight)
    return Interval(low=max(middle - reach, 0.0), high=min(middle + reach, 1.0), confidence=CONFIDENCE)


def tell_rate(failed: int, of: int, verb: str = " failed", *, by_vmm: int = 0) -> str:
    """So many of so many, and what that says of the share that fails: `5 of 10 failed (24% to 76%)`.

    Where the VMM broke in some, it is named: those are no crashes of the guest.
    """
    rate = find_rate(failed, of)
    named = f", {by_vmm} of them by the VMM itself" if by_vmm else ""
    return f"{failed} of {of}{verb} ({rate.low:.0%} to {rate.high:.0%}){named}"


def tell_failures(sampled: Sampled) -> str:
    """The same of the trials of a figure."""
    return tell_rate(sampled.failed, sampled.trials, by_vmm=sampled.by_vmm)


def more_failed_p(failed: int, of: int, failed_baseline: int, of_baseline: int) -> float:
    """One-sided p of "as many of them fail as of the baseline" [Fisher]; 1 where none failed."""
    if not failed or not of_baseline:
        return 1.0
    # By logarithms, since numbers of choices are soon too large; SciPy's own takes half a second to load.
    of_all, failed_of_all = of + of_baseline, failed + failed_baseline
    more = np.arange(failed, min(of, failed_of_all) + 1)
    logs = _choose(of, more) + _choose(of_baseline, failed_of_all - more) - _choose(of_all, failed_of_all)
    return min(float(np.exp(logs).sum()), 1.0)


def _choose(n: int, k: NDArray[np.int64] | int) -> NDArray[np.float64]:
    """The logarithm of how many ways there are to choose `k` of `n`."""
    logs: NDArray[np.float64] = gammaln(n + 1) - gammaln(np.add(k, 1)) - gammaln(np.subtract(n + 1, k))
    return logs


def fails_more(a: Sampled, b: Sampled) -> bool:
    """Whether more trials of `a` failed than of `b`, and more than chance explains."""
    return more_failed_p(a.failed, a.trials, b.failed, b.trials) <= ALPHA


def worst_rank_p(a: Sampled, b: Sampled, *, larger_is_worse: bool) -> float:
    """One-sided p of "`a` is no worse than `b`" by ranks, failed trials being worse than all others [Lachin].

    So a boot that timed out is one that took longer than any which got ready. It is the test of Mann and
    Whitney; 1 where one has no trials.
    """
    sign = 1.0 if larger_is_worse else -1.0
    first, second = (
        [*(sign * value for value in each.numbers), *([float("inf")] * each.failed)] for each in (a, b)
    )
    if not first or not second:
        return 1.0
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(first, second, alternative="greater").pvalue)


def compare_failures(
    old: Sequence[tuple[Header, Sequence[Record]]], new: Sequence[tuple[Header, Sequence[Record]]]
) -> tuple[FailedShare, ...]:
    """A share for each system and purpose that both have made, in the order of NEW; searches are left out."""
    purposes = [each.name for each in list_purposes(new[0][0]) if not each.search]
    before, after = _count(old), _count(new)
    return tuple(
        FailedShare(
            system=guest.system.name,
            purpose=purpose,
            failed=failed,
            of=of,
            failed_baseline=before[key][0],
            of_baseline=before[key][1],
            p=more_failed_p(failed, of, *before[key][:2]),
            by_vmm=by_vmm,
            by_vmm_baseline=before[key][2],
        )
        for guest in new[0][0].guests
        for purpose in purposes
        for key in ((guest.system.name, purpose),)
        if key in before and key in after
        for failed, of, by_vmm in (after[key],)
    )


def _count(runs: Sequence[tuple[Header, Sequence[Record]]]) -> dict[tuple[str, str], tuple[int, int, int]]:
    """How many trials of a system and purpose failed, were made, and failed by the VMM itself."""
    counts: dict[tuple[str, str], tuple[int, int, int]] = {}
    for _, records in runs:
        for record in records:
            key = record.trial.system, record.trial.purpose
            failed, of, by_vmm = counts.get(key, (0, 0, 0))
            broke = isinstance(record.outcome, VmmFailed)
            counts[key] = failed + (not record.holds), of + 1, by_vmm + broke
    return counts
