# Where 'keepalive system enable' is active, programs load a copy of the library, which stays as it is while files are
# unpacked. It is brought up to date here, by a rename. If that fails, the copy of before is as good as it was.
installed() {
    status=$(keepalive system status --json 2>/dev/null) || :
    case $status in
    *'"enabled":true,"setuid":true'*) set -- --setuid ;;
    *'"enabled":true'*) set -- ;;
    *) return 0 ;;
    esac
    if ! keepalive system enable "$@" >/dev/null; then
        echo "keepalive: note: programs go on with the library of before: see keepalive system status" >&2
    fi
}
