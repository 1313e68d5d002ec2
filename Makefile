# Two commands set everything up on a fresh machine: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# The run that `make run` does; for example `make run TRAIN="softmax-scratch --lr 0.3"`.
TRAIN ?= mlp --max-epochs 10

.PHONY: run quick test check durations lint types bench docs wheel clean
.DEFAULT_GOAL := run

run: $(VENV)/.installed
	$(BIN)/gradbook train $(TRAIN)

# About two minutes on two cores: the tests that are not marked as slow.
quick: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist worksteal

# What CI runs. The quick tests alone have to reach nearly every line: watching the slow ones, which
# start a thousand processes, would take a quarter longer.
check: lint types $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" --cov --cov-report=term --cov-fail-under=90
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m slow

# Which tests of `make quick` take more than 0.3 s, and want to be made smaller or marked.
durations: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" --durations=0 --durations-min=0.3

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy
	$(BIN)/mypy examples

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/training.py

# The documentation as a site, in site/; a link or name that leads nowhere is an error.
docs: $(VENV)/.installed-docs
	$(BIN)/mkdocs build --quiet

# The wheel and the source distribution, in dist/, tried in an environment of their own.
wheel: $(VENV)/.installed
	tools/try_wheel.sh $(BIN)/python

clean:
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# PyTorch comes first and alone: pip must take the pinned version before anything asks for another.
$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt torch
	$(PIP) install --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) install --constraint constraints.txt --editable '.[docs]'
	touch $@
