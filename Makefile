PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
LOCK = requirements-lock.txt
# Pinned, because --build-constraint is new in pip 25.3: older ones come with `python -m venv`.
PIP = pip==26.3
PYTEST = $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: demo test test-latest test-servers server-envs fuzz check lint lock dist install install-all docs docs-cli

demo: install ## hlmat-tiny, the oracle and the floors on synthetic scenes, and their pages: no data, no weights to download.
	$(BIN)/hlmat-bench run --task synth_easy --segmenter graphcut --limit 40 \
	    --model hlmat-tiny --model oracle --model center --model random --model empty --out runs/demo
	@echo 'Pages to open in a browser, every click of hlmat-tiny and the comparison of all:'
	@$(BIN)/hlmat-bench report runs/demo/hlmat-tiny__synth_easy__graphcut
	@$(BIN)/hlmat-bench report runs/demo/*__synth_easy__graphcut --out runs/demo/comparison

check: install-all ## The fast tests, in less than a minute.
	$(PYTEST) -m 'not slow and not shared and not servers'

test: install-all ## All tests but those of servers, with the locked versions of all packages.
	$(PYTEST)

test-latest: VENV = .venv-latest
test-latest: ## The same tests with the newest versions that pyproject.toml allows.
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --upgrade --upgrade-strategy eager -e '.[all,dev,docs]'
	$(BIN)/pip list
	$(PYTEST)

test-servers: install-all server-envs ## Whole runs against servers that others wrote; nginx and pdflatex must be installed.
	HLMAT_NO_SKIPS=1 $(BIN)/python -m pytest -m servers

server-envs: $(patsubst tests/servers/environments/%.txt,.venv-servers/%/.done,$(wildcard tests/servers/environments/*.txt))

.venv-servers/%/.done: tests/servers/environments/%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --requirement $<
	touch $@

fuzz: .venv-fuzz/.done ## Looks for what readers of foreign files cannot stand: SECONDS for each of TARGETS (none: all).
	.venv-fuzz/bin/python -m tests.fuzz.explore --seconds $(or $(SECONDS),60) $(TARGETS)

.venv-fuzz/.done: tests/fuzz/requirements.txt pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --requirement $<
	touch $@

lint: install-all ## Style, types, the order of imports, and the workflow files.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/zizmor --offline --quiet .github

lock: ## Renews the locked versions.
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet --upgrade uv
	.venv-lock/bin/uv pip compile --quiet --upgrade --custom-compile-command 'make lock' pyproject.toml --output-file $(LOCK)

dist: install-all ## The sdist and the wheel, in dist/.
	$(BIN)/python -m build --no-isolation

install: $(VENV)/.base
install-all: $(VENV)/.all

$(VENV)/.base: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet '$(PIP)'
	$(BIN)/pip install --quiet -e .
	touch $@

# The last line installs the project itself, and fails where the lock lacks a package that pyproject.toml names.
$(VENV)/.all: pyproject.toml $(LOCK)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet '$(PIP)'
	$(BIN)/pip install --quiet --require-hashes --build-constraint $(LOCK) --requirement $(LOCK)
	$(BIN)/pip install --quiet --no-index --no-build-isolation -e '.[all,dev,docs]'
	touch $@

docs: install-all ## The documentation as a site, in build/site; a broken link or an asset of another host is an error.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-cli: install-all ## Writes docs/cli.md and docs/settings.md again, from the command line's declarations.
	$(BIN)/python docs/generate.py
