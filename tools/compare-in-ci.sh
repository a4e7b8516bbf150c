#!/bin/sh
# Compares two versions of a guest in CI, for action.yml and templates/guestbench.yml; set-up has been made.
#
# Read from the environment: OLD and NEW (revisions, or images), BUILD and IMAGE (how a revision is built, and what
# that makes; both or neither), GATES and OPTIONS (one a line; either may be empty), and OUTPUT (the run's folder).
# Writes beside OUTPUT comment.md, the table, and gates.xml (JUnit); the table is appended to GITHUB_STEP_SUMMARY,
# and the path of comment.md to GITHUB_OUTPUT, where these are set.
#
# Exit status: that of `guestbench ab`; 2 too where OLD or NEW is empty.
set -eu

guestbench=$(cd "$(dirname "$0")/.." && pwd)/.venv/bin/guestbench
: "${OUTPUT:=results/ab}"
beside=$(dirname "$OUTPUT")

if test -z "${OLD:-}" || test -z "${NEW:-}"; then
    echo "error: which versions are compared is not known: OLD is '${OLD:-}', NEW is '${NEW:-}'" >&2
    echo "hint: give both, as this is no pull request: old: v1.0, new: HEAD" >&2
    exit 2
fi

set -- --markdown --output "$OUTPUT" --junit "$beside/gates.xml"
test -z "${BUILD:-}" || set -- "$@" --build "$BUILD"
test -z "${IMAGE:-}" || set -- "$@" --image "$IMAGE"
# A word a line, as it is: no shell reads it a second time.
newline='
'
IFS=$newline
set -f
for gate in ${GATES:-}; do set -- "$@" --fail-on "$gate"; done
for option in ${OPTIONS:-}; do set -- "$@" "$option"; done
unset IFS

mkdir -p "$beside"
status=0
"$guestbench" ab "$@" -- "$OLD" "$NEW" >"$beside/comment.md" || status=$?
cat "$beside/comment.md"
if test -n "${GITHUB_STEP_SUMMARY:-}"; then cat "$beside/comment.md" >>"$GITHUB_STEP_SUMMARY"; fi
if test -n "${GITHUB_OUTPUT:-}"; then printf 'comment=%s\n' "$beside/comment.md" >>"$GITHUB_OUTPUT"; fi
exit "$status"
