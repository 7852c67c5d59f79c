# `make demo` and `make test` each work on a machine with only Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all lint bench figures clean

$(VENV)/.installed: pyproject.toml
	@echo "Creating $(VENV) and installing epgbloch (one to three minutes the first time) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "epgbloch needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(VENV)/.installed
	@$(BIN)/epgbloch demo --out demo

test: $(VENV)/.installed
	@$(BIN)/python -m pytest -m "not slow and not peers"

test-all: $(VENV)/.installed
	@$(BIN)/python -m pytest -m "not peers"

lint: $(VENV)/.installed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(VENV)/.installed
	@$(BIN)/python benchmarks/run.py

figures: $(VENV)/.installed
	@$(BIN)/python docs/make_figures.py

clean:
	rm -rf $(VENV) demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache
