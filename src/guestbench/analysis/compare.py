"""Compares two samples, and systems metric by metric with a baseline, and says what the data support.

The interval is for the ratio of geometric means. Where most values of both are of the same blocks, it is
Student's for the differences of logarithms within blocks; else it is Welch's for the logarithms. Values
scatter at least by what their instrument cannot tell. A verdict needs the interval and, where there are
values enough for one to say anything, a permutation test adjusted for all comparisons of the report. A ratio
nearer to 1 than the least effect of interest is no difference. Where a value is 0 there is no ratio, and
differences are judged.

A verdict that the permutation test cannot bear out, for want of values, rests on the interval alone. It then
has to hold at a confidence raised for all comparisons [Bonferroni].

[Bonferroni] O. J. Dunn: Multiple comparisons among means, J. American Statistical Association 56 (1961).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median, stdev

import msgspec

from guestbench.analysis import inference
from guestbench.analysis.samples import Sampled, Samples, collect, find_pairs
from guestbench.analysis.stopping import find_confidence
from guestbench.analysis.summary import find_metric, rank_metrics
from guestbench.families import ask
from guestbench.model import Comparison, GuestFamily, Header, Interval, Key, Method, Record, Verdict

REMEDY = ": if they are alike"
LEAST_EFFECT = 0.03
"""A ratio within 3% of 1 is no difference that anyone should act on, unless the user says otherwise."""
ALPHA = 0.05
SEARCH_ALPHA = 0.01
"""Of the bound for results of a search, where sizes are chosen as they come: of one guest of which boots fail
now and then over 30 of 40 sizes, two searches are then told apart in 2% of cases, and in less elsewhere."""
PAIRED_SHARE = 2 / 3
"""Of the values of either side: so many must have a partner, or pairing would drop too many of them."""
FEWEST_EQUAL = 3
"""So many values of each side must be the same, as far as the instrument tells, to scatter little."""

replace = msgspec.structs.replace


class Pair(msgspec.Struct, frozen=True):
    """A comparison of `a` with `b`, and these two samples."""

    found: Comparison
    a: Sampled
    b: Sampled

    def interval(self, confidence: float) -> Interval | None:
        """The interval of the ratio at any confidence; None where it has none."""
        if self.found.ratio_ci is None or self.found.method is Method.SEARCH:
            return self.found.ratio_ci
        paired = self.found.method is Method.BLOCKS
        return _exponential(_find_interval(self.a, self.b, paired, confidence, logs=True))

    def log_ratio(self) -> inference.Estimate | None:
        """The logarithm of the ratio and how well it is known; None where it has no interval."""
        if self.found.ratio_ci is None or self.found.method not in (Method.BLOCKS, Method.SAMPLES):
            return None
        return _estimate(self.a, self.b, self.found.method is Method.BLOCKS, logs=True)


def compare(
    a: Sampled,
    b: Sampled,
    *,
    key: Key = ("", ()),
    names: tuple[str, str] = ("", ""),
    exact: bool = False,
    same_run: bool = True,
    effect: float = LEAST_EFFECT,
    obstacle: str = "",
    confidence: float = inference.CONFIDENCE,
) -> Comparison:
    """Compare `a` with the baseline `b`: the metric and labels `key` of the systems `names`.

    `exact` values do not scatter: the first of each is compared, and what was searched for lies between two
    of those tried. Samples that are not of the `same_run` are NEW and OLD: no block joins them, and no
    bootstrap is made, for it takes seconds. Nothing is inferred
    where there is an `obstacle`. The verdict is that of this comparison alone until `settle` has seen all of
    a report; its test is held to the `confidence` of its interval.
    """
    found = begin(a, b, key=key, names=names, same_run=same_run, obstacle=obstacle)
    if found.reason:
        return found
    if exact:
        x, y = a.numbers[0], b.numbers[0]
        ratio = x / y if x > 0 and y > 0 else None
        found = replace(found, method=Method.EXACT, ratio=ratio, difference=x - y)
        return decide(_bracket(found, a, b) if ratio and a.tried and b.tried else found, effect)
    return judge_nothing(decide(_infer(found, a, b, effect, confidence, same_run=same_run), effect), a, b)


def begin(
    a: Sampled,
    b: Sampled,
    *,
    key: Key = ("", ()),
    names: tuple[str, str] = ("", ""),
    same_run: bool = True,
    obstacle: str = "",
) -> Comparison:
    """The comparison with all that is counted, and the reason where nothing can be estimated."""
    found = Comparison(
        metric=key[0],
        labels=dict(key[1]),
        system=names[0],
        baseline=names[1],
        n=len(a.values),
        n_baseline=len(b.values),
        failed=a.failed,
        failed_baseline=b.failed,
        method=Method.NONE,
        verdict=Verdict.INCONCLUSIVE,
        reason=obstacle,
    )
    sides = ((a, "the system"), (b, "the baseline")) if same_run else ((b, "OLD"), (a, "NEW"))
    for sampled, name in sides:
        if not sampled.values and not obstacle:
            all_failed = f": all {sampled.failed} trials failed" if sampled.failed else ""
            return replace(found, reason=f"{name} has no value{all_failed}")
    return found


def _bracket(found: Comparison, a: Sampled, b: Sampled) -> Comparison:
    """The comparison of two results of a search, with the ratios that the sizes tried leave open.

    Its p is that of the boots in which the smaller one passed where the other one failed. It is a bound, so
    it is not adjusted, and adjusts no other.
    """
    (low, high), (least, most) = map(_find_open, (a, b))
    ends = Interval(low=low / most, high=high / least if least else math.inf, confidence=1.0)
    if high < most:
        p = inference.search_p(a.tried, high, b.tried, least)
    else:
        p = inference.search_p(b.tried, most, a.tried, low)
    return replace(found, method=Method.SEARCH, ratio_ci=ends, p=p)


def _find_open(searched: Sampled) -> tuple[float, float]:
    """The largest size below the one found that failed, 0 if none did, and the one found."""
    size = searched.numbers[0]
    return max((tried for tried, well in searched.tried if not well and tried < size), default=0.0), size


def judge_nothing(found: Comparison, a: Sampled, b: Sampled) -> Comparison:
    """The comparison with its verdict where all values of a side are 0, and all of the other are or are not.

    Nothing is left to a test, and none adjusts others or is adjusted.
    """
    if any(b.numbers) and any(a.numbers):
        return found
    if not any((*a.numbers, *b.numbers)):
        return replace(found, verdict=Verdict.EQUIVALENT, p=None, reason="both are 0")
    verdict, others = (Verdict.SMALLER, b) if any(b.numbers) else (Verdict.LARGER, a)
    word = "a fall to 0" if verdict is Verdict.SMALLER else "a rise from 0"
    return replace(found, verdict=verdict, p=None, reason=word) if min(others.numbers) > 0 else found


def _infer(
    found: Comparison, a: Sampled, b: Sampled, effect: float, confidence: float, *, same_run: bool
) -> Comparison:
    """The comparison with all that is estimated; its verdict is still to come."""
    pairs = find_pairs(a, b) if same_run else []
    paired = len(pairs) >= max(2, PAIRED_SHARE * max(len(a.values), len(b.values)))
    first, second = _match(a, b, paired)
    found = replace(
        found,
        method=Method.BLOCKS if paired else Method.SAMPLES,
        pairs=len(pairs) if paired else None,
        difference=inference.mean(first) - inference.mean(second),
        difference_ci=_find_interval(a, b, paired, confidence),
        delta=inference.cliffs_delta(first, second),
    )
    if min(*first, *second) <= 0:
        return replace(found, p=_permute(first, second, paired)) if found.difference_ci else found
    logs = _take_logs(first), _take_logs(second)
    interval = _find_interval(a, b, paired, confidence, logs=True)
    bca = inference.bootstrap_interval(*logs, paired=paired) if same_run else None
    sd = _sd([x - y for x, y in zip(*logs, strict=True)]) if paired else math.hypot(*map(_sd, logs))
    return replace(
        found,
        ratio=inference.exp(fmean(logs[0]) - fmean(logs[1])),
        ratio_median=median(first) / median(second),
        ratio_ci=_exponential(interval),
        ratio_bca=_exponential(bca),
        p=_permute(*logs, paired) if min(map(len, logs)) > 1 else None,
        needed=inference.needed_values(sd, math.log1p(effect)) if interval else None,
    )


def _permute(a: Sequence[float], b: Sequence[float], paired: bool) -> float:
    if paired:
        return inference.paired_permutation_p([x - y for x, y in zip(a, b, strict=True)])
    return inference.permutation_p(a, b)


def _match(a: Sampled, b: Sampled, paired: bool) -> tuple[list[float], list[float]]:
    """The values of both, those of the same block at the same place where they are `paired`."""
    if not paired:
        return a.numbers, b.numbers
    pairs = find_pairs(a, b)
    return [x for x, _ in pairs], [y for _, y in pairs]


def _take_logs(values: Sequence[float]) -> list[float]:
    return [math.log(value) for value in values]


def _find_interval(
    a: Sampled,
    b: Sampled,
    paired: bool,
    confidence: float = inference.CONFIDENCE,
    *,
    logs: bool = False,
) -> Interval | None:
    """The interval of the difference of means, or of their logarithms; None where too few values scatter."""
    found = _estimate(a, b, paired, logs=logs)
    return inference.student_interval(*found, confidence) if found else None


def _estimate(a: Sampled, b: Sampled, paired: bool, *, logs: bool) -> inference.Estimate | None:
    sides = _match(a, b, paired)
    finest = a.resolution, b.resolution
    few = min(map(len, sides)) < FEWEST_EQUAL or not max(finest)
    if few and inference.too_few_distinct(*sides):
        return None
    middles = [inference.mean(side) if logs else 1.0 for side in sides]
    least = [inference.resolution_variance(*each) for each in zip(finest, middles, strict=True)]
    first, second = map(_take_logs, sides) if logs else sides
    if paired:
        differences = [x - y for x, y in zip(first, second, strict=True)]
        return inference.pair_estimate(differences, sum(least))
    return inference.welch_estimate(first, second, (least[0], least[1]))


def decide(found: Comparison, effect: float = LEAST_EFFECT, *, tests: int = 1) -> Comparison:
    """The comparison with its verdict; `tests` is of how many tests its `p_holm` is adjusted for."""
    if found.method is Method.NONE:
        return found
    if found.ratio is None:
        return _decide_difference(found)
    far = abs(math.log(found.ratio)) >= math.log1p(effect)
    away = Verdict.LARGER if found.ratio > 1 else Verdict.SMALLER
    if found.method is Method.EXACT:
        return replace(found, verdict=away if far else Verdict.EQUIVALENT)
    interval = found.ratio_ci
    if interval is None:
        return _decide_alike(found, away, far=far, tests=tests)
    if 1 / (1 + effect) < interval.low and interval.high < 1 + effect:
        return replace(found, verdict=Verdict.EQUIVALENT, reason="")
    apart = interval.low >= 1 or interval.high <= 1
    p = found.p_holm if found.p_holm is not None else found.p
    searched = found.method is Method.SEARCH
    able = searched or can_reject(found, tests)
    alpha = SEARCH_ALPHA if searched else round(1 - interval.confidence, 6)
    refuted = able and p is not None and p > alpha
    if apart and far and not refuted:
        weak = "" if able else "by the interval alone"
        return replace(found, verdict=away, reason=weak)
    return replace(found, verdict=Verdict.INCONCLUSIVE, reason=_explain(found, effect, apart=apart, far=far))


def _decide_difference(found: Comparison) -> Comparison:
    """The verdict where a value is 0 or below: of figures that do not scatter by these, else by the test."""
    difference, interval = found.difference or 0.0, found.difference_ci
    away = Verdict.LARGER if difference > 0 else Verdict.SMALLER
    if found.method is Method.EXACT or (interval is None and found.delta == 0 and not difference):
        return replace(found, verdict=away if difference else Verdict.EQUIVALENT, reason="no ratio to 0")
    p = found.p_holm if found.p_holm is not None else found.p
    if interval is None or p is None:
        return replace(found, verdict=Verdict.INCONCLUSIVE, reason=_explain_none(found))
    if (interval.low > 0 or interval.high < 0) and p <= ALPHA:
        return replace(found, verdict=away, reason="no ratio to 0; by the difference")
    reason = "no ratio to 0, and the difference may be chance"
    return replace(found, verdict=Verdict.INCONCLUSIVE, reason=reason)


def _decide_alike(found: Comparison, away: Verdict, *, far: bool, tests: int) -> Comparison:
    """The verdict where the values do not show how they scatter: the test's, if there are enough of them."""
    p = found.p_holm if found.p_holm is not None else found.p
    if p is not None and can_reject(found, tests):
        if far and p <= ALPHA:
            return replace(found, verdict=away, reason="by the permutation test alone")
        if found.ratio == 1:
            return replace(found, verdict=Verdict.EQUIVALENT, reason="")
    return replace(found, verdict=Verdict.INCONCLUSIVE, reason=_explain_none(found))


def _explain_none(found: Comparison) -> str:
    """Why there is no interval."""
    if min(found.n, found.n_baseline) < 2:
        return "a single value does not show how it scatters"
    return "too few different values to show how they scatter"


def shorten(reason: str) -> str:
    """Why nothing is decided, without what it would take, which is of one comparison alone."""
    return reason.partition(REMEDY)[0]


def _explain(found: Comparison, effect: float, *, apart: bool, far: bool) -> str:
    if found.method is Method.SEARCH:
        if apart and far:
            return "too few boots with the sizes between them to exclude chance"
        return "the sizes tried leave open whether one needs more"
    if apart and far:
        return "the permutation test, adjusted for all comparisons, does not bear the interval out"
    if apart:
        return f"a difference below {effect * 100:g}% shows, and the interval reaches beyond that"
    more = f"{REMEDY}, about {found.needed} blocks would show it" if found.needed else ""
    return f"the interval holds both no difference and one of more than {effect * 100:g}%{more}"


def settle(pairs: Sequence[Pair], effect: float = LEAST_EFFECT) -> tuple[Pair, ...]:
    """The comparisons of one report, with p values adjusted for one another, and verdicts that heed them.

    A test of so few values that it can never reject is none, and adjusts no other. A difference that rests on
    its interval alone has to show at a confidence for all: else a host's bad hour would make one of a dozen
    metrics, of three values each, larger.
    """
    tested = [n for n, pair in enumerate(pairs) if pair.found.p is not None and can_reject(pair.found)]
    adjusted = inference.adjust_holm([pairs[n].found.p or 0.0 for n in tested])
    result = list(pairs)
    for n, p in zip(tested, adjusted, strict=True):
        found = decide(replace(result[n].found, p_holm=p), effect, tests=len(tested))
        result[n] = replace(result[n], found=found)
    tests = sum(pair.found.ratio_ci is not None and pair.found.method is not Method.SEARCH for pair in result)
    return tuple(_confirm(pair, tests) for pair in result)


def _confirm(pair: Pair, tests: int) -> Pair:
    found = pair.found
    apart = found.verdict in (Verdict.SMALLER, Verdict.LARGER)
    if not apart or found.ratio_ci is None or found.method is Method.SEARCH or can_reject(found, tests):
        return pair
    interval = pair.interval(1 - ALPHA / tests)
    if interval is None or not interval.low <= 1 <= interval.high:
        return pair
    reason = f"the interval, widened for all {tests} comparisons, reaches across 1"
    return replace(pair, found=replace(found, verdict=Verdict.INCONCLUSIVE, reason=reason))


def can_reject(found: Comparison, tests: int = 1) -> bool:
    """Whether a permutation test of so many values can be significant at all, as one of so many tests.

    Where none was made it cannot.
    """
    if found.p is None or found.method is Method.SEARCH:
        return False
    n = found.n if found.pairs is None else found.pairs
    return inference.least_p(n, found.n_baseline, paired=found.pairs is not None) * tests <= ALPHA


def _sd(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


def _exponential(interval: Interval | None) -> Interval | None:
    return interval.through(inference.exp) if interval else None


# --- systems of a run -------------------------------------------------------------------------------------


def compare_systems(header: Header, samples: Samples, key: Key, names: tuple[str, str]) -> Pair:
    """Two systems of a run compared in a figure; its metric and the run's rule say how."""
    mine, theirs = (samples[name].get(key, Sampled()) for name in names)
    exact, confidence = find_metric(header, key[0]).exact, find_confidence(header, key[0])
    return Pair(compare(mine, theirs, key=key, names=names, exact=exact, confidence=confidence), mine, theirs)


def compare_run(header: Header, records: Sequence[Record]) -> tuple[Comparison, ...]:
    """Every system but the floors against the experiment's baseline, in the metrics that decide something.

    What is not of the same thing is left out. Empty where the run has no baseline.
    """
    baseline = header.experiment.baseline
    others = [g.system.name for g in header.guests if g.system.family is not GuestFamily.FLOOR]
    if baseline not in others:
        return ()
    unlike = set(ask("findings", "unlike", header, records))
    samples, rank = collect(header, records), rank_metrics(header)
    pairs = [
        compare_systems(header, samples, key, (name, baseline))
        for key in sorted(samples[baseline], key=lambda key: (rank(key[0]), key))
        if find_metric(header, key[0]).is_compared_with(dict(key[1]))
        for name in others
        if name != baseline and not unlike & {(key[0], name), (key[0], baseline)}
    ]
    return tuple(pair.found for pair in settle([p for p in pairs if p.found.n or p.found.failed]))
