# make demo, make test: each does its own set-up in .venv. PYTHON chooses the interpreter, 3.11 or newer.
PYTHON ?= python3
RUN := .venv/bin/python

.PHONY: demo test slow lint setup clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   set up, then train, prune and distil on the embedded task (minutes on a laptop CPU)"
	@echo "make test   set up, then run the tests; make slow runs the long ones"
	@echo "make lint   ruff, mypy and import-linter"
	@echo "make setup  the set-up alone, in .venv"

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("error: Python 3.11 or newer is needed, this is %s; make PYTHON=python3.11 ..." % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup
	$(RUN) -m src.train

test: setup
	$(RUN) -m pytest

slow: setup
	$(RUN) -m pytest -m slow

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	.venv/bin/lint-imports

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
