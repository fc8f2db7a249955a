# What a newcomer, a developer and CI type. `make` alone lists it.
#
# Works with GNU make 3.81 (the one of macOS), asks no questions, and keeps everything it builds or
# starts inside this directory.

SHELL := bash
.DEFAULT_GOAL := help
.NOTPARALLEL:

# A fresh installation of Rust is not yet in the PATH of the shell that made it.
export PATH := $(PATH):$(HOME)/.cargo/bin
# Set, so that the recipes know where cargo puts the binary whatever its own configuration says.
export CARGO_TARGET_DIR ?= target

MERCATO := $(CARGO_TARGET_DIR)/debug/mercato
# What the generated files should be, made anew to be compared.
RENDERED := $(CARGO_TARGET_DIR)/rendered

.PHONY: help
help: ## Lists these targets
	@awk -F '[: ].*## ' '/^[a-z-]+[: ].*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  ARGS="..." is handed to the server (run), the test runner (test) or the benchmark (bench);'
	@echo '  PORT=4000 moves the server; SETUP_INSTALL=0 keeps setup from installing anything.'

.PHONY: setup
setup: ## Finds PostgreSQL, Redis, Rust and a C compiler, and installs what is missing
	@scripts/setup

.PHONY: run
run: setup ## Starts everything: private PostgreSQL and Redis, a demo shop, the server on port 3000
	cargo run --locked -- dev $(ARGS)

.PHONY: test
test: setup build ## Runs all tests against a private PostgreSQL and Redis
	@if command -v cargo-nextest >/dev/null; then \
	  runner='cargo nextest run --locked'; \
	else \
	  runner='cargo test --locked --tests'; \
	  echo 'cargo-nextest is not installed: using the slower cargo test'; \
	  echo '(cargo install --locked cargo-nextest)'; \
	fi; \
	set -x; \
	$(MERCATO) dev --data-dir $(CARGO_TARGET_DIR)/test-services --fresh -- $$runner $(ARGS)

.PHONY: check
check: setup check-format clippy check-generated deny ## Checks format, lints, generated files and dependencies, as CI does

.PHONY: check-format
check-format:
	cargo fmt --check

.PHONY: clippy
clippy:
	cargo clippy --all-targets --locked -- -D warnings

# The first time it installs cargo-deny, which takes some minutes.
.PHONY: deny
deny:
	scripts/deny

# Compared with the binary of the tests: it is built anyway, and one build does for both.
.PHONY: check-generated
check-generated: build
	$(render)
	@for file in schema.graphql openapi.json .env.example; do \
	  diff -u $$file $(RENDERED)/$$file \
	    || { echo "$$file is stale: run 'make generated' and commit what it writes" >&2; exit 1; }; \
	done

.PHONY: fmt
fmt: ## Formats the code
	cargo fmt

.PHONY: generated schema
generated schema: setup build ## Writes schema.graphql, openapi.json, .env.example and src/db/schema.rs anew
	$(MERCATO) dev --data-dir $(CARGO_TARGET_DIR)/test-services --fresh -- \
	  env UPDATE_GENERATED=1 cargo test --locked --test api generated::

.PHONY: bench
bench: setup ## Measures what a request costs
	cargo bench --locked --bench http $(if $(ARGS),-- $(ARGS))

.PHONY: clean
clean: ## Removes what was built, and the services of the tests
	cargo clean

# The binary and the tests in one go. Dependencies that only tests use switch on features of the
# others, so that building the binary alone would compile a part of them twice.
.PHONY: build
build:
	cargo build --locked --bins --tests

# Through files of its own, so that a failure leaves the committed ones as they were.
define render
@mkdir -p $(RENDERED)
$(MERCATO) schema > $(RENDERED)/schema.graphql
$(MERCATO) openapi > $(RENDERED)/openapi.json
$(MERCATO) env-example > $(RENDERED)/.env.example
endef
