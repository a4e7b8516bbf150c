"""Prints what `guestbench --help` costs beside a bare `import click`, measured in turns in one run.

python benchmarks/startup.py [ROUNDS]
"""

from __future__ import annotations

import sys
import time
from statistics import median

from guestbench.host import process

COMMANDS = {
    "bare interpreter": "pass",
    "import click": "import click",
    "guestbench --help": "import sys; from guestbench.cli import run_cli; sys.exit(run_cli(['--help']))",
}


def main() -> None:
    """Print the medians and the ratio of the last to the one before it."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    times_ms: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, code in COMMANDS.items():
            start = time.monotonic()
            process.run([sys.executable, "-c", code])
            times_ms[name].append((time.monotonic() - start) * 1e3)
    medians = {name: median(times) for name, times in times_ms.items()}
    for name, value in medians.items():
        print(f"{name}: median {value:.0f} ms, worst {max(times_ms[name]):.0f} ms ({rounds} rounds)")
    print(f"ratio {medians['guestbench --help'] / medians['import click']:.2f}")


if __name__ == "__main__":
    main()
