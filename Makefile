# Two commands do everything on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test clean venv-package

## Ingest a folder (MUSIC=dir, else a synthesised album) and identify a noisy excerpt of it.
demo: .venv/base
	@FPDB_DATA_DIR=.demo $(BIN)/fpdb demo $(if $(MUSIC),"$(MUSIC)")

## Run every check and every test.
test: .venv/all
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 3

## Install what `fpdb` needs: no torch, under a minute.
.venv/base: pyproject.toml constraints.txt
	@$(MAKE) --no-print-directory .venv/bin/pip
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable .
	@touch $@

## Install everything, with what the tests need. What is imported is compiled then: of 1.9 GB, little is.
.venv/all: pyproject.toml constraints.txt
	@$(MAKE) --no-print-directory .venv/bin/pip
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[all,test]'
	@touch $@ .venv/base

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'error: Python 3.11 or newer is needed — name one: make PYTHON=python3.12' >&2; exit 2; }
	@$(PYTHON) -m venv .venv > /dev/null 2>&1 || { rm -rf .venv; $(MAKE) --no-print-directory venv-package && \
		$(PYTHON) -m venv .venv; }

# Debian keeps the venv module in a package of its own.
venv-package:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; \
	then apt-get update -qq && apt-get install -qq --no-install-recommends python3-venv; \
	else echo 'error: Python lacks its venv module — sudo apt install python3-venv' >&2; exit 2; fi

clean:
	rm -rf .venv .demo
