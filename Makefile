# Crosstile: `make` lists the targets. Everything is installed into .venv; nothing outside the checkout is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
WORKERS ?= 2
DEMO_OUT ?= demo-report

.DEFAULT_GOAL := help
.PHONY: help demo test test-quick lint docs bench clean

help:  ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "error: Crosstile needs Python 3.11 or newer; $(PYTHON) is" \
	    "$$($(PYTHON) --version 2>/dev/null || echo 'not found')." \
	    "Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { \
	  echo "error: no virtual environment could be made; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "installing Crosstile and what it needs into $(VENV) (some minutes the first time)"
	$(PIP) install -c constraints.txt -e '.[test]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) install -c constraints.txt -e '.[docs]'
	@touch $@

demo: $(VENV)/.installed  ## Run LeNet-5 on a ReRAM chip and write a report.
	$(BIN)/crosstile run lenet5 --out $(DEMO_OUT)
	@echo
	@echo "The report: $(CURDIR)/$(DEMO_OUT)/report.html (open it in any browser; it needs no network)."

test: lint  ## Check style and types, then run all tests.
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

test-quick: $(VENV)/.installed  ## Run the tests that take seconds.
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow"

lint: $(VENV)/.installed  ## Check style (ruff) and types (mypy).
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/.installed-docs  ## Build the documentation; a warning is an error.
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "The documentation: $(CURDIR)/docs/_build/html/index.html"

bench: $(VENV)/.installed  ## Run the benchmarks.
	$(BIN)/python benchmarks/run.py

clean:  ## Remove the environment and everything that was built.
	rm -rf $(VENV) docs/_build demo-report crosstile-out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
