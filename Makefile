# The two commands of a newcomer: `make up` and `make test`. Everything else is for contributors.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
# Else each of the hundreds of processes that the tests start compiles the product for itself.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup up demo test image clients simulate chaos kills mutants check bench lock clean

setup: .venv/.ready

.venv/.ready: requirements.lock pyproject.toml
	@command -v uv >/dev/null || $(PYTHON) -m uv --version >/dev/null 2>&1 || $(PYTHON) -m pip install --quiet uv
	@UV="$$(command -v uv || echo '$(PYTHON) -m uv')"; \
	test -x $(BIN)/python || $$UV venv --quiet --python $(PYTHON) .venv && \
	$$UV pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock && \
	$$UV pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

up: setup
	$(BIN)/comptroller up

# An agent that runs into its budget, and the books; a stack of its own, some seconds.
demo: setup
	@$(BIN)/python examples/demo.py

# Four for two cores: tests wait for processes most of the time. Whoever is done takes over.
test: setup
	$(BIN)/pytest -n 4 --dist worksteal

# What the Dockerfile builds, run without a container engine; downloads.
image: setup
	$(BIN)/pytest -m image tests/deploy

# Real SDKs, agent frameworks and command lines, each in an environment of its own: docs/clients.md;
# with the examples of workflows, and docs/recipes.md. Downloads 3 GB once, into .clients; then eight
# minutes. CLIENTS="-k openai"
CLIENTS ?=
clients: setup
	$(BIN)/pytest -m clients tests/clients $(CLIENTS)

# The whole data plane under one seed, with faults: docs/simulation.md. SIMULATE="--seed 7 --episodes 1"
SIMULATE ?= --seconds 120
simulate: setup
	$(BIN)/python -m tests.simulation $(SIMULATE)

# A real stack under load, its processes killed and stopped at random: docs/chaos.md. CHAOS="--seed 7"
CHAOS ?= --seconds 600
chaos: setup
	$(BIN)/python -m tests.chaos $(CHAOS)

# Every point at which a recorder can be killed, and executors at random: half an hour.
kills: setup
	$(BIN)/pytest -n 2 -m kills

# The product broken in 150 ways, one at a time and in a copy, and which test notices: half an hour.
mutants: setup
	$(BIN)/python -m tests.mutants

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: setup
	$(BIN)/python -m bench
	$(BIN)/python -m bench.records

# What chDB names for its data frames, which nothing here uses: 320 MB that the image does without.
NEVER_IMPORTED := numpy pandas pyarrow python-dateutil

# Names, versions and hashes only: an address would tie the lock to one mirror. All versions are
# those of requirements.lock, which the tests run with.
lock:
	uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--python-version 3.11 --group dev --output-file requirements.lock pyproject.toml
	uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--python-version 3.11 --constraint requirements.lock \
		$(addprefix --no-emit-package ,$(NEVER_IMPORTED)) \
		--output-file requirements.runtime.lock pyproject.toml
	echo hatchling | uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header \
		--no-annotate --python-version 3.11 --constraint requirements.lock \
		--output-file requirements.build.lock -

clean:
	rm -rf .venv .clients .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
