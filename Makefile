# Everything a person or CI does with this repository. `make` alone lists the targets.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Processes that run tests at the same time; those that need the Docker Engine come after the others.
JOBS ?= 2
# Processes for these, which share them file by file, eight minutes instead of twelve; 0: one after the other.
ENGINE_JOBS ?= 2
# More arguments for pytest, for instance: make unit ARGS='-k scheduler -x'
ARGS ?=
# Options of `make run`, for instance: make run OPTIONS='--runtime hollow --nodes 100 --ephemeral'
OPTIONS ?=

PYTEST = .venv/bin/python -m pytest $(ARGS)
WITH_ENGINE = . build/setup/environment;

.PHONY: demo test unit component e2e setup python run bench check format clean help

demo: setup ## set everything up, start a cluster, submit config/demo, show it serving, clean up
	@$(WITH_ENGINE) config/demo/run.sh

test: setup ## set everything up and run every test, real containers included
	@$(WITH_ENGINE) failed=0; $(PYTEST) -n $(JOBS) --ignore=tests/e2e tests || failed=1; \
		$(PYTEST) -n $(ENGINE_JOBS) --dist loadfile tests/e2e || failed=1; exit $$failed

unit: python ## tests of pure code, no Engine needed
	@$(PYTEST) -n $(JOBS) tests/unit

component: python ## tests of a cluster inside the test process, no Engine needed
	@$(PYTEST) -n $(JOBS) tests/component

e2e: setup ## tests with real containers and real clients
	@$(WITH_ENGINE) $(PYTEST) -n $(ENGINE_JOBS) --dist loadfile tests/e2e

setup: ## .venv with the project and all extras, a reachable Docker Engine, the test images
	@tests/setup/setup.sh

python:
	@tests/setup/setup.sh python

run: setup ## the orchestrator in the foreground (OPTIONS='--nodes 3 ...')
	@$(WITH_ENGINE) exec .venv/bin/python -m orchestrator up $(OPTIONS)

bench: setup ## benchmarks; results as JSON in build/bench/ (ARGS='name ...' picks some)
	@$(WITH_ENGINE) .venv/bin/python -m tests.benchmarks $(ARGS)

check: python ## formatting, lint, types and import contracts, as CI checks them
	@failed=(); step() { printf '%s\n' "check: $$*"; ".venv/bin/$$@" || failed+=("$$1 $${2:-}"); }; \
		step ruff format --check --quiet .; step ruff check --quiet .; step mypy; step lint-imports; \
		for each in "$${failed[@]}"; do echo "check: failed: $$each" >&2; done; [ $${#failed[@]} = 0 ]

format: python ## format the code and apply safe lint fixes
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

clean: ## remove .venv and everything that was built (the Docker Engine and the images stay)
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@grep -hE '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9]+):.*## /\1\t/' | \
		while IFS=$$'\t' read -r target text; do printf '  make %-10s %s\n' "$$target" "$$text"; done
