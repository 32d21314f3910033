# Every target sets up .venv from requirements.lock first, once. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# python3.11 where it is there and works, else python3.
PYTHON ?= $(shell python3.11 -V >/dev/null 2>&1 && echo python3.11 || echo python3)
ARGS ?=
WORKERS ?= 2
# What `make reproduce` reproduces: a card that comes with the kit, or a path.
CARD ?= cleanrl-ppo
# The one package that `make lock` doesn't move to its newest release: each one is gigabytes.
TORCH ?= 2.13.0

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -q
READY := .venv/.ready
SOURCES := pyproject.toml README.md LICENSE rlrepro agents envs experiments

# A copied or moved checkout brings a .venv that points elsewhere: set it up again.
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
$(READY): .FORCE
endif

# .venv/.unfinished is what an interrupted set-up leaves: then nothing in .venv is trusted, and it starts over.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo >&2 \
	  "rlrepro needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) -V 2>&1 | head -1): make PYTHON=python3.12 names another"; exit 1; }
	@if [ -e .venv/.unfinished ] || { [ -e $@ ] && [ "$$(cat $@)" != "$(CURDIR)" ]; }; then rm -rf .venv; fi
	@echo "Setting up .venv: the first time takes some minutes" >&2
	@mkdir -p .venv && touch .venv/.unfinished && rm -f $@
	@[ -x $(BIN)/pip ] || $(PYTHON) -m venv .venv
	@$(PIP) install -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@echo "$(CURDIR)" > $@ && rm .venv/.unfinished

.PHONY: help setup train reproduce pages proofs calibrate test fuzz slow cuda check benchmark lock clean .FORCE
.FORCE:

help:  ## Lists these targets
	@sed -nE 's/^([a-z]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name text; do printf 'make %-11s %s\n' "$$name" "$$text"; done

setup: $(READY)  ## Sets up .venv from the lock; PYTHON=python3.12 picks the interpreter

train: $(READY)  ## Trains PPO on CartPole-v1; ARGS="--seeds 10" adds options
	@$(BIN)/python -m rlrepro.train --env CartPole-v1 --agent ppo $(ARGS)

reproduce: $(READY)  ## Reproduces a card; CARD=cleanrl-dqn names it, ARGS="--plan" adds options
	@$(BIN)/python -m rlrepro.reproduce $(CARD) $(ARGS)

pages: $(READY)  ## Makes the committed pages, the scoreboard and the table of agents again, from committed results
	@for results in experiments/*/results; do $(BIN)/rlrepro report "$$(dirname "$$results")"; done
	@$(BIN)/rlrepro scoreboard --write docs/scoreboard.md
	@$(BIN)/rlrepro scoreboard --summary --write README.md
	@$(BIN)/rlrepro proofs --write docs/agents.md

proofs: $(READY)  ## Measures agreement with other code, probes all agents, makes docs/agents.md again (minutes)
	$(BIN)/python -m pytest -q -m agrees --agreement=docs/agreement.json --timeout 300
	$(BIN)/rlrepro probe --agent all --write docs/probes.json
	@$(BIN)/rlrepro proofs --write docs/agents.md

calibrate: $(READY)  ## Simulates how often the verdicts' statistics err (minutes)
	@$(BIN)/rlrepro calibrate $(ARGS)

test: $(READY)  ## Runs the tests; ARGS="-k ppo" picks some, WORKERS=0 runs them in one process
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --timeout 300 $(ARGS)

fuzz: $(READY)  ## Runs the tests that draw examples, on new ones
	$(BIN)/python -m pytest -n $(WORKERS) --timeout 300 -m hypothesis --hypothesis-profile default $(ARGS)

cuda: $(READY)  ## Runs the tests that need a CUDA device
	$(BIN)/python -m pytest tests/test_cuda.py $(ARGS)

slow: $(READY)  ## Runs the slow tests
	$(BIN)/python -m pytest -m slow --timeout 1800 $(ARGS)

check: $(READY)  ## Lint, format, types (against the built wheel), import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(PIP) check
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && mkdir "$$tmp/source" && cp -r $(SOURCES) "$$tmp/source" && \
	  $(PIP) wheel --no-deps --no-build-isolation -w "$$tmp" "$$tmp/source" && \
	  $(PIP) install --no-deps --target "$$tmp/installed" "$$tmp"/*.whl && \
	  cd "$$tmp" && MYPYPATH="$$tmp/installed" "$(CURDIR)/$(BIN)/mypy" \
	    --config-file "$(CURDIR)/pyproject.toml" --cache-dir "$(CURDIR)/.mypy_cache" -p rlrepro
	$(BIN)/python -m pytest tests/test_layers.py

benchmark: $(READY)  ## Measures speed against Stable-Baselines3
	@$(BIN)/python -m benchmarks.speed $(ARGS)

lock:  ## Remakes requirements.lock: the newest releases that fit, but torch TORCH=2.13.0
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && mkdir "$$tmp/source" && cp -r $(SOURCES) "$$tmp/source" && \
	  $(PYTHON) -m venv "$$tmp/venv" && \
	  "$$tmp/venv/bin/pip" install -q "torch==$(TORCH)" "$$tmp/source[atari,box2d,dev,minatar,minigrid,mujoco,video]" && \
	  { sed -n '/^#/p' requirements.lock; \
	    "$$tmp/venv/bin/pip" freeze --all --exclude pip --exclude rlrepro \
	    | sed -E 's/\+[A-Za-z0-9.]+$$//' | LC_ALL=C sort -f; } > "$$tmp/lock" && \
	  if grep -vE '^(#.*|[A-Za-z0-9._-]+==[A-Za-z0-9.]+)$$' "$$tmp/lock"; then echo >&2 "make lock: not a plain pin (above)"; exit 1; fi && \
	  cp "$$tmp/lock" requirements.lock

clean:  ## Removes what set-up, builds and checks made; runs stay
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
