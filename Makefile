# The one vocabulary: people and CI call the same targets. `make help` lists them.
SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/installed
# Everything below runs the environment's own programs, whatever is activated.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONPATH := src

.PHONY: help
help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: install
install: $(INSTALLED) ## set up .venv from the hashed lock

# uv writes bytecode and an environment that may be moved; the lock holds uv's own hashes too.
$(INSTALLED): requirements.lock .dvc/plots/page.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "$$($(PYTHON) --version) is not supported: install Python 3.11, 3.12 or 3.13 and run make PYTHON=python3.12" >&2; exit 1; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.lock
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --requirement $(VENV)/uv.lock
	$(VENV)/bin/uv venv --quiet --allow-existing --relocatable --python $(PYTHON) $(VENV)
	$(VENV)/bin/uv pip install --quiet --python $(VENV)/bin/python --require-hashes --compile-bytecode --requirement requirements.lock
	$(VENV)/bin/python .dvc/plots/page.py
	touch $@

.PHONY: lock
lock: ## resolve requirements.lock anew from pyproject.toml
	uv pip compile --quiet --universal --generate-hashes --no-header --group development --group install pyproject.toml --output-file requirements.lock

.PHONY: repro
repro: $(INSTALLED) ## run the whole pipeline: data, search, training, comparison
	dvc repro
