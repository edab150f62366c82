# `make run` and `make test` need Python 3.11 or newer, make and the package index. The rest is for work on
# the project. Everything is installed into .venv; `make clean` takes it away.

PYTHON ?= python3
PORT ?= 8080
HTTPS_PORT ?= 8443
CASES ?= $(wildcard tests/golden/*.yaml)
BENCH ?=
FUZZ_SECONDS ?= 30
SOAK ?=
IMAGE ?= gatewayd
# Most tests wait for programs they started: one process more than there are cores keeps all of them busy.
JOBS ?= $(shell expr $$(nproc) + 1)

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
SOURCES := gatewayd tests benchmarks

.PHONY: help run test cases soak bench bench-tools image lint types pytest clean
.DEFAULT_GOAL := help

help:
	@echo "make run [PORT=8080] [HTTPS_PORT=8443]"
	@echo "                          install and serve the bookinfo demo"
	@echo "make test [JOBS=3]        install with test extras; lint, types, all tests in so many processes"
	@echo "make fuzz [FUZZ_SECONDS=30] [JOBS=3]"
	@echo "                          inputs nobody has tried yet, for so long per target"
	@echo "make cases CASES='FILE..' play case files against the real process"
	@echo "make soak [SOAK='..']     everything that may happen to a service, under checked load (takes long)"
	@echo "make bench [BENCH='..']   install with benchmark extras and measure (takes long)"
	@echo "make bench-tools          what the benchmarks call, from Debian (root)"
	@echo "make image [IMAGE=gatewayd] build the container image, with podman or docker"
	@echo "make lint | types | clean"

run: $(VENV)/.run
	@$(BIN)/gatewayd demo --http-port $(PORT) --https-port $(HTTPS_PORT)

test: lint types pytest

lint: $(VENV)/.test
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: $(VENV)/.test
	$(BIN)/mypy

pytest: $(VENV)/.test
	@tests/tools/programs.sh
	$(BIN)/pytest -n $(JOBS) --dist loadfile

fuzz: $(VENV)/.test
	GATEWAYD_FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/pytest -n $(JOBS) tests/fuzz

cases: $(VENV)/.test
	@$(BIN)/python -m tests.cases $(CASES)

soak: $(VENV)/.test
	$(BIN)/python -m tests.soak $(SOAK)

bench: $(VENV)/.bench
	@mkdir -p build
	$(BIN)/python -m benchmarks.macro $(BENCH)

bench-tools: $(VENV)/.bench
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends nginx-light libnginx-mod-stream haproxy wrk \
		nghttp2-client nghttp2-server curl

image:
	@for program in podman docker; do \
	    if command -v $$program >/dev/null; then exec $$program build -f deploy/Containerfile -t '$(IMAGE)' .; fi; \
	done; echo "make image needs podman or docker" >&2; exit 1

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# Each stamp is made last, so that an interrupted installation is taken up again.
$(VENV)/.run: $(VENV)/.made pyproject.toml
	@echo "installing gatewayd into $(VENV)"
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.made pyproject.toml
	@echo "installing gatewayd and what its tests need into $(VENV)"
	@$(PIP) install --editable '.[test]'
	@touch $(VENV)/.run $@

$(VENV)/.bench: $(VENV)/.made pyproject.toml
	@echo "installing gatewayd and what its benchmarks need into $(VENV)"
	@$(PIP) install --editable '.[test,bench]'
	@touch $(VENV)/.run $(VENV)/.test $@

$(VENV)/.made:
	@tests/tools/venv.sh '$(PYTHON)' '$(VENV)'
	@touch $@
