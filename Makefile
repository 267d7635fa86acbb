# What one does with this project; `make help` lists it. Cargo builds, and
# pkgconfig/install.sh makes an installed tree of what it built.

CARGO ?= cargo
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
BINDIR ?= $(PREFIX)/bin
SBINDIR ?= $(PREFIX)/sbin
UNITDIR ?= $(PREFIX)/lib/systemd/system
DESTDIR ?=

# Absolute, so that it means the same to cargo, to the tests and to install.sh.
export CARGO_TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
STAGE := $(CARGO_TARGET_DIR)/stage
export CACHEFS_STAGE := $(STAGE)

INSTALL := BUILD='$(CARGO_TARGET_DIR)/release' pkgconfig/install.sh

.PHONY: all deps build stage install demo check check-long bench header clean help

all: build

help:
	@echo 'make            builds the library, that for LD_PRELOAD, the tool cachefs and cachefsd'
	@echo 'make install    installs what was built; PREFIX LIBDIR INCLUDEDIR BINDIR SBINDIR UNITDIR'
	@echo '                DESTDIR'
	@echo 'make check      formats, lints and runs every test; under 30 minutes'
	@echo 'make demo       shows a first and a second pass over real files; under a minute'
	@echo 'make bench      measures the inner parts; "cachefs bench engine" measures the whole'
	@echo 'make stage      installs into $(STAGE), for tests and examples'
	@echo 'make header     writes include/cachefs.h anew from src/capi'
	@echo 'make check-long kills a process 2,000 times and cuts the power 1,000 times; an hour or less'
	@echo 'make deps       installs the Debian packages that check needs, or names them'
	@echo 'make clean      removes what was built'

deps:
	@.ci/install-deps

build:
	$(CARGO) build --release --package libcachefs --package cachefs-ctl --package cachefsd \
		--package cachefs-preload

# Without the build as a prerequisite: root should not run cargo.
install:
	@test -f '$(CARGO_TARGET_DIR)/release/libcachefs.a' || { echo 'run make first' >&2; exit 1; }
	PREFIX='$(PREFIX)' LIBDIR='$(LIBDIR)' INCLUDEDIR='$(INCLUDEDIR)' BINDIR='$(BINDIR)' \
		SBINDIR='$(SBINDIR)' UNITDIR='$(UNITDIR)' DESTDIR='$(DESTDIR)' $(INSTALL)

# Nothing of the caller's PREFIX, LIBDIR … may lead away from the stage.
stage: build
	PREFIX='$(STAGE)' LIBDIR='$(STAGE)/lib' INCLUDEDIR='$(STAGE)/include' BINDIR='$(STAGE)/bin' \
		SBINDIR='$(STAGE)/sbin' UNITDIR='$(STAGE)/lib/systemd/system' DESTDIR= $(INSTALL)

demo: stage
	PKG_CONFIG_PATH='$(STAGE)/lib/pkgconfig' $(MAKE) --no-print-directory -C examples-c demo

check:
	@.ci/check

# The same tests as in check, with many more rounds each.
check-long:
	CACHEFS_KILL_ROUNDS=2000 CACHEFS_POWER_CUTS=500 $(CARGO) test --package libcachefs --lib -- \
		--nocapture killing::what_a_killed power::

bench:
	$(CARGO) bench --package cachefs-core --features bench --bench micro
	$(CARGO) bench --quiet --package cachefs-core --features bench --bench eviction

header:
	UPDATE_HEADER=1 $(CARGO) test --package capi-tests --test header

clean:
	$(CARGO) clean
	$(MAKE) -C examples-c clean
