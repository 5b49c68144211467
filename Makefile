# Everything a contributor needs; `make help` lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq
SERVICE ?= examples/outbreak/main.py
KILLS ?= 200
USERS ?= 64
RUN_TIME ?= 30s
SOAK_SECONDS ?= 600
# Tests wait more than they compute, so there are more of them at a time than a small machine has cores.
PARALLEL ?= 4
# The tests of a file share what they have started, and some of it ends in the reverse order of its beginning.
# Failures show as they come: a run that is ended from outside has then said what it knew.
SIDE_BY_SIDE := -n $(PARALLEL) --dist loadfile --max-worker-restart 2 --instafail
LOCK := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-header --no-annotate --quiet

# A stamp says what is installed, so a second run is instant and a changed lock installs again.
# Whoever names a Python gets an environment made with that one; otherwise the one that is there will do.
ifeq ($(origin PYTHON),file)
CREATED := $(VENV)/.created
else
CREATED := $(VENV)/.created-with$(subst /,-,$(PYTHON))
endif
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
LOADED := $(VENV)/load/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install run test torture check house docker-replay bench bench-report bench-scaling soak load lock format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(DEV) ## install everything needed to work on Millrace into .venv (PYTHON=python3.13 to choose)

run: $(RUNTIME) ## start the example service (PORT=9000 and SERVICE=my/main.py to choose)
# The trap lets Ctrl-C reach the service only: it ends in its own time, and that is no failure of this target.
	@trap : INT; $(BIN)/millrace serve $(SERVICE); status=$$?; [ $$status -eq 130 ] || exit $$status

# What the documentation says is tested by `check`. Many tests start processes of ours: with PYTHONDONTWRITEBYTECODE in
# the environment each of them would compile everything anew.
test: $(DEV) ## run the tests with branch coverage; below 95 % fails (PARALLEL=1 for one after the other)
	@$(BIN)/python -m compileall -q domain infra service tests
	@$(BIN)/python -m pytest -q $(SIDE_BY_SIDE) --ignore=tests/house --cov --cov-branch --cov-report=term-missing:skip-covered

torture: $(DEV) ## kill processes and servers at random while jobs run, and count (SEED=7 KILLS=50 to choose)
	@$(BIN)/python -m tests.torture --kills $(KILLS) $(if $(SEED),--seed $(SEED))

check: $(DEV) house ## formatting, lint, types, layers, documentation, Dockerfile and manifests
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@found=$$($(BIN)/lint-imports --no-logo 2>&1) || { echo "$$found"; exit 1; }
	@echo "everything is in order"

house: $(DEV)
	@$(BIN)/python -m compileall -q domain infra service tests
	@[ ! -d tests/house ] || $(BIN)/python -m pytest -q $(SIDE_BY_SIDE) tests/house

docker-replay: $(DEV) ## build what the Dockerfile describes without Docker, start it, ask for its health
	@$(BIN)/python .ci/replay-dockerfile

bench: $(DEV) ## measure the promises that have numbers
	@$(BIN)/python -m pytest -q bench

bench-report: $(DEV) ## write what was measured last (by `make bench`, which runs if it never did) into docs/performance.md
	@[ -f build/bench/results.json ] || $(BIN)/python -m pytest -q bench
	@$(BIN)/python -m bench.report

bench-scaling: $(DEV) ## measure what cost does with rows, connections and workers, into docs/performance.md; some minutes
	@$(BIN)/python -m bench.scaling
	@$(BIN)/python -m bench.report

soak: $(DEV) ## ten minutes of mixed load on each database; memory and open files must stay flat (SOAK_SECONDS=60 to choose)
	@$(BIN)/python -m bench.soak $(SOAK_SECONDS)

load: $(LOADED) ## drive a real server with an external load generator (USERS=64 RUN_TIME=30s to choose)
	@$(BIN)/python -m bench.load.run --users $(USERS) --run-time $(RUN_TIME)

# The runtime and the build backend get exactly the versions that were tested.
lock: $(DEV) ## write requirements/*.lock again (UPGRADE=--upgrade for newer versions)
	@$(LOCK) $(UPGRADE) --group dev -o requirements/dev.lock
	@$(subst pyproject.toml,,$(LOCK)) --group load -c requirements/dev.lock -o requirements/load.lock --upgrade
	@$(LOCK) --group examples -c requirements/dev.lock -o requirements/runtime.lock --upgrade
	@$(subst pyproject.toml,,$(LOCK)) --group build -c requirements/dev.lock -o requirements/build.lock --upgrade

format: $(DEV) ## format the code and repair what can be repaired
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix --quiet .

clean: ## remove the environment and everything else that can be made again
	@rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A lock names everything, so nothing is looked up besides it: some versions of pip would meet a release that is newer
# than the lock's in doing so, and refuse it for want of a hash.
$(RUNTIME): requirements/runtime.lock requirements/build.lock pyproject.toml $(CREATED)
	@echo "installing pinned dependencies, about half a minute…"
	@$(PIP) install --no-deps --require-hashes -r requirements/runtime.lock -r requirements/build.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): requirements/dev.lock pyproject.toml $(CREATED)
	@echo "installing pinned dependencies, about a minute…"
	@$(PIP) install --no-deps --require-hashes -r requirements/dev.lock
	@$(BIN)/python -m pip --disable-pip-version-check check > /dev/null
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $(RUNTIME) $@

# The load generator is for those who use it, and brings a plugin along that would change how tests are run.
$(LOADED): requirements/load.lock $(DEV)
	@echo "installing the load generator…"
	@$(BIN)/python -m venv --clear $(VENV)/load
	@$(VENV)/load/bin/python -m pip --disable-pip-version-check --no-input -qq install --no-deps --require-hashes -r requirements/load.lock
	@touch $@

$(CREATED):
	@command -v "$(PYTHON)" > /dev/null || { echo "Millrace needs Python 3.11 or newer, and there is no \"$(PYTHON)\": install Python, or name the one to use, as in: make install PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Millrace needs Python 3.11 or newer, and \"$(PYTHON)\" is $$("$(PYTHON)" -V 2>&1): install a newer one, or name it, as in: make install PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2> /dev/null || { echo "\"$(PYTHON)\" cannot make a virtual environment because its venv module is missing: install it (Debian and Ubuntu: apt-get install python3-venv) and try again" >&2; exit 1; }
ifeq ($(origin PYTHON),file)
	@[ -x $(BIN)/python ] || "$(PYTHON)" -m venv --clear $(VENV)
else
	@"$(PYTHON)" -m venv --clear $(VENV)
endif
	@touch $(VENV)/.created $@
