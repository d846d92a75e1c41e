# Thin names over well-kept tools.  `make` alone lists them.
#
# `make demo` and `make test` set up what they need: .venv from requirements/dev.lock, and for the tests Node.js.
# PYTHON chooses the interpreter of .venv (3.11 or newer), for example: make test PYTHON=python3.13

# The first interpreter that is new enough, else python3, which then says what is wrong.
PYTHON ?= $(or $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; \
	done),python3)

VENV := .venv
BIN := $(VENV)/bin
NODE_LOCKS := $(addsuffix /package-lock.json,tests/support/harness/node tests/support/openapi/node tests/support/browser/node tools/pictures)
# Python that runs at a user's or in this repository's tools: strict types.  Tests: looser, see tests/mypy.ini.
STRICT := template/agent_runtime template/sdk/aimgentix tools hooks benchmarks examples
export PATH := $(CURDIR)/$(BIN):$(PATH)
# A caller's settings must not reach the tools.
unexport PYTHONPATH PYTHONHOME PYTEST_ADDOPTS VIRTUAL_ENV

CORES := $(shell getconf _NPROCESSORS_ONLN)
# Many tests wait for a program or a deadline: twice as many workers as there are cores.
WORKERS := $(shell echo $$(($(CORES) * 2)))

# What is said to this make must not reach the makes of generated repositories.
ALONE := env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u PYTHON -u ARGS -u APPROVE -u USE_CASE -u KEEP

.DEFAULT_GOAL := help
.PHONY: help demo test tests unit lint format docs pictures fuzz bench bench-audit bench-update lock manifest clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-16s %s\n", $$1, $$2 }'

ANSWER = $(if $(filter 1 y yes true,$(APPROVE)),--approve,$(if $(filter 0 n no false,$(APPROVE)),--reject))
demo: $(VENV)/dev.stamp ## See the whole path: a failing service, an agent, your approval, the trail (APPROVE=1 or no: don't ask; USE_CASE=name; KEEP=1: then open its pages)
	@$(ALONE) $(BIN)/python tools/demo.py $(if $(APPROVE),$(or $(ANSWER),$(error APPROVE=$(APPROVE) is neither yes nor no))) $(if $(USE_CASE),--use-case=$(USE_CASE)) $(if $(filter-out 0 n no false,$(KEEP)),--keep)

test: lint tests ## Lint, then run every test

tests: $(VENV)/dev.stamp $(VENV)/node.stamp $(VENV)/docs.stamp ## Run the tests without the linters (ARGS="tests/x.py -k y")
	@$(ALONE) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

unit: $(VENV)/dev.stamp ## Run the fast tests, half a minute: no servers of others, no generated repository (ARGS="-k policy")
	@$(ALONE) $(BIN)/python -m pytest -q -n $(CORES) tests/unit $(ARGS)

lint: $(VENV)/dev.stamp $(VENV)/docs.stamp ## Check format, style, words, types, and which room imports which
	@$(MAKE) --no-print-directory --jobs=$(CORES) lint-tests lint-backend lint-backend-tests lint-types lint-style

.PHONY: lint-style lint-types lint-backend lint-tests lint-backend-tests
lint-style:
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@said=$$($(BIN)/python tools/terms.py) || { echo "$$said"; exit 1; }
	@said=$$(PYTHONPATH=template:template/sdk $(BIN)/lint-imports --no-logo --no-cache) || { echo "$$said"; exit 1; }

# Each with a cache of its own: they run side by side, and two sets of options can't share what mypy keeps.
lint-types:
	@$(BIN)/mypy --cache-dir .mypy_cache/$@ $(wildcard $(STRICT))

lint-backend:
	@cd backend && ../$(BIN)/mypy --cache-dir ../.mypy_cache/$@ --strict app bench

lint-tests:
	@$(BIN)/mypy --cache-dir .mypy_cache/$@ --config-file tests/mypy.ini --exclude '^tests/integration/backend/' tests

lint-backend-tests:
	@MYPYPATH=backend:tests/integration/backend $(BIN)/mypy --cache-dir .mypy_cache/$@ --config-file tests/mypy.ini \
		tests/integration/backend

format: $(VENV)/dev.stamp ## Format, and fix what can be fixed mechanically
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: $(VENV)/docs.stamp ## Build the documentation site into build/site; a warning is an error
	@$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -c docs -b html . build/site
	@echo build/site/index.html

pictures: $(VENV)/node.stamp $(VENV)/docs.stamp ## Make the pictures in docs/images anew (needs chromium; ARGS="--only demo")
	@$(ALONE) $(BIN)/python tools/pictures.py $(ARGS)

fuzz: $(VENV)/dev.stamp ## Run the property tests with many more examples, and count them (ARGS="--examples 10000")
	@$(BIN)/python tools/fuzz.py $(ARGS)

bench: $(VENV)/dev.stamp ## Measure copy and start-up times side by side with their references
	@$(BIN)/python benchmarks/run.py

bench-audit: $(VENV)/dev.stamp ## Measure the audit trail beside its peers, half an hour (ARGS="--quick --only exits")
	@$(ALONE) $(BIN)/python benchmarks/audit/run.py $(ARGS)

bench-update: $(VENV)/dev.stamp ## Update 100 repositories with edits, beside copier update, half an hour (ARGS="--repositories 20 --seed 1")
	@$(ALONE) $(BIN)/python benchmarks/update/run.py $(ARGS)

lock: $(VENV)/dev.stamp ## Write every lock of Python packages anew (UPGRADE=1: newest versions)
	@$(BIN)/python tools/lock.py $(if $(UPGRADE),--upgrade)

manifest: $(VENV)/dev.stamp ## Write template/agent_runtime/manifest.json anew, after a change to template-owned files
	@$(BIN)/python tools/manifest.py

clean: ## Remove everything that was made here, .venv too
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis $(addsuffix node_modules,$(dir $(NODE_LOCKS)))
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/dev.stamp: requirements/dev.lock
	@$(PYTHON) tools/bootstrap.py environment

$(VENV)/docs.stamp: $(VENV)/dev.stamp requirements/docs.lock
	@$(PYTHON) tools/bootstrap.py docs

$(VENV)/node.stamp: $(VENV)/dev.stamp requirements/node.lock $(NODE_LOCKS)
	@$(PYTHON) tools/bootstrap.py node
