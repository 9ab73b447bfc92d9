# `make demo` and `make test` need Python >= 3.10 and nothing else: both set up .venv first.
# Another interpreter: make PYTHON=python3.12. Extra words for pytest: make test TESTS="tests/cli -k pipe".

VENV := .venv
BIN := $(VENV)/bin
DONE := $(VENV)/.installed
TESTS ?= tests
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format bench generated clean

help:  ## show this
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

install: $(DONE)  ## set up .venv, once

# The stamp is newer than the two files that say what is installed, so a second make installs nothing.
$(DONE): pyproject.toml constraints.txt
	@.ci/venv $(VENV) $(PYTHON)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m compileall -q mi  # as an installation that is not editable does; a first start is then like the others
	@touch $@

demo: $(DONE)  ## run the main line on the embedded model, and show its table
	@echo '$$ mi cache </dev/null | mi attribute | mi prune | mi score'
	@PATH="$(CURDIR)/$(BIN):$$PATH"; \
	if [ -t 1 ]; then mi cache </dev/null | mi attribute | mi prune | mi score; \
	else mi cache </dev/null | mi attribute | mi prune | mi score | mi view; fi

test: $(DONE)  ## run the tests
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(JOBS) $(TESTS)

lint: $(DONE)  ## ruff (rules and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DONE)  ## let ruff put things right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DONE)  ## measure speed and memory; takes minutes, never part of the tests
	$(BIN)/python -m benchmarks

generated: $(DONE)  ## write completions/ and docs/commands.md again
	$(BIN)/python -m completions.generate
	$(BIN)/python -m docs.generate

clean:  ## remove .venv and everything that was made
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .mi build *.egg-info
