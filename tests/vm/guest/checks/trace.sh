# keepalive trace: the programs load, and causes and owners are right.

# ended NAME PATTERN...: the trace has a line with all of these patterns.
ended() {
    local name=$1 lines
    shift
    lines=$(cat /tmp/trace)
    while [ $# -gt 0 ]; do
        lines=$(echo "$lines" | grep -e "$1")
        shift
    done
    if [ -n "$lines" ]; then ok "$name"; else fail "$name: $(one_line "$(cat /tmp/trace /tmp/trace-errors)")"; fi
}

if has_feature types; then
    keepalive trace --all --json >/tmp/trace 2>/tmp/trace-errors </dev/null &
    tracer=$!
    await grep -q tracing /tmp/trace-errors || fail "it does not trace: $(one_line "$(cat /tmp/trace-errors)")"
    for family in '' 6; do ends $family port=700$family; done
    # A connection whose peer vanishes.
    mkfifo /tmp/input.7001
    ends port=7001 stay after:keepalive=1 after:idle=2 after:interval=1 after:count=2 <>/tmp/input.7001 &
    TARGET=$!
    await is_connected 7001 || fail 'there is no connection'
    ip link set lo down
    await grep -q '"cause":"dead-peer"' /tmp/trace
    ip link set lo up
    end_ends
    kill -INT $tracer
    wait $tracer
    equal 'the trace ends with success' 0 $?
    sed 's/^/    /' /tmp/trace /tmp/trace-errors
    for family in '' 6; do
        ended "the connecting end, $family" ":700$family\"" '"direction":"connect"' '"cause":"closed' '"program":"ends"'
        ended "the accepting end, $family" ":700$family\"" '"direction":"accept"' '"cause":"closed' '"program":"ends"'
    done
    ended 'a peer that vanishes' '"peer":"127.0.0.1:7001"' '"cause":"dead-peer"' '"keepalive":true,"idle_setting_s":2,' \
        '"unanswered_probes":2,' '"program":"ends"'
else
    run keepalive trace --for 1
    equal 'a clear refusal without BTF' "1 yes" "$STATUS $(echo "$OUTPUT" | grep -q BTF && echo yes)"
fi
