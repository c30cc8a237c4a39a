# What 'keepalive system' has left: the file as it was before. /etc/keepalive.conf is the administrator's, and stays.
purged() {
    file=$(readlink -f /etc/ld.so.preload) || file=/etc/ld.so.preload
    if grep -qs '^[^#]*keepalive-system\.so' "$file"; then
        echo "keepalive: note: $file still names keepalive's library, which stays, and programs go on with it;" >&2
        echo "  take the line out by hand, and remove the file only then" >&2
        return 0
    fi
    rm -f "$file.before-keepalive"
    for directory in /usr/lib /usr/lib/*-linux-gnu* /usr/lib32 /usr/lib64 /usr/libx32; do
        rm -f "$directory"/*keepalive-system.so
    done
}
