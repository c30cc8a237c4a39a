# What doctor reports about an engine is what the engine does.
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
