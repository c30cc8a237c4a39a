# keepalive run with its engines, for a static program; attach; list.
for mode in fill enforce; do
    case $mode in fill) after=30 ;; enforce) after=60 ;; esac
    run keepalive run --engine seccomp --mode $mode --idle 60 --interval 15 --count 5 -- ends after:idle=30
    if has_feature seccomp-wait-killable; then
        equal "seccomp, $mode" "client 1 $after 15 5 0, server 1 60 15 5 0 [0]" "$OUTPUT [$STATUS]"
    else
        equal "seccomp, $mode: exit status" 125 "$STATUS"
        mentions "seccomp, $mode: the refusal names the version" 'Linux 5\.19'
    fi
done
if has_feature seccomp-wait-killable; then
    outputs 'seccomp, IPv6' 'client 1 60 15 5 0, server 1 60 15 5 0' \
        keepalive run --engine seccomp --idle 60 --interval 15 --count 5 -- ends 6
    outputs 'seccomp, an ordinary user' 'client 1 60 15 5 0, server 1 60 15 5 0' su nobody -s /bin/sh -c \
        'PATH=/check/bin:$PATH keepalive run --engine seccomp --idle 60 --interval 15 --count 5 -- ends'
    outputs 'auto, a static program' 'client 1 60 15 5 0, server 1 60 15 5 0' \
        keepalive run --idle 60 --interval 15 --count 5 -- ends
fi
outputs 'run --engine cgroup' 'client 1 60 15 5 0, server 1 60 15 5 0' \
    keepalive run --engine cgroup --idle 60 --interval 15 --count 5 -- ends

hold 7201 ends port=7201 stay
succeeds 'attach' keepalive attach --idle 60 --interval 15 --count 5 "$HELD"
holds 'attach' 'client 1 60 15 5 0, server 1 60 15 5 0' 7201
succeeds 'attach, enforce' keepalive attach --mode enforce --idle 70 --interval 15 --count 5 "$HELD"
holds 'attach, enforce' 'client 1 70 15 5 0, server 1 70 15 5 0' 7201
succeeds 'list --json' keepalive list --json "$HELD"
# shellcheck disable=SC2016
equal 'list --json: both ends have the values of the kernel' 2 "$(echo "$OUTPUT" | tr -d ' \n' | sed 's/},{/}\n{/g' |
    grep '"state":"\(established\|ESTAB\)"' | grep '"keepalive":true' | grep '"idle_s":70' | grep '"interval_s":15' | grep -c '"count":5')"
run su nobody -s /bin/sh -c "PATH=/check/bin:\$PATH keepalive attach --idle 99 $HELD"
equal 'attach by another user: exit status' 1 "$STATUS"
holds 'attach by another user' 'client 1 70 15 5 0, server 1 70 15 5 0' 7201
release

hold 7202 unshare -n sh -c 'ip link set lo up; exec ends port=7202 stay'
succeeds 'attach, another network namespace' keepalive attach --idle 60 --interval 15 --count 5 "$HELD"
holds 'attach, another network namespace' 'client 1 60 15 5 0, server 1 60 15 5 0' 7202
succeeds 'list, another network namespace' keepalive list "$HELD"
mentions 'list, another network namespace' '127\.0\.0\.1:7202.*60/15/5'
release
