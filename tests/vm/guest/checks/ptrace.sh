# What Yama forbids at each kernel.yama.ptrace_scope, checked without keepalive, and what keepalive reports about it. This is the last
# check file, because scope 3 stays until the machine ends.
scope_file=/proc/sys/kernel/yama/ptrace_scope
ALL='pidfd_getfd yes, process_vm_readv yes, mem yes, maps yes, fd yes'
READING='pidfd_getfd EPERM, process_vm_readv EPERM, mem EACCES, maps yes, fd yes'
POLICY='--idle 61 --interval 15 --count 5'
VALUES='client 1 61 15 5 0, server 1 61 15 5 0'
if [ ! -e $scope_file ]; then
    note 'this kernel has no Yama'
    ok 'without Yama nothing is forbidden'
    return 0
fi
for scope in 0 1 2 3; do
    succeeds "scope $scope" sh -c "echo $scope >$scope_file"
    for user in root nobody; do
        case $user in root) as='env' ;; nobody) as='as-nobody' ;; esac
        case $scope/$user in
        0/* | 1/root | 2/root) child=$ALL sibling=$ALL allowing=$ALL attach=yes run=yes ;;
        1/nobody) child=$ALL sibling=$READING allowing=$ALL attach=no run=yes ;;
        *) child=$READING sibling=$READING allowing=$READING attach=no run=no ;;
        esac
        outputs "scope $scope, $user: a child" "$child" $as access child
        outputs "scope $scope, $user: a sibling" "$sibling" $as access sibling
        outputs "scope $scope, $user: a sibling with PR_SET_PTRACER" "$allowing" $as access allowing

        start_ends $((7600 + scope * 10 + ${#user})) $as
        run $as keepalive attach $POLICY $TARGET
        if [ $attach = yes ]; then
            equal "scope $scope, $user: attach works" 0 "$STATUS"
        else
            equal "scope $scope, $user: attach is refused" 1 "$STATUS"
            mentions "scope $scope, $user: the refusal of attach names the scope" "ptrace_scope is $scope"
        fi
        run $as keepalive list $TARGET
        if [ $attach = yes ]; then
            mentions "scope $scope, $user: list shows the values" '61/15/5'
        else
            mentions "scope $scope, $user: list names the scope" "ptrace_scope is $scope"
        fi
        run $as keepalive doctor --pid $TARGET
        OUTPUT=$(echo "$OUTPUT" | tr -s ' \n' ' ')
        [ $attach = yes ] || mentions "scope $scope, $user: doctor --pid names the scope" "(WRONG|note) connections: .*ptrace_scope is $scope"
        [ $scope = 0 ] || mentions "scope $scope, $user: doctor names the scope" "engine attach: .*ptrace_scope is $scope"
        if [ $attach = yes ]; then
            mentions "scope $scope, $user: doctor: attach works" 'ok engine attach: reaches'
        else
            mentions "scope $scope, $user: doctor: attach is restricted" 'note engine attach: '
        fi
        end_ends

        if has_feature seccomp-wait-killable; then
            run $as keepalive run --engine seccomp $POLICY -- ends
            if [ $run = yes ]; then
                equal "scope $scope, $user: run --engine seccomp" "$VALUES [0]" "$OUTPUT [$STATUS]"
            else
                equal "scope $scope, $user: run --engine seccomp is refused" 125 "$STATUS"
                mentions "scope $scope, $user: the refusal of run names the scope" "ptrace_scope is $scope"
            fi
        fi
    done
done
# Scope 3 lasts until a reboot, and engines that need no such access work.
run sh -c "echo 0 >$scope_file"
equal 'scope 3 cannot be left' 3 "$(cat $scope_file)"
outputs 'scope 3: run --engine cgroup' "$VALUES" keepalive run --engine cgroup $POLICY -- ends
new_cgroup scope3
start_ends 7691 in-cgroup scope3
if has_feature setsockopt-in-iterators; then
    succeeds 'scope 3: cgroup enable --existing' keepalive cgroup enable --existing $POLICY scope3
    mentions 'scope 3: cgroup enable --existing changes them' '2 of 2 open sockets changed'
    succeeds 'scope 3: disable' keepalive cgroup disable scope3
fi
end_ends
