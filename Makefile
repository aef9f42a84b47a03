# The project's verbs. Proofs run in network namespaces: as root, on Debian 12 or the like.

CARGO ?= cargo

.PHONY: help demo demo-kubernetes demo-remove test fuzz bars generated static fmt lint doc build tools laboratory kubernetes deny

help:
	@echo "make demo         three nodes, a router and a client on this machine; addresses, traffic, failures"
	@echo "make demo-kubernetes  the same in a real Kubernetes, with kubectl, pods and kube-proxy"
	@echo "make demo-remove  removes what KEEP=1 make demo left"
	@echo "make test         every check and every proof"
	@echo "make fuzz         the properties over many more inputs, new ones every time"
	@echo "make generated    writes config/crd anew from the types in crds/src/api, and config/install.yaml from its parts"
	@echo "make static       both programs for config/Containerfile, which need nothing but a kernel"
	@echo "make bars         the promised figures at full size, written to docs/figures.md"

# KEEP=1 leaves everything up at the end.
demo: laboratory build
	@$(CARGO) run --quiet --locked --package ferrolb-tests --bin demo

# Needs Go, for a real Kubernetes.
demo-kubernetes: tools build
	@$(CARGO) run --quiet --locked --package ferrolb-tests --bin demo-kubernetes

demo-remove:
	@$(CARGO) run --quiet --locked --package ferrolb-tests --bin demo -- remove

# A failure is the change's: the same inputs every time. Most proofs wait most of the time: twice as many
# at a time as there are processors.
test: THREADS = $(shell expr 2 \* $$(nproc))
test: tools fmt lint doc build
	RUST_TEST_THREADS=$(THREADS) FERROLB_FUZZ_SECONDS=10 PROPTEST_RNG_SEED=1 $(CARGO) test --workspace --locked --no-fail-fast

# The same properties over other inputs, new ones every time.
fuzz:
	FERROLB_FUZZ_SECONDS=60 FERROLB_FUZZ_SEED=$$(date +%s) PROPTEST_CASES=20000 $(CARGO) test --workspace --locked --lib --no-fail-fast

# Of the programs as they are shipped; BARS="routes stages" measures those alone.
bars: tools static
	$(CARGO) build --workspace --bins --locked
	@FERROLB_PROGRAMS=$(CURDIR)/target/static $(CARGO) run --quiet --locked --package ferrolb-tests --bin bars -- $(BARS)

generated:
	@mkdir -p config/crd
	$(CARGO) run --quiet --locked --package ferrolb-crds --bin crdgen -- --dir config/crd
	@for file in $$(sed -n 's/^  - //p' config/kustomization.yaml); do \
		echo --- && cat config/$$file || exit 1; \
	done > config/install.yaml

# With --target the flag is not for what runs while building.
static: HOST = $(shell rustc -vV | sed -n 's/^host: //p')
static:
	RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --release --locked --package ferrolb-controller --package ferrolb-speaker --target $(HOST)
	@mkdir -p target/static
	cp target/$(HOST)/release/ferrolb-controller target/$(HOST)/release/ferrolb-speaker target/static/

fmt:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items --locked --quiet

build:
	$(CARGO) build --workspace --bins --locked

# Needs cargo-deny, which `make test` does not ask for.
deny:
	$(CARGO) deny --config .cargo/deny.toml check

# What the proofs need beside Rust: packages, and the programs of a real Kubernetes.
tools: laboratory kubernetes

laboratory:
	@sh tests/install.sh

# Minutes the first time, nothing later.
kubernetes:
	@sh tests/kubernetes.sh
