# weft's commands. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Only what needs root runs as root: Debian packages, and work in network namespaces.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
ROOT := $(if $(SUDO),$(SUDO) -E env "PATH=$$PATH",)
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
RUNNER := CARGO_TARGET_$(shell echo '$(HOST)' | tr 'a-z-' 'A-Z_')_RUNNER

PACKAGES := clang llvm libelf-dev libpcap0.8-dev zlib1g-dev pkg-config m4 make gcc g++ iproute2 iputils-ping iputils-tracepath \
            traceroute iperf3 tcpdump tshark ethtool nftables procps

# Somebody else's Geneve, for the tests.
TEST_PEER_PACKAGES := openvswitch-switch

# What weft is measured beside; installed by bench-peers only.
PEER_PACKAGES := openvswitch-switch-dpdk dpdk-dev sockperf

.PHONY: help
help: ## List the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

.PHONY: deps
deps: ## Install the Debian packages that building and testing need, if any is missing
	@missing=(); for p in $(PACKAGES); do \
	  dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing+=($$p); done; \
	if [ $${#missing[@]} -gt 0 ]; then echo "installing: $${missing[*]}"; \
	  $(SUDO) apt-get update -qq; \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$${missing[@]}" >/dev/null; fi

.PHONY: test-deps
test-deps: deps
	@missing=(); for p in $(TEST_PEER_PACKAGES); do \
	  dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing+=($$p); done; \
	if [ $${#missing[@]} -gt 0 ]; then $(ROOT) perf/install-peers.sh "$${missing[@]}"; fi

.PHONY: build
build: deps ## Build everything, optimised
	cargo build --release --locked

.PHONY: man
man: build ## Manual pages and shell completions, from the same descriptions as --help, into target/man and target/completions
	rm -rf target/man target/completions && mkdir -p target/man target/completions
	target/release/weftctl man target/man
	target/release/weftd --man > target/man/weftd.8
	target/release/weft-perf man > target/man/weft-perf.1
	for shell in bash zsh fish; do target/release/weftctl completions $$shell > target/completions/weftctl.$$shell; done
	@echo "read one: man -l target/man/weftctl.8"

NODES ?= 1
DEMO = $(if $(filter 1,$(NODES)),tests/demo.sh,$(if $(filter 3,$(NODES)),tests/demo-nodes.sh,$(error NODES=$(NODES): the demo has 1 node or 3)))
.PHONY: demo
demo: build ## Show the switch at work in network namespaces (NODES=3: a cluster; KEEP=1 leaves it up)
	$(ROOT) KEEP=$(KEEP) $(DEMO) run

.PHONY: demo-down
demo-down: ## Remove what `make demo KEEP=1` left up
	$(ROOT) $(DEMO) down

.PHONY: lint
lint: deps ## Formatting, clippy, documentation: warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --locked --document-private-items

.PHONY: test
test: test-unit test-root test-report loom fuzz ## Every test; those that need root run in namespaces of their own

.PHONY: test-unit
test-unit: deps ## Tests that need no rights
	cargo test --workspace --exclude weft-tests --locked
	cargo test -p weft-tests --locked --lib --test packet --test model --test config --test tidy

.PHONY: test-root
test-root: test-deps ## Tests on the real kernel, in namespaces of their own
	cargo build --locked -p weftd -p weftctl -p weft-perf
	env $(if $(SUDO),$(RUNNER)="$(SUDO) -E") cargo test -p weft-tests --locked --test drivers --test netns --test ctl --test perf -- --test-threads=1

.PHONY: test-report
test-report: deps ## The benchmarks' report, opened in a browser
	@dpkg-query -W -f='$${Status}' chromium 2>/dev/null | grep -q 'ok installed' || { echo "installing: chromium"; \
	  $(SUDO) apt-get update -qq; \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; }
	cargo build --locked -p weft-perf
	cargo test -p weft-tests --locked --test report

.PHONY: loom
loom: deps ## The kernel's rings, snapshot publication and the drops recorder under every interleaving
	RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 cargo test --locked --release --target-dir target/loom -p weft-pmd --lib ring
	RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 cargo test --locked --release --target-dir target/loom -p weft-dataplane --lib loom_tests

FUZZ_SECONDS ?= 15
.PHONY: fuzz
fuzz: deps ## Each fuzz target for FUZZ_SECONDS (15)
	tests/fuzz/run.sh $(FUZZ_SECONDS)

.PHONY: bench
bench: build ## Benchmarks: the path in memory, pods beside Linux bridge and routing; writes a report (RUNS=10)
	$(ROOT) perf/bench.sh

.PHONY: peer-deps
peer-deps: deps
	@missing=(); for p in $(PEER_PACKAGES); do \
	  dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing+=($$p); done; \
	if [ $${#missing[@]} -gt 0 ]; then $(ROOT) perf/install-peers.sh "$${missing[@]}"; fi

.PHONY: bench-peers
bench-peers: build peer-deps ## Benchmarks: the same with Open vSwitch and DPDK, figures into perf/results
	$(ROOT) perf/bench.sh peers
