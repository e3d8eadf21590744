# make setup   the full environment in .venv        make test   every test
# make demo    train, export, predict, report       make lint   ruff and mypy
# make bench   the figures of the README            DATA=DIR    your own data set for the demo

PYTHON ?= python3
PIP_FLAGS ?= --quiet --disable-pip-version-check
DATA ?=
BIN := .venv/bin

.PHONY: setup demo test lint bench

setup: .venv/ready

.venv/ready: pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/pip install $(PIP_FLAGS) --constraint requirements.lock --editable '.[train,openvino,dev]'
	touch $@

demo: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" ./demo.sh $(DATA)

test: setup
	$(BIN)/pytest

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: setup
	$(BIN)/python benchmarks/metrics.py
	$(BIN)/python benchmarks/training.py
