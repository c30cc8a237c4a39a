# After 'keepalive system enable', programs load a copy of the library, which does not change while files are unpacked. This
# updates the copy by a rename. If it fails, the previous copy works as before.
installed() {
    if ! keepalive system refresh >/dev/null; then
        echo "keepalive: note: programs continue to load the previous library: see keepalive system status" >&2
    fi
}
