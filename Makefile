# The same commands for people and CI. `make help` lists the targets by group, from "##" comments.
# DVC runs the stages with it, whatever shell the user has.
OUTER_SHELL := $(shell echo $${SHELL:-/bin/sh})
export SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/installed
# Recipes use the programs of this environment, even if another environment is active.
OUTER_PATH := $(PATH)
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONPATH := src:replications/src
# DVC does not start without a home or without a user name, as in some containers.
export HOME ?= $(CURDIR)/.state
export USER ?= $(shell id -un 2>/dev/null || id -u)
# Variables that would redirect a command or change a result, such as those of git's hooks.
REDIRECTING := $(shell $(PYTHON) -I src/sidebyside/core/environment.py 2>/dev/null)
unexport $(filter-out MAKEFLAGS,$(REDIRECTING))

# Run before DVC: names a damaged file and the command that mends it.
CHECK := python -m sidebyside.workflow.check

##@ Use

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^##@ /{printf "%s%s\n", (n++ ? "\n" : ""), substr($$0, 5)} /^[a-z0-9-]+:.*## /{printf "  %-22s%s\n", $$1, $$2}' Makefile

.PHONY: install
install: $(INSTALLED) ## create .venv from requirements.lock

$(INSTALLED): requirements.lock .dvc/plots/page.py tools/install.py
	@PATH="$(OUTER_PATH)" $(PYTHON) tools/install.py

# A second call waits for the first one: two DVC processes in one folder stop each other. Targets
# with a dot are parts of others.
IN_TURN := python -m sidebyside.workflow.in_turn

# Runs stages side by side, and waits for a second call by itself. JOBS: how many at once.
REPRO := python -m sidebyside.workflow.repro $(if $(JOBS),--jobs $(JOBS))

.PHONY: repro
repro: committed $(INSTALLED) ## run the whole pipeline: data, tuning, training, evaluation (JOBS=2)
	$(IN_TURN) repro $(CHECK)
	$(REPRO)
	python -m sidebyside.reproducibility.summary

.PHONY: plan
plan: $(INSTALLED) ## list the stages that `make repro` would run, with their expected times
	@$(REPRO) --dry-run

# Runs with other budgets or seeds use a copy of this folder, so that its files do not change.
COPY := python -m sidebyside.reproducibility.clones

.PHONY: smoke
smoke: committed $(INSTALLED) ## run the pipeline with small budgets in a copy (.state/smoke)
	$(CHECK)
	$(IN_TURN) smoke $(MAKE) --no-print-directory .smoke

.smoke:
	rm -rf .state/smoke
	$(COPY) .state/smoke
	cd .state/smoke && dvc exp run $$(sed 's/^/-S /' src/sidebyside/reproducibility/smoke.txt) && dvc metrics show

# DVC itself has a column for each parameter and input, which no terminal is wide enough for.
.PHONY: experiments
experiments: $(INSTALLED) ## compare experiments: validation accuracies and changed parameters
	@dvc exp show --no-pager --only-changed --keep '^\w+-(original|augmented)' \
	  --drop '^(data|models|pipeline|reports|src)(/|$$)|Created'

.PHONY: ui
ui: PORT = 5000
ui: $(INSTALLED) ## browse the runs at http://127.0.0.1:5000
	@python -m sidebyside.tracking.ui --port $(PORT)

# Neither make nor the shell interprets special characters of the file name.
unexport IMAGE
.PHONY: predict
predict: export PICTURE := $(value IMAGE)
predict: $(INSTALLED) ## classify a picture or a folder of them: make predict IMAGE=shirt.jpg
	@test -n "$$PICTURE" || { echo "IMAGE is missing: make predict IMAGE=shirt.jpg" >&2; exit 2; }
	@python -m sidebyside.serving.predict -- "$$PICTURE"

MODEL ?= cnn
PORT ?= 5001
.PHONY: serve
serve: $(INSTALLED) ## serve the best model (MODEL=cnn) at http://127.0.0.1:5001
	python -m sidebyside.serving.serve $(MODEL) --port $(PORT)

# Optional, in the same environment, at the versions of requirements.lock.
RAY := $(VENV)/ray
GPU := $(VENV)/gpu
$(RAY) $(GPU): $(VENV)/%: requirements-%.lock $(INSTALLED)
	uv pip install --quiet --require-hashes --requirement $<
	touch $@

.PHONY: ray
ray: $(RAY) ## install Ray, to train on the cluster at RAY_ADDRESS

.PHONY: gpu
gpu: $(GPU) ## install CUDA (several GB), to train on a GPU

.PHONY: cluster
cluster: COMMAND = $(OUTER_SHELL)
cluster: $(RAY) ## open a shell with a Ray cluster on this machine (COMMAND='make repro JOBS=4')
	@python -m sidebyside.workflow.local_cluster $(COMMAND)

.PHONY: backfill
backfill: $(INSTALLED) ## log results of this checkout that are missing in MLflow
	python -m sidebyside.tracking.backfill

.PHONY: backfill-replications
backfill-replications: $(INSTALLED) ## log results of the published systems that are missing in MLflow
	python -m study.backfill

# Run a DVC experiment in a temporary copy, without changing the results: its runs are logged to
# MLflow, `dvc exp show` lists it, and its scores and other files of reports/ are kept for docs/.
define experiment
	baseline=$$(git rev-parse HEAD | sed 's|^..|&/|') && \
	  dvc exp run --temp --force --name $(1) $(2) && \
	  for file in evaluate/metrics.json $(3); do \
	    kept=reports/$(1)/$${file#evaluate/} && mkdir -p $$(dirname $$kept) && \
	    git show "refs/exps/$$baseline/$(1):./reports/$$file" > $(VENV)/$(1).json && \
	    mv $(VENV)/$(1).json $$kept || exit; \
	  done
endef

BFLOAT16 := -S tune.models.mlp.precision=bfloat16 -S tune.models.cnn.precision=bfloat16

.PHONY: bfloat16
bfloat16: committed $(INSTALLED) ## run the pipeline in bfloat16, as an experiment
	$(CHECK)
	$(call experiment,bfloat16,$(BFLOAT16))

# A CNN with global average pooling, more epochs and cutout.
THOROUGH := -S train.models=[cnn] -S train.data=[original] \
  -S train.budget.cnn.epochs=40 -S train.budget.cnn.patience=20 \
  -S tune.models.cnn.head=average -S tune.models.cnn.cutout=8

.PHONY: thorough
thorough: committed $(INSTALLED) ## train the CNN for more epochs and with cutout, as an experiment
	$(CHECK)
	$(call experiment,thorough,$(THOROUGH))

CHOSEN := $(foreach model,mlp cnn,tune/$(model)/search.json tune/$(model)/hyperparameters.json)

.PHONY: mnist
mnist: committed $(INSTALLED) ## run the pipeline on MNIST, as an experiment
	$(CHECK)
	$(call experiment,mnist,-S dataset=mnist,$(CHOSEN))

##@ Review

.PHONY: verify
verify: committed $(INSTALLED) ## run the pipeline again in a fresh clone and compare every output
	$(CHECK)
	python -m sidebyside.reproducibility.rerun

.PHONY: verify-smoke
verify-smoke: committed $(INSTALLED) ## run twice with small budgets in different environments and compare
	python -m sidebyside.reproducibility.rerun --smoke --vary

# Results record their commit. This check needs no environment, so targets start with it.
.PHONY: committed
committed: ## check that git reads a commit of this project
	@$(PYTHON) -m sidebyside.workflow.git

.PHONY: runs
runs: $(INSTALLED) ## check that every run in MLflow records commit, data, seed and machine
	python -m sidebyside.tracking.audit

# The distribution over seeds that `make verify` compares new scores with. Resumes if interrupted.
.PHONY: reference
reference: committed $(INSTALLED) ## train four more seeds of every model, in a copy (JOBS=2)
	$(CHECK)
	$(IN_TURN) reference $(MAKE) --no-print-directory .reference

.reference:
	$(COPY) .state/reference --seeds '[2,3,4,5]'
	cd .state/reference && $(REPRO)
	python -m sidebyside.reproducibility.seed_variance .state/reference

# A DVC project with its own graph, on the data of the main project. Resumes if interrupted.
.PHONY: replications
replications: committed $(INSTALLED) ## rebuild five published systems and compare the numbers (JOBS=2)
	$(IN_TURN) repro $(CHECK) . replications
	$(IN_TURN) repro dvc repro preprocess augment
	$(REPRO) replications

# Two processes, each running whole files, because the tests of a file share expensive fixtures.
# tests/conftest.py puts slow files first.
TWO := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: test
test: $(INSTALLED) lint types ## lint, check types, run all tests except those of test-system
	pytest $(TWO) -m "not system"

.PHONY: test-fast
test-fast: $(INSTALLED) ## run the tests that take at most a few seconds each
	pytest $(TWO) -m "not slow and not system"

.PHONY: test-system
test-system: $(RAY) ## run the tests that need servers or a browser (postgresql, chromium, chromium-driver)
	pytest -m system

.PHONY: test-gpu
test-gpu: $(INSTALLED) ## run the tests that need a GPU, and `make gpu`
	pytest tests/system/test_gpu.py

.PHONY: test-crash
test-crash: $(INSTALLED) ## kill every stage at every file-system change, resume and compare
	pytest tests/integration/test_crash.py --all-crash-points

##@ Maintain


.PHONY: lint
lint: $(INSTALLED) ## check style and likely errors
	ruff check
	ruff format --check

.PHONY: types
types: $(INSTALLED) ## check types
	mypy

.PHONY: format
format: $(INSTALLED) ## format the code
	ruff check --fix
	ruff format

.PHONY: lock
lock: $(INSTALLED) ## update requirements.lock from pyproject.toml
	uv pip compile --quiet --universal --generate-hashes --no-header --group development --group install pyproject.toml --output-file requirements.lock
	uv pip compile --quiet --universal --generate-hashes --no-header --group ray --constraint requirements.lock --output-file requirements-ray.lock
	uv pip compile --quiet --universal --generate-hashes --no-header --group gpu --constraint requirements.lock --output-file requirements-gpu.lock

.PHONY: readme
readme: $(INSTALLED) ## generate the tables of README.md and docs/, params.yaml's header, the checklist
	python -m tools.readme

.PHONY: record
record: committed $(INSTALLED) ## run everything from scratch in a clone; keep results, times and provenance
	python -m sidebyside.reproducibility.record
	python -m tools.readme

# Other frameworks, only for `make benchmark`, in a separate environment and not in the lock. PyPI's
# PyTorch includes CUDA; to use a CPU wheel from a folder, set UV_FIND_LINKS=<folder>.
PEERS := .venv-peers
$(PEERS)/installed: pyproject.toml $(INSTALLED)
	uv venv --quiet --allow-existing --python $(VENV)/bin/python $(PEERS)
	uv pip install --quiet --compile-bytecode --python $(PEERS)/bin/python --group peers
	touch $@

.PHONY: peers
peers: $(PEERS)/installed ## create .venv-peers with PyTorch, JAX and a profiler

.PHONY: benchmark
benchmark: $(PEERS)/installed $(RAY) ## measure speed, overheads and growth (an hour, on an idle machine)
	$(IN_TURN) repro $(CHECK)
	$(IN_TURN) repro dvc repro preprocess augment
	for name in training profile determinism pooling parts execution scaling side_by_side growth precision overheads backfill pictures; do python -m benchmarks.$$name || exit; done
	python -m tools.readme

.PHONY: tour
tour: $(INSTALLED) ## take the screenshots of docs/tour.md (needs chromium, chromium-driver)
	python -m tools.tour
