# The library in a dynamic program: by LD_PRELOAD, and by /etc/ld.so.preload.
RUN='keepalive run --engine preload --idle 60 --interval 15 --count 5'
outputs 'a dynamic program without the library' 'client 0 7200 75 9 0, server 0 7200 75 9 0' ends-dynamic
outputs 'preload, unset' 'client 1 60 15 5 0, server 1 60 15 5 0' $RUN -- ends-dynamic
outputs 'preload, IPv6' 'client 1 60 15 5 0, server 1 60 15 5 0' $RUN -- ends-dynamic 6
outputs 'preload, set by the program' 'client 1 30 15 5 0, server 1 60 15 5 0' $RUN -- ends-dynamic after:idle=30
outputs 'preload, enforce' 'client 1 60 15 5 0, server 1 60 15 5 0' $RUN --mode enforce -- ends-dynamic after:idle=30
outputs 'preload, a rule' 'client 1 33 15 5 0, server 1 60 15 5 0' \
    $RUN --rule 'connect 127.0.0.0/8 idle=33s interval=15s count=5' -- ends-dynamic
if has_feature seccomp-wait-killable; then
    outputs 'both engines' 'client 1 60 15 5 0, server 1 60 15 5 0' keepalive run --idle 60 --interval 15 --count 5 -- \
        sh -c 'ends-dynamic >/dev/null; ends-dynamic'
fi

echo 'default idle=61s interval=16s count=6' >/etc/keepalive.conf
succeeds 'system enable' keepalive system enable
mentions 'system enable: a program was tried' 'starts silently with it'
outputs 'system enable, a new program' 'client 1 61 16 6 0, server 1 61 16 6 0' ends-dynamic
succeeds 'system status' keepalive system status
succeeds 'system disable' keepalive system disable
outputs 'system disable, a new program' 'client 0 7200 75 9 0, server 0 7200 75 9 0' ends-dynamic
rm /etc/keepalive.conf
