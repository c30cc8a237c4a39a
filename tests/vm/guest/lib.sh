# Functions for the checks: POSIX sh, for busybox in an initrd and dash under systemd.
#
# A check writes lines to $RESULTS: "OK NAME", "FAIL NAME: why", "NOTE text". Commands and their output go to standard output,
# which is the console. tests/vm/boot reads both.
# shellcheck shell=sh

PATH=/check/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH LC_ALL=C
RESULTS=${RESULTS:-/dev/ttyS1}
# One command may take this long, in seconds.
LIMIT=${LIMIT:-60}
OK_COUNT=0 FAIL_COUNT=0

report() { echo "$*" >>"$RESULTS"; echo "## $*"; }
ok() { OK_COUNT=$((OK_COUNT + 1)); report "OK $*"; }
fail() { FAIL_COUNT=$((FAIL_COUNT + 1)); report "FAIL $*"; }
note() { report "NOTE $*"; }

one_line() { echo "$1" | tr '\n' '|' | cut -c 1-400; }

# run COMMAND...: runs it without input. Its output (both streams) is in $OUTPUT, its exit status in $STATUS.
run() {
    echo "\$ $*"
    OUTPUT=$(timeout "$LIMIT" "$@" 2>&1 </dev/null)
    STATUS=$?
    [ -z "$OUTPUT" ] || echo "$OUTPUT" | sed 's/^/    /'
    [ "$STATUS" = 0 ] || echo "    [$STATUS]"
}

# equal NAME WANTED FOUND
equal() {
    if [ "$2" = "$3" ]; then ok "$1"; else fail "$1: expected '$2', found '$(one_line "$3")'"; fi
}

# succeeds NAME COMMAND...
succeeds() {
    local name=$1
    shift
    run "$@"
    if [ "$STATUS" = 0 ]; then ok "$name"; else fail "$name: exit status $STATUS: $(one_line "$OUTPUT")"; fi
}

# outputs NAME WANTED COMMAND...: succeeds and prints exactly that.
outputs() {
    local name=$1 wanted=$2
    shift 2
    run "$@"
    equal "$name" "$wanted [0]" "$OUTPUT [$STATUS]"
}

# mentions NAME PATTERN: the last output contains the pattern (grep -E).
mentions() {
    if echo "$OUTPUT" | grep -qE -- "$2"; then ok "$1"; else fail "$1: no '$2' in '$(one_line "$OUTPUT")'"; fi
}

# await CONDITION...: waits until the command succeeds, at most $LIMIT seconds; returns whether it does.
await() {
    local tries=$((LIMIT * 5))
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        sleep 0.2
    done
}

# Whether the running kernel has a function or variable of this name.
has_symbol() { grep -qE " $1(\$|[[:space:]])" /proc/kallsyms; }

# has_feature NAME: whether the running kernel has it, as this file and tools/features.c find out without keepalive.
has_feature() {
    case $1 in
    # Programs read socket options through bpf_getsockopt(): Linux 6.1.
    getsockopt-in-bpf) has_symbol sol_tcp_sockopt ;;
    # Programs read the current task's fields: Linux 5.11.
    task-in-bpf) has_symbol bpf_get_current_task_btf ;;
    # Iterators set options of sockets: Linux 5.15.
    setsockopt-in-iterators) has_symbol bpf_iter_tcp_get_func_proto ;;
    types) [ -r /sys/kernel/btf/vmlinux ] ;;
    *) features "$1" ;;
    esac
}

# The mount of cgroup v2.
CGROUPS=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)

# new_cgroup NAME: makes it. bin/in-cgroup runs a command in it.
new_cgroup() { mkdir -p "$CGROUPS/$1"; }

# open_ends NAME COMMAND...: starts a command with "ends ... stay" in it, in the background, and reads its first line into
# $LINE. Then next_line reads the values again, and close_ends ends it. One at a time for a name.
open_ends() {
    local name=$1
    shift
    rm -f "/tmp/$name.in" "/tmp/$name.out"
    mkfifo "/tmp/$name.in" "/tmp/$name.out"
    echo "\$ $* &"
    "$@" <"/tmp/$name.in" >"/tmp/$name.out" 2>/dev/console &
    ENDS=$!
    exec 8>"/tmp/$name.in" 9<"/tmp/$name.out"
    LINE='' 
    read -r LINE <&9 || :
    echo "    $LINE"
}
next_line() {
    LINE=''
    echo >&8
    read -r LINE <&9 || :
    echo "    $LINE"
}
close_ends() {
    exec 8>&- 9<&-
    wait "$ENDS"
}

# Runs the check files that are named, each in this shell.
check_files() {
    local file
    for file; do
        report "BEGIN $file"
        . "/check/checks/$file.sh"
        report "END $file $(cut -d' ' -f1 /proc/uptime)"
    done
}

finish() { report "DONE ok=$OK_COUNT failed=$FAIL_COUNT"; }
