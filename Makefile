# fedlab: what would the federated model have been without this client?   `make help` lists the targets.
# An environment of your own: make test PYTHON=python. Otherwise .venv is made here on first use.

SHELL := /bin/bash
SCALE ?= small
BASE_PYTHON ?= python3
VENV := .venv
ifdef PYTHON
READY :=
else
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready
endif
FEDLAB := $(PYTHON) -c 'from fedlab_cli.main import run; run()'
PAPERS := $(patsubst experiments/%/spec.py,%,$(wildcard experiments/*/spec.py))
# Tests run on every core (at most 8), one thread each, and whoever has run out takes over tests of the others.
PYTEST := $(PYTHON) -m pytest -n auto --maxprocesses 8 --dist worksteal
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo quick test check format lint types smoke reproduce-all report verify bench clean

help: ## Show this help
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'
	@echo "  papers: $(PAPERS); SCALE=smoke|small|paper (now $(SCALE))"

setup: $(READY) ## Make .venv and install fedlab into it

$(VENV)/.ready: pyproject.toml
	$(BASE_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make BASE_PYTHON=python3.11 ...")'
	test -x $(VENV)/bin/python || $(BASE_PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

demo: $(READY) ## No download: a federated CNN in seconds, then Fed-Influence, one seed of it; tables and plots
	$(FEDLAB) train
	$(FEDLAB) influence --setting 1 --scale small --seeds 0

quick: $(READY) ## For every edit: the tests that take less than about two seconds each
	$(PYTEST) -m 'not slow'

test: $(READY) ## All tests
	$(PYTEST)

check: format lint types test ## Format, lint, types, tests

format: $(READY) ## Is every file formatted?
	$(PYTHON) -m ruff format --check .

lint: $(READY) ## Lint
	$(PYTHON) -m ruff check .

types: $(READY) ## Check types
	$(PYTHON) -m mypy

smoke: $(READY) ## Every setting of every paper, tiny
	$(FEDLAB) reproduce --scale smoke

reproduce-%: $(READY) ## Every setting of one paper, then its report (SCALE=small)
	$(FEDLAB) reproduce $* --scale $(SCALE)

reproduce-all: $(READY) ## Every setting of every paper, going on past failures, then the report (SCALE=small)
	$(FEDLAB) reproduce --scale $(SCALE)

report: $(READY) ## Tables, plots and results/README.md from stored runs (SCALE=small)
	$(FEDLAB) report --scale $(SCALE)

verify: $(READY) ## The report, failing (3) when a number is outside its tolerance
	$(FEDLAB) report --scale $(SCALE) --check

bench: $(READY) ## Ratios of speed against the plain twin
	$(PYTHON) -m tests.bench

clean: ## Remove .venv and caches; runs and results stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
