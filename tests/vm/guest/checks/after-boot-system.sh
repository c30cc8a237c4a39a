# After a reboot with keepalive system enable --setuid: every kind of dynamic program has the policy.
no_jobs() { ! peek 7301; }
await nc -z 127.0.0.1 $SERVED || fail 'serve does not listen'
succeeds 'system status' keepalive system status
mentions 'system status: set-user-ID programs too' 'Set-user-ID programs are served'
AS_TESTER='setpriv --reuid tester --regid tester --init-groups'
connects 'a program of root' '1 65 15 5 0' nc 127.0.0.1 $SERVED
connects 'a program of a user' '1 65 15 5 0' $AS_TESTER nc 127.0.0.1 $SERVED
connects 'a set-user-ID program' '1 65 15 5 0' $AS_TESTER nc-setuid 127.0.0.1 $SERVED
connects 'a program started by sudo' '1 65 15 5 0' $AS_TESTER sudo nc 127.0.0.1 $SERVED
connects 'a program of a confined service' '1 65 15 5 0' \
    systemd-run --quiet --pipe -p PrivateTmp=yes -p DynamicUser=yes -p ProtectSystem=strict -p NoNewPrivileges=yes \
    -p MemoryDenyWriteExecute=yes nc 127.0.0.1 $SERVED
outputs 'a static program is not reached' 'client 0 7200 75 9 0, server 0 7200 75 9 0' ends
await peek 7302 || fail 'the service of the boot has no connection'
equal 'a service of the boot' 'client 1 65 15 5 0, server 1 65 15 5 0' "$(peek 7302)"
hold 22 ssh -n localhost sleep 60
equal 'both ends of ssh' 'client 1 65 15 5 0, server 1 65 15 5 0' "$(peek 22 | sed 's/\(, server [0-9 ]*\)\1$/\1/')"
release
LIMIT=150
await peek 7301 || fail 'cron has started no program'
LIMIT=120
equal 'a program of cron' 'client 1 65 15 5 0' "$(peek 7301 | sed 's/, .*//')"
outputs 'no unit has failed' '' systemctl --failed --no-legend --plain
rm -f /etc/cron.d/client
# A restart of cron does not end its jobs.
kill $(peek -p 7301)
await no_jobs || fail 'the jobs of cron do not end'
