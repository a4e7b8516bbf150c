"""Makes a run: from an experiment to trials, each in a worker process, each a record in the store."""
