"""Compares systems metric by metric with a baseline, and says what the data support; it renders nothing.

The interval is for the ratio of geometric means. Where both systems have values of the same blocks, it is
Student's for the differences of logarithms within blocks; else it is Welch's for the logarithms. A verdict
needs the interval and, where there are values enough for one to say anything, a permutation test adjusted
for all comparisons of the report. A ratio nearer to 1 than the least effect of interest is no difference.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from guestbench.analysis import inference
from guestbench.analysis.summary import (
    COUNTED,
    READY,
    add_derived,
    sort_records,
)
from guestbench.families.memory.findings import LEAST, holds
from guestbench.families.work.findings import find_work
from guestbench.model import (
    Comparison,
    Family,
    Header,
    Interval,
    Method,
    Purpose,
    Record,
    Verdict,
)

LEAST_EFFECT = 0.03
"""A ratio within 3% of 1 is no difference that anyone should act on, unless the user says otherwise."""
ALPHA = 0.05

EXACT = ("image.file", LEAST)
"""Figures that do not scatter: the size of a file, and the least of the sizes that were tried."""
PLAIN = ("image.file", LEAST, READY, "boot.cpu")
NOT_COMPARED = ("work.time",)
TOUCHED = "memory.touched"

Key = tuple[str, tuple[tuple[str, str], ...]]


class Sampled(msgspec.Struct, frozen=True):
    """The values of one metric of one system by block (0 where its trials are in none), and its failures."""

    values: tuple[tuple[int, float], ...]
    failed: int = 0

    @property
    def numbers(self) -> list[float]:
        """The values alone, in the order of the trials."""
        return [value for _, value in self.values]


def compare(
    a: Sampled,
    b: Sampled,
    *,
    exact: bool = False,
    effect: float = LEAST_EFFECT,
    names: tuple[str, str] = ("", ""),
    metric: str = "",
    labels: Mapping[str, str] | None = None,
) -> Comparison:
    """Compare `a` with the baseline `b`. `exact` values do not scatter: the first of each is compared.

    The verdict is that of this comparison alone until `adjust` has seen all of a report.
    """
    found = Comparison(
        metric=metric,
        labels=dict(labels or {}),
        system=names[0],
        baseline=names[1],
        n=len(a.values),
        n_baseline=len(b.values),
        failed=a.failed,
        failed_baseline=b.failed,
        method=Method.NONE,
        verdict=Verdict.INCONCLUSIVE,
    )
    reason = _find_obstacle(a, b)
    if reason:
        return msgspec.structs.replace(found, reason=reason)
    if exact:
        ratio = a.numbers[0] / b.numbers[0]
        difference = a.numbers[0] - b.numbers[0]
        found = msgspec.structs.replace(found, method=Method.EXACT, ratio=ratio, difference=difference)
        return decide(found, effect)
    return decide(_infer(found, a, b, effect), effect)


def _find_obstacle(a: Sampled, b: Sampled) -> str:
    for sampled, name in ((a, "the system"), (b, "the baseline")):
        if not sampled.values:
            return f"{name} has no value" + (
                f": all {sampled.failed} trials failed" if sampled.failed else ""
            )
        if min(sampled.numbers) <= 0:
            return f"{name} has a value of 0 or below, of which no ratio can be made"
    return ""


def _infer(found: Comparison, a: Sampled, b: Sampled, effect: float) -> Comparison:
    """The comparison with all that is estimated; its verdict is still to come."""
    pairs = find_pairs(a, b)
    paired = len(pairs) >= 2
    first = [x for x, _ in pairs] if paired else a.numbers
    second = [y for _, y in pairs] if paired else b.numbers
    log_a, log_b = [math.log(x) for x in first], [math.log(y) for y in second]
    logs = [x - y for x, y in zip(log_a, log_b, strict=True)] if paired else []
    if paired:
        interval = inference.pair_interval(logs)
        plain = inference.pair_interval([x - y for x, y in pairs])
        p = inference.paired_permutation_p(logs)
        sd = _sd(logs)
    else:
        interval = inference.welch_interval(log_a, log_b)
        plain = inference.welch_interval(first, second)
        p = inference.permutation_p(log_a, log_b)
        sd = math.hypot(_sd(log_a), _sd(log_b))
    bca = inference.bootstrap_interval(log_a, log_b, paired=paired)
    return msgspec.structs.replace(
        found,
        method=Method.BLOCKS if paired else Method.SAMPLES,
        ratio=math.exp(_mean(log_a) - _mean(log_b)),
        ratio_ci=_exponential(interval),
        ratio_bca=_exponential(bca),
        difference=_mean(first) - _mean(second),
        difference_ci=plain,
        p=p if interval else None,
        delta=inference.cliffs_delta(first, second),
        needed=inference.needed_values(sd, math.log1p(effect)) if interval else None,
    )


def find_pairs(a: Sampled, b: Sampled) -> list[tuple[float, float]]:
    """The values of those blocks in which both have exactly one."""
    by_block: list[dict[int, list[float]]] = [{}, {}]
    for found, sampled in zip(by_block, (a, b), strict=True):
        for block, value in sampled.values:
            if block:
                found.setdefault(block, []).append(value)
    mine, theirs = by_block
    return [
        (mine[block][0], theirs[block][0])
        for block in mine
        if block in theirs and len(mine[block]) == len(theirs[block]) == 1
    ]


def decide(found: Comparison, effect: float = LEAST_EFFECT, *, tests: int = 1) -> Comparison:
    """The comparison with its verdict; `tests` is of how many tests its `p_holm` is adjusted for."""
    if found.ratio is None:
        return found
    far = abs(math.log(found.ratio)) >= math.log1p(effect)
    away = Verdict.LARGER if found.ratio > 1 else Verdict.SMALLER
    if found.method is Method.EXACT:
        return msgspec.structs.replace(found, verdict=away if far else Verdict.EQUIVALENT)
    interval = found.ratio_ci
    if interval is None:
        return msgspec.structs.replace(found, reason="a single value; more cycles show how it scatters")
    if 1 / (1 + effect) < interval.low and interval.high < 1 + effect:
        return msgspec.structs.replace(found, verdict=Verdict.EQUIVALENT, reason="")
    apart = interval.low > 1 or interval.high < 1
    p = found.p_holm if found.p_holm is not None else found.p
    able = can_reject(found, tests)
    refuted = able and p is not None and p > ALPHA
    if apart and far and not refuted:
        weak = "" if able else "by the interval alone"
        return msgspec.structs.replace(found, verdict=away, reason=weak)
    return msgspec.structs.replace(
        found, verdict=Verdict.INCONCLUSIVE, reason=_explain(found, effect, apart=apart, far=far)
    )


def _explain(found: Comparison, effect: float, *, apart: bool, far: bool) -> str:
    if apart and far:
        return "the permutation test, adjusted for all comparisons, does not bear the interval out"
    if apart:
        return f"a difference below {effect:.0%} shows, and the interval reaches beyond that"
    more = f": about {found.needed} blocks would tell {effect:.0%}" if found.needed else ""
    return f"the interval holds both no difference and one of more than {effect:.0%}{more}"


def adjust(comparisons: Sequence[Comparison], effect: float = LEAST_EFFECT) -> tuple[Comparison, ...]:
    """The comparisons of one report with p values adjusted for one another, and verdicts that heed them.

    A test of so few values that it can never reject is none, and adjusts no other.
    """
    tested = [index for index, each in enumerate(comparisons) if each.p is not None and can_reject(each)]
    adjusted = inference.adjust_holm([comparisons[index].p or 0.0 for index in tested])
    result = list(comparisons)
    for index, p in zip(tested, adjusted, strict=True):
        changed = msgspec.structs.replace(result[index], p_holm=p)
        result[index] = decide(changed, effect, tests=len(tested))
    return tuple(result)


def can_reject(found: Comparison, tests: int = 1) -> bool:
    """Whether a permutation test of so many values can be significant at all, as one of so many tests."""
    paired = found.method is Method.BLOCKS
    n = min(found.n, found.n_baseline) if paired else found.n
    return inference.least_p(n, found.n_baseline, paired=paired) * tests <= ALPHA


# --- from records ----------------------------------------------------------------------------------------


def compare_run(header: Header, records: Iterable[Record]) -> tuple[Comparison, ...]:
    """Every system but the floors against the experiment's baseline, in the metrics that decide something.

    Work is compared where it was the same work. Empty where the run has no baseline.
    """
    baseline = header.experiment.baseline
    others = [g.system.name for g in header.guests if g.system.family is not Family.FLOOR]
    if baseline not in others:
        return ()
    ordered = sort_records(header, add_derived(header, records))
    unlike = find_unlike_work(header, ordered)
    samples = {name: collect(ordered, name) for name in others}
    found = [
        compare(
            samples[name].get(key, Sampled(values=())),
            samples[baseline][key],
            exact=metric in EXACT,
            names=(name, baseline),
            metric=metric,
            labels=dict(labels),
        )
        for key in sorted(samples[baseline], key=_rank(header))
        for metric, labels in (key,)
        for name in others
        if is_compared(metric, dict(labels))
        and name != baseline
        and not unlike & {(metric, name), (metric, baseline)}
    ]
    kept = adjust([each for each in found if each.n or each.failed])
    tests = sum(each.ratio_ci is not None for each in kept)
    return tuple(
        confirm(each, samples[each.system][key], samples[baseline][key], tests) if each.n else each
        for each in kept
        for key in ((each.metric, tuple(sorted(each.labels.items()))),)
    )


def confirm(each: Comparison, a: Sampled, b: Sampled, tests: int) -> Comparison:
    """The comparison; a difference that rests on its interval alone has to show at a confidence for all.

    Else a host's bad hour would make one of a dozen metrics, of three values each, larger.
    """
    apart = each.verdict in (Verdict.SMALLER, Verdict.LARGER)
    if not apart or each.ratio_ci is None or can_reject(each, tests):
        return each
    interval = estimate_ratio(a, b, paired=each.method is Method.BLOCKS, confidence=1 - ALPHA / tests)
    if interval is None or not interval.low <= 1 <= interval.high:
        return each
    reason = f"the interval, widened for all {tests} comparisons, reaches across 1; more cycles decide"
    return msgspec.structs.replace(each, verdict=Verdict.INCONCLUSIVE, reason=reason)


def estimate_ratio(a: Sampled, b: Sampled, *, paired: bool, confidence: float) -> Interval | None:
    """The interval of the ratio of two samples at any confidence."""
    if paired:
        logs = [math.log(x) - math.log(y) for x, y in find_pairs(a, b)]
        return _exponential(inference.pair_interval(logs, confidence))
    first, second = ([math.log(value) for value in sampled.numbers] for sampled in (a, b))
    return _exponential(inference.welch_interval(first, second, confidence))


def is_compared(metric: str, labels: Mapping[str, str]) -> bool:
    """Whether systems are compared in a metric: in whole sizes, times and rates, not in parts of them."""
    if metric in PLAIN:
        return not labels
    if metric == TOUCHED:
        return labels.get("state") in ("idle", "load")
    return metric.startswith(("work.", "net.")) and metric not in NOT_COMPARED


def find_unlike_work(header: Header, records: Sequence[Record]) -> set[tuple[str, str]]:
    """Metric and system of all work that cannot be shown to be what the others did."""
    return {
        (row.work.workload.metric, name)
        for row in find_work(header, records, ())
        for difference in row.differs
        for name in (difference.partition(": ")[0],)
    }


def _rank(header: Header) -> Callable[[Key], tuple[int, Key]]:
    rank = {metric.name: index for index, metric in enumerate(header.metrics)}
    return lambda key: (rank.get(key[0], len(rank)), key)


def collect(
    records: Iterable[Record], system: str, purposes: Sequence[Purpose] = COUNTED
) -> dict[Key, Sampled]:
    """A system's values of every metric and its labels, of trials that count, in the order given."""
    values: dict[Key, list[tuple[int, float]]] = {}
    origins: dict[Key, tuple[Purpose, str]] = {}
    failed: Counter[tuple[Purpose, str]] = Counter()
    for record in records:
        trial = record.trial
        if trial.system != system or trial.purpose not in purposes:
            continue
        origin = trial.purpose, trial.workload
        if not holds(record.outcome):
            # A size that is not enough is an answer of the search, not a failure.
            failed[origin] += trial.purpose is not Purpose.MEMORY_MIN
            continue
        for sample in record.samples:
            if trial.purpose is Purpose.MEMORY_MIN and sample.metric != LEAST:
                continue
            key = sample.metric, tuple(sorted(sample.labels.items()))
            values.setdefault(key, []).append((trial.block, float(sample.value)))
            origins[key] = origin
    if failed[Purpose.BOOT, ""]:
        values.setdefault((READY, ()), [])
        origins[READY, ()] = Purpose.BOOT, ""
    return {key: Sampled(values=tuple(each), failed=failed[origins[key]]) for key, each in values.items()}


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _sd(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    middle = _mean(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1))


def _exponential(interval: Interval | None) -> Interval | None:
    if interval is None:
        return None
    return Interval(low=math.exp(interval.low), high=math.exp(interval.high), confidence=interval.confidence)
