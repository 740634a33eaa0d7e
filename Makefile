# Two commands: `make run` does the main job on real images, `make test` runs every check. Both set up .venv first.
VENV ?= .venv
READY := $(VENV)/.ready
OUT ?= runs/quickstart

.PHONY: run test format clean

run: $(READY)
	$(VENV)/bin/phinas run --out $(OUT)

test: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/python -m pytest -n 2

format: $(READY)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info

$(READY): pyproject.toml constraints.txt .ci/setup
	VENV=$(VENV) sh .ci/setup
	touch $@
