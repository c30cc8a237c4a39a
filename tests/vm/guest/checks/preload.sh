# keepalive run for dynamic programs and scripts, as root and as an ordinary user.
serve_connections
RUN='keepalive run --idle 61 --interval 15 --count 5'
for user in root tester; do
    as="setpriv --reuid $user --regid $user --init-groups"
    outputs "$user, python" 'client 1 61 15 5 0, server 1 61 15 5 0' $as $RUN -- /check/bin/py-ends
    outputs "$user, python that sets a time itself" 'client 1 30 15 5 0, server 1 61 15 5 0' $as $RUN -- /check/bin/py-ends after:idle=30
    outputs "$user, enforce" 'client 1 61 15 5 0, server 1 61 15 5 0' $as $RUN --mode enforce -- /check/bin/py-ends after:idle=30
    connects "$user, nc" '1 61 15 5 0' $as $RUN -- nc 127.0.0.1 $SERVED
    connects "$user, a script that starts nc" '1 61 15 5 0' $as $RUN -- sh -c "nc 127.0.0.1 $SERVED; true"
    if has_feature seccomp-wait-killable; then
        connects "$user, a script that starts a static program" '1 61 15 5 0' $as $RUN -- \
            sh -c "/check/bin/busybox nc 127.0.0.1 $SERVED; true"
    fi
done
