# make demo and make test are all that a newcomer needs; each installs what it needs itself.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
PYTHON := .venv/bin/python

.PHONY: help demo test lint unit it compatibility wheel bench test-vm fuzz clean

help: ## This list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

demo: ## Build, run the main job on real texts with boto3, show calls and bill, clean up
	scripts/setup.sh
	cargo build --release --locked -p dayfly
	$(PYTHON) examples/demo/demo.py --dayfly $(TARGET_DIR)/release/dayfly

test: ## Everything: format, lints, unit tests, end-to-end, security and conformance tests
	scripts/setup.sh test
	$(MAKE) --no-print-directory lint unit it

lint: ## Format and clippy (and cargo-deny, where it is installed)
	cargo fmt --all --check
	rustfmt --check --edition 2024 runtimes/python/zygote.rs
	cargo clippy --workspace --all-targets --locked -- -D warnings
	if cargo deny --version >/dev/null 2>&1; then cargo deny --offline check bans licenses sources; fi

# One profile for unit tests and for the binary that the end-to-end tests drive: dev, so that it is built once.
unit: ## Rust tests
	export DAYFLY_TEST_PYTHON=$(abspath $(PYTHON)); \
	if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --workspace --locked --no-fail-fast; \
	else cargo test --workspace --locked --no-fail-fast; fi
	cargo test --workspace --locked --doc --quiet

it: ## Tests of the real server with real clients; ARGS goes to pytest
	cargo build --locked -p dayfly
	DAYFLY_BIN=$(abspath $(TARGET_DIR))/debug/dayfly $(PYTHON) -m pytest tests $(ARGS)
	$(PYTHON) -m pytest sdk/python/tests

compatibility: ## Write docs/compatibility.md anew, by asking the server for every operation
	cargo build --locked -p dayfly
	DAYFLY_WRITE_COMPATIBILITY=1 DAYFLY_BIN=$(abspath $(TARGET_DIR))/debug/dayfly $(PYTHON) -m pytest tests/it/test_compatibility.py

wheel: ## Build the Python package with the binary in it, into dist/
	scripts/setup.sh
	cd sdk/python && $(abspath $(PYTHON)) -m maturin build --release --strip --out ../../dist

bench: ## Dayfly against its peers on this machine, with ratios
	scripts/setup.sh
	cargo build --release --locked -p dayfly
	DAYFLY_BIN=$(abspath $(TARGET_DIR))/release/dayfly $(PYTHON) bench/run.py $(ARGS)

test-vm: ## A chosen subset on cgroup v2, as root and as an ordinary user, in a virtual machine (slow)
	scripts/test-vm.sh

fuzz: ## Fuzz the parsers, 60 s each
	fuzz/run.sh all 60

clean: ## Remove what was built
	cargo clean
	rm -rf .venv
