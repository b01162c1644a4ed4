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

.PHONY: help setup build demo test test-fast test-aarch64 soak chaos bench bench-quick fuzz install

help:
	@echo 'make demo     boots a stock kernel on the trap and shows a race caught and a stable run clean'
	@echo 'make test     formats, lints and tests the whole project'
	@echo 'make test-fast  runs the tests that need neither QEMU nor the network'
	@echo 'make bench    measures dixtrapd against its peers in ten minutes; make bench-quick in one'
	@echo 'make soak     kills dixtrapd a thousand times under load and looks what it cost'
	@echo 'make chaos    full disks, stopped daemons, crowds and vanishing memory, twenty minutes long'
	@echo 'make fuzz     fuzzes what reads bytes of strangers, a minute each (needs a C++ compiler)'
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
	cargo rustc --release --locked --package dixtrap --bin dixtrap-guest -- -C target-feature=+crt-static

demo: build
	@rm -rf $(DEMO_OUT)
	target/release/dixtrap run --kernel $(DEMO_KERNEL) --fs raw --fs ext4 $(DEMO_SCENARIOS) --out $(DEMO_OUT)
	@echo 'Everything the run left is in $(DEMO_OUT)/.'

# Words behind cargo test's own; .ci/run asks for what the tests print.
TEST_FLAGS :=

test: setup
	@sh .ci/checks
	cargo test --locked --no-fail-fast $(TEST_FLAGS)
	@if rustup target list --installed 2>/dev/null | grep -qx $(ARM) && \
	   command -v $(ARM_CC) >/dev/null && command -v $(ARM_RUN) >/dev/null; \
	 then $(MAKE) --no-print-directory test-aarch64; \
	 else echo 'no $(ARM) with $(ARM_CC) and $(ARM_RUN) here: that guard kernel is not tested'; fi

# Every test program but that of the guests: nothing of it needs QEMU, a kernel or the network.
FAST := $(filter-out guests soak,$(patsubst tests/%/main.rs,%,$(wildcard tests/*/main.rs)) $(patsubst tests/%.rs,%,$(wildcard tests/*.rs)))

test-fast:
	cargo test --locked --no-fail-fast --lib --bins $(addprefix --test ,$(FAST)) $(TEST_FLAGS)

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

# What it printed last stands in SOAK.md.
KILLS := 1000
GUEST_KILLS := 200

soak: setup
	cargo test --release --locked --test soak -- --kills $(KILLS)
	DIXTRAP_GUEST_KILLS=$(GUEST_KILLS) cargo test --release --locked --test guests -- --exact \
	  by_hand::a_guest_outlives_a_daemon_that_ends_in_order_and_some_that_are_killed

# Needs root, for small file systems to fill.
CHAOS_SECONDS := 1200

chaos: setup
	cargo test --release --locked --test soak -- --chaos $(CHAOS_SECONDS)

# Stable Rust and a C++ compiler will do. What was found before is in fuzz/corpus/.
FUZZ_SECONDS := 60

fuzz:
	sh fuzz/run.sh $(FUZZ_SECONDS)

# The units and the description name /usr/local/bin; another PREFIX goes into them.
install:
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)/etc/systemd/system $(DESTDIR)/etc/qemu/vhost-user
	install -m 755 $(BIN)/dixtrap $(BIN)/dixtrapd $(BIN)/dixtrap-guest $(DESTDIR)$(PREFIX)/bin
	install -d $(DESTDIR)$(PREFIX)/lib/dixtrap $(DESTDIR)$(PREFIX)/share
	$(BIN)/dixtrap manual $(DESTDIR)$(PREFIX)/share
	install -m 644 $(BIN)/libdixtrap_watch.so $(DESTDIR)$(PREFIX)/lib/dixtrap
	for unit in dixtrapd@.socket dixtrapd@.service; do \
	  sed 's#/usr/local/bin#$(PREFIX)/bin#' qemu/$$unit >$(DESTDIR)/etc/systemd/system/$$unit; done
	sed 's#/usr/local/bin#$(PREFIX)/bin#' qemu/50-dixtrap.json >$(DESTDIR)/etc/qemu/vhost-user/50-dixtrap.json
