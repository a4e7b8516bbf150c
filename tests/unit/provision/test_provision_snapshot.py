"""What a state that trials go on from depends on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from replay import FAKE, make_guest, make_system

from guestbench.model import Login, Milestone, ShellWork, Start
from guestbench.provision import cache, has_snapshot, snapshot

FindKey = Callable[..., str]
IDLE, SHELL = Start(settle_s=2.0), Start(settle_s=2.0, with_shell=True)


@pytest.fixture
def find_key(monkeypatch: pytest.MonkeyPatch) -> FindKey:
    """Under what the cache looks for the state of a guest that differs in these fields."""
    plans: list[cache.Plan] = []
    monkeypatch.setattr(cache, "find", plans.append)

    def find(start: Start, **fields: object) -> str:
        has_snapshot(make_guest(make_system("tiny", **fields), Path(__file__)), FAKE, start)
        return plans[-1].key

    return find


@pytest.mark.parametrize("start", [IDLE, SHELL])
@pytest.mark.parametrize(
    "fields",
    [{"ready": "login:"}, {"milestones": (Milestone(name="banner", pattern="Powered by", required=True),)}],
)
def test_a_state_is_of_one_moment(find_key: FindKey, start: Start, fields: dict[str, object]) -> None:
    """Work would be timed in a guest that had not come as far as its definition says."""
    assert find_key(start, title="Another title") == find_key(start) != find_key(start, **fields)


@pytest.mark.parametrize("fields", [{"login": Login(user="other")}, {"work": ShellWork(disk=False)}])
def test_an_open_shell_is_one_of_one_login_and_work(find_key: FindKey, fields: dict[str, object]) -> None:
    """Commands would go to a shell that was set up for others; a state without one is the same for all."""
    assert find_key(IDLE, **fields) == find_key(IDLE)
    assert find_key(SHELL, **fields) != find_key(SHELL) != find_key(IDLE)


@pytest.mark.parametrize("name", ["protocol", "programs"])
def test_an_open_shell_is_of_one_version_of_what_talks_to_it(
    find_key: FindKey, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An update would send commands to a shell that the version before had set up."""
    before = find_key(IDLE), find_key(SHELL)
    changed = tmp_path / "changed.py"
    changed.write_bytes(snapshot.SHELL_SOURCES[name].read_bytes() + b"#")
    monkeypatch.setitem(snapshot.SHELL_SOURCES, name, changed)
    assert find_key(IDLE) == before[0]
    assert find_key(SHELL) != before[1]
