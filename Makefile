# Everything a developer does, in one place. Cargo, maturin and pytest do the work.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV ?= .venv
CACHE ?= $(HOME)/.cache/cobre
MDBOOK_VERSION := 0.5.4
CARGO_FUZZ_VERSION := 0.13.2
FUZZ_SECONDS ?= 600

venv := $(abspath $(VENV))
bin := $(venv)/bin
cargo_flags := --release --locked
mdbook := $(CACHE)/tools/mdbook-$(MDBOOK_VERSION)/bin/mdbook
cargo_fuzz := $(CACHE)/tools/cargo-fuzz-$(CARGO_FUZZ_VERSION)/bin/cargo-fuzz

# The compiled code lies outside the clone, so that it outlives the clone. cmake and libclang, with which HiGHS is
# built, are Python wheels of the environment.
export CARGO_TARGET_DIR ?= $(CACHE)/target
export PATH := $(bin):$(PATH)
export VIRTUAL_ENV := $(venv)
export LIBCLANG_PATH := $(venv)/libclang

# Cargo must not rebuild what maturin has built, nor the other way round. So cargo always looks at the whole
# workspace, which gives dependencies the features they have for the Python module, and sees what maturin sets.
host = $(shell rustc -vV | sed -n 's/^host: //p')
pyo3_config = $(CARGO_TARGET_DIR)/maturin/pyo3-config-$(host)-3.11-abi3.txt
as_maturin = PYO3_BUILD_EXTENSION_MODULE=1 PYO3_PYTHON=$(bin)/python PYO3_CONFIG_FILE=$(pyo3_config)

.PHONY: help setup demo test lint binary mpi test-rust test-mpi test-python bench bench-mpi bench-workers loom fuzz book readme wheel format clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(venv)/.built ## Make the environment and build the package; nothing to do when nothing changed

demo: setup ## Train and simulate the example case
	@$(bin)/cobre demo

test: setup lint mpi test-rust test-mpi test-python ## Run every check: lints, Rust tests, Python tests

lint: setup ## Check formatting, lints and types
	cargo fmt --all --check
	$(as_maturin) cargo clippy $(cargo_flags) --workspace --all-targets -- -D warnings
	$(as_maturin) RUSTDOCFLAGS='-D warnings' cargo doc $(cargo_flags) --workspace --no-deps --quiet
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy

binary: setup ## Build the program cobre-mpi without MPI: ranks over shared memory and TCP
	$(as_maturin) cargo build $(cargo_flags) --workspace --bin cobre-mpi

# Cargo sees no difference between two MPIs, so the profile of the crate that links them differs as well. The program
# without MPI, of the same name, is put back in the end.
mpi: setup ## Build cobre-mpi for every MPI of this machine, into CARGO_TARGET_DIR/mpi
	@found=; debug=0; for name in openmpi mpich; do \
	  debug=$$((debug + 1)); \
	  command -v mpicc.$$name >/dev/null || { echo "SKIPPED: cobre-mpi for $$name: mpicc.$$name is not installed"; continue; }; \
	  found=yes; \
	  $(as_maturin) MPICC=mpicc.$$name cargo build $(cargo_flags) --workspace --bin cobre-mpi \
	    --features cobre/mpi --config profile.release.package.ferrompi.debug=$$debug; \
	  install -D $(CARGO_TARGET_DIR)/release/cobre-mpi $(CARGO_TARGET_DIR)/mpi/$$name/cobre-mpi; \
	done; \
	[ -n "$$found" ] || echo 'SKIPPED: no MPI was found, so nothing was built for one'
	@$(MAKE) --no-print-directory binary

test-rust: binary ## Run the Rust tests and the examples of the Rust documentation
	@[ -d ../shared ] || echo 'SKIPPED: the Rust tests on the cases of ../shared, which is absent'
	@if cargo nextest --version >/dev/null 2>&1; then set -x; cargo nextest run $(cargo_flags) --workspace; \
	else echo 'cargo-nextest is not installed: using cargo test, which does not stop tests that hang'; \
	  set -x; cargo test $(cargo_flags) --workspace --lib --bins --tests -- --show-output; fi
	cargo test $(cargo_flags) --workspace --doc

test-mpi: $(venv)/.tools ## Run the tests of communication over every MPI of this machine
	@debug=0; for name in openmpi mpich; do \
	  debug=$$((debug + 1)); \
	  command -v mpicc.$$name >/dev/null || { echo "SKIPPED: the tests over $$name: mpicc.$$name is not installed"; continue; }; \
	  runner='nextest run'; cargo nextest --version >/dev/null 2>&1 || runner=test; \
	  (set -x; MPICC=mpicc.$$name cargo $$runner $(cargo_flags) --package cobre-comm --features mpi --lib --test mpi \
	    --config profile.release.package.ferrompi.debug=$$debug); \
	done

test-python: setup binary ## Run the Python tests and the examples of the Python documentation
	$(bin)/pytest

bench: setup ## Compare with other programs (minutes; benches/ says what is measured)
	$(bin)/python benches/compare_cobre_rs.py $(BENCH_ARGS)

bench-mpi: setup ## Compare communication with the MPIs of this machine (minutes)
	$(bin)/python benches/compare_mpi.py $(BENCH_ARGS)

bench-workers: setup ## Compare one worker process with several (minutes)
	$(bin)/python benches/compare_workers.py $(BENCH_ARGS)

loom: ## Check the protocol of shared memory in every order of events (a minute)
	RUSTFLAGS='--cfg loom' CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/loom cargo test $(cargo_flags) --package cobre-comm --features shm --lib

# libFuzzer is part of the nightly toolchain. What it finds on its way stays outside the clone.
fuzz: $(cargo_fuzz) ## Feed anything to whatever reads what others wrote, FUZZ_SECONDS for each (with rustup's nightly)
	cd crates/cobre-comm && for target in $$(sed -n 's/^name = "\(.*\)"/\1/p' fuzz/Cargo.toml | tail -n +2); do \
	  mkdir -p $(CACHE)/fuzz/$$target; \
	  CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/fuzz PATH=$(dir $(cargo_fuzz)):$$PATH \
	    cargo +nightly fuzz run $$target $(CACHE)/fuzz/$$target fuzz/corpus/$$target \
	    -- -max_total_time=$(FUZZ_SECONDS); \
	done

book: $(mdbook) ## Build the book into book/
	$(mdbook) build

readme: setup ## Write the outputs shown in README.md anew
	$(bin)/python scripts/readme.py

wheel: $(venv)/.tools ## Build a wheel into dist/
	$(bin)/maturin build $(cargo_flags) --out dist

format: $(venv)/.tools ## Format the sources
	cargo fmt --all
	$(bin)/ruff check --fix-only --quiet
	$(bin)/ruff format

clean: ## Remove what was made in this folder (compiled code stays in CARGO_TARGET_DIR)
	rm -rf $(venv) book dist python/cobre/_core*.so .mypy_cache .pytest_cache .ruff_cache

$(venv)/.tools: requirements-dev.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Cobre needs Python 3.11 or newer")'
	[ -x $(bin)/python ] || $(PYTHON) -m venv $(venv)
	$(bin)/python -m pip install --quiet --requirement requirements-dev.txt
	ln -sfn "$$($(bin)/python -c 'import clang, pathlib; print(pathlib.Path(clang.__path__[0], "native"))')" $(venv)/libclang
	touch $@

# The module lies in python/cobre, where it can be removed or come from another environment.
ifeq ($(wildcard python/cobre/_core*.so),)
.PHONY: $(venv)/.built
endif
$(venv)/.built: $(venv)/.tools Cargo.toml Cargo.lock pyproject.toml $(shell find crates -type f)
	PIP_QUIET=1 $(bin)/maturin develop $(cargo_flags) --quiet
	touch $@

$(cargo_fuzz):
	cargo install --quiet --locked --version $(CARGO_FUZZ_VERSION) --root $(dir $(patsubst %/,%,$(dir $@))) cargo-fuzz

$(mdbook):
	cargo install --quiet --locked --version $(MDBOOK_VERSION) --root $(dir $(patsubst %/,%,$(dir $@))) mdbook
