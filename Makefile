# `make help` lists the targets. Everything installs into .venv from hashed requirements.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Hashes, but no address of an index.
LOCK := --quiet --system-certs --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header
# What runs is what was tested.
TESTED := --constraint requirements/dev.txt

.PHONY: help
help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The installer comes by pip (every Python has it); it then installs in seconds what pip would in minutes. Compiling takes
# it half a minute, and every process that imports TensorFlow from then on as much less.
# The editable install needs no network and no build isolation: its backend is among the requirements.
$(INSTALLED): requirements/installer.txt requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "stylequeue needs Python 3.11 or later: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/installer.txt
	$(BIN)/uv pip install --python $(BIN)/python --system-certs --compile-bytecode --require-hashes -r requirements/dev.txt
	$(BIN)/uv pip install --python $(BIN)/python --offline --quiet --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: install
install: $(INSTALLED)  ## install into .venv what the other targets need

.PHONY: docs
docs: $(INSTALLED)  ## write anew what the documents take from the code: schemas, the table of settings, the pages of HTTP
	$(BIN)/stylequeue schema job > docs/schema/job.json
	$(BIN)/stylequeue schema event > docs/schema/event.json
	$(BIN)/stylequeue schema status > docs/schema/status.json
	$(BIN)/python scripts/settings_table.py
	$(BIN)/python -m scripts.http_page

.PHONY: networks
networks: $(INSTALLED)  ## make the networks that need no internet, where they are absent
	$(BIN)/stylequeue models pull vgg16 fast

.PHONY: demo
demo: $(INSTALLED)  ## paint the sample pictures on a stack of its own; pictures in demo-output
	$(BIN)/stylequeue demo

# Three processes on two cores: tests of the service wait for what they started about as long as those of the engine compute.
.PHONY: test
test: $(INSTALLED)  ## run the tests, but for the slowest (ROLES=1: each program as its own user of Redis)
	$(BIN)/python -m pytest -m "not slow" --numprocesses 3 --dist loadfile

.PHONY: test-faults
test-faults: $(INSTALLED)  ## run every fault test: kills, broken connections, full disks, storms
	$(BIN)/python -m pytest tests/faults

# Two processes for the tests; the benchmarks one after another, for what they start is many.
.PHONY: test-all
test-all: export QUICK = 1
test-all: check networks  ## run everything there is: checks, all tests, a short form of each benchmark; under 40 minutes
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile
	$(BIN)/python -m tests.benchmarks.bench_queue
	$(BIN)/python -m tests.benchmarks.bench_gateway
	$(BIN)/python -m tests.benchmarks.bench_recovery
	$(BIN)/python -m tests.benchmarks.bench_uploads
	$(BIN)/python -m tests.benchmarks.bench_delivery
	$(BIN)/python -m tests.benchmarks.bench_step 128
	$(BIN)/python -m tests.benchmarks.bench_overhead
	$(BIN)/python -m tests.benchmarks.bench_engine
	$(BIN)/python -m tests.benchmarks.bench_estimate
	$(BIN)/python -m tests.benchmarks.bench_scrape
	$(BIN)/python -m tests.benchmarks.bench_scale
	$(BIN)/python -m tests.benchmarks.bench_quality
	$(BIN)/python -m tests.benchmarks.fuzz_pictures 60
	JOBS=100 $(BIN)/python -m tests.benchmarks.soak

.PHONY: check
check: $(INSTALLED)  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python scripts/check_user_types.py
	$(BIN)/lint-imports

.PHONY: fix
fix: $(INSTALLED)  ## format, and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: bench-queue
bench-queue: $(INSTALLED)  ## what the service adds to a bare Celery task (JOBS=200 QUICK=1)
	$(BIN)/python -m tests.benchmarks.bench_queue

.PHONY: bench-gateway
bench-gateway: $(INSTALLED)  ## the gateway with many streams while jobs come in (STREAMS=500 SUBMITS=200 SECONDS=60 QUICK=1)
	$(BIN)/python -m tests.benchmarks.bench_gateway

.PHONY: bench-delivery
bench-delivery: $(INSTALLED)  ## how late events are while another endpoint hangs; bench-output/delivery.json (QUICK=1)
	$(BIN)/python -m tests.benchmarks.bench_delivery

.PHONY: bench-uploads
bench-uploads: $(INSTALLED)  ## how fast uploads become jobs, each once, with a listener killed (UPLOADS=10000 QUICK=1)
	$(BIN)/python -m tests.benchmarks.bench_uploads

.PHONY: bench-engine
bench-engine: networks  ## the engine's speed and memory; bench-output/engine.json (QUICK=1)
	$(BIN)/python -m tests.benchmarks.bench_engine

.PHONY: bench-estimate
bench-estimate: networks  ## how far estimates are from what painting takes; bench-output/estimate.json (QUICK=1)
	$(BIN)/python -m tests.benchmarks.bench_estimate

.PHONY: bench-scale
bench-scale: $(INSTALLED)  ## 1 to 32 workers, 100,000 jobs, all killed at once; bench-output/scale.json (QUICK=1)
	$(BIN)/python -m tests.benchmarks.bench_scale

.PHONY: bench-scrape
bench-scrape: $(INSTALLED)  ## what a scrape costs while 100,000 jobs are open; bench-output/scrape.json (QUICK=1)
	$(BIN)/python -m tests.benchmarks.bench_scrape

.PHONY: bench-quality
bench-quality: networks  ## the engine's pictures beside others'; bench-output/quality.html (QUICK=1 FULL=1)
	$(BIN)/python -m tests.benchmarks.bench_quality

.PHONY: gpu-smoke
gpu-smoke: networks  ## on a GPU machine: what the engine takes, its speed and memory, parity with the processor
	$(BIN)/python scripts/gpu_smoke.py

.PHONY: gallery
gallery: networks  ## paint the pictures of docs/engine.md anew; some minutes
	$(BIN)/python scripts/gallery.py

.PHONY: soak
soak: $(INSTALLED)  ## many jobs while everything is killed, restarted and cut off; some minutes (JOBS=1000 SEED=1)
	$(BIN)/python -m tests.benchmarks.soak

# What builds and runs containers here; BUILD_FLAGS are its own.
ENGINE ?= $(notdir $(firstword $(shell command -v docker podman buildah)))
BASE_IMAGE ?= python:3.12-slim
build_image = $(ENGINE) build $(BUILD_FLAGS) --file docker/Dockerfile --build-arg BASE_IMAGE=$(BASE_IMAGE) \
	--build-arg VERSION=$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' producer/stylequeue/_version.py) \
	--build-arg REVISION=$$(git rev-parse HEAD)

.PHONY: images
images:  ## build the images stylequeue and stylequeue-worker (ENGINE=podman BASE_IMAGE=...)
	$(build_image) --target service --tag stylequeue .
	$(build_image) --target worker --tag stylequeue-worker .

# What makes it brings much along: it has an environment of its own.
.PHONY: sbom
sbom: $(INSTALLED)  ## write anew what the wheel stands on, and under which licences; after `make lock`
	test -x $(VENV)/release/bin/python || $(BIN)/uv venv --quiet $(VENV)/release
	$(BIN)/uv pip install --quiet --python $(VENV)/release --system-certs --require-hashes -r requirements/release.txt
	$(BIN)/python scripts/sbom.py $(VENV)/release/bin/cyclonedx-py

.PHONY: release
release: $(INSTALLED)  ## all files of a release, with checksums, in dist (TAG=v1.2.3: only if that is what is here)
	$(BIN)/python scripts/release.py $(TAG)

.PHONY: containers
containers: $(INSTALLED)  ## run the compose file as it is, with the images that were built, and look at all it promises
	$(BIN)/python -m pytest -p no:randomly --timeout 900 -x -v -rP tests/containers/compose.py

.PHONY: lock
lock: $(INSTALLED)  ## resolve the requirements anew
	echo uv | $(BIN)/uv pip compile $(LOCK) - --output-file requirements/installer.txt
	$(BIN)/uv pip compile $(LOCK) --extra dev pyproject.toml --output-file requirements/dev.txt
	$(BIN)/uv pip compile $(LOCK) $(TESTED) --extra worker --extra otel pyproject.toml --output-file requirements/worker.txt
	$(BIN)/uv pip compile $(LOCK) $(TESTED) --extra gpu --extra otel pyproject.toml --output-file requirements/gpu.txt
	echo hatchling | $(BIN)/uv pip compile $(LOCK) $(TESTED) - --output-file requirements/build.txt
	$(BIN)/uv pip compile $(LOCK) $(TESTED) --extra gateway --extra otel pyproject.toml --output-file requirements/gateway.txt
	$(BIN)/uv pip compile $(LOCK) --constraint requirements/worker.txt $(TESTED) --extra models pyproject.toml --output-file requirements/models.txt
	$(BIN)/uv pip compile $(LOCK) $(TESTED) --group release --output-file requirements/release.txt
