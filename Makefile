# `make run` runs the quick start on real images. `make test` is the check before a commit. Both set
# up .venv first.
VENV ?= .venv
READY := $(VENV)/.ready
OUT ?= runs/quickstart
PYTEST := $(VENV)/bin/python -m pytest -n 2

.PHONY: run test test-slow test-all lint reference docs format clean

run: $(READY)
	$(VENV)/bin/phinas run --out $(OUT)

# Lint, type check and the quick tests.
test: lint
	$(PYTEST) -m "not slow and not external"

# Only the slow tests. `.ci/run` runs them after `make test`.
test-slow: $(READY)
	$(PYTEST) -m "slow and not external"

# All tests, with new random examples. Those that need a database server, a cluster or a browser are skipped where it is
# missing.
test-all: lint
	$(PYTEST) --hypothesis-profile=default

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/python .ci/check_language.py

# Write docs/configuration.md from the schema.
reference: $(READY)
	$(VENV)/bin/python -m phinas.options.reference > docs/configuration.md

# Build the documentation site in site/. A dead link or an unknown name is an error.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

format: $(READY)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV) build dist site *.egg-info

$(READY): pyproject.toml constraints.txt .ci/setup
	VENV=$(VENV) sh .ci/setup
	touch $@
