"""Starting processes: what must hold whatever is started."""

from __future__ import annotations

import sys

import pytest

from guestbench.host import process

INTERRUPTED_WHILE_IT_FORKS = """
import os, signal, sys
from guestbench.host import process

signal.signal(signal.SIGINT, signal.default_int_handler)
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))
try:
    {start}
except KeyboardInterrupt:
    print("interrupted")
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


@pytest.mark.parametrize(
    "start",
    [
        'process.run(["sleep", "60"])',
        'process.run_in_foreground(["sleep", "60"])',
        'process.start(["sleep", "60"]).__enter__()',
    ],
)
def test_ctrl_c_while_a_program_is_started_is_not_lost(start: str) -> None:
    """Python drops what is raised while it forks, so a run would go on as if nobody had pressed Ctrl-C."""
    script = INTERRUPTED_WHILE_IT_FORKS.format(start=start)
    done = process.run([sys.executable, "-c", script], timeout_s=30)
    assert done.stdout == b"interrupted\n"
    assert done.stderr == b""


def test_ctrl_c_stays_ignored_where_it_was() -> None:
    """A run under nohup or in the background would end by the Ctrl-C of somebody else's terminal."""
    script = (
        "import os, signal\nfrom guestbench.host import process\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))\n"
        'print(process.run(["echo", "done"]).stdout)'
    )
    assert process.run([sys.executable, "-c", script], timeout_s=30).stdout == b"b'done\\n'\n"
