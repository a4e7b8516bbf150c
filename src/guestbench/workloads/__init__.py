"""The work that guests are given: one `NAME.toml` for each workload, and what is common to all of them.

The files are read by `guestbench.load`. Here are the contract of what a workload prints, the ways to have it
done by a guest, and the host's side of work that has two sides. Nothing here starts a VM.
"""
