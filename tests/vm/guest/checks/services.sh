# keepalive unit and doctor --unit: services as distributions have them. Each sandbox, with the library and with the engine
# that is chosen; a wrapper that wipes the environment; Debian's own units of PostgreSQL.
serve_connections
LIBRARY=/opt/keepalive/libkeepalive.so
ROOT=/srv/root
mkdir -p /opt/keepalive /srv/empty $ROOT/usr $ROOT/opt $ROOT/lib $ROOT/lib64 /run/noexec
ln -s usr/bin $ROOT/bin
cp "$(find /usr/lib/*-linux-gnu -maxdepth 1 -name libkeepalive.so)" $LIBRARY
mount -t tmpfs -o noexec tmpfs /run/noexec
for directory in /root /home /tmp /run/noexec; do cp $LIBRARY $directory; done
echo LD_PRELOAD=/usr/lib/libnone.so >/etc/default/other-library
printf '#!/bin/sh\nexec env -i "$@"\n' >/usr/local/bin/wiping
chmod +x /usr/local/bin/wiping
# openbsd's, and not a link through /etc/alternatives.
NC="$(readlink -f /usr/bin/nc) -d 127.0.0.1 $SERVED"

# service NAME ENGINE LINES [LIBRARY]: a client with these lines. ENGINE is the one that must be chosen for it.
: >/tmp/services
service() {
    printf '[Service]\nExecStart=%s\n%b\n' "$NC" "$3" >"/etc/systemd/system/box-$1.service"
    echo "$1 $2 ${4:-$LIBRARY}" >>/tmp/services
}
service plain preload ''
# systemd 248 and newer.
if [ -n "$(systemctl show --property=NoExecPaths check)" ]; then
    service no-exec-paths cgroup 'NoExecPaths=/opt'
    service exec-paths preload 'NoExecPaths=/\nExecPaths=/usr /lib /lib64 /opt'
fi
service unset-environment cgroup 'UnsetEnvironment=LD_PRELOAD'
service environment-file cgroup 'EnvironmentFile=/etc/default/other-library'
service later-drop-in cgroup ''
mkdir /etc/systemd/system/box-later-drop-in.service.d
printf '[Service]\nEnvironment=\n' >/etc/systemd/system/box-later-drop-in.service.d/override.conf
service temporary-file-system cgroup 'TemporaryFileSystem=/opt'
service inaccessible-paths cgroup 'InaccessiblePaths=/opt'
service bind-paths cgroup 'BindPaths=/srv/empty:/opt'
service root-directory cgroup "RootDirectory=$ROOT\nBindReadOnlyPaths=/usr /lib /lib64"
service root-directory-with-it preload "RootDirectory=$ROOT\nBindReadOnlyPaths=/usr /lib /lib64 /opt"
service user cgroup 'User=tester' /root/libkeepalive.so
service dynamic-user preload 'DynamicUser=yes'
service no-exec-mount cgroup '' /run/noexec/libkeepalive.so
service protect-home cgroup 'ProtectHome=yes' /home/libkeepalive.so
service protect-home-read-only preload 'ProtectHome=read-only' /home/libkeepalive.so
service private-tmp cgroup 'PrivateTmp=yes' /tmp/libkeepalive.so
service execution preload 'MemoryDenyWriteExecute=yes\nNoNewPrivileges=yes\nRestrictAddressFamilies=AF_INET\nLockPersonality=yes'
service capabilities preload 'User=tester\nAmbientCapabilities=CAP_NET_BIND_SERVICE\nProtectProc=invisible\nProcSubset=pid'
service system-call-filter cgroup 'SystemCallFilter=~setsockopt\nSystemCallErrorNumber=EPERM'

processes_of() { cat "$CGROUPS$(systemctl show --property=ControlGroup --value "$1")/cgroup.procs"; }
# values_of UNIT: what its client has.
values_of() {
    local pid
    for pid in $(processes_of "$1"); do peek $SERVED "$pid"; done | sed 's/, server .*//'
}
is_connected_by() { [ -n "$(values_of "$1")" ]; }
for_services() { while read -r name engine library; do "$@"; done </tmp/services; }
# Writes the drop-in of an engine; systemd reads all of them at once, which takes long.
write_drop_in() {
    mkdir -p "/etc/systemd/system/box-$name.service.d"
    KEEPALIVE_LIBRARY=$library keepalive unit enable --dry-run --engine "$1" --idle 62 --interval 15 --count 5 "box-$name" \
        >"/etc/systemd/system/box-$name.service.d/50-keepalive.conf" 2>"/tmp/box-$name.$1"
}
start_service() { systemctl --no-block restart "box-$name"; }
await_service() { await is_connected_by "box-$name" || fail "box-$name does not connect: $(journalctl -u "box-$name" -o cat --no-pager | tail -n 3)"; }
for_services write_drop_in preload
systemctl daemon-reload
for_services start_service
for_services await_service
check_values() { equal "$name: $engine" 'client 1 62 15 5 0' "$(values_of "box-$name")"; }
# What is predicted is what happens. Services that the library reaches are done then.
check_preload() {
    local pid
    pid=$(systemctl show --property=MainPID --value "box-$name")
    if [ "$engine" = preload ]; then
        equal "$name: the library is loaded" "$library" "$(awk '$6 ~ /libkeepalive/ { print $6; exit }' "/proc/$pid/maps")"
        check_values
        equal "$name: no warning about the engine" '' "$(echo $(cat "/tmp/box-$name.preload") | grep -e '--engine cgroup')"
    else
        equal "$name: the library has no effect" 'client 0 7200 75 9 0' "$(values_of "box-$name")"
        OUTPUT=$(echo $(cat "/tmp/box-$name.preload"))
        mentions "$name: the warning" '--engine cgroup reaches it|or --engine cgroup'
    fi
}
for_services check_preload
run keepalive doctor --unit box-temporary-file-system
equal 'doctor --unit: exit status' 1 "$STATUS"
OUTPUT=$(echo $OUTPUT)
mentions 'doctor --unit: the statement' 'WRONG +engine preload: TemporaryFileSystem=/opt in /etc/systemd/system/box-temporary-file-system.service'
mentions 'doctor --unit: the engine' 'enable uses engine cgroup'

sed -i '/ preload /d' /tmp/services
for_services write_drop_in auto
systemctl daemon-reload
for_services start_service
for_services await_service
for_services check_values
run env KEEPALIVE_LIBRARY=$LIBRARY keepalive doctor --json --unit box-temporary-file-system
case $OUTPUT in
*'"engine":"cgroup"'*'"verdict":"set"'*) ok 'doctor --json --unit' ;;
*) fail "doctor --json --unit: $(one_line "$OUTPUT")" ;;
esac
systemctl stop 'box-*'
await_closed

# What wipes the environment shows only when the service runs. No socket has what the rule sets by the cgroup engine, so
# that auto uses the library until it is seen not to be loaded.
printf '[Service]\nExecStart=/usr/local/bin/wiping %s\n' "$NC" >/etc/systemd/system/wiped.service
systemctl daemon-reload
succeeds 'a wrapper: enable --now' keepalive unit enable --now --idle 63 --interval 15 --count 5 \
    --rule 'accept :1 defer-accept=3s' wiped
OUTPUT=$(echo $OUTPUT)
mentions 'a wrapper: why the engine changes' '--engine cgroup, because wiped.service: without the library run'
await is_connected_by wiped
equal 'a wrapper: the engine cgroup reaches it' 'client 1 63 15 5 0' "$(values_of wiped)"
run keepalive unit enable --dry-run --engine preload wiped
OUTPUT=$(echo $OUTPUT)
mentions 'a wrapper that runs: the warning' 'runs without the environment .*--engine cgroup'
systemctl stop wiped
await_closed

# PostgreSQL: its unit runs nothing; its instance is started by a program that wipes the environment.
run keepalive unit enable postgresql
equal 'postgresql: enable is refused' 1 "$STATUS"
INSTANCE=$(echo "$OUTPUT" | sed -n 's/^hint: keepalive unit enable //p')
equal 'postgresql: the unit to take' "$(basename "$(ls -d /etc/postgresql/*)")-main" "${INSTANCE#postgresql@}"
systemctl start postgresql
succeeds 'postgresql: enable --now' keepalive unit enable --now --idle 64 --interval 15 --count 5 "$INSTANCE"
OUTPUT=$(echo $OUTPUT)
mentions 'postgresql: the reason' 'engine cgroup, because .*without the environment'
hold 5432 nc -d 127.0.0.1 5432
equal 'postgresql: an accepted connection' 'server 1 64 15 5 0' "$(peek 5432 | sed 's/.*, server/server/')"
succeeds 'postgresql: unit status' keepalive unit status "$INSTANCE"
run keepalive doctor --unit postgresql
OUTPUT=$(echo $OUTPUT)
mentions 'postgresql: doctor names the instance' "stands for $INSTANCE"
mentions 'postgresql: doctor compares its sockets' 'the connection is set|all [0-9]+ connections are set'
release
succeeds 'postgresql: disable' keepalive unit disable "$INSTANCE"
systemctl stop postgresql
umount /run/noexec

# PHP loads its extensions, on some releases with a symbol scope of their own, in which the library is not.
PHP=$(ls /usr/lib/systemd/system /lib/systemd/system | sed -n 's/^\(php.*-fpm\)\.service$/\1/p' | head -n 1)
echo "<?php curl_exec(curl_init('http://127.0.0.1:$SERVED/'));" >/srv/connect.php
# connect_php: has php-curl make a connection, which stays until the service ends. Its values are in $FOUND.
connect_php() {
    fastcgi "/run/php/$PHP.sock" /srv/connect.php &
    await peek $SERVED || fail "$PHP does not connect"
    FOUND=$(client_values)
}
succeeds "$PHP: the library" keepalive unit enable --now --engine preload --idle 65 --interval 15 --count 5 "$PHP"
OUTPUT=$(echo $OUTPUT)
mentions "$PHP: the warning" 'loads modules.*--engine cgroup reaches it'
connect_php
run keepalive doctor --unit "$PHP"
OUTPUT=$(echo $OUTPUT)
if [ "$FOUND" = 'client 1 65 15 5 0' ]; then
    note "$PHP: the library sees php-curl"
    mentions "$PHP: doctor finds the connection set" 'the connection is set|all [0-9]+ connections are set'
else
    note "$PHP: the library does not see php-curl"
    equal "$PHP: doctor finds it" 1 "$STATUS"
    mentions "$PHP: doctor says what helps" 'a call that the library does not see.*--engine cgroup'
fi
succeeds "$PHP: auto" keepalive unit enable --now --idle 65 --interval 15 --count 5 "$PHP"
OUTPUT=$(echo $OUTPUT)
mentions "$PHP: why the engine is chosen" '--engine cgroup, because .*loads modules'
await_closed
connect_php
equal "$PHP: the engine cgroup reaches php-curl" 'client 1 65 15 5 0' "$FOUND"
systemctl stop "$PHP"
wait
keepalive unit disable "$PHP"
