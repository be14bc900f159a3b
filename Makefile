# `make help` lists the targets. Everything installs into .venv from hashed requirements.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help
help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The installer comes by pip (every Python has it); it then installs in seconds what pip would in minutes.
# The editable install needs no network and no build isolation: its backend is among the requirements.
$(INSTALLED): requirements/installer.txt requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "stylequeue needs Python 3.11 or later: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/installer.txt
	$(BIN)/uv pip install --python $(BIN)/python --system-certs --require-hashes -r requirements/dev.txt
	$(BIN)/uv pip install --python $(BIN)/python --offline --quiet --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: install
install: $(INSTALLED)  ## install into .venv what the other targets need

.PHONY: schemas
schemas: $(INSTALLED)  ## write docs/schema anew, after a change of the contract that was meant
	$(BIN)/stylequeue schema job > docs/schema/job.json
	$(BIN)/stylequeue schema event > docs/schema/event.json
