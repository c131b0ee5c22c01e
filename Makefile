PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test lint install install-all

demo: install ## The embedded task with the embedded segmenter: nothing to download.
	$(BIN)/hlmat-bench run --task hres_synth --segmenter graphcut --limit 60 \
	    --model oracle --model center --model random --model empty --out runs/demo

test: install-all ## Everything, with all packages.
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: install-all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(VENV)/.base
install-all: $(VENV)/.all

$(VENV)/.base: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -e .
	touch $@

$(VENV)/.all: $(VENV)/.base
	$(BIN)/pip install --quiet -e '.[all,dev]'
	touch $@
