"""The only place that starts a process; it never interprets what the process prints.

Every child is killed by the kernel when the process that started it dies (`PR_SET_PDEATHSIG`), so that
SIGKILL to guestbench leaves nothing behind. The call is made between fork and exec rather than by
`setpriv`, because another exec in between would be counted as boot time of the guest.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from guestbench.errors import ToolFailed, ToolMissing
from guestbench.host.limits import Held, become

PR_SET_PDEATHSIG = 1
STDERR_KEPT = 4000
PIPE = subprocess.PIPE
"""For `start`: talk to the child through a pipe."""

_LINES = Path(__file__).with_name("debian-packages.txt").read_text(encoding="utf-8").splitlines()
DEBIAN_PACKAGES = {
    program: package
    for package, *programs in (line.split() for line in _LINES if not line.startswith("#"))
    for program in programs
}
"""Which Debian package holds a program, or a file by its path."""

_libc = ctypes.CDLL(None, use_errno=True)


class Completed(NamedTuple):
    """What a finished process left: its exit status and both outputs, as bytes."""

    status: int
    stdout: bytes
    stderr: bytes


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel to kill this process when its parent dies; exit if `parent_pid` is gone already."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(137)


def find_tool(name: str) -> Path:
    """Find a program on PATH, or in the sbin folders that a user's PATH lacks on Debian.

    Raises:
        ToolMissing: it is not installed.
    """
    found = shutil.which(name) or shutil.which(name, path="/usr/local/sbin:/usr/sbin:/sbin")
    if found is None:
        package = DEBIAN_PACKAGES.get(name, name)
        raise ToolMissing(f"{name} is not installed", f"apt-get install {package}")
    return Path(found)


def run(
    argv: Sequence[str | Path],
    *,
    input: bytes = b"",  # noqa: A002
    timeout_s: float | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdout: IO[bytes] | None = None,
    check: bool = True,
) -> Completed:
    """Run a program to its end. `env` is added to the environment; `stdout` receives the output if given.

    Raises:
        ToolMissing: argv[0] is not installed.
        ToolFailed: it ended with another status than 0 (unless `check` is false), or took too long.
    """
    tool = find_tool(str(argv[0]))
    popen = _spawn([tool, *argv[1:]], env, stdin=PIPE, stdout=stdout or PIPE, stderr=PIPE, cwd=cwd)
    with popen:
        try:
            output, complaint = popen.communicate(input, timeout_s)
        except subprocess.TimeoutExpired as late:
            popen.kill()
            raise ToolFailed(
                f"{tool.name} took more than {timeout_s:g} s",
                "guestbench doctor",
                status=-signal.SIGKILL,
                stderr=tail(late.stderr or b""),
            ) from None
        except BaseException:
            popen.kill()
            raise
    status = popen.returncode
    if check and status != 0:
        words = tail(complaint)
        last = words.strip().splitlines()[-1:] or ["it printed nothing"]
        message = f"{tool.name} failed with status {status}: {last[0]}"
        raise ToolFailed(message, "guestbench doctor", status=status, stderr=words)
    return Completed(status, output or b"", complaint)


def run_in_foreground(argv: Sequence[str | Path]) -> int:
    """Run a program on the user's own terminal to its end; returns its exit status.

    Raises:
        ToolMissing: argv[0] is not installed.
    """
    with _spawn([find_tool(str(argv[0])), *argv[1:]]) as popen:
        try:
            return popen.wait()
        except BaseException:
            popen.kill()
            raise


def _spawn(
    argv: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    before_exec: Callable[[], None] = lambda: None,
    user: int | None = None,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """Start a program that dies with us. `env` is added to ours; `options` are those of `Popen`.

    Raises:
        KeyboardInterrupt: SIGINT came meanwhile. It is raised when all is done, for what a handler raises
            while Python runs the callbacks around a fork is printed and lost, and the run would go on.
    """
    parent = os.getpid()
    heard: list[int] = []
    inherited = signal.getsignal(signal.SIGINT)

    def prepare() -> None:
        if user is not None:
            become(user)
        die_with_parent(parent)
        before_exec()

    raises = inherited is signal.default_int_handler and threading.current_thread() is threading.main_thread()
    if raises:
        signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        popen = subprocess.Popen(
            list(map(str, argv)),
            env={**os.environ, **env} if env is not None else None,
            preexec_fn=prepare,
            **options,
        )
    finally:
        if raises:
            signal.signal(signal.SIGINT, inherited)
    if heard:
        popen.kill()
        popen.communicate()
        raise KeyboardInterrupt
    return popen


class Child:
    """A process that runs beside us; `exec_ns` is the monotonic time just before its exec."""

    def __init__(self, popen: subprocess.Popen[bytes], exec_ns: int) -> None:
        self._popen = popen
        self.pid = popen.pid
        self.exec_ns = exec_ns

    @property
    def stdin(self) -> IO[bytes] | None:
        """The pipe to its standard input, if one was asked for."""
        return self._popen.stdin

    @property
    def stdout(self) -> IO[bytes] | None:
        """The pipe from its standard output, if one was asked for."""
        return self._popen.stdout

    def poll(self) -> int | None:
        """Its exit status (negative: the signal), or None while it runs."""
        return self._popen.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Wait for its exit status; None if it still runs after `timeout_s`."""
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def cpu_ns(self) -> int | None:
        """CPU time it has used so far, threads included, user and system; None once it was reaped.

        The clock id is made as `clock_getcpuclockid(3)` makes it on Linux.
        """
        try:
            return time.clock_gettime_ns((~self.pid << 3) | 2)
        except OSError:
            return None

    def terminate(self) -> None:
        """Send SIGTERM, if it still runs."""
        if self._popen.poll() is None:
            self._popen.terminate()

    def kill(self) -> None:
        """Send SIGKILL, if it still runs."""
        if self._popen.poll() is None:
            self._popen.kill()


@contextmanager
def start(
    argv: Sequence[str | Path],
    *,
    pass_fds: Sequence[int] = (),
    stdin: IO[bytes] | int = subprocess.DEVNULL,
    stdout: IO[bytes] | int = subprocess.DEVNULL,
    stderr: IO[bytes] | int = subprocess.DEVNULL,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    new_session: bool = False,
    grace_s: float = 2.0,
    held: Held | None = None,
) -> Iterator[Child]:
    """Start a program; end it on leaving: SIGTERM, `grace_s` seconds, SIGKILL. `env` is added to ours.

    It runs with the limits of `held`, and as its user.

    Raises:
        ToolMissing: argv[0] is not installed.
    """
    tool = find_tool(str(argv[0]))
    clock_out, clock_in = os.pipe()

    def before_exec() -> None:
        if held is not None:
            held.limits.enforce()
        os.write(clock_in, time.monotonic_ns().to_bytes(8, "little"))

    try:
        popen = _spawn(
            [tool, *argv[1:]],
            env,
            before_exec,
            held.user if held is not None else None,
            pass_fds=tuple(pass_fds),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=cwd,
            start_new_session=new_session,
        )
        exec_ns = int.from_bytes(os.read(clock_out, 8), "little")
    finally:
        os.close(clock_in)
        os.close(clock_out)
    child = Child(popen, exec_ns)
    try:
        yield child
    finally:
        child.terminate()
        if child.wait(grace_s) is None:
            child.kill()
            popen.wait()
        for pipe in (popen.stdin, popen.stdout, popen.stderr):
            if pipe is not None:
                pipe.close()


def tail_file(path: Path) -> str:
    """As `tail`, of a file that may be of any size, of which no more is read. Raises OSError."""
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - STDERR_KEPT))
        return tail(file.read(STDERR_KEPT))


def tail(output: bytes) -> str:
    """The end of a program's output as printable text: control characters are escaped."""
    text = output[-STDERR_KEPT:].decode("utf-8", "replace")
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)
