# Two commands do everything on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check clean

## Ingest a folder (MUSIC=dir, else a synthesised album) and identify a noisy excerpt of it.
demo: .venv/base
	@FPDB_DATA_DIR=.demo $(BIN)/fpdb demo $(MUSIC)

## Run every check and every test.
test: .venv/all
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2

## Install what `fpdb` needs: no torch, under a minute.
.venv/base: pyproject.toml constraints.txt
	@$(MAKE) --no-print-directory .venv/bin/pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	@touch $@

## Install everything, with what the tests need.
.venv/all: pyproject.toml constraints.txt
	@$(MAKE) --no-print-directory .venv/bin/pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all,test]'
	@touch $@ .venv/base

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'error: Python 3.11 or newer is needed — name one: make PYTHON=python3.12' >&2; exit 2; }
	@$(PYTHON) -m venv .venv || \
		{ rm -rf .venv; echo 'error: no virtual environment — Debian: apt install python3-venv' >&2; exit 2; }

clean:
	rm -rf .venv .demo
