# `make app` sets all up and opens the app with the sample; `make test` sets all up and runs the tests.
PYTHON ?= python3
BIN := .venv/bin
KB_HOME ?= data/kb
export KB_HOME

.PHONY: install app test quick lint docs hooks lock bench browser

install: .venv/installed

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[offline]'
	@touch $@

.venv/developing: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[offline,dev]'
	@touch $@ .venv/installed

# The sample goes into a knowledge base that is not there yet; an existing one is left as it is.
app: install
	@test -f $(KB_HOME)/CURRENT || { \
	  $(BIN)/kb ingest snapshot data/sample/papers.jsonl --no-index && \
	  $(BIN)/kb ingest notes data/sample/bookmarks.md; }
	$(BIN)/kb app

test: .venv/developing browser
	$(BIN)/python -m pytest

quick: .venv/developing
	PYTHONHASHSEED=0 $(BIN)/python -m pytest -n auto -m "not slow"

lint: .venv/developing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The reference: every command with its options, and the Python API with the types of its results.
REFERENCE := kb.api.knowledge_base kb.api.results kb.errors kb.papers kb.progress kb.search.searcher kb.library.lists ingest.report
docs: .venv/developing
	$(BIN)/pdoc --docformat google --output-directory docs/reference $(REFERENCE)
	$(BIN)/typer kb.cli utils docs --name kb --output docs/reference/commands.md

# Lets git run the linters before each commit.
hooks: .venv/developing
	$(BIN)/pre-commit install

# The versions that the tests run with, for all platforms.
lock: .venv/developing
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra offline --extra dev --universal --python-version 3.11 --quiet \
	  --no-header --no-emit-index-url --no-emit-find-links --output-file requirements-dev.lock

# The tests drive a real browser.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || { \
	  echo "Installing Chromium for the browser tests"; \
	  SUDO=$$(command -v sudo || true); test "$$(id -u)" = 0 && SUDO=; \
	  $$SUDO apt-get update -qq && $$SUDO apt-get install -y -qq chromium >/dev/null; } || \
	  echo "No Chromium: the browser tests will be skipped. Install the package chromium to run them."

# HOMES: indexed knowledge bases, the largest last, over which search is measured.
bench: .venv/developing
	$(BIN)/python -m bench $(HOMES)
