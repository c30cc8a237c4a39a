# A policy of 500 rules: it loads, and the last rule matches.
new_cgroup large
{
    i=0
    while [ $i -lt 166 ]; do
        echo "connect 10.$i.0.0/16:1000-2000 idle=$((100 + i))"
        echo "accept [2001:db8:$i::/48]:$((3000 + i)) idle=$((100 + i)) interval=10"
        echo "connect *:$((4000 + i)) off"
        i=$((i + 1))
    done
    echo 'connect 127.0.0.1:7500 idle=71 interval=15 count=5'
    echo 'connect [::1]:7500 idle=72 interval=15 count=5'
    echo 'default idle=60 interval=15 count=5'
} >/tmp/rules
equal '500 rules' 500 "$(grep -c -v default /tmp/rules)"
for mode in fill enforce; do
    start=$(cut -d. -f1 /proc/uptime)
    succeeds "500 rules, $mode" keepalive cgroup enable --config /tmp/rules --mode $mode large
    note "500 rules, $mode: loaded in $(($(cut -d. -f1 /proc/uptime) - start)) s"
    outputs "500 rules, $mode, the last for IPv4" 'client 1 71 15 5 0, server 1 60 15 5 0' in-cgroup large ends port=7500
    outputs "500 rules, $mode, the last" 'client 1 72 15 5 0, server 1 60 15 5 0' in-cgroup large ends 6 port=7500
    outputs "500 rules, $mode, one in between" 'client 0 7200 75 9 0, server 1 60 15 5 0' in-cgroup large ends port=4100
    outputs "500 rules, $mode, none" 'client 1 60 15 5 0, server 1 60 15 5 0' in-cgroup large ends
done
keepalive cgroup disable large
