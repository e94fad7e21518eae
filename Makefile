# Everything a user or a developer runs. `make run`, `make test` and `make ui` need only Python 3.11 and git:
# they set up .venv from uv.lock first (obtaining uv itself if it is missing).

PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
BIN := .venv/bin
STATE := $(abspath $(or $(CEM_HOME),var))
# Linting only compiles: it needs what `cem prepare` wrote, but neither the warehouse nor its lock.
LINT_DBT := CEM_WAREHOUSE=:memory: CEM_DBT_MODELS=$(STATE)/dbt/models CEM_DBT_MACROS=$(STATE)/dbt/macros \
    DBT_TARGET_PATH=$(STATE)/dbt/lint DBT_LOG_PATH=$(STATE)/dbt/logs
LINTS := lint_style lint_python lint_sql
.DEFAULT_GOAL := help

.PHONY: help setup run test tests acceptance ui check lint $(LINTS) docs demo chaos bench clean

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

.tools/bin/uv:
	@echo "Obtaining uv ..."
	@$(PYTHON) -m venv .tools
	@.tools/bin/pip install --quiet --disable-pip-version-check uv

.venv/.ready: uv.lock pyproject.toml | $(filter .tools/bin/uv,$(UV))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || \
	    { echo "Python 3.11 is needed: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@echo "Setting up .venv from uv.lock (once) ..."
	@$(UV) sync --frozen --python $(PYTHON) --quiet
	@$(BIN)/python -m compileall -q -j 0 -x '/(tests|geodata|lexers|mypy|mypyc|setuptools)/' .venv/lib orchestration
	@touch $@

setup: .venv/.ready  ## Create the virtual environment from uv.lock and prepare dbt and the DuckDB extensions
	@$(BIN)/cem prepare

run: setup  ## Run the daily job once (on the demo company until cem.yml names your sources)
	@$(BIN)/cem run

ui: setup  ## Open the Dagster UI on http://127.0.0.1:3000 with the daemon, so that schedules fire
	@$(BIN)/cem ui

check: setup  ## Validate cem.yml against the sources and preview what would be loaded
	@$(BIN)/cem check

demo: setup  ## Write a demo company for your own trials, e.g. make demo CUSTOMERS=100000 FOLDER=/tmp/company
	@$(BIN)/cem demo $(if $(CUSTOMERS),--customers $(CUSTOMERS)) $(if $(FOLDER),--folder $(FOLDER))

lint: setup  ## ruff, mypy, sqlfluff, dbt parse without warnings, dg check defs
	@$(MAKE) --no-print-directory --jobs 2 $(LINTS)

lint_style:
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

lint_python:
	@$(BIN)/mypy
	@printf '[cli.telemetry]\nenabled = false\n' > $(STATE)/dg.toml
	@DG_CLI_CONFIG=$(STATE)/dg.toml VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/dg check defs

lint_sql:
	@$(LINT_DBT) $(BIN)/dbt --quiet --warn-error parse --no-partial-parse \
	    --project-dir dbt_project --profiles-dir dbt_project
	@$(LINT_DBT) $(BIN)/sqlfluff lint $(SQL_RULES) dbt_project/models dbt_project/tests

# Tests wait now and then, for a daemon or a browser: linting one thing after the other fills that. The layout of SQL,
# half of what linting costs, is left to `make lint`.
test: setup  ## Everything CI asks for: all tests, and lint beside them but for the layout of SQL
	@$(MAKE) --no-print-directory --jobs 2 tests $(LINTS) \
	    SQL_RULES="--rules aliasing,ambiguous,capitalisation,convention,jinja,references,structure"

tests:
	@$(BIN)/pytest

acceptance: setup  ## Real data through the whole job, the large sets too (CEM_REAL_DATA says where they are)
	@$(BIN)/pytest tests/acceptance -m 'not benchmark'

chaos: setup  ## Kill the job at random moments and compare what comes of it, e.g. make chaos KILLS=100 SEED=1 CUSTOMERS=100
	@PYTHONPATH=tests $(BIN)/python tests/chaos/chaos.py --kills $(or $(KILLS),100) --seed $(or $(SEED),1) \
	    --customers $(or $(CUSTOMERS),100) $(if $(JOBS),--jobs $(JOBS))

bench: setup  ## Benchmarks; prints ratios, never fails on a clock
	@$(BIN)/pytest tests/benchmarks -m benchmark -s -n 0

docs: setup  ## Build the dbt docs (lineage, every model and column) into var/dbt/target
	@$(BIN)/cem dbt docs generate --static

clean:  ## Remove the virtual environment and caches; state in var/ stays
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache
