#!/bin/sh
# Prepares this folder for `make compare` and `make test`: Debian packages that are missing, and a virtual
# environment in .venv from requirements.lock. Run again, it finds all of it there and does nothing.
# With the argument `tests` it also installs what only tests need, if it can; with `docs`, of that the libraries alone.
#
# Exit status: 0 ready, 3 this host lacks something (the lines printed say what, and the command that mends it).
set -eu

PYTHON=${PYTHON:-python3}
APT_INSTALL='apt-get install -y --no-install-recommends'

cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin:/sbin"
# `make` hands its own options down; pip and apt are not to see them.
unset MAKEFLAGS MFLAGS || true

say() { printf '%s\n' "$*" >&2; }

stop() {
    say "error: $1"
    say "hint: $2"
    exit 3
}

PACKAGES=src/guestbench/host/debian-packages.txt

listed_packages() { sed -e '/^#/d' -e 's/[[:space:]].*//' "$1"; }

missing_packages() {
    for package in $(listed_packages "$1"); do
        status=$(dpkg-query -W -f='${db:Status-Status} ' "$package" 2>/dev/null) || status=
        case " $status " in
            *' installed '*) ;;
            *) printf '%s ' "$package" ;;
        esac
    done
}

missing_programs() {
    for program in $(sed -e '/^#/d' -e 's/^[^[:space:]]*//' "$PACKAGES"); do
        case $program in
            /*) test -e "$program" || printf '%s ' "$program" ;;
            *) command -v "$program" >/dev/null || printf '%s ' "$program" ;;
        esac
    done
}

# An apt whose lists are old or of another source fails to update and may install all the same.
install_packages() {
    say "installing Debian packages: $*"
    # shellcheck disable=SC2086 # the words of $as_root and $APT_INSTALL are meant to be split
    {
        $as_root apt-get update -qq || say "apt-get update failed; trying with the lists there are"
        $as_root $APT_INSTALL -qq -o Dpkg::Use-Pty=0 "$@"
    } </dev/null >&2
}

prepare_packages() {
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        missing=$(missing_programs)
        missing=${missing% }
        test -z "$missing" || stop "not a Debian system, and these are not there: $missing" \
            "cat $PACKAGES  # which Debian package each of them is in"
        return
    fi
    missing=$(missing_packages "$PACKAGES")
    missing=${missing% }
    test -n "$missing" || return 0
    if ! may_install; then
        stop "Debian packages are missing, and installing them needs root: $missing" \
            "sudo apt-get update && sudo $APT_INSTALL $missing"
    fi
    # shellcheck disable=SC2086
    install_packages $missing || stop "apt-get could not install: $missing" \
        "apt-get update && $APT_INSTALL $missing"
}

may_install() {
    if test "$(id -u)" = 0; then
        as_root='env DEBIAN_FRONTEND=noninteractive'
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        as_root='sudo -n env DEBIAN_FRONTEND=noninteractive'
    else
        return 1
    fi
}

# Tests go without what cannot be installed, and say so.
prepare_test_packages() {
    command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || return 0
    missing=$(missing_packages tools/debian-test-packages.txt)
    missing=${missing% }
    test -n "$missing" || return 0
    # shellcheck disable=SC2086
    { may_install && install_packages $missing; } || say "tests are skipped that need these packages: $missing"
}

check_python() {
    command -v "$PYTHON" >/dev/null || stop "$PYTHON is not on PATH; Python 3.11 or newer is needed" \
        "$APT_INSTALL python3 python3-venv"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || stop \
        "$("$PYTHON" --version 2>&1) is too old; Python 3.11 or newer is needed" "make setup PYTHON=python3.11"
}

# What the environment is made of. When any of it changes, the environment is made anew: a folder that was
# moved or another Python would leave programs in it that do not start.
environment_state() {
    sha256sum requirements.lock
    "$PYTHON" -c 'import sys; print(sys.version, sys.base_prefix)'
    pwd
}

is_done() { test "$(cat ".venv/$1" 2>/dev/null)" = "$2"; }

prepare_environment() {
    wanted=$(environment_state)
    package=$(sha256sum pyproject.toml)
    set -- .venv/bin/python -m pip -qq --no-input --disable-pip-version-check install --no-cache-dir
    if ! is_done guestbench-environment "$wanted"; then
        say "making the Python environment in .venv"
        "$PYTHON" -m venv --clear .venv >&2 ||
            stop "$PYTHON cannot make a virtual environment" "$APT_INSTALL python3-venv"
        "$@" --require-hashes --requirement requirements.lock </dev/null >&2 ||
            stop "pip could not install what requirements.lock lists" ".venv/bin/pip install -r requirements.lock"
        printf '%s\n' "$wanted" >.venv/guestbench-environment
    fi
    if ! is_done guestbench-package "$package"; then
        "$@" --no-deps --no-build-isolation --editable . </dev/null >&2 ||
            stop "pip could not install guestbench itself" ".venv/bin/pip install --no-build-isolation -e ."
        printf '%s\n' "$package" >.venv/guestbench-package
    fi
}

# Libraries that only tests and the documentation need.
prepare_test_environment() {
    wanted=$(sha256sum requirements-tests.lock)
    ! is_done guestbench-tests "$wanted" || return 0
    .venv/bin/python -m pip -qq --no-input --disable-pip-version-check install --no-cache-dir \
        --require-hashes --requirement requirements-tests.lock </dev/null >&2 ||
        stop "pip could not install what requirements-tests.lock lists" ".venv/bin/pip install -r requirements-tests.lock"
    printf '%s\n' "$wanted" >.venv/guestbench-tests
}

prepare_packages
test "${1:-}" != tests || prepare_test_packages
check_python
prepare_environment
test -z "${1:-}" || prepare_test_environment
mkdir -p "${XDG_CACHE_HOME:-$HOME/.cache}/guestbench"
