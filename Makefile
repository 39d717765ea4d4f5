# corten: `make` lists the targets. As root, `make demo` and `make test` install what they need first.

PREFIX  ?= /usr/local
BINDIR  ?= $(PREFIX)/bin
DATADIR ?= $(PREFIX)/share
DESTDIR ?=
# What `make conformance` shows beside corten: names on PATH, or NAME=PATH.
CONFORMANCE ?= runc crun

CARGO  := scripts/cargo.sh
TARGET := $(or $(CARGO_BUILD_TARGET),$(shell uname -m)-unknown-linux-gnu)
OUT    := $(or $(CARGO_TARGET_DIR),target)
BINARY := $(OUT)/$(TARGET)/release/corten
# Man pages and completions are made by the binary from its own command line, so they can't say anything else.
MADE   := $(OUT)/made

.DEFAULT_GOAL := help
.PHONY: help all build demo test unit integration conformance engines fuzz vm vm-fast lint fmt bench man completions install uninstall clean

help: ## this list
	@echo 'make TARGET, with one of'
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1	\2/p' $(MAKEFILE_LIST) | expand -t 16
	@echo 'install takes PREFIX (now $(PREFIX)) and DESTDIR.'

all: build man completions ## the release binary, man pages and completions

build: ## the release binary, static: target/<triple>/release/corten
	@scripts/setup.sh build
	$(CARGO) build --release --locked
	@ls -l $(BINARY)

demo: build ## build, then run a container: no image, nothing to download
	@echo
	$(BINARY) demo

test: ## everything a change must pass: format, lint, unit and integration tests, these in virtual machines too, conformance
	@scripts/setup.sh build test conformance
	@scripts/test.sh

unit: ## the unit tests alone (no root needed)
	$(CARGO) test --locked --lib --bins \
	    --test invariants --test golden_plans --test plan_properties --test seccomp_verdicts --test conformance_report --test engines_verdict

integration: ## the integration tests alone (root)
	$(CARGO) test --locked --test integration

conformance: ## runtime-tools' validation programs: corten beside runc and crun (root, Go; see oci-conformance/README.md)
	@scripts/setup.sh build conformance runtimes
	@oci-conformance/programs.sh
	$(CARGO) test --locked --test conformance -- corten $(CONFORMANCE)

engines: ## Podman, containerd and Docker with corten below them, and with runc (root; see integration/engines/README.md)
	@scripts/setup.sh build engines
	@integration/engines/build.sh
	$(CARGO) test --locked --test engines

fuzz: ## every fuzz target, each for FUZZ_SECONDS (600); what is found lies in fuzz/artifacts
	@scripts/setup.sh build fuzz
	@fuzz/fuzz.sh long

vm: ## the integration tests in virtual machines: cgroup v2, systemd, rootless, older kernels (root; integration/vm/)
	@scripts/setup.sh build
	@scripts/test.sh vm-fast vm-full

vm-fast: ## those of them that take two minutes
	@scripts/setup.sh build
	@scripts/test.sh vm-fast

lint: ## rustfmt and clippy, without changing anything
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

fmt: ## format the sources
	$(CARGO) fmt

bench: build ## corten beside runc, crun and the kernel's floor (root; see benches/README.md)
	@scripts/setup.sh bench
	benches/bench.sh corten=$(abspath $(BINARY)) runc crun floor

man: build ## man pages, in target/made/man
	@rm -rf $(MADE)/man && mkdir -p $(MADE)/man
	$(BINARY) man $(MADE)/man

completions: build ## completions for bash, zsh and fish, in target/made/completions
	@rm -rf $(MADE)/completions && mkdir -p $(MADE)/completions
	$(BINARY) completion bash > $(MADE)/completions/corten.bash
	$(BINARY) completion zsh > $(MADE)/completions/_corten
	$(BINARY) completion fish > $(MADE)/completions/corten.fish

install: all ## binary, man pages and completions below PREFIX
	install -D -m 0755 $(BINARY) $(DESTDIR)$(BINDIR)/corten
	install -d $(DESTDIR)$(DATADIR)/man/man8
	install -m 0644 $(MADE)/man/*.8 $(DESTDIR)$(DATADIR)/man/man8/
	install -D -m 0644 $(MADE)/completions/corten.bash $(DESTDIR)$(DATADIR)/bash-completion/completions/corten
	install -D -m 0644 $(MADE)/completions/_corten $(DESTDIR)$(DATADIR)/zsh/site-functions/_corten
	install -D -m 0644 $(MADE)/completions/corten.fish $(DESTDIR)$(DATADIR)/fish/vendor_completions.d/corten.fish

uninstall: ## what install put there
	rm -f $(DESTDIR)$(BINDIR)/corten $(DESTDIR)$(DATADIR)/man/man8/corten.8 $(DESTDIR)$(DATADIR)/man/man8/corten-*.8 \
	    $(DESTDIR)$(DATADIR)/bash-completion/completions/corten $(DESTDIR)$(DATADIR)/zsh/site-functions/_corten \
	    $(DESTDIR)$(DATADIR)/fish/vendor_completions.d/corten.fish

clean: ## remove what was built
	rm -rf $(OUT)
