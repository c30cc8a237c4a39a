# Notes on the facts that the other checks rely on: the kernel and its features.
run uname -r
note "Linux $OUTPUT"
for feature in types getsockopt-in-bpf task-in-bpf setsockopt-in-iterators netns-cookie seccomp-wait-killable; do
    if has_feature $feature; then note "feature $feature: yes"; else note "feature $feature: no"; fi
done
note "security modules: $(mount -t securityfs securityfs /sys/kernel/security 2>/dev/null; cat /sys/kernel/security/lsm)"
outputs 'a socket without keepalive has the values of the kernel' 'client 0 7200 75 9 0, server 0 7200 75 9 0' ends
outputs 'the same over IPv6' 'client 0 7200 75 9 0, server 0 7200 75 9 0' ends 6
succeeds 'the command starts' keepalive --version
