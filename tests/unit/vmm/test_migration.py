"""Saving a machine's state and going on from it, told in the words that each QEMU takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from guestbench.errors import HostError
from guestbench.vmm.qemu.migration import Migration, resume

FILE_REFUSED = "QMP migrate: Parameter 'uri' expects a valid migration protocol"
FD_REFUSED = "QMP migrate: fd: migration to a file is not supported. Use file: instead."
"""What QEMU 7.2.22 and QEMU 11.1.3 say of the other's way, as they said it."""


class RecordedQemu:
    """Answers a migration as a QEMU of that version does, which takes some addresses and refuses others.

    `said` has the commands that came, in order; `handed` the descriptors that came along.
    """

    def __init__(self, version: tuple[int, int, int], takes: str, refusal: str = "", ends: str = "") -> None:
        major, minor, micro = version
        package = f"Debian 1:{major}.{minor}"
        self._version = {"qemu": {"major": major, "minor": minor, "micro": micro}, "package": package}
        self._takes = takes
        self._refusal = refusal
        self._ends = ends
        self.said: list[str] = []
        self.handed: list[int] = []

    def command(self, name: str, **arguments: object) -> object:
        """The recorded answer."""
        self.said.append(" ".join([name, *map(str, arguments.values())]))
        if name in ("migrate", "migrate-incoming") and arguments["uri"] != self._takes:
            raise HostError(self._refusal, "guestbench doctor")
        answers = {
            "query-version": self._version,
            "query-migrate": {"status": self._ends or "completed"},
            "query-status": {"status": self._ends or "running", "running": not self._ends},
            "add-fd": {"fdset-id": 1, "fd": 30},
        }
        return answers.get(name, {})

    def hand_over(self, fd: int, name: str, **arguments: object) -> object:
        """As `command`, with a descriptor."""
        self.handed.append(fd)
        return self.command(name, **arguments)


QEMUS = [
    ((7, 2, 22), "fd:state", FILE_REFUSED, "getfd state"),
    ((8, 1, 5), "fd:state", FILE_REFUSED, "getfd state"),
    ((8, 2, 2), "file:/dev/fdset/1", FD_REFUSED, "add-fd 1"),
    ((10, 0, 2), "file:/dev/fdset/1", FD_REFUSED, "add-fd 1"),
    ((11, 1, 3), "file:/dev/fdset/1", FD_REFUSED, "add-fd 1"),
]


@pytest.mark.parametrize(("version", "takes", "refusal", "handing"), QEMUS)
def test_a_state_goes_where_that_qemu_can_write_it(
    tmp_path: Path, version: tuple[int, int, int], takes: str, refusal: str, handing: str
) -> None:
    """Every snapshot, and with it all that is asked of Linux guests, would fail under some QEMUs."""
    qemu = RecordedQemu(version, takes, refusal)
    Migration(qemu, lambda: "").save(tmp_path / "state")
    assert qemu.said[:2] == ["query-version", handing]
    assert qemu.said[-2:] == [f"migrate {takes}", "query-migrate"]
    assert len(qemu.handed) == 1
    assert (tmp_path / "state").exists()


@pytest.mark.parametrize(("version", "takes", "refusal", "handing"), QEMUS)
def test_a_machine_goes_on_from_a_file_of_ours(
    version: tuple[int, int, int], takes: str, refusal: str, handing: str
) -> None:
    """A snapshot would be saved that no machine can go on from."""
    qemu = RecordedQemu(version, takes, refusal)
    resume(qemu, 7, lambda: "")
    assert qemu.said == ["query-version", handing, f"migrate-incoming {takes}", "query-status"]
    assert qemu.handed == [7]


def test_a_state_that_is_not_taken_is_told_in_qemus_words() -> None:
    """A user would wait for a guest that will never run, and not learn why."""
    qemu = RecordedQemu((10, 0, 2), "file:/dev/fdset/1", ends="internal-error")
    with pytest.raises(HostError, match="'internal-error' instead of 'running': Unknown savevm section"):
        resume(qemu, 7, lambda: "Unknown savevm section")


def test_a_qemu_without_a_version_is_an_error(tmp_path: Path) -> None:
    """An answer that is not foreseen would end in a traceback."""

    class Silent(RecordedQemu):
        def command(self, name: str, **arguments: object) -> object:
            return {}

    with pytest.raises(HostError, match="does not say its version"):
        Migration(Silent((7, 2, 0), ""), lambda: "").save(tmp_path / "state")
