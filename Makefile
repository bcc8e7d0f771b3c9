# A newcomer needs `make demo` and `make test`; each works on a fresh clone.
PYTHON ?= python3
BIN := .venv/bin
# subprocesses of tests import compiled modules even where Python is set to write none
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/pytest -q --dist worksteal
# slow tests often wait for processes that they start
MORE := $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')

CHECK_PYTHON = $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	{ echo "ranksim needs Python 3.11 to 3.13: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
# older versions of pip take a minute longer to choose versions
CREATE := $(PYTHON) -m venv .venv && $(BIN)/pip install --quiet 'pip>=25'
# Python compiles what is imported; compiling all modules takes longer than installing them
INSTALL := $(BIN)/pip install --quiet --no-compile --constraint constraints.txt

.PHONY: demo test test-rest test-all check lint docs audit bench gpu reliability clean

demo: .venv/demo-ready  ## create .venv, install what the demo needs, run it (2 minutes)
	PYTHONDONTWRITEBYTECODE= $(BIN)/ranksim demo

test: .venv/ready  ## create .venv, install the rest, run the fast tests (about 3 minutes)
	$(PYTEST) -n auto -m "not slow and not reliability"

test-rest: .venv/ready  ## the slow and reliability tests
	$(PYTEST) -n $(MORE) -m "slow or reliability" $$(grep -rlE --include='test_*.py' 'mark\.(slow|reliability)' tests)

test-all: .venv/ready  ## all tests
	$(PYTEST) -n auto

lint: .venv/ready  ## formatting, lint, spelling, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell
	$(BIN)/mypy

docs: .venv/ready  ## build the documentation into site/, with a check of all links
	$(BIN)/mkdocs build --strict

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

.venv/demo-ready: pyproject.toml constraints.txt src/ranksim/functional/_kernels/cpu/term.c
	@$(CHECK_PYTHON)
	$(CREATE)
	$(INSTALL) --editable '.[cpu]'
	touch $@

.venv/ready: pyproject.toml constraints.txt src/ranksim/functional/_kernels/cpu/term.c
	@$(CHECK_PYTHON)
	$(CREATE)
	$(INSTALL) --editable '.[dev]'
	touch .venv/demo-ready $@

clean:
	rm -rf .venv dist .nox .pytest_cache .mypy_cache .ruff_cache
