# make demo    train cohorts on real data, from nothing but Python 3.10, 3.11 or 3.12
# make test    run every test
# make test-short PYTHON=python3.12    the tests that depend most on releases of Python, torch and DGL, in an environment of that Python
# make docs    build the documentation, with its tutorials, into docs/_build/html
# make figures draw the figure of the README and the documentation anew from the runs that are kept in results/suites
# make tables  make the tables of README.md and results/ anew from the runs that are kept there

FITS := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for name in python3.11 python3.12 python3.10 python3; do $$name -c '$(FITS)' 2>/dev/null && echo $$name && break; done)
BIN := .venv/bin
define WANTED
test -n "$(PYTHON)" && $(PYTHON) -c '$(FITS)' || { \
		echo "Python 3.10, 3.11 or 3.12 is needed, and $(or $(PYTHON),none of these) was found: DGL has no wheels for others. Get one with" >&2; \
		echo "    uv python install 3.12    and then  make PYTHON=\"\$$(uv python find 3.12)\"" >&2; \
		echo "    conda create -p ./python python=3.12    and then  make PYTHON=./python/bin/python" >&2; \
		exit 1; }
endef

.PHONY: demo test test-short docs figures tables install install-dev
.DELETE_ON_ERROR:

demo: install
	$(BIN)/dgl-mutual run --label-rate 2 --seeds 2 --epochs 60
	$(BIN)/dgl-mutual run --label-rate 2 --seeds 2 --epochs 60 --strategy independent
	$(BIN)/dgl-mutual run --task graph --folds 3 --epochs 6

# Files in the order of their names, in which the longest come early: in xdist's own order, by the number of tests, they come last, and one
# process is left alone with them. Compiled files are kept, whatever the environment says: tests start many processes, and pytest rewrites
# every test file.
test: install-dev
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-short:
	@$(WANTED)
	.ci/short "$(PYTHON)"

docs: .venv/.installed-docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --jobs auto -b html docs docs/_build/html
	@echo "Built: docs/_build/html/index.html"

# The figure of gains: on node tasks, then on graph tasks.
SUITES := node unseen graph molhiv few-labels
WITH_ALL_LABELS := Cora CiteSeer Coauthor-CS Amazon-Computers MUTAG PROTEINS ENZYMES ogbg-molbace ogbg-molbbbp ogbg-molhiv
WITH_FEW_LABELS := Cora CiteSeer Coauthor-CS Amazon-Computers PROTEINS NCI1 ENZYMES MUTAG IMDB-BINARY ogbg-molbace ogbg-molbbbp ogbg-molsider

figures: install
	$(BIN)/python -m pip install --quiet --editable ".[plot]"
	$(BIN)/dgl-mutual plot $(SUITES:%=results/suites/suite-%) --kind gains --out docs/figures --method independent --method gml --method "gml, no class prior" \
		$(foreach name,$(WITH_ALL_LABELS),--dataset "$(name)") $(foreach name,$(WITH_FEW_LABELS),--dataset "$(name) 10 %")
	$(BIN)/dgl-mutual plot results/suites/suite-peers-tuned --kind time --out docs/figures

# The README, and all pages of results/ that have tables.
PAGES = README.md $(shell grep --files-with-matches '^<!-- table: ' results/*.md)

tables: install
	$(BIN)/dgl-mutual tables results $(PAGES)

install: .venv/.installed
install-dev: .venv/.installed-dev

.venv/.installed: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/.installed-dev: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch .venv/.installed $@

.venv/.installed-docs: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch .venv/.installed $@

$(BIN)/python:
	@$(WANTED)
	$(PYTHON) -m venv .venv
