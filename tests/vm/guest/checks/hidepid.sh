# /proc with hidepid=2: processes of other users are hidden from an ordinary user.
succeeds 'hidepid=2' mount -o remount,hidepid=2 /proc
AS_TESTER='setpriv --reuid tester --regid tester --init-groups'
outputs 'run --engine preload' 'client 1 61 15 5 0, server 1 61 15 5 0' \
    $AS_TESTER keepalive run --engine preload --idle 61 --interval 15 --count 5 -- py-ends
if has_feature seccomp-wait-killable; then
    outputs 'run --engine seccomp' 'client 1 61 15 5 0, server 1 61 15 5 0' \
        $AS_TESTER keepalive run --engine seccomp --idle 61 --interval 15 --count 5 -- ends
fi
hold 7701 $AS_TESTER ends port=7701 stay
succeeds 'attach to a process of the user' $AS_TESTER keepalive attach --idle 61 --interval 15 --count 5 "$HELD"
holds 'attach to a process of the user' 'client 1 61 15 5 0, server 1 61 15 5 0' 7701
release
hold 7702 ends port=7702 stay
run $AS_TESTER keepalive attach --idle 61 "$HELD"
equal 'attach to a process of root: exit status' 1 "$STATUS"
run $AS_TESTER keepalive list
run $AS_TESTER keepalive doctor
mentions 'doctor names hidepid' hidepid
release
succeeds 'hidepid=0' mount -o remount,hidepid=0 /proc
