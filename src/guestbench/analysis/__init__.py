"""Statistics of a run's records; pure functions that never start a process, read a file or print."""
