# make sweep [ARGS="--dry-run"]   the flow-matching sweep against the MLP baseline
# make test  [ARGS="tests/sweeps"] the tests of every change
# make coverage                    the same, and how much of the code they run
# make test-faults                 all tests that kill, fill and damage, an hour and more
# make soak  [ARGS="--minutes 5"]  a sweep under faults at random
# make lint                        format, lint and types
#
# Each makes and reuses .venv; it is made anew when pyproject.toml or constraints.txt change.

SHELL := /bin/bash
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
# Uncompiled, each of a sweep's processes would spend seconds on what it imports.
unexport PYTHONDONTWRITEBYTECODE
STAMP := .venv/.installed-$(shell cat pyproject.toml constraints.txt | cksum | cut -d ' ' -f 1)

.PHONY: sweep test coverage test-faults soak lint
.DELETE_ON_ERROR:

sweep: $(STAMP)
	$(BIN)/python sweeps/flow_tuning.py $(ARGS)

# Two files at a time, of which one at most starts Ray (tests/conftest.py).
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not long" -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

coverage: $(STAMP)
	$(MAKE) test ARGS="--cov --cov-report=term $(ARGS)"

test-faults: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "fault or long" $(ARGS)

soak: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.soak $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

$(STAMP):
	@test -n "$(PYTHON)" || { echo "no Python >= 3.11 found; set PYTHON=/path/to/python" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	$(BIN)/python -m compileall -q -j 0 -x '/tests?/' .venv/lib >/dev/null || true  # as pip does, but on all cores
	@rm -f .venv/.installed-* && touch $@
