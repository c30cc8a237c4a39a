# keepalive unit: system and user services, with both engines, and a confined service.
serve_connections
CLIENT="/usr/bin/python3 -c \"import socket, time; s = socket.create_connection(('127.0.0.1', $SERVED)); time.sleep(9999)\""
printf '[Service]\nExecStart=%s\n' "$CLIENT" >/etc/systemd/system/client.service
cat >/etc/systemd/system/confined.service <<END
[Service]
ExecStart=$CLIENT
DynamicUser=yes
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
SystemCallFilter=@system-service
CapabilityBoundingSet=
END
systemctl daemon-reload

# has_values UNIT NAME WANTED: restarts the service and reads its socket.
has_values() {
    systemctl restart "$1"
    await peek $SERVED
    equal "$2" "client $3" "$(client_values)"
}
for unit in client confined; do
    for engine in preload cgroup; do
        succeeds "$unit: enable, $engine" keepalive unit enable --engine $engine --idle 62 --interval 15 --count 5 $unit
        has_values $unit "$unit: $engine" '1 62 15 5 0'
        succeeds "$unit: status, $engine" keepalive unit status $unit
        has_values $unit "$unit: $engine, started again" '1 62 15 5 0'
        systemctl stop $unit
        await_closed
        succeeds "$unit: disable, $engine" keepalive unit disable $unit
        has_values $unit "$unit: disabled" '0 7200 75 9 0'
        systemctl stop $unit
        await_closed
    done
done

loginctl enable-linger tester
await [ -S /run/user/1000/systemd/private ] || fail 'the manager of the user does not start'
as_tester() { run runuser -u tester -- env XDG_RUNTIME_DIR=/run/user/1000 "$@"; }
install -d -o tester -g tester /home/tester/.config /home/tester/.config/systemd /home/tester/.config/systemd/user
cp /etc/systemd/system/client.service /home/tester/.config/systemd/user/client.service
as_tester systemctl --user daemon-reload
as_tester keepalive unit enable --user --idle 63 --interval 15 --count 5 client
equal 'a unit of a user: enable' 0 "$STATUS"
as_tester systemctl --user restart client
await peek $SERVED
equal 'a unit of a user' 'client 1 63 15 5 0' "$(client_values)"
as_tester keepalive unit status --user client
equal 'a unit of a user: status' 0 "$STATUS"
as_tester keepalive unit disable --user client
equal 'a unit of a user: disable' 0 "$STATUS"
as_tester systemctl --user stop client
await_closed
loginctl disable-linger tester
