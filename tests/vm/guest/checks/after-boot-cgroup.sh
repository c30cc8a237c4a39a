# After a reboot with keepalive-cgroup@.service: its policy is active, for every kind of program.
serve_connections
for instance in - system.slice; do
    outputs "keepalive-cgroup@$instance.service is active" active systemctl is-active "keepalive-cgroup@$instance.service"
done
succeeds 'status of the whole machine' keepalive cgroup status /
succeeds 'status of the slice' keepalive cgroup status system.slice
outputs 'a static program' 'client 1 64 15 5 0, server 1 64 15 5 0' ends
outputs 'IPv6' 'client 1 64 15 5 0, server 1 64 15 5 0' ends 6
cp "$(command -v nc)" /usr/local/bin/nc-setuid
chmod 4755 /usr/local/bin/nc-setuid
connects 'a set-user-ID program' '1 64 15 5 0' setpriv --reuid tester --regid tester --init-groups nc-setuid 127.0.0.1 $SERVED
connects 'a program started by sudo' '1 64 15 5 0' setpriv --reuid tester --regid tester --init-groups sudo nc 127.0.0.1 $SERVED
connects 'a program of a user' '1 64 15 5 0' systemd-run --quiet --pipe --uid=tester --slice=user.slice nc 127.0.0.1 $SERVED
connects 'a program of a confined service' '1 64 15 5 0' \
    systemd-run --quiet --pipe -p PrivateTmp=yes -p DynamicUser=yes -p ProtectSystem=strict nc 127.0.0.1 $SERVED
hold 22 ssh -n localhost sleep 60
# Two processes of sshd have the socket.
equal 'both ends of ssh' 'client 1 64 15 5 0, server 1 64 15 5 0' "$(peek 22 | sed 's/\(, server [0-9 ]*\)\1$/\1/')"
release
succeeds 'stop for the whole machine' systemctl stop keepalive-cgroup@-.service
outputs 'stopped for the whole machine: the policy of the slice counts' 'client 1 64 15 5 0, server 1 64 15 5 0' ends
succeeds 'stop for the slice' systemctl stop keepalive-cgroup@system.slice.service
outputs 'stopped' 'client 0 7200 75 9 0, server 0 7200 75 9 0' ends
# Otherwise their policies would be active again after the reboot for after-boot-system.
succeeds 'no policy at the next boot' systemctl disable keepalive-cgroup@-.service keepalive-cgroup@system.slice.service
run journalctl --no-pager -b -u 'keepalive-cgroup@*'
