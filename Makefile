# The one vocabulary: people and CI call the same targets. `make help` lists them.
SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/installed
# Everything below runs the environment's own programs, whatever is activated.
OUTER_PATH := $(PATH)
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONPATH := src
# Git sets these variables in its hooks; they would redirect every git below to another repository.
unexport $(shell git rev-parse --local-env-vars 2>/dev/null)

.PHONY: help
help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: install
install: $(INSTALLED) ## set up .venv from the hashed lock

$(INSTALLED): requirements.lock .dvc/plots/page.py tools/install.py
	@PATH="$(OUTER_PATH)" $(PYTHON) tools/install.py

.PHONY: lock
lock: $(INSTALLED) ## bring requirements.lock in line with pyproject.toml
	uv pip compile --quiet --universal --generate-hashes --no-header --group development --group install pyproject.toml --output-file requirements.lock

.PHONY: repro
repro: $(INSTALLED) ## run the whole pipeline: data, search, training, comparison
	dvc repro

# Other budgets or seeds than those of params.yaml are run in copies of this folder: nothing of the user's is touched.
define copy_to
	mkdir -p $(1)
	git ls-files -co --exclude-standard -z | tar --null --ignore-failed-read --exclude=dvc.lock -cf - -T - | tar -xf - -C $(1)
	if [ -d data/raw ]; then mkdir -p $(1)/data && cp -r data/raw $(1)/data; fi
	cp .dvc/plots/page.html $(1)/.dvc/plots
	cd $(1) && git init --quiet && git add --all && \
	  git -c user.name=copy -c user.email=copy@localhost -c commit.gpgsign=false \
	    commit --quiet --no-verify --allow-empty --message copy
endef

.PHONY: smoke
smoke: $(INSTALLED) ## run the same pipeline with small budgets in a copy (.state/smoke)
	rm -rf .state/smoke
	$(call copy_to,.state/smoke)
	cd .state/smoke && dvc exp run $$(sed 's/^/-S /' src/sidebyside/reproducibility/smoke.txt) && dvc metrics show

# As an experiment of DVC's beside the results: it runs in a folder of its own, its runs land in
# MLflow, `dvc exp show` lists it, and its scores are kept for the README.
define experiment
	baseline=$$(git rev-parse HEAD | sed 's|^..|&/|') && \
	  dvc exp run --temp --force --name $(1) $(2) && \
	  mkdir -p reports/$(1) && \
	  git show "refs/exps/$$baseline/$(1):reports/evaluate/metrics.json" > $(VENV)/$(1).json && \
	  mv $(VENV)/$(1).json reports/$(1)/metrics.json
endef

BFLOAT16 := -S tune.models.mlp.precision=bfloat16 -S tune.models.cnn.precision=bfloat16

.PHONY: bfloat16
bfloat16: $(INSTALLED) ## run all in bfloat16, as an experiment (fast where the processor has it)
	$(call experiment,bfloat16,$(BFLOAT16))

# A CNN that averages, more epochs and cutout.
THOROUGH := -S train.models=[cnn] -S train.data=[original] \
  -S train.budget.cnn.epochs=40 -S train.budget.cnn.patience=20 \
  -S tune.models.cnn.head=average -S tune.models.cnn.cutout=8

.PHONY: thorough
thorough: $(INSTALLED) ## train the CNN for longer and with cutout, as an experiment
	$(call experiment,thorough,$(THOROUGH))

# What other seeds would have given: the distribution that `make verify` holds a result against. Stopped, it goes on.
.PHONY: reference
reference: $(INSTALLED) ## train every model from four more seeds in a copy (.state/reference)
	$(call copy_to,.state/reference)
	cd .state/reference && dvc exp run -S "train.seeds=[2,3,4,5]"
	python -m sidebyside.reproducibility.seed_variance .state/reference

# A repository of its own for DVC; data come from the pipeline above it. Stopped, it goes on.
.PHONY: replications
replications: $(INSTALLED) ## rebuild the five published systems and hold them against their numbers
	dvc repro preprocess augment
	python -m study.run
	cd replications && dvc repro

.PHONY: verify
verify: $(INSTALLED) ## run the pipeline again in a fresh clone and compare every output
	python -m sidebyside.reproducibility.rerun

.PHONY: verify-smoke
verify-smoke: $(INSTALLED) ## compare two runs with small budgets, the second elsewhere
	python -m sidebyside.reproducibility.rerun --smoke --vary

.PHONY: record
record: $(INSTALLED) ## run all from nothing in a clone and keep its results and times here
	python -m sidebyside.reproducibility.record
	python -m tools.readme

.PHONY: readme
readme: $(INSTALLED) ## fill the tables of README.md, docs/speed.md, params.yaml and reports/reproducibility.md from the results
	python -m tools.readme

# Other frameworks, for `make benchmark` alone, beside the environment and not in its lock. PyPI's
# PyTorch brings CUDA's libraries; with a CPU wheel in a folder, UV_FIND_LINKS=<folder> takes that.
PEERS := .venv-peers
$(PEERS)/installed: pyproject.toml $(INSTALLED)
	uv venv --quiet --allow-existing --python $(VENV)/bin/python $(PEERS)
	uv pip install --quiet --compile-bytecode --python $(PEERS)/bin/python --group peers
	touch $@

.PHONY: peers
peers: $(PEERS)/installed ## set up .venv-peers: PyTorch, JAX and a profiler

.PHONY: benchmark
benchmark: $(PEERS)/installed ## measure speed, overheads, growth (an hour; nothing else may run meanwhile)
	dvc repro preprocess augment
	for name in training profile determinism pooling side_by_side growth precision overheads; do python -m benchmarks.$$name || exit; done
	python -m tools.readme

.PHONY: runs
runs: $(INSTALLED) ## check that every run in MLflow says where it comes from
	python -m sidebyside.tracking.audit

.PHONY: tour
tour: $(INSTALLED) ## photograph MLflow's pages and the report, for docs/tour.md (needs chromium, chromium-driver)
	python -m tools.tour

.PHONY: refill
refill: $(INSTALLED) ## log whatever the checkout holds and MLflow does not
	python -m sidebyside.tracking.backfill

.PHONY: ui
ui: $(INSTALLED) ## browse the runs at http://127.0.0.1:5000
	mlflow ui --host 127.0.0.1

MODEL ?= cnn
PORT ?= 5001
.PHONY: serve
serve: $(INSTALLED) ## serve the best model (MODEL=cnn) at http://127.0.0.1:5001/invocations
	python -m sidebyside.serving.serve $(MODEL) --port $(PORT)

# Whatever stands in a file's name, neither make nor the shell takes it for a command.
unexport IMAGE
.PHONY: predict
predict: export PICTURE := $(value IMAGE)
predict: $(INSTALLED) ## classify a picture file: make predict IMAGE=shirt.jpg
	@test -n "$$PICTURE" || { echo "which picture? make predict IMAGE=shirt.jpg" >&2; exit 2; }
	@python -m sidebyside.serving.predict -- "$$PICTURE"

# Two processes at once: much of a test is waiting for the programs it runs. A file's tests stay
# together, because they share what is costly to set up. tests/conftest.py orders the files.
TWO := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: test
test: $(INSTALLED) lint types ## lint, check types, run all tests but those of test-system
	pytest $(TWO) -m "not system"

.PHONY: test-fast
test-fast: $(INSTALLED) ## run the tests that take no more than a few seconds each
	pytest $(TWO) -m "not slow and not system"

.PHONY: test-system
test-system: $(INSTALLED) ## run the tests with real servers, a browser, or minutes to wait (Debian's postgresql, chromium, chromium-driver)
	pytest -m system

.PHONY: test-crash
test-crash: $(INSTALLED) ## kill every stage at every single change it makes on disk
	pytest tests/test_crash.py --all-crash-points

.PHONY: lint
lint: $(INSTALLED) ## look for faults and style
	ruff check
	ruff format --check

.PHONY: types
types: $(INSTALLED) ## check types
	mypy

.PHONY: format
format: $(INSTALLED) ## put the code in its standard form
	ruff check --fix
	ruff format
