# A whole distribution for one script, as sh runs it in mount and process namespaces of its own: $1 is what
# scripts/test-chroot has made, over which a layer is put, so that it stays as it is. The script works in /mnt.
set -eu
mount -t tmpfs none /mnt
mkdir /mnt/changes /mnt/work /mnt/root
mount -t overlay none -o "lowerdir=$1,upperdir=/mnt/changes,workdir=/mnt/work" /mnt/root
mount -t proc proc /mnt/root/proc
mount -t tmpfs none /mnt/root/run
mkdir -p /mnt/root/run/lock

fail() {
    echo "$*" >&2
    exit 1
}

inside() {
    chroot /mnt/root "$@"
}

# Runs a command while programs of that system are started all the time, one after the other: each must end with status
# 0, and none may say a word. What the command itself prints is left in /mnt/said, its errors in /mnt/errors.
watched() {
    touch /mnt/root/run/busy
    : >/mnt/rounds
    # shellcheck disable=SC2016
    inside sh -c 'while test -e /run/busy; do
        for program in true "ls /" "perl -e 1" "bash -c :" "dpkg --version" "mount --version" "su --version"; do
            $program >/dev/null || echo "$program: status $?" >&2
        done
        echo
    done' >>/mnt/rounds 2>/mnt/complaints &
    one_more_round 0
    status=0
    "$@" >/mnt/said 2>/mnt/errors || status=$?
    one_more_round "$(wc -l </mnt/rounds)"
    rm /mnt/root/run/busy
    wait
    test "$status" = 0 || fail "$*: status $status: $(cat /mnt/said /mnt/errors)"
    test ! -s /mnt/complaints || fail "$*: meanwhile programs say: $(cat /mnt/complaints)"
    ! grep -i -E 'preload|ld\.so:' /mnt/errors || fail "$*: $(cat /mnt/errors)"
}

# one_more_round N: waits until the programs have been started N times, and once more.
one_more_round() {
    until test "$(wc -l </mnt/rounds)" -gt "$1"; do
        kill -0 $! || fail "programs are not started: $(cat /mnt/complaints)"
    done
}

# What a socket of a program that knows nothing of keepalive has: whether it is on.
socket() {
    inside perl -MSocket -e 'socket S, PF_INET, SOCK_STREAM, 0; print unpack("i", getsockopt S, SOL_SOCKET, SO_KEEPALIVE), "\n"'
}

# has ON: whether it has that, silently.
has() {
    found=$(socket 2>&1)
    test "$found" = "$1" || fail "a socket has keepalive '$found', not '$1'"
}

# Every file and directory, but for the records of dpkg, rpm and ldconfig.
tree() {
    (cd /mnt/root && find . -xdev \
        ! -path './var/lib/dpkg/*' ! -path './var/lib/rpm*' ! -path './var/log/*' ! -path ./etc/ld.so.cache ! -path './var/cache/ldconfig*' \
        \( -type d -printf '%p %y %m %U %G\n' -o -printf '%p %y %m %U %G %s %l\n' \)) | sort
}

# The files named after us; after a first call, those that are new.
ours() {
    touch /mnt/ours
    named | comm -13 /mnt/ours -
    named >/mnt/ours
}
named() {
    (cd /mnt/root && find etc usr var/lib/dpkg/info -xdev -name '*keepalive*') | sort
}
