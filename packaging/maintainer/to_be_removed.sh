# Everything that is active ends, as long as the command is there. What fails is said and keeps nothing from being
# removed: /etc/ld.so.preload names a copy that no package owns, and that stays where the line stays.
to_be_removed() {
    # A line by hand that names the package's own file is none of ours; without the file every program would complain.
    if grep -qsE '^[^#]*(-linux-gnu[^/]*/|/lib64/|/keepalive/lib[^/]*/|LIB}?/|[[:space:]:])libkeepalive\.so|^libkeepalive\.so' /etc/ld.so.preload; then
        echo "keepalive: cannot be removed: /etc/ld.so.preload names libkeepalive.so, and programs would complain" >&2
        echo "hint: take that line out; keepalive system enable does it in a safer way" >&2
        return 1
    fi
    if ! keepalive system disable >/dev/null; then
        echo "keepalive: note: where /etc/ld.so.preload names keepalive's library, programs go on with that file;" >&2
        echo "  take the line out by hand, and remove the file only then" >&2
    fi
    if [ -d /run/systemd/system ]; then
        stop_units || :
    fi
    rm -f /etc/systemd/system/*.wants/keepalive-cgroup@?*.service
    # What 'keepalive unit enable' has written would have services look for a library that is not there.
    for drop_in in /etc/systemd/system/*.service.d/50-keepalive.conf; do
        if grep -qs "^# Written by 'keepalive unit enable'" "$drop_in"; then
            unit=${drop_in%/*}
            unit=${unit##*/}
            keepalive unit disable "${unit%.d}" || rm -f "$drop_in"
        fi
    done
    # Programs say so when LD_PRELOAD names what is not there.
    with=$(grep -lsz '^LD_PRELOAD=.*/libkeepalive\.so' /proc/[0-9]*/environ | cut -d / -f 3 | tr '\n' ' ') || :
    if [ -n "$with" ]; then
        echo "keepalive: note: what these processes start will complain of LD_PRELOAD until they are restarted: $with" >&2
    fi
}
