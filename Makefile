# A newcomer needs `make demo` and `make test`; each works on a fresh clone.
PYTHON ?= python3
BIN := .venv/bin
# subprocesses of tests import compiled modules even where Python is set to write none
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/pytest -q --dist worksteal
# slow tests often wait for processes that they start
CORES := $(shell $(PYTHON) -c 'import os; print(os.cpu_count() or 1)')
TWICE := $(shell expr 2 \* $(CORES))

.PHONY: demo test test-rest test-all check lint audit bench gpu reliability clean

demo: .venv/ready  ## create .venv, install, run the demo (2 minutes after installation)
	$(BIN)/ranksim demo

test: .venv/ready  ## create .venv, install, run the fast tests (about 3 minutes)
	$(PYTEST) -n auto -m "not slow and not reliability"

test-rest: .venv/ready  ## the slow and reliability tests
	$(PYTEST) -n $(TWICE) -m "slow or reliability"

test-all: .venv/ready  ## all tests
	$(PYTEST) -n auto

lint: .venv/ready  ## formatting, lint, spelling, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell
	$(BIN)/mypy

audit: .venv/ready  ## known vulnerabilities of installed packages, secrets in tracked files
	$(BIN)/nox -s audit

reliability: .venv/ready  ## measure everything in docs/reliability.md (about an hour)
	$(BIN)/python -m tests.reliability --write

bench: .venv/ready  ## time RankSim's loss, into a table and bench.json, and look for what became slower (5 minutes)
	$(BIN)/python -m benchmarks.loss_speed --json bench.json
	$(BIN)/python -m benchmarks.guard

gpu:  ## test and time everything on a GPU, with the system's Python (8 minutes); GPU="--smoke": on a CPU
	PYTHONPATH=src $(PYTHON) -m benchmarks.gpu $(GPU)

check: lint audit test-all  ## lint, audit and all tests

.venv/ready: pyproject.toml constraints.txt src/ranksim/functional/_kernels/cpu/term.c
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "ranksim needs Python 3.11 to 3.13: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv dist .nox .pytest_cache .mypy_cache .ruff_cache
