# build · install · docs · package · image · test · test-unit · test-e2e · test-vm · demo · picture · bench · plots · lint · fuzz · ci

CARGO  ?= cargo
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
MANDIR ?= $(PREFIX)/share/man
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
DOCDIR ?= $(PREFIX)/share/doc/keepalive
UNITDIR ?= $(PREFIX)/lib/systemd/system
# Where podman and CRI-O look for hooks of containers is below /usr.
HOOKDIR ?= $(PREFIX)/share/containers/oci/hooks.d
# The command to install: this one, or one that needs no loader, which scripts/static builds.
COMMAND ?= target/release/keepalive
LIBRARY ?= target/release/libkeepalive.so
# The library for 32-bit programs (scripts/cross i586-unknown-linux-gnu), to be installed too; none unless given.
LIBRARY32 ?=
# Where it goes: a directory in which every library is found by the name that ld.so's $LIB has for its programs. musl's
# loader takes $LIB for a name: a directory has it.
LIBRARIESDIR ?= $(PREFIX)/lib/keepalive
# Where a package puts the files that `install` would put below /.
DESTDIR ?=

# The end-to-end tests wait more than they compute.
RUST_TEST_THREADS ?= 8
export RUST_TEST_THREADS

# Counts what passed, failed and was skipped.
SUMMARY = scripts/test-summary

# The command looks for the library there, among other places.
export KEEPALIVE_LIBDIR = $(LIBDIR)

# What make package makes.
PACKAGES ?= deb rpm tar
# The container image's name.
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
IMAGE ?= localhost/keepalive:$(VERSION)
# The architecture of packages, static command and image, by Rust's name; aarch64-unknown-linux-gnu is cross compiled.
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
TARGET ?= $(HOST)
export TARGET
# The architectures of `make image-list`, by the names of images.
IMAGE_ARCHES ?= amd64 arm64
TARGET_amd64 = x86_64-unknown-linux-gnu
TARGET_arm64 = aarch64-unknown-linux-gnu
IMAGE_TARGETS = $(foreach arch,$(IMAGE_ARCHES),$(or $(TARGET_$(arch)),$(error no target is known for $(arch))))
# The command that needs no other file, which scripts/static builds.
STATIC = target/static/$(TARGET)/release/keepalive
# How it is built. Tests of the image list set this to `true`, and STATIC to another file.
BUILD_STATIC ?= scripts/static
# Where the image is built, that of another architecture in a directory of its own; and the name that images give it.
IMAGE_ROOT ?= $(CURDIR)/target/image
image_dir = $(IMAGE_ROOT)$(if $(filter-out $(HOST),$(1)),/$(1))
IMAGE_DIR = $(call image_dir,$(TARGET))
IMAGE_ARCH = $(patsubst aarch64,arm64,$(patsubst x86_64,amd64,$(firstword $(subst -, ,$(TARGET)))))
# What an image or a package is made of has this time, so that the same commit gives the same file.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
BUILDAH = buildah --storage-driver vfs --root $(IMAGE_DIR)/storage --runroot $(IMAGE_DIR)/run
LIST_BUILDAH = buildah --storage-driver vfs --root $(IMAGE_ROOT)/list/storage --runroot $(IMAGE_ROOT)/list/run

.PHONY: build install uninstall docs package static image image-list test test-unit test-e2e test-reproducible test-suites demo picture bench plots lint advisories fuzz fuzz-calls ci clean

# Leaves target/release/libkeepalive.so and target/release/keepalive.
build:
	$(CARGO) build --release --workspace --exclude xtask

install:
	@test -f $(LIBRARY) || { echo "run make first" >&2; exit 1; }
	install -D -m 755 $(COMMAND) $(DESTDIR)$(BINDIR)/keepalive
	install -D -m 644 $(LIBRARY) $(DESTDIR)$(LIBDIR)/libkeepalive.so
ifneq ($(LIBRARY32),)
	install -D -m 644 $(LIBRARY32) $(DESTDIR)$(LIBRARIESDIR)/lib/libkeepalive.so
	for lib in lib64 lib/x86_64-linux-gnu '$$LIB' lib32 lib/i386-linux-gnu; do \
		case $$lib in *64*|*LIB) file=$(LIBDIR) ;; *) file=$(LIBRARIESDIR)/lib ;; esac; \
		install -d "$(DESTDIR)$(LIBRARIESDIR)/$$lib" && \
		ln -srf $(DESTDIR)$$file/libkeepalive.so "$(DESTDIR)$(LIBRARIESDIR)/$$lib" || exit; \
	done
endif
	@for page in man/*.[1-8]; do \
		install -D -m 644 $$page $(DESTDIR)$(MANDIR)/man$${page##*.}/$${page##*/} || exit; \
	done
	install -D -m 644 completions/keepalive.bash $(DESTDIR)$(BASHDIR)/keepalive
	install -D -m 644 completions/keepalive.fish $(DESTDIR)$(FISHDIR)/keepalive.fish
	install -D -m 644 completions/_keepalive $(DESTDIR)$(ZSHDIR)/_keepalive
	install -d $(DESTDIR)$(UNITDIR)
	sed 's|/usr/bin/keepalive|$(BINDIR)/keepalive|' packaging/systemd/keepalive-cgroup@.service \
		>$(DESTDIR)$(UNITDIR)/keepalive-cgroup@.service
	chmod 644 $(DESTDIR)$(UNITDIR)/keepalive-cgroup@.service
	install -d $(DESTDIR)$(HOOKDIR)
	sed 's|/usr/bin/keepalive|$(BINDIR)/keepalive|' packaging/oci/keepalive.json >$(DESTDIR)$(HOOKDIR)/keepalive.json
	chmod 644 $(DESTDIR)$(HOOKDIR)/keepalive.json
	install -D -m 644 packaging/keepalive.conf $(DESTDIR)$(DOCDIR)/examples/keepalive.conf

uninstall:
	rm -f $(DESTDIR)$(BINDIR)/keepalive $(DESTDIR)$(LIBDIR)/libkeepalive.so \
		$(foreach page,$(wildcard man/*.[1-8]),$(DESTDIR)$(MANDIR)/man$(subst .,,$(suffix $(page)))/$(notdir $(page))) \
		$(DESTDIR)$(BASHDIR)/keepalive $(DESTDIR)$(FISHDIR)/keepalive.fish $(DESTDIR)$(ZSHDIR)/_keepalive \
		$(DESTDIR)$(UNITDIR)/keepalive-cgroup@.service $(DESTDIR)$(HOOKDIR)/keepalive.json $(DESTDIR)$(DOCDIR)/examples/keepalive.conf
	rm -rf $(DESTDIR)$(LIBRARIESDIR)

# Leaves target/package/keepalive_VERSION_ARCH.deb, keepalive-VERSION-1.ARCH.rpm, keepalive-VERSION-ARCH-linux.tar.gz and
# SHA256SUMS; PACKAGES=deb makes just that. Needs no root; dpkg-deb and rpmbuild.
package: export SOURCE_DATE_EPOCH := $(SOURCE_DATE_EPOCH)
package: $(if $(filter $(HOST),$(TARGET)),build)
	scripts/package $(PACKAGES)

# Writes the manual pages and completions from the definition of the command line. make lint finds stale ones.
docs:
	$(CARGO) run --quiet --package xtask -- docs

# The command that needs no other file.
static:
	$(BUILD_STATIC)

# Leaves target/image/keepalive.tar, which docker load, podman load, skopeo copy and ctr image import take; for another
# architecture target/image/TARGET/keepalive.tar. Requires buildah.
image: static
	install -D -m 755 $(STATIC) $(IMAGE_DIR)/context/keepalive
	install -m 644 LICENSE-APACHE LICENSE-MIT $(IMAGE_DIR)/context
	rm -rf $(IMAGE_DIR)/storage $(IMAGE_DIR)/run $(IMAGE_DIR)/keepalive.tar
	$(BUILDAH) build --quiet --isolation chroot --platform linux/$(IMAGE_ARCH) --timestamp $(SOURCE_DATE_EPOCH) --build-arg VERSION=$(VERSION) \
		--tag $(IMAGE) --file packaging/kubernetes/Containerfile $(IMAGE_DIR)/context
	$(BUILDAH) push --quiet $(IMAGE) docker-archive:$(IMAGE_DIR)/keepalive.tar

# Leaves target/image/keepalive-list.tar, an OCI archive with one image for each architecture of IMAGE_ARCHES below one name:
# skopeo copy --all oci-archive:target/image/keepalive-list.tar docker://…. Requires buildah and what make image requires for each.
image-list:
	$(foreach target,$(IMAGE_TARGETS),$(MAKE) --no-print-directory image TARGET=$(target) &&) true
	rm -rf $(IMAGE_ROOT)/list $(IMAGE_ROOT)/keepalive-list.tar
	$(LIST_BUILDAH) manifest create $(IMAGE)
	$(foreach target,$(IMAGE_TARGETS),$(LIST_BUILDAH) manifest add $(IMAGE) docker-archive:$(call image_dir,$(target))/keepalive.tar &&) true
	$(LIST_BUILDAH) manifest push --quiet --all $(IMAGE) oci-archive:$(IMAGE_ROOT)/keepalive-list.tar:$(VERSION)
	rm -rf $(IMAGE_ROOT)/list

# The library under test is the release: it is what users load. What cannot run here says SKIP and why, and is counted at the
# end.
# Where nothing can be linked statically, so do the tests of the image.
test: build
	-$(MAKE) --no-print-directory static
	$(CARGO) build --workspace
	$(SUMMARY) $(CARGO) test --workspace

# Two parts of it: the tests of the crates, and the end-to-end tests of the command.
test-unit: build
	$(SUMMARY) $(CARGO) test --workspace --exclude keepalive-tests

test-e2e: build
	-$(MAKE) --no-print-directory static
	$(CARGO) build --workspace
	$(SUMMARY) $(CARGO) test --package keepalive-tests

# Test suites of other projects, bare and under each engine; as root, about half an hour. SUITES=--quick is what CI runs.
test-suites: build
	scripts/test-suites $(SUITES)

# Random sequences of socket calls, compared with the same ones without keepalive: 100,000 for each engine; as root. Others
# than the first by FIRST.
SEQUENCES ?= 100000
FIRST ?= 0
fuzz-calls: build
	$(CARGO) build --workspace
	KEEPALIVE_TEST_REQUIRE=all KEEPALIVE_TEST_SEQUENCES=$(SEQUENCES) KEEPALIVE_TEST_FIRST_SEQUENCE=$(FIRST) \
		$(CARGO) test --package keepalive-tests --test e2e -- differential::sequences

# Packages of one commit, made in two directories, have the same bytes.
test-reproducible:
	scripts/reproducible $(PACKAGES)

# The same on other kernels and systems, in virtual machines: every kernel, every machine. Needs root. tests/vm/README.md
# has the times.
test-vm:
	tests/vm/run-kernels
	tests/vm/run-systems

demo: build
	scripts/demo

# Draws docs/picture.svg again, from the packets of a run of the demo. Requires python3.
picture: build
	scripts/picture

bench: build
	$(CARGO) bench --package keepalive-policy --bench policy
	$(CARGO) bench --package keepalive-cli --bench cost
	$(CARGO) bench --package keepalive-cli --bench list
	$(CARGO) bench --package keepalive-cli --bench supervised
	$(CARGO) bench --package keepalive-cli --bench cgroup
	$(CARGO) bench --package keepalive-cli --bench curves

# The curves of docs/performance.md, as this machine has them.
plots: build
	$(CARGO) bench --package keepalive-cli --bench curves -- --plots $(CURDIR)/docs/performance

# Ten million runs each; needs a nightly compiler and cargo-fuzz.
fuzz:
	$(CARGO) +nightly fuzz run --sanitizer none parse -- -dict=fuzz/words.dict -max_len=400 -runs=10000000
	$(CARGO) +nightly fuzz run --sanitizer none environment -- -dict=fuzz/words.dict -max_len=400 -runs=10000000
	$(CARGO) +nightly fuzz run --sanitizer none sock_diag -- -max_len=600 -runs=10000000
	$(CARGO) +nightly fuzz run --sanitizer none trace -- -max_len=400 -runs=10000000

lint:
	$(CARGO) fmt --all --check
	rustfmt --check --edition 2024 crates/preload/src/hooks/*.rs
	$(CARGO) clippy --workspace --all-targets -- --deny warnings
	$(CARGO) deny check bans licenses sources
	$(CARGO) run --quiet --package xtask -- docs --check

# Known vulnerabilities of the crates in Cargo.lock. Fetches the advisory database of RustSec; ADVISORIES=--offline takes the one
# that is in $$CARGO_HOME/advisory-dbs already.
advisories:
	$(CARGO) deny $(ADVISORIES) check advisories

ci:
	.ci/run

clean:
	$(CARGO) clean
