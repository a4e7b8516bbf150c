"""Finds the commit that made a guest worse, from what was found of commits so far; it measures nothing.

Each commit is held against GOOD by gates, in looks at more and more blocks until these decide. Whoever looks
often is misled by chance more often, so that all looks have one level at which they err in 5% together
[Pocock]. What they do not decide stays so: such a commit is passed over like one that cannot be built, and
where nothing else is left the answer is a range of commits.

[Pocock] S. J. Pocock: Group sequential methods in the design and analysis of clinical trials, Biometrika 64
    (1977). His 1.58% is for five looks after equal numbers of values. Here each look doubles them: looks are
    then less alike, and at 1.58% would err in 6.2% together (400,000 simulated cases, t intervals).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

import msgspec

from guestbench.analysis.failures import more_failed_p
from guestbench.analysis.gate import Decision, GateState
from guestbench.model import Commit, Frozen

LOOKS = (10, 20, 40, 80, 160)
"""Blocks of a commit at each look, those before it included."""
LOOK_ALPHA = 0.0125
"""The level of each look, by simulation, with which they err in 5% together."""
VERSION = 1
"""Version of the shape of the state file. Raised when a field changes its meaning or goes."""

ListSuspects = Callable[[str, Sequence[str]], Sequence[str]]
"""What can be reached from a bad commit and from none of the good ones, the best to try first."""


class State(StrEnum):
    """What is known of a commit."""

    OPEN = "open"
    GOOD = "good"
    BAD = "bad"
    UNDECIDED = "undecided"
    SKIPPED = "skipped"


class Look(Frozen):
    """What so many blocks said; `decision` is the one of all gates that mattered most.

    `failed` of `tried` are the trials of the commit in which it was to do what it is judged by.
    """

    blocks: int
    state: GateState
    decision: Decision
    failed: int
    tried: int


class Step(Frozen):
    """A commit that was tried; `unbuilt` says why it has no image."""

    commit: Commit
    looks: tuple[Look, ...] = ()
    unbuilt: str = ""

    @property
    def state(self) -> State:
        """What is known of it by now."""
        if self.unbuilt:
            return State.SKIPPED
        if not self.looks:
            return State.OPEN
        last = self.looks[-1].state
        if last is GateState.INCONCLUSIVE:
            return State.UNDECIDED if len(self.looks) == len(LOOKS) else State.OPEN
        return State.BAD if last is GateState.FAILED else State.GOOD


class Question(Frozen):
    """What a bisection was asked; one with another question cannot go on with its state."""

    good: Commit
    bad: Commit
    command: tuple[str, ...]
    image: str
    system: str
    gates: tuple[str, ...]
    settings: tuple[str, ...] = ()


class Bisection(Frozen):
    """A bisection as far as it has come: its steps, in the order in which they were begun."""

    question: Question
    steps: tuple[Step, ...] = ()
    version: int = VERSION

    def find(self, commit: str) -> Step | None:
        """What was found of a commit."""
        return next((step for step in self.steps if step.commit.hash == commit), None)

    def learn(self, step: Step) -> Bisection:
        """The same with what was found of a commit put in the place of what was known of it."""
        known = [each.commit.hash for each in self.steps]
        if step.commit.hash not in known:
            return msgspec.structs.replace(self, steps=(*self.steps, step))
        steps = tuple(step if each.commit.hash == step.commit.hash else each for each in self.steps)
        return msgspec.structs.replace(self, steps=steps)


class Measure(Frozen):
    """A commit is to have so many blocks more, which makes `look` looks."""

    commit: str
    blocks: int
    look: int


class Answer(Frozen):
    """The end: the one commit that is to blame, or those between which it cannot be decided.

    Of none the worst commit showed nothing against the good one.
    """

    commits: tuple[str, ...]


def decide_next(so_far: Bisection, list_suspects: ListSuspects) -> Measure | Answer:
    """What to do next, given all that was found."""
    good, worst = so_far.question.good.hash, so_far.question.bad.hash
    states = {step.commit.hash: step.state for step in so_far.steps}
    if states.get(worst, State.OPEN) is State.OPEN:
        return _measure(worst, so_far)
    if states[worst] is not State.BAD:
        return Answer(commits=())
    cleared = [good, *(commit for commit, state in states.items() if state is State.GOOD)]
    suspects = list_suspects(worst, cleared)
    while earlier := [each for each in suspects if each != worst and states.get(each) is State.BAD]:
        worst = earlier[0]
        suspects = list_suspects(worst, cleared)
    for commit in suspects:
        if states.get(commit, State.OPEN) is State.OPEN:
            return _measure(commit, so_far)
    return Answer(commits=tuple(suspects))


def search(
    state: Bisection,
    list_suspects: ListSuspects,
    measure: Callable[[Measure, Bisection], Step],
    keep: Callable[[Bisection], None],
) -> tuple[Answer, Bisection]:
    """Measure until there is an answer; that, and all that was found. `keep` is given each step's outcome."""
    while isinstance(task := decide_next(state, list_suspects), Measure):
        state = state.learn(measure(task, state))
        keep(state)
    return task, state


def _measure(commit: str, so_far: Bisection) -> Measure:
    step = so_far.find(commit)
    done = len(step.looks) if step else 0
    before = LOOKS[done - 1] if done else 0
    return Measure(commit=commit, blocks=LOOKS[done] - before, look=done + 1)


def sum_up(decisions: Sequence[Decision], failures: tuple[int, int], blocks: int, bad: Look | None) -> Look:
    """What gates say together of a commit, of whose trials `failures[0]` of `failures[1]` failed.

    That none failed says little in few blocks. If it is by failing that `bad` is so, then a commit passes
    only if it fails less often than that one, and by more than chance.
    """
    failed, tried = failures
    # Failed comes before inconclusive, and that before passed.
    ranks = (GateState.FAILED, GateState.INCONCLUSIVE, GateState.PASSED)
    worst = min(decisions, key=lambda each: ranks.index(each.state))
    if worst.state is GateState.PASSED and bad is not None and _may_fail_as(bad, failed, tried):
        reason = f"{failed} of {tried} failed, which may be chance where {bad.failed} of {bad.tried} do"
        worst = msgspec.structs.replace(worst, state=GateState.INCONCLUSIVE, reason=reason)
    return Look(blocks=blocks, state=worst.state, decision=worst, failed=failed, tried=tried)


def _may_fail_as(bad: Look, failed: int, tried: int) -> bool:
    """Whether `bad` is so by failing, and what failed so often may be chance where it fails as often."""
    by_failing = more_failed_p(bad.failed, bad.tried, 0, bad.tried) <= LOOK_ALPHA
    return by_failing and more_failed_p(bad.failed, bad.tried, failed, tried) > LOOK_ALPHA
