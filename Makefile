# make demo and make test are all a newcomer needs; each works on a fresh clone.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check lint audit bench trust clean

demo: .venv/ready  ## create .venv, install, run the demo (about 4 minutes)
	$(BIN)/ranksim demo

test: .venv/ready  ## create .venv, install, run the test suite
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto --dist loadfile

lint: .venv/ready  ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

audit: .venv/ready  ## known vulnerabilities of what is installed, secrets in what git keeps
	$(BIN)/python -m tools.audit
	$(BIN)/python -m tools.secrets

trust: .venv/ready  ## what can be relied on, measured, to docs/trust.md (the better part of an hour)
	$(BIN)/python -m tests.reliability --write

bench: .venv/ready  ## the speed of RankSim's loss, to a table and bench.json (4 minutes)
	$(BIN)/python -m benchmarks.loss_speed --json bench.json

check: lint audit test  ## what CI runs first

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "ranksim needs Python 3.11 to 3.13: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache
