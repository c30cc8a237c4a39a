# Functions of the scripts in this directory. $here is the directory of the script that includes this file.
# shellcheck shell=bash
ROOT=$(cd "$here/../.." && pwd)
# The directory of all downloads and builds.
VM=${KEEPALIVE_VM_DIR:-$ROOT/target/vm}
PATH=$PATH:/usr/sbin:/sbin

die() { printf '%s: %s\n' "tests/vm/${0##*/}" "$@" >&2; exit 1; }

# need COMMAND...: fails if one is not installed.
need() {
    local command
    for command; do
        command -v "$command" >/dev/null || die "'$command' is missing: install the packages of scripts/test-packages"
    done
}

# The names of all kernels in kernels.list.
kernel_names() { sed 's/#.*//' "$here/kernels.list" | awk 'NF { print $1 }'; }

# The architecture of a kernel, by Debian's name.
kernel_architecture() { sed 's/#.*//' "$here/kernels.list" | awk -v name="$1" '$1 == name { print $4 ? $4 : "amd64" }'; }

# The GNU name of an architecture, as compilers and directories of libraries have it.
gnu_name() { case $1 in arm64) echo aarch64-linux-gnu ;; *) echo x86_64-linux-gnu ;; esac; }

# The C compiler for an architecture.
compiler() { if [[ $1 == "$(dpkg --print-architecture)" ]]; then echo cc; else echo "$(gnu_name "$1")-gcc"; fi; }

# The static keepalive command for an architecture: $COMMAND, or what scripts/static builds.
static_command() {
    if [[ -n ${COMMAND:-} ]]; then
        echo "$COMMAND"
    else
        TARGET=$(rust_name "$1") "$ROOT/scripts/static" --quiet
    fi
}

# The library for an architecture: for this machine's the one that make builds, for others the one that scripts/cross builds.
library() {
    local file=$ROOT/target/release/libkeepalive.so
    if [[ $1 != "$(dpkg --print-architecture)" ]]; then
        "$ROOT/scripts/cross" "$(rust_name "$1")" --quiet
    elif [[ -f $file ]]; then
        echo "$file"
    else
        die "$file is missing: run make"
    fi
}

rust_name() { case $1 in arm64) echo aarch64-unknown-linux-gnu ;; *) echo x86_64-unknown-linux-gnu ;; esac; }
