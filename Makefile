# make sweep [ARGS="--dry-run"]   the flow-matching sweep against the MLP baseline
# make test  [ARGS="tests/sweeps"] all tests, with coverage
# make lint                        format, lint and types
#
# Each makes and reuses .venv; it is made anew when pyproject.toml or constraints.txt change.

SHELL := /bin/bash
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
STAMP := .venv/.installed-$(shell cat pyproject.toml constraints.txt | cksum | cut -d ' ' -f 1)

.PHONY: sweep test lint
.DELETE_ON_ERROR:

sweep: $(STAMP)
	$(BIN)/python sweeps/flow_tuning.py $(ARGS)

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --cov --cov-report=term $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

$(STAMP):
	@test -n "$(PYTHON)" || { echo "no Python >= 3.11 found; set PYTHON=/path/to/python" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@rm -f .venv/.installed-* && touch $@
