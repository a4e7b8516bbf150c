"""What others put into their CI, the GitHub Action and the GitLab component: their steps run as there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from git_history import make_history
from small_guests import GUEST, SAY_READY, SYSTEM

from guestbench.host import process

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "action.yml"
COMPONENT = ROOT / "templates" / "guestbench.yml"
SLOWER = "        mov $3000000, %ecx\n0:      loop 0b\n"
GATES = "cost.instructions_guest>0.5%\nimage.file>50%\n"
OPTIONS = "--accel\ntcg\n--cycles\n2\n"
HAS = {
    "build": "test -f guest/guest.S",
    "image": "guest",
    "gates": GATES,
    "options": OPTIONS,
}


@pytest.fixture
def repository(tmp_path: Path) -> tuple[Path, str]:
    """A repository whose second commit has a guest count to three million; and its first commit."""
    bodies = (SAY_READY, SLOWER + SAY_READY)
    definition = SYSTEM.format(name="mine")
    commits = [{"guest/system.toml": definition, "guest/guest.S": GUEST.format(body=body)} for body in bodies]
    folder = tmp_path / "a repository"
    return folder, make_history(folder, commits)[0]


def fill(text: str, pattern: str, values: dict[str, str]) -> str:
    """A text with what stands in for a value replaced by it; every one of them is known."""
    return re.sub(pattern, lambda found: values[found[1]], text)


def run_action(repository: Path, given: dict[str, str], files: Path) -> list[process.Completed]:
    """Run the steps of the action that are commands, as GitHub does; stops after one that fails."""
    action: dict[str, Any] = yaml.safe_load(ACTION.read_text())
    assert set(given) <= set(action["inputs"])
    inputs = {f"inputs.{name}": given.get(name, row["default"]) for name, row in action["inputs"].items()}
    done = []
    for step in (each for each in action["runs"]["steps"] if "run" in each):
        environment = {
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_STEP_SUMMARY": str(files / "summary"),
            "GITHUB_OUTPUT": str(files / "output"),
            "MAKEFLAGS": "",
        }
        for name, value in step.get("env", {}).items():
            environment[name] = fill(str(value), r"\$\{\{ (\S+) \}\}", inputs)
        argv = [step["shell"], "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done.append(process.run(argv, cwd=repository, env=environment, timeout_s=600, check=False))
        if done[-1].status:
            break
    return done


@pytest.mark.qemu
@pytest.mark.parametrize(("new", "status"), [("HEAD", 1), ("HEAD~1", 0)])
def test_the_action_stops_a_change_that_costs_more(
    repository: tuple[Path, str], tmp_path: Path, new: str, status: int
) -> None:
    """A pull request would be merged that makes the guest slower, or stopped for nothing."""
    folder, old = repository
    done = run_action(folder, {**HAS, "old": old, "new": new}, tmp_path)
    assert [each.status for each in done] == [0, status], done[-1].stderr.decode()
    comment = (folder / "results" / "comment.md").read_text()
    assert "cost.instructions_guest" in comment
    assert "|" in comment
    assert (tmp_path / "summary").read_text() == comment
    assert (tmp_path / "output").read_text() == "comment=results/comment.md\n"
    assert (folder / "results" / "ab" / "report.html").is_file()
    assert ("<failure" in (folder / "results" / "gates.xml").read_text()) == bool(status)


def test_the_action_says_what_it_lacks_outside_a_pull_request(
    repository: tuple[Path, str], tmp_path: Path
) -> None:
    """A push, which has no base, would end in an error about something else."""
    done = run_action(repository[0], {**HAS, "old": ""}, tmp_path)
    assert done[-1].status == 2
    assert "error: which versions are compared is not known: OLD is ''" in done[-1].stderr.decode()


@pytest.mark.parametrize("word", ["$(touch evil)", "`touch evil`; touch evil", "* 'x'"])
def test_what_a_pull_request_names_is_no_shell(
    repository: tuple[Path, str], tmp_path: Path, word: str
) -> None:
    """The name of a branch could run commands of its author's."""
    done = run_action(repository[0], {**HAS, "old": word, "new": word, "options": word}, tmp_path)
    assert done[-1].status == 2
    assert not (repository[0] / "evil").exists()


def test_steps_name_no_input_in_their_text() -> None:
    """An input would become part of a command, whatever it holds."""
    action = yaml.safe_load(ACTION.read_text())
    assert action["runs"]["using"] == "composite"
    commands = [step["run"] for step in action["runs"]["steps"] if "run" in step]
    assert len(commands) == 2
    assert not [text for text in commands if "${{" in text]
    assert all("description" in row for row in action["inputs"].values())


def test_examples_in_the_guide_give_inputs_that_there_are() -> None:
    """Whoever copies them would start from a job that is refused."""
    texts = re.findall(
        r"```yaml\n(.*?)```", (ROOT / "docs" / "how-to" / "gate-a-pull-request.md").read_text(), re.DOTALL
    )
    workflow, pipeline = map(yaml.safe_load, texts)
    (step,) = (each for each in workflow["jobs"]["compare"]["steps"] if each["uses"] == "./guestbench")
    assert set(step["with"]) <= set(yaml.safe_load(ACTION.read_text())["inputs"])
    (include,) = pipeline["include"]
    about, _ = yaml.safe_load_all(COMPONENT.read_text())
    assert (ROOT / include["local"]).samefile(COMPONENT)
    assert set(include["inputs"]) <= set(about["spec"]["inputs"])


@pytest.mark.qemu
def test_the_component_stops_a_change_that_costs_more(repository: tuple[Path, str]) -> None:
    """A merge request would be merged that makes the guest slower."""
    folder, old = repository
    about, pipeline = yaml.safe_load_all(COMPONENT.read_text())
    rows = {name: row or {} for name, row in about["spec"]["inputs"].items()}
    given = {**{name: row["default"] for name, row in rows.items() if "default" in row}, **HAS}
    given["folder"] = str(ROOT)
    assert set(given) == set(rows)
    (job,) = pipeline.values()
    pattern = r"\$\[\[ inputs\.(\w+) \]\]"
    environment = {name: fill(value, pattern, given) for name, value in job["variables"].items()}
    assert environment["OLD"] == "$CI_MERGE_REQUEST_DIFF_BASE_SHA"
    environment |= {"OLD": old, "MAKEFLAGS": ""}
    for line in (each for each in job["script"] if not each.startswith("apt-get")):
        done = process.run(["sh", "-ec", line], cwd=folder, env=environment, timeout_s=600, check=False)
    assert done.status == 1, done.stderr.decode()
    assert (folder / job["artifacts"]["reports"]["junit"]).read_text().count("<failure") == 1
