"""What a Linux guest tells of its attack surface: how its answers are counted, whatever they hold."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestbench.errors import ShellError
from guestbench.families.surface.linux.inventory import QUESTIONS, Question, ask_inventory
from guestbench.families.surface.seen import Seen
from guestbench.guest.shell import Answer

OWN = b"300 (sh) R 250 300 200 34816 300 4194304 1 2"
PROCESSES = b"\n".join(
    [
        OWN,
        b"1 (systemd) S 0 1 1 0 -1 4194560 1 2\t 0::/init.scope",
        b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0\t 0::/",
        b"15 (kworker/0:1-events) I 2 0 0 0 -1 69238880 0 0\t 0::/",
        b"210 (a) S (b\x1b[31m) S 1 210 210 0 -1 4194560 0 0\t 0::/system.slice/evil.service",
        b"220 (systemd) S 1 220 220 0 -1 4194560 0 0\t 0::/user.slice/user-0.slice/user@0.service/init.scope",
        OWN.replace(b"300 (sh)", b"301 (sh)") + b"\t 0::/system.slice/serial-getty",
        b"garbage",
    ]
)
SOCKETS = b"""# tcp
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 3500007F:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 1 1 0
   1: 00000000:14EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 1 1 0
   2: 0F02000A:ABCD 0202000A:0050 01 00000000:00000000 00:00000000 00000000   101        0 1 1 0
# tcp6
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:14EB 00000000000000000000000000000000:0000 0A 00000000
   1: 00000000000000000000000001000000:0277 00000000000000000000000000000000:0000 0A 00000000
# udp
   sl  local_address rem_address   st
  101: 0F02000A:0044 00000000:0000 07 00000000:00000000
"""


class Guest:
    """A shell that answers each question with what it was given, or with nothing and status 127."""

    def __init__(self, answers: Mapping[str, bytes | ShellError]) -> None:
        self._answers = {question.command: answers.get(question.name) for question in QUESTIONS}

    def run(self, command: str, **_: object) -> Answer:
        """The answer."""
        answer = self._answers[command]
        if isinstance(answer, ShellError):
            raise answer
        return Answer(status=127 if answer is None else 0, stdout=answer or b"", stderr=b"")


def ask(**answers: bytes | ShellError) -> Seen:
    """Ask a guest with these answers."""
    return ask_inventory(Guest(answers))  # type: ignore[arg-type]


def values(seen: Seen) -> dict[tuple[str, str], float]:
    """The values by metric and the value of their label."""
    return {(s.metric, next(iter(s.labels.values()), "")): s.value for s in seen.samples}


def test_processes_of_our_own_login_are_not_the_guests() -> None:
    """The probe would count itself, and a kernel's threads as programs of the guest."""
    found = values(ask(processes=PROCESSES))
    assert found["surface.processes", "user"] == 2
    assert found["surface.processes", "kernel-thread"] == 2
    assert found["surface.processes", ""] == 4


def test_listening_ports_are_told_from_connections_and_from_loopback() -> None:
    """A resolver that only the guest itself can reach would be called an open port."""
    found = values(ask(sockets=SOCKETS))
    assert found["surface.listening_tcp", "network"] == 1
    assert found["surface.listening_tcp", "loopback"] == 2
    assert found["surface.listening_udp", "network"] == 1
    assert found["surface.listening_udp", "loopback"] == 0


def test_users_are_counted_with_the_state_of_their_passwords() -> None:
    """An account without a password would look like one that is locked."""
    passwd = b"root:x:0:0:root:/root:/bin/bash\nbin:x:2:2::/bin:/usr/sbin/nologin\n:::\nevil | <b>\n"
    found = values(ask(passwd=passwd, passwords=b"root empty\nbin locked\nx set y\n"))
    assert found["surface.users", ""] == 2
    assert found["surface.users", "with-shell"] == 1
    assert (found["surface.passwords", "empty"], found["surface.passwords", "locked"]) == (1, 1)


def test_programs_are_counted_once_by_name() -> None:
    """/bin and /usr/bin of a merged system would make two shells of one."""
    found = values(ask(programs=b"/bin/sh\n/usr/bin/sh\n/bin/bash\n/usr/bin/apt\n/usr/bin/perl\n/bin/shx\n"))
    assert found["surface.shells", ""] == 2
    assert found["surface.package_managers", ""] == 1
    assert found["surface.interpreters", ""] == 1


def test_syscalls_are_counted_by_their_handlers() -> None:
    """A symbol that is listed twice would be two system calls."""
    lines = b" T __x64_sys_read\n T __x64_sys_write\n t __x64_sys_read\n W __x64_sys_ni\n T __ia32_sys_read\n"
    assert values(ask(kallsyms=lines))["surface.syscalls", ""] == 2


def test_an_answer_of_nothing_is_told_from_no_answer() -> None:
    """A guest without `find` would be said to have no SUID file."""
    found = ask(suid=b"", modules=b"")
    assert values(found)["surface.suid", ""] == 0
    assert values(found)["surface.modules", ""] == 0
    missing = {gap.metric for gap in found.gaps}
    assert {"surface.sgid", "surface.users", "surface.processes"} <= missing
    assert not missing & {"surface.suid", "surface.modules"}
    assert all(gap.reason.startswith("unknown: ") for gap in found.gaps)


def test_a_question_that_fails_does_not_stop_the_others() -> None:
    """One slow command would cost all figures after it."""
    found = ask(kallsyms=ShellError("took more than 240 s", "x"), modules=b"virtio_net 69632 0 - Live 0x0\n")
    assert values(found)["surface.modules", ""] == 1
    assert "took more than 240 s" in {gap.reason for gap in found.gaps}


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)
@given(text=st.binary(max_size=300))
def test_hostile_answers_are_counted_or_refused_and_never_crash(question: Question, text: bytes) -> None:
    """A guest could end the run by what it prints."""
    found = ask(**{question.name: text})
    assert all(sample.value >= 0 for sample in found.samples)
    answered = {sample.metric for sample in found.samples} | {gap.metric for gap in found.gaps}
    assert set(question.metrics) <= answered
