"""Compares two samples, and systems metric by metric with a baseline, and says what the data support.

The interval is for the ratio of geometric means. Where both systems have values of the same blocks, it is
Student's for the differences of logarithms within blocks; else it is Welch's for the logarithms. A verdict
needs the interval and, where there are values enough for one to say anything, a permutation test adjusted
for all comparisons of the report. A ratio nearer to 1 than the least effect of interest is no difference.

A verdict that the permutation test cannot bear out, for want of values, rests on the interval alone. It then
has to hold at a confidence raised for all comparisons [Bonferroni].

[Bonferroni] O. J. Dunn: Multiple comparisons among means, J. American Statistical Association 56 (1961).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

import msgspec

from guestbench.analysis import inference
from guestbench.analysis.samples import Sampled, collect, find_pairs
from guestbench.analysis.summary import add_derived, find_metric, rank_metrics, sort_records
from guestbench.families import ask
from guestbench.model import Comparison, GuestFamily, Header, Interval, Key, Method, Record, Verdict

LEAST_EFFECT = 0.03
"""A ratio within 3% of 1 is no difference that anyone should act on, unless the user says otherwise."""
ALPHA = 0.05

replace = msgspec.structs.replace


class Pair(msgspec.Struct, frozen=True):
    """A comparison of `a` with `b`, and these two samples."""

    found: Comparison
    a: Sampled
    b: Sampled

    def interval(self, confidence: float) -> Interval | None:
        """The interval of the ratio at any confidence; None where it has none."""
        if self.found.ratio_ci is None:
            return None
        paired = self.found.method is Method.BLOCKS
        a, b = map(_take_logs, _match(self.a, self.b, paired))
        return _exponential(_find_interval(a, b, paired, confidence))


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
) -> Comparison:
    """Compare `a` with the baseline `b`: the metric and labels `key` of the systems `names`.

    `exact` values do not scatter: the first of each is compared. Samples that are not of the `same_run` are
    NEW and OLD: no block joins them, and no bootstrap is made, for it takes seconds. Nothing is inferred
    where there is an `obstacle`. The verdict is that of this comparison alone until `settle` has seen all of
    a report.
    """
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
        reason=obstacle or _find_obstacle(a, b, same_run=same_run),
    )
    if found.reason:
        return found
    if exact:
        ratio, difference = a.numbers[0] / b.numbers[0], a.numbers[0] - b.numbers[0]
        return decide(replace(found, method=Method.EXACT, ratio=ratio, difference=difference), effect)
    return decide(_infer(found, a, b, effect, same_run=same_run), effect)


def _find_obstacle(a: Sampled, b: Sampled, *, same_run: bool) -> str:
    sides = ((a, "the system"), (b, "the baseline")) if same_run else ((b, "OLD"), (a, "NEW"))
    for sampled, name in sides:
        if not sampled.values:
            return f"{name} has no value" + (
                f": all {sampled.failed} trials failed" if sampled.failed else ""
            )
        if min(sampled.numbers) <= 0:
            return f"{name} has a value of 0 or below, of which no ratio can be made"
    return ""


def _infer(found: Comparison, a: Sampled, b: Sampled, effect: float, *, same_run: bool) -> Comparison:
    """The comparison with all that is estimated; its verdict is still to come."""
    paired = same_run and len(find_pairs(a, b)) >= 2
    first, second = _match(a, b, paired)
    log_a, log_b = _take_logs(first), _take_logs(second)
    interval = _find_interval(log_a, log_b, paired)
    if paired:
        logs = [x - y for x, y in zip(log_a, log_b, strict=True)]
        p, sd = inference.paired_permutation_p(logs), _sd(logs)
    else:
        p, sd = inference.permutation_p(log_a, log_b), math.hypot(_sd(log_a), _sd(log_b))
    bca = inference.bootstrap_interval(log_a, log_b, paired=paired) if same_run else None
    return replace(
        found,
        method=Method.BLOCKS if paired else Method.SAMPLES,
        ratio=math.exp(fmean(log_a) - fmean(log_b)),
        ratio_ci=_exponential(interval),
        ratio_bca=_exponential(bca),
        difference=fmean(first) - fmean(second),
        difference_ci=_find_interval(first, second, paired),
        p=p if interval else None,
        delta=inference.cliffs_delta(first, second),
        needed=inference.needed_values(sd, math.log1p(effect)) if interval else None,
    )


def _match(a: Sampled, b: Sampled, paired: bool) -> tuple[list[float], list[float]]:
    """The values of both, those of the same block at the same place where they are `paired`."""
    if not paired:
        return a.numbers, b.numbers
    pairs = find_pairs(a, b)
    return [x for x, _ in pairs], [y for _, y in pairs]


def _take_logs(values: Sequence[float]) -> list[float]:
    return [math.log(value) for value in values]


def _find_interval(
    a: Sequence[float], b: Sequence[float], paired: bool, confidence: float = inference.CONFIDENCE
) -> Interval | None:
    if paired:
        return inference.pair_interval([x - y for x, y in zip(a, b, strict=True)], confidence)
    return inference.welch_interval(a, b, confidence)


def geometric_mean(sampled: Sampled) -> float | None:
    """The geometric mean; None without values, or where one is not positive."""
    numbers = sampled.numbers
    if not numbers or min(numbers) <= 0:
        return None
    return math.exp(fmean(_take_logs(numbers)))


def decide(found: Comparison, effect: float = LEAST_EFFECT, *, tests: int = 1) -> Comparison:
    """The comparison with its verdict; `tests` is of how many tests its `p_holm` is adjusted for."""
    if found.ratio is None:
        return found
    far = abs(math.log(found.ratio)) >= math.log1p(effect)
    away = Verdict.LARGER if found.ratio > 1 else Verdict.SMALLER
    if found.method is Method.EXACT:
        return replace(found, verdict=away if far else Verdict.EQUIVALENT)
    interval = found.ratio_ci
    if interval is None:
        return replace(found, reason="a single value; more cycles show how it scatters")
    if 1 / (1 + effect) < interval.low and interval.high < 1 + effect:
        return replace(found, verdict=Verdict.EQUIVALENT, reason="")
    apart = interval.low > 1 or interval.high < 1
    p = found.p_holm if found.p_holm is not None else found.p
    able = can_reject(found, tests)
    refuted = able and p is not None and p > ALPHA
    if apart and far and not refuted:
        weak = "" if able else "by the interval alone"
        return replace(found, verdict=away, reason=weak)
    return replace(found, verdict=Verdict.INCONCLUSIVE, reason=_explain(found, effect, apart=apart, far=far))


def _explain(found: Comparison, effect: float, *, apart: bool, far: bool) -> str:
    if apart and far:
        return "the permutation test, adjusted for all comparisons, does not bear the interval out"
    if apart:
        return f"a difference below {effect:.0%} shows, and the interval reaches beyond that"
    more = f": about {found.needed} blocks would tell {effect:.0%}" if found.needed else ""
    return f"the interval holds both no difference and one of more than {effect:.0%}{more}"


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
    tests = sum(pair.found.ratio_ci is not None for pair in result)
    return tuple(_confirm(pair, tests) for pair in result)


def _confirm(pair: Pair, tests: int) -> Pair:
    found = pair.found
    apart = found.verdict in (Verdict.SMALLER, Verdict.LARGER)
    if not apart or found.ratio_ci is None or can_reject(found, tests):
        return pair
    interval = pair.interval(1 - ALPHA / tests)
    if interval is None or not interval.low <= 1 <= interval.high:
        return pair
    reason = f"the interval, widened for all {tests} comparisons, reaches across 1; more cycles decide"
    return replace(pair, found=replace(found, verdict=Verdict.INCONCLUSIVE, reason=reason))


def can_reject(found: Comparison, tests: int = 1) -> bool:
    """Whether a permutation test of so many values can be significant at all, as one of so many tests."""
    paired = found.method is Method.BLOCKS
    n = min(found.n, found.n_baseline) if paired else found.n
    return inference.least_p(n, found.n_baseline, paired=paired) * tests <= ALPHA


def _sd(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


def _exponential(interval: Interval | None) -> Interval | None:
    if interval is None:
        return None
    return Interval(low=math.exp(interval.low), high=math.exp(interval.high), confidence=interval.confidence)


# --- systems of a run -------------------------------------------------------------------------------------


def compare_run(header: Header, records: Iterable[Record]) -> tuple[Comparison, ...]:
    """Every system but the floors against the experiment's baseline, in the metrics that decide something.

    What is not of the same thing is left out. Empty where the run has no baseline.
    """
    baseline = header.experiment.baseline
    others = [g.system.name for g in header.guests if g.system.family is not GuestFamily.FLOOR]
    if baseline not in others:
        return ()
    ordered = sort_records(header, add_derived(header, records))
    unlike = set(ask("findings", "unlike", header, ordered))
    samples, rank = collect(header, ordered), rank_metrics(header)
    pairs = []
    for key in sorted(samples[baseline], key=lambda key: (rank(key[0]), key)):
        metric, theirs = find_metric(header, key[0]), samples[baseline][key]
        if not metric.is_compared_with(dict(key[1])):
            continue
        for name in others:
            if name != baseline and not unlike & {(metric.name, name), (metric.name, baseline)}:
                mine = samples[name].get(key, Sampled())
                found = compare(mine, theirs, key=key, names=(name, baseline), exact=metric.exact)
                pairs.append(Pair(found, mine, theirs))
    return tuple(pair.found for pair in settle([p for p in pairs if p.found.n or p.found.failed]))
