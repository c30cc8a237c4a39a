# The limit of locked memory, to which kernels before Linux 5.11 charge eBPF. Only there, a process that cannot raise it gets a message.
new_cgroup memlock
POLICY='--idle 60 --interval 15 --count 5'
VALUES='client 1 60 15 5 0, server 1 60 15 5 0'
LIMITED='bounded dac_override,bpf,net_admin,perfmon,sys_admin limited 4'
if has_feature memcg-accounting; then
    succeeds 'enable under a limit of 4 KiB' $LIMITED keepalive cgroup enable $POLICY memlock
    outputs 'enable under a limit of 4 KiB: values' "$VALUES" in-cgroup memlock ends
    run $LIMITED keepalive doctor
    mentions 'doctor under a limit of 4 KiB' 'ok +engine cgroup: works here'
    succeeds 'disable' keepalive cgroup disable memlock
    outputs 'run --engine cgroup under a limit of 4 KiB' "$VALUES" $LIMITED keepalive run --engine cgroup $POLICY -- ends
else
    named='locked memory.*limit of 4 KiB'
    run $LIMITED keepalive cgroup enable $POLICY memlock
    equal 'enable under a limit of 4 KiB: exit status' 1 "$STATUS"
    mentions 'enable under a limit of 4 KiB: the refusal names it' "cannot enable.*$named"
    run $LIMITED keepalive run --engine cgroup $POLICY -- ends
    equal 'run --engine cgroup under a limit of 4 KiB: exit status' 125 "$STATUS"
    mentions 'run --engine cgroup under a limit of 4 KiB: the refusal names it' "cannot run.*$named"
    run $LIMITED keepalive doctor
    OUTPUT=$(echo "$OUTPUT" | tr -s ' \n' ' ')
    mentions 'doctor under a limit of 4 KiB names it' "note engine cgroup: [^>]*$named"
    mentions 'doctor under a limit of 4 KiB: what helps' 'engine cgroup: [^>]*-> raise the limit'
    # A process that can raise the limit is not affected.
    succeeds 'enable by root under a limit of 4 KiB' limited 4 keepalive cgroup enable $POLICY memlock
    succeeds 'disable' keepalive cgroup disable memlock
fi
# The same error for another reason is not attributed to the limit.
run bounded perfmon limited 4 keepalive cgroup enable $POLICY memlock
mentions 'without CAP_BPF: the refusal names the capability' 'lacks CAP_BPF and CAP_NET_ADMIN$'
