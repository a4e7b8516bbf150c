#!/bin/sh
# Starts a Dask scheduler and four workers (or as many as the argument says) on this machine, each with a core:
#
#   sh examples/fleet.sh 4 fleet.json &
#   guestbench run seed --on fleet.json
#
# All end with the script, by Ctrl-C or SIGTERM. `--on local:4` does the same for one run.
set -eu

workers=${1:-4}
file=${2:-fleet.json}
export DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False
export DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL=1s
export DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL=10s

rm -f "$file"
dask scheduler --host 127.0.0.1 --port 0 --no-dashboard --scheduler-file "$file" &
scheduler=$!
trap 'kill $scheduler $worker 2>/dev/null || :; rm -f "$file"' EXIT
trap 'exit 143' INT TERM
worker=
while ! test -s "$file"; do sleep 0.2; done
dask worker --scheduler-file "$file" --host 127.0.0.1 --no-dashboard \
    --nworkers "$workers" --nthreads 1 --resources core=1 --memory-limit 0 &
worker=$!
wait
