# `make repro` rebuilds everything, `make test` runs all tests; both make the environment first if it is missing.
PYTHON ?= python3
UV ?= 0.13.9
BIN = .venv/bin

.PHONY: repro test setup ui report lint format lock clean

repro: setup
	@$(BIN)/dlbooks repro

test: setup
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --check --quiet . && $(BIN)/python -m pytest

setup: .venv/.ready

# uv installs the lock in a minute where pip takes five; it is told of pip's own index settings, and pip does the work if it fails.
.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "error: Python 3.11 to 3.13 is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1); name another with PYTHON=…"; exit 1; }
	@echo "Making the environment in .venv from requirements.lock (one to five minutes) …"
	@$(PYTHON) -m venv .venv || { echo "error: '$(PYTHON) -m venv' failed: install the system's package python3-venv"; exit 1; }
	@index=$$($(BIN)/pip config get global.index-url 2>/dev/null); \
	 index="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$index}}"; [ -z "$$index" ] || export UV_DEFAULT_INDEX="$$index"; \
	 { $(BIN)/pip install --quiet uv==$(UV) && \
	   $(BIN)/uv pip install --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock; } || \
	 $(BIN)/pip install --progress-bar on --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch .venv/.ready

ui: setup
	@$(BIN)/dlbooks ui

report: setup
	@$(BIN)/dlbooks repro report

lint: setup
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: setup
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

lock: setup
	@$(BIN)/uv pip compile --quiet pyproject.toml --extra dev --extra cluster --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -o requirements.lock

clean:
	rm -rf data/raw data/tfrecords data/runs data/report .dlbooks
