# Yama's ptrace_scope 0 to 3, as root and as an ordinary user: the engines work, or name it. Scope 3 lasts until a reboot.
serve_connections
RUN='keepalive run --idle 61 --interval 15 --count 5'
# works_or_names NAME WANTED COMMAND...: the values are WANTED, or the command refuses and names Yama's scope.
works_or_names() {
    local name=$1 wanted=$2
    shift 2
    run "$@"
    if [ "$STATUS" = 0 ]; then
        equal "$name" "$wanted" "$(echo "$OUTPUT" | tail -n 1)"
    else
        mentions "$name: the refusal names Yama" '[Yy]ama|ptrace_scope'
        note "$name: $(one_line "$OUTPUT")"
    fi
}
for scope in 0 1 2 3; do
    succeeds "scope $scope" sysctl -q kernel.yama.ptrace_scope=$scope
    for user in root tester; do
        as="setpriv --reuid $user --regid $user --init-groups"
        works_or_names "scope $scope, $user, preload" 'client 1 61 15 5 0, server 1 61 15 5 0' $as $RUN --engine preload -- py-ends
        works_or_names "scope $scope, $user, auto" 'client 1 61 15 5 0, server 1 61 15 5 0' $as $RUN -- py-ends
        if has_feature seccomp-wait-killable; then
            works_or_names "scope $scope, $user, seccomp" 'client 1 61 15 5 0, server 1 61 15 5 0' $as $RUN --engine seccomp -- ends
            works_or_names "scope $scope, $user, auto, static" 'client 1 61 15 5 0, server 1 61 15 5 0' $as $RUN -- ends
        fi
        outputs "scope $scope, $user, job control" 'stopped, continued, interrupted' $as job-control $RUN --
        run $as $RUN --verify -- python3 -c 'import socket, time
s = socket.create_server(("127.0.0.1", 0))
c = socket.create_connection(s.getsockname())
time.sleep(5)'
        if [ $scope -lt 2 ] || { [ $scope = 2 ] && [ $user = root ]; }; then
            mentions "scope $scope, $user, verify" 'verify: the connection is set'
        else
            mentions "scope $scope, $user, verify names Yama" '[Yy]ama|ptrace_scope'
        fi
        # At scope 3 nothing reads the socket from outside, and root cannot attach either.
        start_ends 7501 $as
        run $as keepalive attach --idle 61 --interval 15 --count 5 "$TARGET"
        if [ "$STATUS" = 0 ] && [ $scope -lt 3 ]; then
            holds "scope $scope, $user, attach" 'client 1 61 15 5 0, server 1 61 15 5 0' 7501
        else
            mentions "scope $scope, $user, attach: the refusal names Yama" '[Yy]ama|ptrace_scope'
            note "scope $scope, $user, attach: $(one_line "$OUTPUT")"
        fi
        run $as keepalive list "$TARGET"
        run $as keepalive doctor
        [ $scope = 0 ] || mentions "scope $scope, $user, doctor names Yama" '[Yy]ama|ptrace_scope'
        end_ends
    done
done
