# Functions for the checks: POSIX sh, for busybox in an initrd and dash under systemd.
#
# A check writes lines to $RESULTS: "OK NAME", "FAIL NAME: why", "NOTE text". Commands and their output go to standard output,
# which is the console. tests/vm/boot reads both.
# shellcheck shell=sh

PATH=/check/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH LC_ALL=C
RESULTS=${RESULTS:-/dev/ttyS1}
# The maximum duration of one command, in seconds.
LIMIT=${LIMIT:-120}
OK_COUNT=0 FAIL_COUNT=0

report() { echo "$*" >>"$RESULTS"; echo "## $*"; }
ok() { OK_COUNT=$((OK_COUNT + 1)); report "OK $*"; }
fail() { FAIL_COUNT=$((FAIL_COUNT + 1)); report "FAIL $*"; }
note() { report "NOTE $*"; }

one_line() { echo "$1" | tr '\n' '|' | cut -c 1-400; }

# run COMMAND...: runs it without input. Its output (both streams) is in $OUTPUT, its exit status in $STATUS. A note reports
# a long duration.
run() {
    local before after elapsed
    echo "\$ $*"
    read -r before _ </proc/uptime
    OUTPUT=$(timeout "$LIMIT" "$@" 2>&1 </dev/null)
    STATUS=$?
    read -r after _ </proc/uptime
    elapsed=$((${after%.*} - ${before%.*}))
    [ $elapsed -lt 20 ] || note "$elapsed s: $*"
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

# outputs NAME WANTED COMMAND...: the command succeeds, and its last line is WANTED.
outputs() {
    local name=$1 wanted=$2
    shift 2
    run "$@"
    if [ "$STATUS" = 0 ] && [ "$(echo "$OUTPUT" | tail -n 1)" = "$wanted" ]; then
        ok "$name"
    else
        fail "$name: expected '$wanted', found exit status $STATUS, '$(one_line "$OUTPUT")'"
    fi
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

# has_feature NAME: whether the running kernel has it, as this file and tools/features.c determine without keepalive.
has_feature() {
    case $1 in
    # eBPF programs read socket options through bpf_getsockopt(): since Linux 6.1, which made this function global.
    getsockopt-in-bpf) has_symbol 'T do_tcp_getsockopt' ;;
    # eBPF programs read the current task's fields: Linux 5.11.
    task-in-bpf) has_symbol bpf_get_current_task_btf ;;
    # Iterators set options of sockets: Linux 5.15.
    setsockopt-in-iterators) has_symbol bpf_iter_tcp_get_func_proto ;;
    # A feature of every kernel that the engine supports.
    nothing-special) true ;;
    types) [ -r /sys/kernel/btf/vmlinux ] ;;
    *) features "$1" ;;
    esac
}

# The mount of cgroup v2.
CGROUPS=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)

# new_cgroup NAME: creates it. bin/in-cgroup runs a command in it.
new_cgroup() { mkdir -p "$CGROUPS/$1"; }

# hold PORT COMMAND...: starts a command whose connection to PORT stays until release; its pid is $HELD. It gets
# a standard input that does not end.
hold() {
    local port=$1
    shift
    echo "\$ $* &"
    mkfifo "/tmp/hold.$port"
    sh -c 'exec 3<>"$1" && shift && exec "$@" <&3 3<&-' sh "/tmp/hold.$port" "$@" &
    HELD=$! HELD_PORT=$port
    await peek "$port" || fail "$*: there is no connection to port $port"
}

# release: ends the command of the last hold, and what it has started.
release() {
    for pid in "$HELD" $(peek -p "$HELD_PORT"); do kill "$pid"; done
    wait "$HELD"
    rm -f /tmp/hold.*
} 2>/dev/null

# start_ends PORT [COMMAND...]: as hold, with ends started by the command. Its pid is $TARGET.
start_ends() {
    local port=$1
    shift
    mkfifo "/tmp/input.$port"
    "$@" ends "port=$port" stay <>"/tmp/input.$port" &
    TARGET=$!
    await is_connected "$port" || fail "$*: there is no connection to port $port"
}
is_connected() { busybox netstat -tn | grep -q ":$1 .*ESTABLISHED"; }
end_ends() {
    kill $TARGET
    wait $TARGET
    rm -f /tmp/input.*
} 2>/dev/null

# holds NAME WANTED PORT: the connections to PORT have these values now, read from outside of the processes.
holds() {
    echo "\$ peek $3"
    equal "$1" "$2" "$(peek "$3")"
}

# The server for programs that connect: at this port, with systemd as a service, so that only the policy of the root cgroup
# applies to it.
SERVED=7300
serve_connections() {
    [ -z "$(pidof serve)" ] || return 0
    systemd-run --quiet --unit=serve --slice=serve.slice /check/bin/serve $SERVED
    await nc -z 127.0.0.1 $SERVED || fail 'serve does not listen'
}

# connects NAME WANTED COMMAND...: the command connects to $SERVED, and its socket has these values, read from outside.
connects() {
    local name=$1 wanted=$2
    shift 2
    hold $SERVED "$@"
    equal "$name" "client $wanted" "$(client_values)"
    release
    await_closed
}
# The values of the client of the connection to $SERVED.
client_values() { peek $SERVED | sed 's/, server .*//'; }
# Waits until there is no connection to $SERVED.
await_closed() {
    local tries=50
    while peek $SERVED >/dev/null && [ $tries -gt 0 ]; do
        tries=$((tries - 1))
        sleep 0.2
    done
}

# enables NAME FEATURE VERSION ARGUMENT...: runs "keepalive cgroup enable ARGUMENT...". It may refuse, or warn that the policy is
# not complete, only if the kernel lacks FEATURE, and then it must name VERSION. $ACTIVE: the policy is active; $COMPLETE:
# and without a warning.
enables() {
    local name=$1 feature=$2 version=$3
    shift 3
    run keepalive cgroup enable "$@"
    ACTIVE=no COMPLETE=no
    [ "$STATUS" != 0 ] || ACTIVE=yes
    if [ "$STATUS" = 0 ] && ! echo "$OUTPUT" | grep -q "Linux $version"; then
        COMPLETE=yes
        ok "$name"
    elif has_feature "$feature"; then
        fail "$name: exit status $STATUS, though the kernel has $feature: $(one_line "$OUTPUT")"
    else
        mentions "$name: says that this requires Linux $version" "Linux $version"
        note "$name: not on this kernel: $(one_line "$OUTPUT")"
        [ $ACTIVE = no ] || { run keepalive cgroup status; mentions "$name: so does status" "Linux $version"; }
    fi
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
