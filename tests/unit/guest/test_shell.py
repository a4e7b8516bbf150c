"""The console shell on real shells behind a pty, with noise on the console, and on guests with faults."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shell_guest import Disturb, PtyMachine, ScriptedMachine, start_guest, wait_for_login

from guestbench.errors import ShellError
from guestbench.guest import shell_protocol as protocol
from guestbench.guest.serial import SerialLog
from guestbench.guest.shell import Answer, Shell, open_shell
from guestbench.guest.shell_protocol import Checksum, Encoding
from guestbench.guest.shell_question import Console
from guestbench.model import Login

ROOT = Login(user="root")
BUSYBOX = shutil.which("busybox")
SHELLS = [
    "dash -i",
    "bash --norc -i",
    pytest.param(f"{BUSYBOX} ash -i", marks=pytest.mark.skipif(not BUSYBOX, reason="no busybox here")),
]
KERNEL = b"[   12.345678] random: crng init done\r\n"
RECORDINGS = Path(__file__).parents[2] / "recordings"


def enter(machine: PtyMachine, login: Login = ROOT) -> Shell:
    """A shell on a machine that shows its login prompt soon."""
    return open_shell(machine, login, wait_for_login(machine))


@pytest.fixture(scope="module", autouse=True)
def _kept_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Outputs are kept in a folder of the tests: these guests live on this host."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "FOLDERS", ("/nonexistent", str(tmp_path_factory.mktemp("outputs"))))
        yield


@pytest.fixture(scope="module", params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell of each kind, which all tests of commands share."""
    with start_guest(request.param, tmp_path_factory.mktemp("guest")) as machine:
        yield enter(machine)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PtyMachine, Shell]]:
    """A guest and the shell in it, for tests that disturb its console."""
    with start_guest("bash --norc -i", tmp_path_factory.mktemp("guest")) as machine:
        yield machine, enter(machine)


def said(stdout: bytes = b"", stderr: bytes = b"", status: int = 0) -> Answer:
    """The expected answer."""
    return Answer(status=status, stdout=stdout, stderr=stderr)


# --- commands -----------------------------------------------------------------------------------------

OCTAL = "".join(f"\\{byte:03o}" for byte in range(256))
MARKERS = b"\n0123456789abcdef{r,0,0,0,,|d41d8cd98f00b204e9800998ecf8427e-}0123456789abcdef\nlogin: \n# "

COMMANDS: dict[str, tuple[str | bytes, Answer]] = {
    "nothing": ("", said()),
    "no output": ("true", said()),
    "no newline at the end": ("printf abc", said(b"abc")),
    "only newlines": (r"printf '\n\n\n'", said(b"\n\n\n")),
    "all byte values": (f"printf '{OCTAL}'", said(bytes(range(256)))),
    "both outputs": ("echo out; echo err >&2; exit 7", said(b"out\n", b"err\n", 7)),
    "only errors": ("echo err >&2", said(b"", b"err\n")),
    "exit": ("exit 3", said(status=3)),
    "killed": ("exec sh -c 'kill -9 $$'", said(status=137)),
    "quotes": ("""echo 'single' "double \\"$((6*7))\\"" `echo back` 'it'"'"'s'""",
               said(b"single double \"42\" back it's\n")),
    "percent and at": ("printf '%s %d%%\\n' a@b 5", said(b"a@b 5%\n")),
    "exclamation": ("echo '!!' wow!", said(b"!! wow!\n")),
    "backslashes": (r"printf '%s\n' '\n\\t\0'", said(b"\\n\\\\t\\0\n")),
    "lines": ("for i in 1 2 3\ndo\n\techo $i\ndone\n", said(b"1\n2\n3\n")),
    "here document": ("cat <<E\n a$((1+1))\nE", said(b" a2\n")),
    "comment at the end": ("echo a # and no more", said(b"a\n")),
    "bytes that are not ASCII": (b"printf %s '\xff\xc3\xa9\x80'", said(b"\xff\xc3\xa9\x80")),
    "control characters": (b"printf %s '\x01\x03\x04\x11\x13\x15\x1a\x1b\x1c\x7f\r'",
                           said(b"\x01\x03\x04\x11\x13\x15\x1a\x1b\x1c\x7f\r")),
    "long command": (f"printf %s '{'0123456789' * 700}'", said(b"0123456789" * 700)),
    "long and escaped": (f"printf %s '{'é' * 1500}'", said("é".encode() * 1500)),
    "markers of its own": (b"printf '%s' '" + MARKERS + b"'", said(MARKERS)),
    "standard input is empty": ("cat; read -r line || echo none", said(b"none\n")),
    "no parameters": ('echo "$#"', said(b"0\n")),
    "background output": ("( sleep 0.05; echo late ) & echo early; wait", said(b"early\nlate\n")),
    "closed outputs": ("exec >&- 2>&-; exit 4", said(status=4)),
    "exit trap": ("trap 'echo bye' EXIT; echo hi", said(b"hi\nbye\n")),
    "stopped by an error": ("set -e; echo a; false; echo b", said(b"a\n", status=1)),
    "unset variable": ("set -u; (: $nope) 2>/dev/null || echo caught", said(b"caught\n")),
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_gives_exactly_what_it_printed(shell: Shell, name: str) -> None:
    """A probe would count, parse or compare something else than the guest said."""
    command, expected = COMMANDS[name]
    assert shell.run(command) == expected


def test_every_exit_status_arrives(shell: Shell) -> None:
    """A failed command would be taken for one that succeeded, or for another failure."""
    assert [shell.run(f"exit {status}").status for status in range(256)] == list(range(256))


def test_a_long_output_arrives_whole(shell: Shell) -> None:
    """A package list or a file of the guest would be cut short or damaged."""
    data = random.Random(1).randbytes(1 << 20)
    answer = shell.run("i=0; while [ $i -lt 1024 ]; do printf '%01023d\\n' $i; i=$((i+1)); done; echo e >&2")
    assert answer.stdout == b"".join(b"%01023d\n" % i for i in range(1024))
    assert answer.stderr == b"e\n"
    octal = "".join(f"\\0{byte:03o}" for byte in data[:20_000])
    assert shell.run(f"for i in 1 2 3; do printf %b '{octal}'; done").stdout == data[:20_000] * 3


@pytest.mark.parametrize("block", [49151, 49152, 49153, 98304])
def test_outputs_around_the_size_of_a_block_arrive_whole(shell: Shell, block: int) -> None:
    """An output whose length meets a limit of the protocol would lose or repeat a part."""
    assert shell.run(f"printf %0{block}d 7; printf %0{block}d 8 >&2") == said(
        b"7".rjust(block, b"0"), b"8".rjust(block, b"0")
    )


def test_commands_cannot_disturb_each_other(shell: Shell) -> None:
    """What a probe asks would depend on which probes asked before it."""
    before = shell.run("pwd; umask; set -f; x=1; cd /; umask 0; echo() { :; }; IFS=0123456789")
    assert before.status == 0
    assert shell.run('echo "${x-unset}"; printf "%s\\n" a*; pwd; umask').stdout.startswith(b"unset\n")
    assert shell.run("pwd; umask").stdout == before.stdout


def test_a_syntax_error_is_an_answer_and_not_the_end(shell: Shell) -> None:
    """A probe with a command that this guest's shell does not know would end all probing."""
    answer = shell.run("echo ( x")
    assert answer.status != 0
    assert answer.stdout == b""
    assert b"yntax error" in answer.stderr
    for command in (". ./nonexistent", "set -o nonsense", ": ${x?gone}", "readonly r=1; r=2", "if", "'"):
        assert shell.run(command).status != 0
    assert shell.run("echo fine").stdout == b"fine\n"


def test_background_output_does_not_leak_into_the_next_command(shell: Shell) -> None:
    """A service that a command started would print into the outputs of others."""
    assert shell.run("( sleep 0.3; echo late; echo late >&2 ) & echo started").stdout == b"started\n"
    assert shell.run("sleep 0.6; echo mine") == said(b"mine\n")


def test_a_command_that_takes_too_long_is_ended_and_the_next_one_works(shell: Shell) -> None:
    """One hanging command would cost all that comes after it, or go on eating the guest's CPU."""
    for command in ("sleep 1000.25", "trap '' INT TERM HUP; sleep 1000.25 | cat", "while :; do :; done"):
        with pytest.raises(ShellError, match=r"took more than 0\.3 s in the guest and was ended"):
            shell.run(command, timeout_s=0.3)
        assert shell.run("echo next").stdout == b"next\n"


def test_a_command_that_kills_its_group_is_an_answer(shell: Shell) -> None:
    """A test of a guest's `kill` would be taken for a hanging guest."""
    assert shell.run("echo a; kill -9 0", timeout_s=20.0) == said(b"a\n", status=137)


def test_a_nul_byte_in_a_command_is_refused() -> None:
    """A command would silently end at the byte that no shell can hold."""
    machine = ScriptedMachine(lambda line: b"")
    with pytest.raises(ValueError, match="NUL"):
        Shell(machine_console(machine), Encoding.BASE64, Checksum.MD5).run(b"a\0b")


def test_meanwhile_is_called_while_a_command_runs(shell: Shell) -> None:
    """Memory would not be sampled while a workload runs."""
    calls = 0

    def meanwhile() -> float:
        nonlocal calls
        calls += 1
        return 0.01

    shell.run("sleep 0.5", meanwhile=meanwhile)
    assert calls >= 10


def test_an_exception_from_meanwhile_leaves_a_working_shell(shell: Shell) -> None:
    """A failed sample would make the guest useless for the other probes."""

    def fail() -> float:
        raise RuntimeError("sampling failed")

    with pytest.raises(RuntimeError, match="sampling failed"):
        shell.run("sleep 0.1; echo a", meanwhile=fail)
    assert shell.run("echo b").stdout == b"b\n"


# --- noise --------------------------------------------------------------------------------------------

NOISES = (
    KERNEL,
    b"\r\n[    3.000001] systemd[1]: Started \xe2\x80\xa6\r\r\n",
    b"\x1b[0m",
    b"\x1b[?2004h",
    b"\x1b[6n",
    b"\x1b]0;root@localhost: ~\x07",
    b"\r",
    b"\r\r\n",
    b"\n",
    b" ",
    b"\x00\xff\x07",
)


def insert(seed: int, noises: tuple[bytes, ...], every: int) -> Disturb:
    """Insert a random one of `noises` about once in `every` bytes."""
    chance = random.Random(seed)

    def disturb(data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            if chance.random() * every < 1.0:
                out += chance.choice(noises)
            out.append(byte)
        return bytes(out)

    return disturb


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 30), every=st.sampled_from([3, 10, 50, 200]))
def test_messages_printed_in_the_middle_change_nothing(
    noisy: tuple[PtyMachine, Shell], seed: int, every: int
) -> None:
    """A kernel message at the wrong moment would falsify an output, or hang a probe."""
    machine, shell = noisy
    command, expected = random.Random(seed).choice([*COMMANDS.values()])
    machine.disturb = insert(seed, NOISES, every)
    try:
        assert shell.run(command) == expected
    finally:
        machine.disturb = bytes


@pytest.mark.parametrize("name", ["debian-12-nocloud", "linux-minimal", "mirage-unikraft"])
def test_a_boot_log_printed_in_between_changes_nothing(noisy: tuple[PtyMachine, Shell], name: str) -> None:
    """A guest that is still starting services behind its login prompt could not be asked anything."""
    machine, shell = noisy
    lines = (RECORDINGS / f"{name}.log").read_bytes().splitlines(keepends=True)
    machine.disturb = insert(3, tuple(lines), 120)
    try:
        for _ in range(5):
            assert shell.run("printf 'a\\nb\\n'; echo c >&2; exit 9") == said(b"a\nb\n", b"c\n", 9)
    finally:
        machine.disturb = bytes


def test_damage_that_cannot_be_undone_is_repaired_by_asking_again(noisy: tuple[PtyMachine, Shell]) -> None:
    """Lost or changed bytes on the console would become lost or changed bytes of an output."""
    machine, shell = noisy
    chance, damaged = random.Random(5), 0

    def damage(data: bytes) -> bytes:
        # The first long piece, and then once in 100 kB, whatever pieces a busy host happens to read: an
        # answer of 60 kB has to come through whole at last.
        nonlocal damaged
        out = bytearray(data)
        if chance.random() < len(out) / 100_000 or (not damaged and len(out) > 500):
            damaged += 1
            at = chance.randrange(len(out))
            out[at : at + chance.randrange(1, 20)] = chance.randbytes(chance.randrange(20))
        return bytes(out)

    machine.disturb = damage
    command = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; printf %060000d 7 >&2"
    expected = said(b"".join(b"line %d\n" % i for i in range(2000)), b"7".rjust(60000, b"0"))
    try:
        assert shell.run(command) == expected
        for number in range(10):
            assert shell.run(f"echo {number}; exit {number}") == said(b"%d\n" % number, status=number)
        assert damaged
    finally:
        machine.disturb = bytes


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 30))
def test_logging_in_amid_messages(tmp_path: Path, seed: int) -> None:
    """A guest whose kernel talks at the login prompt could not be probed."""
    with start_guest("bash --norc -i", tmp_path, password="secret") as machine:
        log = wait_for_login(machine)
        machine.disturb = insert(seed, (KERNEL, b"\x1b[0m", b"\r"), 40)
        shell = open_shell(machine, Login(user="root", password="secret"), log)
        assert shell.run("echo hello") == said(b"hello\n")


# --- guests that lack something -----------------------------------------------------------------------


PROGRAMS = ["sh", "bash", "dash", "cat", "wc", "dd", "base64", "od", "md5sum", "cksum"]
PROGRAMS += ["rm", "mkdir", "sleep", "stty", "dmesg", "true"]


def hide(folder: Path, *names: str) -> dict[str, str]:
    """An environment in which the named programs are not found."""
    programs = folder / "bin"
    programs.mkdir()
    for name in PROGRAMS:
        found = shutil.which(name)
        if found and name not in names:
            (programs / name).symlink_to(found)
    return {"PATH": str(programs)}


@pytest.mark.parametrize(
    ("hidden", "encoding", "checksum"),
    [
        (("base64",), Encoding.HEX, Checksum.MD5),
        (("md5sum",), Encoding.BASE64, Checksum.CRC),
        (("base64", "md5sum", "stty", "dmesg"), Encoding.HEX, Checksum.CRC),
    ],
)
def test_a_guest_with_other_tools_gives_the_same(
    tmp_path: Path, hidden: tuple[str, ...], encoding: Encoding, checksum: Checksum
) -> None:
    """Guests without base64, md5sum or stty could not be probed."""
    with start_guest("dash -i", tmp_path, env=hide(tmp_path, *hidden)) as machine:
        shell = enter(machine)
        assert (shell._encoding, shell._checksum) == (encoding, checksum)
        for command, expected in COMMANDS.values():
            assert shell.run(command) == expected
        assert shell.run("printf %030000d 7").stdout == b"7".rjust(30000, b"0")


@pytest.mark.parametrize(
    ("hidden", "message"),
    [
        (("base64", "od"), "base64 or od"),
        (("md5sum", "cksum"), "md5sum or cksum"),
        (("wc",), "dd and wc"),
    ],
)
def test_a_guest_that_lacks_a_needed_program_is_told_so(
    tmp_path: Path, hidden: tuple[str, ...], message: str
) -> None:
    """The user would see a timeout where a program is missing."""
    with (
        start_guest("dash -i", tmp_path, env=hide(tmp_path, *hidden)) as machine,
        pytest.raises(ShellError, match=f"lacks programs that its shell needs: {message}"),
    ):
        enter(machine)


def test_a_guest_with_a_password_lets_us_in(tmp_path: Path) -> None:
    """Guests whose user has a password could not be probed."""
    with start_guest("bash --norc -i", tmp_path, password="secret") as machine:
        shell = enter(machine, Login(user="root", password="secret"))
        assert shell.run("echo hello").stdout == b"hello\n"


@pytest.mark.parametrize(
    ("login", "message"),
    [
        (Login(user="root", password="wrong"), "refused the login of 'root'$"),
        (Login(user="root"), "refused the login of 'root', which wants a password$"),
        (Login(user="nobody", password="secret"), "refused the login of 'nobody'$"),
    ],
)
def test_a_refused_login_is_told_so(tmp_path: Path, login: Login, message: str) -> None:
    """A wrong password would look like a guest that hangs."""
    with (
        start_guest("bash --norc -i", tmp_path, password="secret") as machine,
        pytest.raises(ShellError, match=message),
    ):
        enter(machine, login)


def test_a_shell_that_ends_is_told_so(tmp_path: Path) -> None:
    """A guest that went away would be waited for without end."""
    with start_guest("dash -i", tmp_path) as machine:
        shell = enter(machine)
        assert shell.run("echo a").stdout == b"a\n"
        machine.disturb = lambda data: b""  # the VMM closes the console
        with pytest.raises(ShellError, match="the guest ended; last line"):
            shell.run("echo b")


# --- scripted guests ----------------------------------------------------------------------------------


def machine_console(machine: ScriptedMachine) -> Console:
    """The console of a scripted machine."""
    return Console(machine, SerialLog())


def fail_to_enter(answer: Callable[[bytes], bytes | None]) -> str:
    """The reason why there is no shell on a guest that answers each line so."""
    with pytest.raises(ShellError) as caught:
        open_shell(ScriptedMachine(answer), ROOT, SerialLog())
    assert caught.value.message.isascii()
    assert caught.value.message.isprintable()
    return caught.value.message


def test_a_silent_guest_is_given_up_in_time() -> None:
    """A guest without a getty would be waited for without end."""
    machine = ScriptedMachine(lambda line: b"")
    with pytest.raises(
        ShellError, match=r"no POSIX shell answered within 50 s of the login of 'root'; .*silent"
    ):
        open_shell(machine, ROOT, SerialLog(), timeout_s=50.0)
    assert 50e9 <= machine.now_ns() < 60e9


def test_a_shell_that_is_no_shell_is_given_up_and_quoted() -> None:
    """A guest with another prompt behind its login would fail without a hint at what it is."""
    reason = fail_to_enter(lambda line: line + b"\r\nSyntaxError: \x1b[31minvalid syntax\r\n>>> ")
    assert "no POSIX shell" in reason
    assert ">>>" in reason


def test_an_echo_is_not_taken_for_an_answer() -> None:
    """A console that only echoes what is typed would pass for a shell."""
    assert "no POSIX shell" in fail_to_enter(lambda line: line + b"\r\n")


def test_a_console_that_is_closed_at_login_is_told_so() -> None:
    """A guest that powers off would be waited for without end."""
    assert "the guest ended" in fail_to_enter(lambda line: None)


def test_a_guest_that_floods_its_console_is_given_up() -> None:
    """A guest that prints without end would fill the memory of the host."""
    assert "floods its console" in fail_to_enter(lambda line: b"spam spam\r\n" * 4_000_000)


def test_a_gone_vmm_is_told_so() -> None:
    """A VMM that died would end the tool with an exception of Python's."""

    class Gone(ScriptedMachine):
        def write_serial(self, data: bytes) -> None:
            raise BrokenPipeError

    with pytest.raises(ShellError, match="the guest ended"):
        open_shell(Gone(lambda line: b""), ROOT, SerialLog())


def test_a_guest_that_stops_half_way_is_told_so(tmp_path: Path) -> None:
    """A guest that hangs would be taken for a slow command, and waited for again and again."""
    with start_guest("dash -i", tmp_path) as real:
        shell = enter(real)
        shell._console = machine_console(ScriptedMachine(lambda line: b"Oops: 0000 [#1]\r\n"))
        with pytest.raises(ShellError, match="stopped answering; last line: Oops: 0000"):
            shell.run("echo a", timeout_s=5.0)
        with pytest.raises(ShellError, match="stopped answering"):
            shell.run("echo b")


def test_a_console_that_damages_everything_is_given_up() -> None:
    """A broken console would be asked again without end."""

    def answer(line: bytes) -> bytes:
        nonce = line.split()[-1]
        return nonce + b"{r,0,0,0,|bad}" + nonce + b"\n"

    shell = Shell(machine_console(ScriptedMachine(answer)), Encoding.BASE64, Checksum.MD5)
    with pytest.raises(ShellError, match="damages every answer"):
        shell.run("echo a", timeout_s=1e6)


def test_a_guest_without_a_writable_folder_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest with a read-only file system would look like one that hangs."""
    monkeypatch.setattr(protocol, "FOLDERS", ("/nonexistent",))
    with (
        start_guest("dash -i", tmp_path) as machine,
        pytest.raises(ShellError, match="no folder that its shell can write to"),
    ):
        enter(machine)
