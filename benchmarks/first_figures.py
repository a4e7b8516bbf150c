"""How long a newcomer waits for the first figures of the default comparison, on a host that is quiet.

    .venv/bin/python benchmarks/first_figures.py [--fresh]

A run of the default experiment is begun, and interrupted when its report is there. Printed are the seconds
from the command to the first finished trial on the terminal, and to `report.html`. With --fresh the cache is
empty, so that images have to be built; the status is 1 where the report takes more than 180 s, and without
it, where images are there, more than 60 s. The Python environment has to be there: `make setup` makes it.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

FRESH_S, THERE_S = 180.0, 60.0
GIVEN_UP = 10


def main() -> int:
    """Print both times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fresh", action="store_true")
    fresh = parser.parse_args().fresh
    most = FRESH_S if fresh else THERE_S
    with tempfile.TemporaryDirectory(prefix="guestbench-", ignore_cleanup_errors=True) as folder:
        environment = {**os.environ, "XDG_CACHE_HOME": f"{folder}/cache"} if fresh else dict(os.environ)
        shown, reported = watch(Path(folder) / "run", environment, most * GIVEN_UP)
    print(f"first figure on the terminal after {shown:.0f} s, report.html after {reported:.0f} s")
    return int(reported > most)


def watch(folder: Path, environment: dict[str, str], most_s: float) -> tuple[float, float]:
    """Begin the run that is to be in a folder; when its first figure was shown and reported, in seconds.

    Raises:
        RuntimeError: it ended, or neither has come after `most_s`.
    """
    log, begun, shown = folder.with_suffix(".log"), time.monotonic(), 0.0
    with log.open("wb") as stderr:
        run = subprocess.Popen(
            [sys.executable, "-m", "guestbench", "run", "seed", "-o", folder], stderr=stderr, env=environment
        )
        try:
            while run.poll() is None and (now := time.monotonic() - begun) < most_s:
                said = log.read_text("utf-8", "replace")
                shown = shown or (now if re.search(r"^\[\d+/\d+\] ", said, re.MULTILINE) else 0.0)
                if shown and (folder / "report.html").exists():
                    return shown, now
                time.sleep(0.2)
        finally:
            with suppress(ProcessLookupError):
                run.send_signal(signal.SIGINT)
            run.wait()
    raise RuntimeError(f"no figures came:\n{log.read_text('utf-8', 'replace')}")


if __name__ == "__main__":
    sys.exit(main())
