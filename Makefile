# Thin, each line readable. `make demo` and `make test` install whatever they need.

PG_MAJOR  ?= 15
PG_CONFIG ?= /usr/lib/postgresql/$(PG_MAJOR)/bin/pg_config
SUDO      := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
PYTHON    := $(CURDIR)/target/venv/bin/python

unexport RUST_BACKTRACE
export PG_MAJOR PG_CONFIG
export RUNBOOK_TEST_PYTHON = $(PYTHON)
export RUNBOOK_TEST_BIN    = $(CURDIR)/target/release

.PHONY: help setup build install demo test installcheck check-postgres soak fuzz bench lint clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

setup: ## install Debian packages and cargo-pgrx where they are missing
	@tests/setup.sh

build: setup ## build the extension and the runbook command
	cd extension && cargo pgrx package --pg-config $(PG_CONFIG) --no-default-features --features pg$(PG_MAJOR) --out-dir ../target/package
	cargo build --release --package runbook

install: build ## install the extension into PostgreSQL
	$(SUDO) tests/install.sh target/package $(PG_CONFIG)

demo: install ## the main job on a throw-away cluster
	@tests/demo.sh

test: install ## all tests
	@tests/setup.sh --python
	cargo test --workspace --exclude pg_runbook --lib --bins --tests

installcheck: install ## only what psql users see
	cargo test --package runbook-tests --test pg_regress

check-postgres: install ## PostgreSQL's own regression and isolation suites, without us and with us, outputs compared
	@tests/check-postgres.sh

soak: install ## the heavy proofs at full size
	RUNBOOK_SOAK=1 cargo test --package runbook-tests --test recorder --test ledger --test resume --test erroneous -- --nocapture

FUZZ_SECONDS ?= 600
fuzz: ## fuzz what reads proofs and checkpoints; needs cargo-fuzz, takes FUZZ_SECONDS for each target
	cd tests && cargo fuzz run proof --fuzz-dir fuzz --target-dir ../target/fuzz -s none fuzz/corpus/proof fuzz/seeds/proof -- -max_total_time=$(FUZZ_SECONDS)
	cd tests && cargo fuzz run merkle --fuzz-dir fuzz --target-dir ../target/fuzz -s none -- -max_total_time=$(FUZZ_SECONDS) -len_control=0

bench: install ## the benchmarks, each against a baseline in the same run
	@tests/setup.sh --python
	cargo run --release --package runbook-tests --bin bench

lint: setup ## formatting and clippy, warnings denied
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --no-deps -- --deny warnings

clean: ## forget what was built
	cargo clean
