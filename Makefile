# guestbench from a clean clone: `make compare` measures, `make test` tests; both set up what they need first.
#
#   make compare             the default experiment; QUICK=1 for fewer boots; ARGS="…" for more options of guestbench run
#   make test                lint, then every test, with a real QEMU too, in three processes (JOBS=1); ARGS="…" for options of pytest
#   make lint                ruff, mypy --strict, import-linter
#   make setup               Debian packages and the Python environment (PYTHON=python3.12 for another Python)
#   make docs                the documentation as a site, in build/docs/site
#   make pictures RUN=DIR    the pictures of the documents, what README.md says was found, and STACK.md, of a full run
#   make fuzz                10 minutes of fuzzing for each part of guestbench and of its unikernel that reads foreign bytes; MINUTES=1
#   make fuzz-parsers        the same for guestbench's own parsers alone; ARGS="--seed 1 lvm qcow2"
#   make fuzz-unikernel      the same for the unikernel's alone; ARGS="--seed 1 elf"
#   make faults              do harm to real runs 500 times, and count what is lost or left behind; ARGS="--seed 1"
#   make lock                renew requirements.lock (needs uv)
#   make sbom                write what guestbench is made of to dist/guestbench.cdx.json (CycloneDX), for a release
#   make clean               remove what was built here, results excepted

PYTHON ?= python3
BIN := .venv/bin
CYCLES := $(if $(filter-out 0 no,$(QUICK)),--cycles 3 $(foreach each,cost.boots=1 memory.cycles=1 memory.boots=1 surface.boots=2 work.cycles=1,--set $(each)))

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help setup compare test lint format docs pictures fuzz fuzz-parsers fuzz-unikernel faults lock sbom clean

help:
	@sed -n 's/^#   \(make .*\)/\1/p' Makefile

setup:
	@PYTHON='$(PYTHON)' sh tools/setup.sh

compare: setup
	@$(BIN)/guestbench run seed $(CYCLES) $(ARGS)

test: lint
	@PYTHON='$(PYTHON)' sh tools/setup.sh tests
	$(BIN)/python -m pytest -n $(or $(JOBS),3) --dist loadfile --no-loadscope-reorder --basetemp="$${XDG_CACHE_HOME:-$$HOME/.cache}/guestbench/pytest" $(ARGS)

lint: setup
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy
	$(BIN)/lint-imports --cache-dir .import_linter_cache

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs:
	@PYTHON='$(PYTHON)' sh tools/setup.sh docs
	$(BIN)/python tools/build_docs.py build/docs/site

pictures: setup
	$(BIN)/python tools/make_pictures.py '$(RUN)'
	$(BIN)/guestbench report '$(RUN)' --update-stack STACK.md

# What fails in the one part keeps nobody from trying the other.
fuzz:
	@failed=; for part in parsers unikernel; do $(MAKE) fuzz-$$part || failed=1; done; test -z "$$failed"

fuzz-parsers: setup
	PYTHONPATH=tests/helpers $(BIN)/python benchmarks/fuzz_parsers.py --minutes $(or $(MINUTES),10) $(ARGS)

fuzz-unikernel: setup
	$(BIN)/python benchmarks/fuzz_unikernel.py --minutes $(or $(MINUTES),10) $(ARGS)

faults: setup
	$(BIN)/python benchmarks/faults.py $(ARGS)

lock:
	uv pip compile --upgrade --generate-hashes --no-emit-index-url --no-header --universal \
		--python-version 3.11 --extra dev --output-file requirements.lock pyproject.toml
	uv pip compile --upgrade --generate-hashes --no-emit-index-url --no-header --universal \
		--python-version 3.11 --constraint requirements.lock \
		--extra dev --extra docs --extra pandas --extra polars --extra parquet --extra notebook --extra fleet \
		--output-file requirements-tests.lock pyproject.toml

sbom: setup
	mkdir -p dist
	$(BIN)/python tools/make_sbom.py dist/guestbench.cdx.json

clean:
	rm -rf build dist .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
