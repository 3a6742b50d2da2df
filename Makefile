# Everything from a machine with Python 3.11 or newer: `make demo`, `make test`, `make check`.

PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint type check format clean

help:
	@echo "make demo    the offline quick start, with a report at runs/quickstart/report.html"
	@echo "make test    the default tests: CPU, no network"
	@echo "make lint    ruff and import-linter"
	@echo "make type    mypy --strict"
	@echo "make check   lint, type and test"
	@echo "make format  let ruff format and mend what it can"
	@echo "make clean   remove .venv and caches"

setup: .venv/.stamp

# torch comes first and by its exact version, so that the build named in constraints.txt is taken.
.venv/.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$$($(PYTHON) --version) is too old: coplms needs 3.11. Try make PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/coplms demo

# Two workers, a file of tests each; those that start processes of their own come after them.
test: setup
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow and not processes"
	$(BIN)/pytest -m "processes and not slow" tests

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

type: setup
	$(BIN)/mypy

check: lint type test

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
