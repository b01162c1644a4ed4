# Two commands matter: `make demo` and `make test`. Both install what is missing first (Debian 12
# or 13; sudo or root for that only) and can be run again, offline.

# mkfs and depmod stand in sbin, which an ordinary user's PATH often leaves out.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/sbin:/sbin

DEMO_OUT := target/demo
DEMO_KERNEL := debian:bookworm
DEMO_SCENARIOS := --scenario mmap-rewrite --scenario buffered-rewrite --scenario direct-rewrite --scenario metadata-churn

BIN := target/release
DESTDIR :=
PREFIX := /usr/local

.PHONY: help setup build demo test test-aarch64 bench bench-quick fuzz install

help:
	@echo 'make demo     boots a stock kernel on the trap and shows a race caught and a stable run clean'
	@echo 'make test     formats, lints and tests the whole project'
	@echo 'make bench    measures dixtrapd against its peers in ten minutes; make bench-quick in one'
	@echo 'make fuzz     fuzzes what reads bytes of strangers, a minute each (needs cargo-fuzz)'
	@echo 'make test-aarch64  tests the guard kernel of ARM (needs rustup target, cross compiler, qemu-user)'
	@echo 'make build    builds target/release/dixtrap and target/release/dixtrapd'
	@echo 'make setup    installs the packages that are missing, and nothing else'
	@echo 'make install  puts what make build made, systemd units and the file that describes dixtrapd to QEMU in place'

setup:
	@sh .ci/setup

# The helper runs in guests that have none of this machine's libraries, so it is linked statically.
# A plain `cargo build` makes it dynamic; `dixtrap run` then takes its libraries along.
build: setup
	cargo build --release --locked
	cargo rustc --release --locked --bin dixtrap-guest -- -C target-feature=+crt-static

demo: build
	@rm -rf $(DEMO_OUT)
	target/release/dixtrap run --kernel $(DEMO_KERNEL) --fs raw --fs ext4 $(DEMO_SCENARIOS) --out $(DEMO_OUT)
	@echo 'Everything the run left is in $(DEMO_OUT)/.'

# Words behind cargo test's own; .ci/run asks for what the tests print.
TEST_FLAGS :=

# clippy comes with rustup's Rust and not with every distribution's.
test: setup
	@if cargo fmt --version >/dev/null 2>&1; then echo cargo fmt --check; cargo fmt --check; \
	 else echo 'no rustfmt here: the format is not checked'; fi
	@if cargo clippy --version >/dev/null 2>&1; then \
	   echo cargo clippy --locked --all-targets -- -D warnings; \
	   cargo clippy --locked --all-targets -- -D warnings; \
	 else echo 'no clippy here: the lints are not checked'; fi
	@if command -v rustdoc >/dev/null; then echo cargo doc --locked --no-deps --document-private-items; \
	   RUSTDOCFLAGS=-Dwarnings cargo doc --locked --no-deps --document-private-items; \
	 else echo 'no rustdoc here: the links of the documentation are not checked'; fi
	cargo test --locked --no-fail-fast $(TEST_FLAGS)
	@if command -v c++ >/dev/null; then echo cargo check --locked --manifest-path fuzz/Cargo.toml; \
	   cargo check --locked --manifest-path fuzz/Cargo.toml; \
	 else echo 'no C++ compiler here: the fuzz targets are not checked'; fi
	@if rustup target list --installed 2>/dev/null | grep -qx $(ARM) && \
	   command -v $(ARM_CC) >/dev/null && command -v $(ARM_RUN) >/dev/null; \
	 then $(MAKE) --no-print-directory test-aarch64; \
	 else echo 'no $(ARM) with $(ARM_CC) and $(ARM_RUN) here: that guard kernel is not tested'; fi

# The kernel for another CPU, under QEMU's user-mode emulation.
ARM := aarch64-unknown-linux-gnu
ARM_CC := aarch64-linux-gnu-gcc
ARM_RUN := qemu-aarch64

test-aarch64: export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER = $(ARM_CC)
test-aarch64: export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER = $(ARM_RUN) -cpu max -L /usr/aarch64-linux-gnu
test-aarch64:
	cargo test --locked --lib --target $(ARM) -- pi:: memory::

# Peers that are not installed (qemu-storage-daemon, ISA-L) are left out, with a word about it.
BENCH_OUT := target/bench

bench bench-quick: setup
	@mkdir -p $(BENCH_OUT)
	ROUNDS=$(if $(filter bench-quick,$@),15,101) cargo bench --locked --bench guard_ratios >$(BENCH_OUT)/guards.json
	cargo bench --locked --bench daemon -- $(if $(filter bench-quick,$@),--quick)

# Stable Rust will do: what cargo-fuzz wants of a nightly one is allowed by RUSTC_BOOTSTRAP.
FUZZ_SECONDS := 60

fuzz: export RUSTC_BOOTSTRAP := 1
fuzz:
	sh fuzz/seeds.sh
	cd fuzz && for target in $$(cargo fuzz list); do \
	  cargo fuzz run --sanitizer none --debug-assertions $$target -- \
	    -max_total_time=$(FUZZ_SECONDS) -timeout=10 -max_len=98304 || exit 1; done

# The units and the description name /usr/local/bin; another PREFIX goes into them.
install:
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)/etc/systemd/system $(DESTDIR)/etc/qemu/vhost-user
	install -m 755 $(BIN)/dixtrap $(BIN)/dixtrapd $(BIN)/dixtrap-guest $(DESTDIR)$(PREFIX)/bin
	for unit in dixtrapd@.socket dixtrapd@.service; do \
	  sed 's#/usr/local/bin#$(PREFIX)/bin#' qemu/$$unit >$(DESTDIR)/etc/systemd/system/$$unit; done
	sed 's#/usr/local/bin#$(PREFIX)/bin#' qemu/50-dixtrap.json >$(DESTDIR)/etc/qemu/vhost-user/50-dixtrap.json
