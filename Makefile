# Two commands on a fresh machine: `make demo` and `make test`. PYTHON may name another interpreter (3.8 or newer).
PYTHON ?= python3
# Let uv trust the machine's own certificates, as pip does; the second name is for older releases.
export UV_SYSTEM_CERTS := true
export UV_NATIVE_TLS := true
VENV ?= .venv
BIN := $(VENV)/bin
# Containers often tell Python not to write bytecode, so that each kernel that a test starts would spend seconds compiling its
# libraries. Bytecode is written to the virtual environment instead.
export PYTHONDONTWRITEBYTECODE :=
export PYTHONPYCACHEPREFIX ?= $(abspath $(VENV))/bytecode

.PHONY: demo test lab lint types docs docs-links bench check prices release-check clean help

help:
	@echo "make demo   run the quickstart notebook twice against the simulator: no key, no spending"
	@echo "make lab    open copies of the notebooks in JupyterLab; the simulator answers"
	@echo "make test   run the quick tests"
	@echo "make lint   check style, imports between rooms and formatting"
	@echo "make types  check types"
	@echo "make docs   write the tables in docs/ that are made from the code, and build the site into build/docs"
	@echo "make docs-links  ask every external address in docs/ whether it is there"
	@echo "make bench  run the benchmarks and print their figures in one table (BENCH_OPTIONS=--write: into their README)"
	@echo "make check  run everything that CI runs"
	@echo "make prices  bring prices up to date, and print what changed"
	@echo "make release-check  check what a release needs, and print a checklist"
	@echo "make clean  remove what these made"

demo: $(VENV)/.demo
	@$(BIN)/python -m claude_force_nb demo

# NOTEBOOK=labelling.ipynb opens another notebook; LAB_OPTIONS are passed to JupyterLab.
lab: $(VENV)/.lab
	$(BIN)/python tools/open_lab.py $(LAB_OPTIONS) $(NOTEBOOK)

# Tests write to memory if there is room, since they would spend half of their time waiting for the disk.
MEMORY := $(shell [ -w /dev/shm ] && df -Pk /dev/shm | awk 'NR == 2 && $$4 > 1000000 {print "/dev/shm"}')

test: $(VENV)/.test
	$(if $(MEMORY),TMPDIR=$(MEMORY) )$(BIN)/python -m pytest -q -n 2 --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy --python-executable $(BIN)/python

# Every warning is an error. Cells run against the simulator, without network access.
SPHINX = $(BIN)/python -m sphinx -W --keep-going -q -j 2 -d build/docs-pages $(DOCS_OPTIONS)

docs: $(VENV)/.docs
	$(BIN)/python tools/update_docs.py
	$(SPHINX) -b html docs build/docs
	@echo "The site is in build/docs/index.html" >&2

docs-links: $(VENV)/.docs
	$(SPHINX) -D nb_execution_mode=off -b linkcheck docs build/docs-links

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/run_all.py $(BENCH_OPTIONS)

check:
	bash .ci/run

# Prices come from genai-prices (Python 3.11 or newer), model names from the SDK.
prices: $(VENV)/.dev
	@$(call INSTALL,--upgrade genai-prices anthropic)
	$(BIN)/python tools/update_prices.py
	@$(BIN)/python tools/update_docs.py

release-check: $(VENV)/.dev
	$(BIN)/python tools/release_check.py

# uv installs in seconds where pip takes minutes, above all on Python 3.8. Without uv, pip is used.
$(VENV)/bin/python:
	@$(PYTHON) -m venv $(VENV)
	@-$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

INSTALL = { [ -x $(BIN)/uv ] && $(BIN)/uv pip install --quiet --python $(BIN)/python $(1); } || \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(1)
comma := ,

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	@echo "Installing the package and what the demo needs into $(VENV) …" >&2
	@$(call INSTALL,--editable '.[demo]')
	@touch $@

$(VENV)/.lab: pyproject.toml | $(VENV)/bin/python
	@echo "Installing the package and JupyterLab into $(VENV) …" >&2
	@$(call INSTALL,--editable '.[lab$(comma)examples]')
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	@echo "Installing the package and what the tests need into $(VENV) …" >&2
	@$(call INSTALL,--editable '.[test]')
	@touch $@

$(VENV)/.docs: pyproject.toml | $(VENV)/bin/python
	@echo "Installing the package and what builds the site into $(VENV) …" >&2
	@$(call INSTALL,--editable '.[docs$(comma)demo]')
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "Installing the package and what work on it needs into $(VENV) …" >&2
	@$(call INSTALL,--editable '.[dev$(comma)test$(comma)demo]')
	@touch $@

clean:
	rm -rf $(VENV) build dist
