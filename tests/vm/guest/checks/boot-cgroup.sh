# keepalive-cgroup@.service: enabled, reloaded, and enabled for the next boot.
echo 'default idle=61 interval=15 count=5' >/etc/keepalive.conf
# An open connection of another user in another network namespace, which --existing has to find.
hold 7411 unshare -n setpriv --reuid tester --regid tester --init-groups sh -c 'sudo ip link set lo up; exec ends port=7411 stay'
succeeds 'enable for the whole machine' systemctl enable --now keepalive-cgroup@-.service
succeeds 'enable for a slice' systemctl enable --now keepalive-cgroup@system.slice.service
outputs 'the unit is active' active systemctl is-active keepalive-cgroup@-.service
outputs 'a static program' 'client 1 61 15 5 0, server 1 61 15 5 0' ends
run journalctl --no-pager -b -u 'keepalive-cgroup@*'
holds 'an open connection of another user, in another network namespace' 'client 1 61 15 5 0, server 1 61 15 5 0' 7411
release
printf 'program ends idle=64 interval=15 count=5 mode=enforce\ndefault idle=63 interval=15 count=5\n' >/etc/keepalive.conf
if has_feature task-in-bpf; then
    succeeds 'reload with rules for programs and a mode' \
        systemctl reload keepalive-cgroup@-.service keepalive-cgroup@system.slice.service
    outputs 'a rule for a program' 'client 1 64 15 5 0, server 1 64 15 5 0' ends after:idle=30
fi
echo 'default idle=64 interval=15 count=5' >/etc/keepalive.conf
succeeds 'reload after a change of the policy' systemctl reload keepalive-cgroup@-.service keepalive-cgroup@system.slice.service
outputs 'a static program, after the reload' 'client 1 64 15 5 0, server 1 64 15 5 0' ends after:keepalive=1
# Without sock_diag, open connections cannot be set: the unit reports it, and its policy is active.
sysctl -q kernel.modprobe=/bin/false
for module in mptcp_diag tcp_diag; do rmmod $module; done
succeeds 'without tcp_diag: restart' systemctl restart keepalive-cgroup@-.service
run journalctl --no-pager -b -u keepalive-cgroup@-.service
mentions 'without tcp_diag: the unit reports it' 'modprobe tcp_diag'
outputs 'without tcp_diag: the unit is active' active systemctl is-active keepalive-cgroup@-.service
outputs 'without tcp_diag: a static program' 'client 1 64 15 5 0, server 1 64 15 5 0' ends
sysctl -q kernel.modprobe=/sbin/modprobe
run systemd-analyze security --no-pager keepalive-cgroup@-.service
exposure=$(echo "$OUTPUT" | sed -n 's/.*Overall exposure level.*: \([0-9]*\.[0-9]*\) .*/\1/p')
note "systemd-analyze security: $exposure"
if [ "${exposure%.*}" -lt 4 ]; then ok 'the unit is confined'; else fail "the unit is not confined: $exposure"; fi

# Without a BPF file system the unit fails with a hint: a mount by the command alone would not last.
keepalive cgroup disable / system.slice
umount /sys/fs/bpf
run systemctl restart keepalive-cgroup@-.service
run journalctl --no-pager -b -u keepalive-cgroup@-.service
mentions 'without a BPF file system: the unit says what to do' 'mount -t bpf bpf /sys/fs/bpf'
outputs 'without a BPF file system: nothing is active' 'client 0 7200 75 9 0, server 0 7200 75 9 0' ends
