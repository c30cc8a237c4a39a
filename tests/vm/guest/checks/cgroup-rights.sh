# What the cgroup engine requires: CAP_BPF and CAP_NET_ADMIN; CAP_PERFMON for rules with programs.
new_cgroup rights
POLICY='--idle 60 --interval 15 --count 5'
# The BPF file system stays mounted from here on.
succeeds 'enable as root' keepalive cgroup enable $POLICY rights
for mode in fill cap floor enforce; do
    run bounded bpf,net_admin keepalive cgroup enable --mode $mode $POLICY rights
    if [ "$STATUS" = 0 ]; then
        ok "$mode without CAP_PERFMON"
        outputs "$mode without CAP_PERFMON, unset" 'client 1 60 15 5 0, server 1 60 15 5 0' in-cgroup rights ends
        outputs "$mode without CAP_PERFMON, over IPv6" 'client 1 60 15 5 0, server 1 60 15 5 0' in-cgroup rights ends 6
    elif has_feature getsockopt-in-bpf; then
        fail "$mode without CAP_PERFMON: exit status $STATUS: $(one_line "$OUTPUT")"
    else
        mentions "$mode without CAP_PERFMON: the refusal names it" 'CAP_PERFMON'
    fi
done
run bounded bpf,net_admin keepalive cgroup enable --config /tmp/rules rights
if [ "$STATUS" = 0 ]; then
    ok '500 rules without CAP_PERFMON'
elif has_feature getsockopt-in-bpf; then
    fail "500 rules without CAP_PERFMON: exit status $STATUS: $(one_line "$OUTPUT")"
else
    # Such a kernel may also count eBPF as locked memory.
    mentions '500 rules without CAP_PERFMON: the refusal names it, or locked memory' 'CAP_PERFMON|locked memory'
fi
run bounded bpf,net_admin keepalive cgroup enable --rule 'program ends off' rights
mentions 'rules for programs without CAP_PERFMON: the refusal names it' 'CAP_PERFMON'
equal 'rules for programs without CAP_PERFMON: exit status' 1 "$STATUS"
run bounded net_admin keepalive cgroup enable $POLICY rights
mentions 'without CAP_BPF: the refusal names it' 'lacks CAP_BPF$'
run bounded bpf,perfmon keepalive cgroup enable $POLICY rights
mentions 'without CAP_NET_ADMIN: the refusal names it' 'lacks CAP_NET_ADMIN$'
run su nobody -s /bin/sh -c 'PATH=/check/bin:$PATH keepalive cgroup enable /'
mentions 'an ordinary user: the refusal names both' 'lacks CAP_BPF and CAP_NET_ADMIN$'
succeeds 'disable' keepalive cgroup disable rights
