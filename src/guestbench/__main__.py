"""Makes `python -m guestbench` the same as `guestbench`."""

from guestbench.cli import main

main()
