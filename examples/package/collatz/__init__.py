"""The workload `collatz`: `collatz.toml` says what it is, `collatz.c` does it."""
