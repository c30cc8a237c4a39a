# Any machine, however it was booted: the engines that doctor reports as working work, with the right values.
serve_connections
note "command line: $(cat /proc/cmdline)"
note "cgroups: $(awk '$3 ~ /^cgroup/ { print $3 }' /proc/mounts | sort | uniq -c | xargs), lockdown: $(cat /sys/kernel/security/lockdown 2>/dev/null)"
if awk '$2 == "/" && $4 ~ /^ro/' /proc/mounts | grep -q ext4; then note 'the root is read-only'; fi
RUN='keepalive run --idle 61 --interval 15 --count 5'
W='client 1 61 15 5 0, server 1 61 15 5 0'
for user in root tester; do
    as="setpriv --reuid $user --regid $user --init-groups"
    run $as keepalive doctor
    doctor=$(echo "$OUTPUT" | tr -s ' \n' ' ' | sed 's/ \(ok\|note\|WRONG\) /\n\1 /g')
    # doctor_says ENGINE: whether doctor reports it as working. Features of the kernel are on other lines.
    doctor_says() { echo "$doctor" | grep -q "^ok engine $1: "; }
    for engine in preload seccomp cgroup; do
        case $engine in seccomp) program=ends ;; *) program=py-ends ;; esac
        run $as $RUN --engine $engine -- $program
        found="$(echo "$OUTPUT" | tail -n 1) [$STATUS]"
        if doctor_says $engine; then
            equal "$user, $engine: works as doctor says" "$W [0]" "$found"
        else
            note "$user, $engine: $(echo "$doctor" | grep "^[a-zA-Z]* engine $engine: ")"
            equal "$user, $engine: refuses as doctor says" 125 "$STATUS"
            note "$user, $engine: $(one_line "$OUTPUT")"
        fi
    done
    hold 7601 $as ends port=7601 stay
    succeeds "$user, attach" $as keepalive attach --idle 61 --interval 15 --count 5 "$HELD"
    holds "$user, attach" "$W" 7601
    succeeds "$user, list" $as keepalive list "$HELD"
    mentions "$user, list" '61/15/5'
    release
done
run keepalive cgroup enable --idle 63 --interval 15 --count 5 /
if [ "$STATUS" = 0 ]; then
    outputs 'cgroup enable' 'client 1 63 15 5 0, server 1 63 15 5 0' ends
    succeeds 'cgroup disable' keepalive cgroup disable /
else
    run keepalive cgroup status
    mentions 'cgroup status reports the obstacle' '^engine cgroup: '
    note "cgroup enable: $(one_line "$OUTPUT")"
fi
