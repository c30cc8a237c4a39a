# keepalive cgroup enable --count-endings: connections that fail are counted for their rule, by their cause.

# begin PORT WORD...: starts a connection in the cgroup. What is written to /tmp/input.PORT, its client sends.
begin() {
    local port=$1
    mkfifo "/tmp/input.$port"
    in-cgroup ended ends "port=$@" stay <>"/tmp/input.$port" &
    TARGETS="$TARGETS $!"
    await is_connected "$port" || fail "there is no connection to port $port"
}
# counts NUMBER: whether so many rules have connections that failed.
counts() { [ "$(keepalive cgroup status ended | grep -c ' ended: ')" = "$1" ]; }

new_cgroup ended
TARGETS=
if has_feature types; then
    succeeds 'enable --count-endings' keepalive cgroup enable --count-endings --idle 60 \
        --rule 'connect :7401 idle=1 interval=1 count=2' --rule 'accept :7402 idle=1 interval=1 count=2' \
        --rule 'connect :7403 user-timeout=2s' --rule 'connect [::/0]:7404 idle=4' ended
    begin 7404 6 forget
    await counts 1 || fail 'a reset probe is not counted'
    begin 7401
    begin 7402
    begin 7403
    ip link set lo down
    echo data >/tmp/input.7403
    await counts 4 || fail "not all are counted: $(one_line "$(keepalive cgroup status ended)")"
    ip link set lo up
    run keepalive cgroup status ended
    equal 'the counters' 'ended: 1 dead-peer, 0 reset-on-probe, 0 timeout
ended: 1 dead-peer, 0 reset-on-probe, 0 timeout
ended: 0 dead-peer, 0 reset-on-probe, 1 timeout
ended: 0 dead-peer, 1 reset-on-probe, 0 timeout' "$(echo "$OUTPUT" | sed -n 's/^ *ended:/ended:/p')"
else
    run keepalive cgroup enable --count-endings --idle 60 --mode enforce ended
    equal 'enable --count-endings without BTF' 0 "$STATUS"
    mentions 'and it says that nothing is counted' 'counts nothing here: .*CONFIG_DEBUG_INFO_BTF'
fi
{
    kill $TARGETS
    wait $TARGETS
} 2>/dev/null
rm -f /tmp/input.*
succeeds 'disable' keepalive cgroup disable ended
