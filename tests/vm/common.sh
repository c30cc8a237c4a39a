# What the scripts of this directory share. $here is the directory of the script that includes this file.
# shellcheck shell=bash
ROOT=$(cd "$here/../.." && pwd)
# Everything that is downloaded or built.
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

# The static keepalive command: $COMMAND, or what scripts/static builds.
static_command() {
    if [[ -n ${COMMAND:-} ]]; then echo "$COMMAND"; else "$ROOT/scripts/static" --quiet; fi
}
