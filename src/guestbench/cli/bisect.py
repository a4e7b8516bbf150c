"""`guestbench bisect`: the commit of a git repository that made a guest worse, found by measuring."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from guestbench.cli import ab, run
from guestbench.cli.output import print_blocks
from guestbench.cli.talk import say
from guestbench.errors import Interrupted, StoreError, TrialError, UsageError

if TYPE_CHECKING:
    from guestbench.analysis.bisection import Answer, Bisection, Measure, Question, Step
    from guestbench.analysis.diff import Run
    from guestbench.analysis.gate import Decision
    from guestbench.model import Commit
    from guestbench.provision.revisions import Recipe, Repository
    from guestbench.run.request import Version

STATE_NAME = "bisect.json"


@run.with_options_of_run("metrics", "warmups", "accel", "settings")
@click.command("bisect", cls=run.RunCommand)
@click.argument("good", metavar="GOOD")
@click.argument("bad", metavar="BAD")
@click.option(
    "--build",
    required=True,
    metavar="COMMAND",
    help="Build a commit by this command, without a shell, in a checkout of its own.",
)
@click.option(
    "--image",
    required=True,
    metavar="PATH",
    help="What --build makes: an image, or a folder with a system.toml.",
)
@ab.AS
@click.option(
    "--fail-on",
    "wanted",
    multiple=True,
    required=True,
    metavar="GATE",
    help="What makes a commit bad: 'boot.ready>5%', 'image.file>0%', 'failures'; see guestbench diff --help. "
    "Repeatable.",
)
@click.option(
    "--state",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the images, runs and decisions; the same command goes on with what is there [default: "
    "results/bisect-GOOD-BAD].",
)
@click.option("--json", "style", flag_value="json", help="Print JSON.")
@click.option("--markdown", "style", flag_value="markdown", help="Print Markdown.")
def command(
    good: str,
    bad: str,
    build: str,
    image: str,
    reference: str | None,
    wanted: tuple[str, ...],
    folder: Path | None,
    style: str | None,
    **chosen: Any,
) -> None:
    """Find the commit that made a guest worse, by measuring commits beside GOOD until the data decide.

    BAD is held against GOOD first. Each step is 10 blocks of a commit and GOOD; where these do not decide, as
    many more as there are, up to 160. What is not decided then stays so: the answer is one commit, or those
    between which it cannot be decided. A commit that cannot be built is passed over.
    """
    from guestbench.analysis.bisection import Question, search
    from guestbench.provision.revisions import Repository, read_recipe

    repository, recipe = Repository(Path.cwd()), read_recipe(build, image)
    first, last = (repository.find_commit(each) for each in (good, bad))
    if first.hash == last.hash or not repository.is_ancestor(first.hash, last.hash):
        hint = shlex.join(["git", "log", "--oneline", f"{good}..{bad}"])
        raise UsageError(f"{good} does not come before {bad} in the history", hint)
    chosen["metrics"] = ab.find_families(chosen["metrics"], wanted, ())
    question = Question(
        good=first,
        bad=last,
        command=recipe.command,
        image=image,
        system=reference or "",
        gates=wanted,
        settings=tuple(f"{name}={value}" for name, value in chosen.items() if value),
    )
    folder = folder or Path("results") / f"bisect-{first.short}-{last.short}"
    again = shlex.join(["guestbench", *click.get_current_context().obj])
    state = _load(folder, question, again)
    measuring = _Measuring(folder, repository, recipe, again, chosen)
    try:
        answer, state = search(state, repository.list_suspects, measuring.take_step, measuring.keep)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; every finished step is kept", again) from None
    _show(answer, state, repository, style)


def _load(folder: Path, question: Question, again: str) -> Bisection:
    """The bisection that was begun in a folder, or a new one.

    Raises:
        UsageError: it was asked something else.
        StoreError: its state cannot be read.
    """
    from guestbench.analysis.bisection import VERSION, Bisection
    from guestbench.model.decoding import NOT_JSON, decode_as

    path = folder / STATE_NAME
    try:
        state = decode_as(path.read_bytes(), Bisection)
    except FileNotFoundError:
        return Bisection(question=question)
    except (OSError, *NOT_JSON) as error:
        raise StoreError(f"{path} cannot be read: {error}", f"{again} --state DIR") from None
    if state.question != question or state.version != VERSION:
        raise UsageError(f"{folder} holds a bisection that was asked something else", f"{again} --state DIR")
    return state


class _Measuring:
    """Measures the steps of a bisection, in a folder that keeps all that they leave."""

    def __init__(
        self, folder: Path, repository: Repository, recipe: Recipe, again: str, chosen: dict[str, Any]
    ) -> None:
        self._folder, self._repository, self._recipe = folder, repository, recipe
        self._again, self._chosen = again, chosen

    def keep(self, state: Bisection) -> None:
        """Write what was found, whole or not at all, and tell of the last step."""
        from guestbench.report import replace_file

        path = self._folder / STATE_NAME
        try:
            replace_file(path, msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n")
        except OSError as error:
            hint = shlex.join(["df", "-h", str(self._folder)])
            raise StoreError(f"cannot write {path}: {error.strerror}", hint) from error

    def take_step(self, task: Measure, state: Bisection) -> Step:
        """One look at a commit: built, measured beside GOOD, and judged by all blocks that it has now."""
        from guestbench.analysis.bisection import LOOKS, Step, sum_up
        from guestbench.provision.revisions import BuildFailed
        from guestbench.report.bisection import tell_step
        from guestbench.report.terminal import show_text

        question = state.question
        step = state.find(task.commit) or Step(commit=self._repository.find_commit(task.commit))
        name = f"{step.commit.short} ({step.commit.subject})"
        old = self._build(question.good, question)
        try:
            new = self._build(step.commit, question)
        except BuildFailed as error:
            if task.commit == question.bad.hash:
                raise
            say(f"{name} is passed over: {error.message}")
            return msgspec.structs.replace(step, unbuilt=error.message)
        say(f"{name}: {task.blocks} blocks")
        runs = [self._measure(step.commit, look, (old, new)) for look in range(task.look)]
        decisions, failures = _judge(runs, question, self._again)
        bad = state.find(question.bad.hash)
        worst = bad.looks[-1] if bad and bad.looks and bad.commit != step.commit else None
        look = sum_up(decisions, failures, LOOKS[task.look - 1], worst)
        step = msgspec.structs.replace(step, looks=(*step.looks, look))
        say(show_text(tell_step(step)))
        return step

    def _build(self, commit: Commit, question: Question) -> Version:
        from guestbench.run.ab import find_version

        image = self._repository.build(commit, self._recipe, self._folder / "builds", say)
        return find_version(str(image), question.system or None, self._recipe.describe(commit))

    def _measure(self, commit: Commit, look: int, versions: tuple[Version, Version]) -> Run:
        """The run of a commit's look, from its store as far as it was made before."""
        from guestbench.analysis.bisection import LOOKS
        from guestbench.analysis.quality import count_missing
        from guestbench.cli.report import write_files
        from guestbench.run.ab import make_request
        from guestbench.run.prepare import check_resumable
        from guestbench.run.store import STORE_NAME, read_store

        folder = self._folder / "runs" / f"{commit.short}-{look + 1}"
        if (folder / STORE_NAME).exists():
            header, records = read_store(folder)
            check_resumable(header, folder)  # blocks of another host are not to be put to ours
            if not count_missing(header, records):
                return header, records
            header, records = run.go_on(folder, self._again)
        else:
            blocks = LOOKS[look] - (LOOKS[look - 1] if look else 0)
            command = click.get_current_context().obj
            request = make_request(
                f"GOOD and {commit.short}",
                *versions,
                run=folder.name,
                cycles=blocks,
                command=command,
                **self._chosen,
            )
            folder, header, records = run.start(request, folder, self._again)
        write_files(folder, header, records)
        return header, records


def _judge(runs: Sequence[Run], question: Question, again: str) -> tuple[Sequence[Decision], tuple[int, int]]:
    """What the gates say of all blocks of a commit, and how many of its trials failed, of how many."""
    from guestbench.analysis.bisection import LOOK_ALPHA
    from guestbench.analysis.sides import compare_versions, join
    from guestbench.run.ab import NEW, OLD

    found = compare_versions(join(runs), (OLD, NEW), question.gates, alpha=LOOK_ALPHA, hint=again)
    share = max(found.failures, key=lambda each: each.of)
    if share.failed_baseline == share.of_baseline:
        raise TrialError(f"no trial of GOOD succeeded ({question.good.short})", again)
    return found.decisions, (share.failed, share.of)


def _show(answer: Answer, state: Bisection, repository: Repository, style: str | None) -> None:
    from guestbench.report.bisection import describe_bisection, render_json
    from guestbench.report.diff import tell_decision
    from guestbench.report.terminal import show_text

    question = state.question
    if not answer.commits:
        (step,) = (step for step in state.steps if step.commit.hash == question.bad.hash)
        told = show_text(tell_decision(step.looks[-1].decision))
        good, bad = (each.name or each.short for each in (question.good, question.bad))
        hint = shlex.join(["git", "log", "--oneline", f"{good}..{bad}"])
        raise UsageError(f"{bad} shows nothing against {good}, so there is nothing to look for: {told}", hint)
    subjects = {commit: repository.find_commit(commit).subject for commit in answer.commits}
    print_blocks(describe_bisection(answer, state, subjects), style, render_json(answer, state))
