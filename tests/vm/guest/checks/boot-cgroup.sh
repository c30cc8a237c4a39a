# keepalive-cgroup@.service, enabled for the next start of the machine.
echo 'default idle=61 interval=15 count=5' >/etc/keepalive.conf
succeeds 'enable for the whole machine' systemctl enable --now keepalive-cgroup@-.service
succeeds 'enable for a slice' systemctl enable --now keepalive-cgroup@system.slice.service
outputs 'the unit is active' active systemctl is-active keepalive-cgroup@-.service
outputs 'a static program' 'client 1 61 15 5 0, server 1 61 15 5 0' ends
echo 'default idle=64 interval=15 count=5' >/etc/keepalive.conf
succeeds 'reload after a change of the policy' systemctl reload keepalive-cgroup@-.service keepalive-cgroup@system.slice.service
outputs 'a static program, after the reload' 'client 1 64 15 5 0, server 1 64 15 5 0' ends
if command -v systemd-analyze >/dev/null; then
    run systemd-analyze security --no-pager keepalive-cgroup@-.service
    note "systemd-analyze security: $(echo "$OUTPUT" | tail -n 1)"
fi
succeeds 'the user manager of tester is started at boot' loginctl enable-linger tester
