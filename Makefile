# `make` prints what there is. Set-up goes into .venv and happens by itself where it is needed.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# The first Python 3.11 found; `make run PYTHON=/path/to/python` chooses another.
PYTHON ?= $(shell for python in python3.11 python3 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
ARGS ?=
# Two processes, each with a PostgreSQL and models of its own. What starts a cluster or a browser has targets of its own:
# a browser's library keeps an event loop running in the process, in which no other can.
PYTEST = $(BIN)/python -m pytest
SHARED = -n 2 --dist loadfile --deselect=tests/cluster --deselect=tests/page

.PHONY: help run test slow browser cluster soak long demo setup setup-dev python lint format types imports bare docs wheel profiles compose lock clean

help: ## Print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: setup ## Set up and serve at http://127.0.0.1:8000
	@exec $(BIN)/longleaf serve $(ARGS)

test: setup-dev ## Set up and run the tests, quick ones first; ARGS="-k name" is handed to pytest
	@$(BIN)/python scripts/ensure_chromium.py
	@$(PYTEST) $(SHARED) -m "not soak and not slow" $(ARGS)

slow: setup-dev ## Tests that start, kill and restart whole services
	@$(PYTEST) $(SHARED) -m "slow and not soak" $(ARGS)

browser: setup-dev ## Tests of the page in a Chromium; ARGS="tests/page/FILE" takes some of them
	@$(BIN)/python scripts/ensure_chromium.py
	@$(PYTEST) $(or $(ARGS),tests/page)

cluster: setup-dev ## Tests on Ray clusters of several nodes
	@$(PYTEST) $(or $(ARGS),tests/cluster)

soak: setup-dev ## Hours: 500 faults on each database, simulated days, and all tests marked `soak`
	@for database in sqlite postgresql; do \
		$(BIN)/python -m tests.faults --database $$database --faults 500 --seed 1 || exit 1; \
		$(BIN)/python -m tests.faults.day --database $$database --hours 240 --seed 1 || exit 1; \
	done
	@$(PYTEST) -m soak $(ARGS)

long: setup-dev ## Prefill of 131,072 tokens beside transformers (minutes)
	@LONGLEAF_LONG=1 $(PYTEST) tests/model/test_long.py $(ARGS)

demo: setup ## Upload the documents in demo/ and ask three questions
	@$(BIN)/python scripts/demo.py $(ARGS)

setup: python ## Set up .venv for the service
	@$(PYTHON) scripts/setup.py run

setup-dev: python ## Set up .venv for the service and its tests
	@$(PYTHON) scripts/setup.py dev
	@$(BIN)/python scripts/fetch_tokenizer.py
	@$(BIN)/python scripts/fetch_provider.py

python:
	@test -n "$(PYTHON)" || { echo "Longleaf needs Python 3.11. Install it, or say where it is: make run PYTHON=/path/to/python3.11" >&2; exit 1; }

lint: setup-dev ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: setup-dev ## Let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: setup-dev ## mypy --strict
	@$(BIN)/mypy

imports: setup-dev ## The import rule: model <- rag <- ingest <- api
	@$(BIN)/lint-imports

bare: python ## model/ alone, with torch, tokenizers, safetensors and numpy
	@$(PYTHON) scripts/bare.py

docs: setup-dev ## Build the documentation's site into build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "build/site/index.html"

wheel: setup-dev ## Build the wheel, install it elsewhere, serve from it; leaves it in dist/
	@$(BIN)/python scripts/try_wheel.py $(ARGS)

profiles: python ## Start the compose file's profiles, restart one process after the other under load
	@scripts/try-profiles

compose: python ## Build the image, start the stack, upload, ask, restart, ask again
	@scripts/try-compose

lock: python ## Choose and write the versions in constraints.txt anew
	@$(PYTHON) scripts/lock.py

clean: ## Remove .venv and caches; keeps ./data
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
