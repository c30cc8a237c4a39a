# Functions for a script that works on a whole distribution, run by sh in its own mount and process namespaces. $1 is the
# chroot of scripts/test-chroot; an overlay in /mnt keeps it unchanged.
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

# Runs a command while programs of the distribution are started repeatedly: each must end with status 0 and without
# messages. The output of the command is in /mnt/output, its errors in /mnt/errors.
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
    "$@" >/mnt/output 2>/mnt/errors || status=$?
    one_more_round "$(wc -l </mnt/rounds)"
    rm /mnt/root/run/busy
    wait
    test "$status" = 0 || fail "$*: status $status: $(cat /mnt/output /mnt/errors)"
    test ! -s /mnt/complaints || fail "$*: programs printed meanwhile: $(cat /mnt/complaints)"
    ! grep -i -E 'preload|ld\.so:' /mnt/errors || fail "$*: $(cat /mnt/errors)"
}

# one_more_round N: waits until the programs have been started N times, and once more.
one_more_round() {
    until test "$(wc -l </mnt/rounds)" -gt "$1"; do
        kill -0 $! || fail "programs are not started: $(cat /mnt/complaints)"
    done
}

# Prints SO_KEEPALIVE of a new socket of an ordinary program.
socket() {
    inside perl -MSocket -e 'socket S, PF_INET, SOCK_STREAM, 0; print unpack("i", getsockopt S, SOL_SOCKET, SO_KEEPALIVE), "\n"'
}

# has ON: fails unless the socket has this value, without messages.
has() {
    found=$(socket 2>&1)
    test "$found" = "$1" || fail "a socket has keepalive '$found', not '$1'"
}

# Lists every file and directory, without the records of dpkg, rpm and ldconfig.
tree() {
    (cd /mnt/root && find . -xdev \
        ! -path './var/lib/dpkg/*' ! -path './var/lib/rpm*' ! -path './var/log/*' ! -path ./etc/ld.so.cache ! -path './var/cache/ldconfig*' \
        \( -type d -printf '%p %y %m %U %G\n' -o -printf '%p %y %m %U %G %s %l\n' \)) | sort
}

# Lists the files of keepalive that are new since the last call.
new_files() {
    touch /mnt/known
    named | comm -13 /mnt/known -
    named >/mnt/known
}
named() {
    (cd /mnt/root && find etc usr var/lib/dpkg/info -xdev -name '*keepalive*') | sort
}
