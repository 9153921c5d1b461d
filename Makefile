# Every target but clean makes .venv first. PYTHON chooses the interpreter, 3.11 or newer.
PYTHON ?= python3
RUN := .venv/bin/python
MINUTES ?= 5
SEED ?= 1
DEMO := outputs/demo/$(shell date +%m%d-%H%M%S)

.PHONY: help demo test slow soak lint wheel docs setup clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   train, prune, distil, quantise, export and ask a model on generated data (minutes on a laptop CPU)"
	@echo "make test   run the tests"
	@echo "make slow   run the tests that take minutes"
	@echo "make soak   kill, stop and damage random trainings for 5 minutes: make soak MINUTES=60 SEED=2"
	@echo "make lint   run ruff, mypy, import-linter and clang-format"
	@echo "make wheel  build dist/*.whl with the compiled engine and run its commands outside the repository"
	@echo "make docs   write the documentation to site/index.html; search in it works on a server"
	@echo "make setup  make .venv with all dependencies; the targets above do this first"
	@echo "make clean  remove .venv, dist, site and caches"

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("error: Python 3.11 or newer is needed, this is %s; make PYTHON=python3.11 ..." % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup
	$(RUN) -m src.train recipe=prune80_quant export=onnx hydra.run.dir=$(DEMO)
	$(RUN) -m src.predict deployment=$(DEMO) text="the plot was not good but the music was superb"

test: setup
	$(RUN) -m pytest --numprocesses 2 --dist worksteal

slow: setup
	$(RUN) -m pytest -m slow --numprocesses 2 --dist worksteal

soak: setup
	$(RUN) -m tests.soak --minutes $(MINUTES) --seed $(SEED)

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	.venv/bin/clang-format --dry-run -Werror src/winnow/engine/native/*
	.venv/bin/lint-imports

wheel: setup
	.ci/wheel

docs: setup
	$(RUN) -m pip install --quiet -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

clean:
	rm -rf .venv dist site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
