# For scripts that build for another architecture (scripts/cross, scripts/static), which source this file.
#
# select_linker TARGET    exports the linker that cargo uses for TARGET: the one in the environment, or Debian's
# select_compiler TARGET  exports RUSTC, a compiler with the standard library for TARGET; fails where there is none

# Prints a message and a hint, and exits with the status for something that is missing.
missing() {
    printf 'scripts/%s: %s\n' "$(basename "$0")" "$1" "$(basename "$0")" "${2-}" >&2
    exit 77
}

select_linker() {
    local variable gcc packages
    case $1 in
    i586-unknown-linux-gnu) gcc=i686-linux-gnu packages='gcc-i686-linux-gnu libc6-dev-i386-cross' ;;
    aarch64-unknown-linux-gnu) gcc=aarch64-linux-gnu packages='gcc-aarch64-linux-gnu libc6-dev-arm64-cross' ;;
    x86_64-unknown-linux-gnu) gcc=x86_64-linux-gnu packages='gcc-x86-64-linux-gnu libc6-dev-amd64-cross' ;;
    esac
    variable=CARGO_TARGET_${1^^}_LINKER
    variable=${variable//-/_}
    export "$variable=${!variable:-$gcc-gcc}"
    command -v "${!variable}" >/dev/null ||
        missing "no linker for $1: ${!variable} is not installed" "hint: install Debian's $packages"
}

select_compiler() {
    local libraries candidate
    for candidate in "${RUSTC:-rustc}" "${CARGO_TARGET_DIR:-target}/rust-std/rustc"; do
        libraries=$("$candidate" --print target-libdir --target "$1" 2>/dev/null) || continue
        if compgen -G "$libraries/libcore-*.rlib" >/dev/null; then
            export RUSTC=$candidate
            return 0
        fi
    done
    return 1
}
