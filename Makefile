# Everything runs in .venv; nothing else on the machine is changed.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= $(shell getconf _NPROCESSORS_ONLN)

.PHONY: demo test check docs web clean

demo: .venv/.demo            ## set up, train on six, adapt to five, evaluate on both, write tables, pictures and films
	$(BIN)/ugocc demo

test: .venv/.test            ## set up and run the tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile

check: .venv/.dev            ## linter and type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/.docs            ## the documentation as a site in site/; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

web:                         ## bundle the report page's viewer (needs node); the result is committed
	cd web && npm ci --no-audit --no-fund && npm run --silent build

clean:                       ## forget the environment, keep data and runs
	rm -rf .venv

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

.venv/.demo: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[synthetic,adapt,tensorboard,film]"
	@touch $@

.venv/.test: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	@touch $@

.venv/.dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $@

.venv/.docs: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	@touch $@
