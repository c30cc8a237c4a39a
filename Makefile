# build · install · image · test · demo · bench · lint · fuzz · ci

CARGO  ?= cargo
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
MANDIR ?= $(PREFIX)/share/man
# The command to install: this one, or one that needs no loader, which scripts/static builds.
COMMAND ?= target/release/keepalive
# Where a package puts the files that `install` would put below /.
DESTDIR ?=

# The end-to-end tests wait more than they compute.
RUST_TEST_THREADS ?= 8
export RUST_TEST_THREADS

# The command looks for the library there, among other places.
export KEEPALIVE_LIBDIR = $(LIBDIR)

# The container image: its name, and where it and all that it takes are made.
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
IMAGE ?= localhost/keepalive:$(VERSION)
IMAGE_DIR = target/image
# The command that needs no other file, which scripts/static builds.
STATIC = target/static/$(shell rustc -vV | sed -n 's/^host: //p')/release/keepalive
# What an image is made of has this time, so that the same commit gives the same image.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
BUILDAH = buildah --storage-driver vfs --root $(CURDIR)/$(IMAGE_DIR)/storage --runroot $(CURDIR)/$(IMAGE_DIR)/run

.PHONY: build install uninstall static image test demo bench lint fuzz ci clean

# Leaves target/release/libkeepalive.so and target/release/keepalive.
build:
	$(CARGO) build --release --workspace

install:
	@test -f target/release/libkeepalive.so || { echo "run make first" >&2; exit 1; }
	install -D -m 755 $(COMMAND) $(DESTDIR)$(BINDIR)/keepalive
	install -D -m 644 target/release/libkeepalive.so $(DESTDIR)$(LIBDIR)/libkeepalive.so
	install -D -m 644 man/libkeepalive.7 $(DESTDIR)$(MANDIR)/man7/libkeepalive.7
	install -D -m 644 man/keepalive.conf.5 $(DESTDIR)$(MANDIR)/man5/keepalive.conf.5

uninstall:
	rm -f $(DESTDIR)$(BINDIR)/keepalive $(DESTDIR)$(LIBDIR)/libkeepalive.so $(DESTDIR)$(MANDIR)/man7/libkeepalive.7 \
		$(DESTDIR)$(MANDIR)/man5/keepalive.conf.5

# The command that needs no other file.
static:
	scripts/static

# Leaves target/image/keepalive.tar, which docker load, podman load, skopeo copy and ctr image import take. Needs
# buildah.
image: static
	install -D -m 755 $(STATIC) $(IMAGE_DIR)/context/keepalive
	install -m 644 LICENSE-APACHE LICENSE-MIT $(IMAGE_DIR)/context
	rm -rf $(IMAGE_DIR)/storage $(IMAGE_DIR)/run $(IMAGE_DIR)/keepalive.tar
	$(BUILDAH) build --quiet --isolation chroot --timestamp $(SOURCE_DATE_EPOCH) --build-arg VERSION=$(VERSION) \
		--tag $(IMAGE) --file packaging/kubernetes/Containerfile $(IMAGE_DIR)/context
	$(BUILDAH) push --quiet $(IMAGE) docker-archive:$(IMAGE_DIR)/keepalive.tar

# The library under test is the release: it is what users load. What cannot run here says SKIP and why.
# Where nothing can be linked statically, so do the tests of the image.
test: build
	-$(MAKE) --no-print-directory static
	$(CARGO) test --workspace

demo: build
	$(CARGO) build --release --package keepalive-cli --examples
	scripts/demo

bench: build
	$(CARGO) bench --package keepalive-policy --bench policy
	$(CARGO) bench --package keepalive-cli --bench cost
	$(CARGO) bench --package keepalive-cli --bench list
	$(CARGO) bench --package keepalive-cli --bench supervised

# Ten million runs each; needs a nightly compiler and cargo-fuzz.
fuzz:
	$(CARGO) +nightly fuzz run --sanitizer none parse -- -dict=fuzz/words.dict -max_len=400 -runs=10000000
	$(CARGO) +nightly fuzz run --sanitizer none environment -- -dict=fuzz/words.dict -max_len=400 -runs=10000000
	$(CARGO) +nightly fuzz run --sanitizer none sock_diag -- -max_len=600 -runs=10000000

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- --deny warnings
	$(CARGO) deny check bans licenses sources

ci:
	.ci/run

clean:
	$(CARGO) clean
