"""The work that guests are given: one `NAME.toml` for each workload, and the sources of its programs.

The files are read by `guestbench.definition.workloads`.
"""
