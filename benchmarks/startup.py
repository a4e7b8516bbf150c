"""Prints what `guestbench --help` costs beside the bare interpreter, measured in turns in one run.

python benchmarks/startup.py [ROUNDS]
"""

from __future__ import annotations

import sys
import time
from statistics import median

from guestbench.host import process

COMMANDS = {
    "bare interpreter": (sys.executable, "-c", "pass"),
    "guestbench --help": (sys.executable, "-m", "guestbench", "--help"),
}


def main() -> None:
    """Print the medians and their ratio."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    times_ms: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, argv in COMMANDS.items():
            start = time.monotonic()
            process.run(argv)
            times_ms[name].append((time.monotonic() - start) * 1e3)
    medians = {name: median(times) for name, times in times_ms.items()}
    for name, value in medians.items():
        print(f"{name}: median {value:.0f} ms, worst {max(times_ms[name]):.0f} ms ({rounds} rounds)")
    print(f"ratio {medians['guestbench --help'] / medians['bare interpreter']:.1f}")


if __name__ == "__main__":
    main()
