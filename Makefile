# Everything runs in .venv, made here and reused. Needs only Python >= 3.11 and make.
#
#   make demo            the main job, end to end, and keep it running     (CHECK=1: run to the end and report)
#   make test            every check: style, types, unit, web, end to end
#   make bench-NAME      a table of measurements, tests/benchmarks/NAME.py (JSON=1: one JSON line last)

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export ORT_DISABLE_TELEMETRY := 1
# Two cores serve the server, three agents and the tests: more threads than that only wait for each other.
export OMP_NUM_THREADS ?= 2

.PHONY: setup web native wheels fuzz demo test unit e2e lint format docs screenshots constraints system-packages clean

setup: $(BIN)/.installed web native

$(BIN)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "edgepress needs Python 3.11 or newer on the PATH (or: make PYTHON=/path/to/python3 ...)"; exit 1; }
	@test -x $(BIN)/python || { echo "Making .venv with $(PYTHON) ..."; $(PYTHON) -m venv .venv || { \
		echo "python's venv module is missing (Debian: apt-get install python3-venv)"; exit 1; }; }
	@echo "Installing edgepress and what it needs into .venv (a few minutes the first time) ..."
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[server,dev]'
	@touch $@

web: $(BIN)/.installed
	$(BIN)/python deploy/build_web.py

# The codec's hot loops for this machine and for WebAssembly.
native: $(BIN)/.installed
	$(BIN)/python deploy/build_native.py
	$(BIN)/python deploy/build_native.py --wasm

# Wheels for x86-64, aarch64 and armv7, cross-built, and one without compiled code, into dist/.
wheels: setup
	$(BIN)/python deploy/build_native.py --wheels dist

demo: setup
	$(BIN)/edgepress demo $(if $(CHECK),--check) $(DEMO_ARGS)

test: setup lint system-packages
	$(BIN)/python deploy/build_web.py --check
	$(BIN)/python deploy/build_native.py --check
	$(BIN)/python -m pytest tests

unit: setup
	$(BIN)/python -m pytest tests -m "not e2e"

e2e: setup system-packages
	$(BIN)/python -m pytest tests -m e2e

lint: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(BIN)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup
	$(BIN)/python docs/cli_reference.py docs/cli.md
	$(BIN)/python -m edgepress_server.api.reference docs/api.md
	$(BIN)/python docs/recipe_index.py docs/recipes/README.md

bench-%: setup
	$(BIN)/python tests/benchmarks/$*.py $(if $(JSON),--json) $(BENCH_ARGS)

# Every page of the running demo at two widths, light and dark, into screenshots/; and docs/dashboard.png.
screenshots: setup system-packages
	$(BIN)/python tests/e2e/demo_screenshots.py screenshots

# mosquitto, Chromium, gcc and qemu-user for the end-to-end tests: installed when we may, named when we may not.
system-packages:
	@sh tests/system_packages.sh

# Hostile payloads and artifacts at length (FUZZ_RUNS mutations for each decoder and machine); the tests make few.
fuzz: setup system-packages
	$(BIN)/python -m pip install --quiet --constraint constraints.txt 'atheris>=3.0'
	$(BIN)/python compression/native/fuzz/campaign.py --on guided --runs $(or $(FUZZ_RUNS),200000)
	$(BIN)/python compression/native/fuzz/campaign.py --on native,wasm --runs $$((4 * $(or $(FUZZ_RUNS),200000)))
	$(BIN)/python compression/native/fuzz/round_trips.py
	$(BIN)/python tests/compression/hostile_artifacts.py --runs $$(($(or $(FUZZ_RUNS),200000) / 4))

constraints:
	@{ sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | sed 's/^\(torch==[0-9.]*\)+.*/\1/'; } > constraints.new
	@mv constraints.new constraints.txt

clean:
	rm -rf .venv dist build server/edgepress_server/static server/web/node_modules agent/browser/node_modules \
		compression/edgepress_compression/codec/native agent/browser/src/codec/native
