# make demo    train cohorts on real data, from nothing but Python 3.10 or 3.11
# make test    run every test
# make tables  make the tables of README.md and results/ anew from the runs that are kept there

PYTHON ?= $(firstword $(foreach name,python3.11 python3.10 python3,$(shell $(name) --version >/dev/null 2>&1 && echo $(name))))
BIN := .venv/bin

.PHONY: demo test tables install install-dev
.DELETE_ON_ERROR:

demo: install
	$(BIN)/dgl-mutual run --task node --seeds 2 --epochs 100
	$(BIN)/dgl-mutual run --task graph --folds 3 --epochs 6

test: install-dev
	$(BIN)/python -m pytest

tables: install
	$(BIN)/dgl-mutual tables results README.md results/README.md

install: .venv/.installed
install-dev: .venv/.installed-dev

.venv/.installed: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/.installed-dev: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch .venv/.installed $@

$(BIN)/python:
	$(PYTHON) -m venv .venv
