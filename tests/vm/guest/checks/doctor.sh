# What doctor reports about an engine agrees with what the engine does.
run keepalive doctor
doctor=$(echo "$OUTPUT" | tr -s ' \n' ' ' | sed 's/ \(ok\|note\|WRONG\) /\n\1 /g')
about() { OUTPUT=$(echo "$doctor" | grep "^[a-zA-Z]* engine $1: "); note "doctor: $OUTPUT"; }

run keepalive run --engine seccomp -- true
about seccomp
if has_feature seccomp-wait-killable; then
    equal 'seccomp works' 0 "$STATUS"
    mentions 'doctor: so does the engine seccomp' '^ok engine seccomp: works'
else
    equal 'seccomp does not work' 125 "$STATUS"
    mentions 'doctor: the engine seccomp does not work, with the version' '^(WRONG|note) .*Linux 5\.19'
fi
about cgroup
mentions 'doctor: the engine cgroup works' '^ok engine cgroup: works'
about attach
mentions 'doctor: the engine attach works' '^ok engine attach: '

# The features that doctor reports agree with a check without keepalive.
run keepalive doctor
features=$(echo "$OUTPUT" | tr -s ' \n' ' ' | sed 's/ \(ok\|note\|WRONG\) /\n\1 /g' | grep 'kernel feature: ')
reports() {
    if has_feature "$1"; then word='available (Linux'; else word='missing ('; fi
    OUTPUT=$(echo "$features" | grep -F "kernel feature: $2")
    mentions "doctor: feature $1" "$(echo "$2: $word" | sed 's/[().]/\\&/g')"
}
reports seccomp-wait-killable 'engine seccomp'
reports memcg-accounting 'engine cgroup: no limit of locked memory'
reports types 'engine cgroup: rules with program NAME'
reports getsockopt-in-bpf 'engine cgroup: values that programs set before, cap, floor, enforce, user-timeout=auto, without CAP_PERFMON or BTF'
reports setsockopt-in-iterators 'cgroup enable --existing, by the kernel'
reports netns-cookie 'list, attach: sockets of other network namespaces, without CAP_NET_ADMIN there'
# On a kernel without MPTCP sockets there is nothing to check.
OUTPUT=$(echo "$features" | grep -F 'cannot find it out' | grep -v 'MPTCP')
equal 'doctor: root can find out all others' '' "$OUTPUT"
note "features: $(echo "$features" | sed 's/.*kernel feature: //; s/ (.*//' | tr '\n' ';')"
