# `make run` does the main job on real images, `make test` is the check before a commit. Both set up .venv first.
VENV ?= .venv
READY := $(VENV)/.ready
OUT ?= runs/quickstart
PYTEST := $(VENV)/bin/python -m pytest -n 2

.PHONY: run test test-slow test-all lint format clean

run: $(READY)
	$(VENV)/bin/phinas run --out $(OUT)

# Lint, types and the tests that are not slow.
test: lint
	$(PYTEST) -m "not slow and not external"

# The slow tests alone; `.ci/run` runs these after `make test`.
test-slow: $(READY)
	$(PYTEST) -m "slow and not external"

# Everything, with the tests that need a database server, a cluster or a browser (skipped where there is none).
test-all: lint
	$(PYTEST)

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo

format: $(READY)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info

$(READY): pyproject.toml constraints.txt .ci/setup
	VENV=$(VENV) sh .ci/setup
	touch $@
