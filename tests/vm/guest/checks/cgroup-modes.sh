# keepalive cgroup enable: every mode, both families, values set before and after the connection.
new_cgroup modes
POLICY='--idle 60 --interval 15 --count 5'
for mode in fill cap floor enforce; do
    # Before Linux 6.1 eBPF programs cannot read options that were set before.
    case $mode in
    cap | floor) enables "enable --mode $mode" getsockopt-in-bpf 6.1 --mode $mode $POLICY modes ;;
    *) enables "enable --mode $mode" nothing-special - --mode $mode $POLICY modes ;;
    esac
    [ $ACTIVE = yes ] || continue
    for family in 4 6; do
        word=${family#4}
        outputs "$mode, IPv$family, unset" 'client 1 60 15 5 0, server 1 60 15 5 0' in-cgroup modes ends $word
        # The program's own idle times: 30 and 300.
        case $mode in
        fill) low=30 high=300 ;; cap) low=30 high=60 ;; floor) low=60 high=300 ;; enforce) low=60 high=60 ;;
        esac
        outputs "$mode, IPv$family, set after" "client 1 $low 15 5 0, server 1 $high 15 5 0" \
            in-cgroup modes ends $word after:idle=30 accepted:idle=300
        [ $COMPLETE = yes ] || continue
        outputs "$mode, IPv$family, set before" "client 1 $low 15 5 0, server 1 $high 15 5 0" \
            in-cgroup modes ends $word before:keepalive=1 before:idle=30 listen:idle=300
    done
done

succeeds 'a fixed user timeout' keepalive cgroup enable $POLICY --user-timeout 30s modes
outputs 'a fixed user timeout, unset' 'client 1 60 15 5 30000, server 1 60 15 5 30000' in-cgroup modes ends
outputs 'a fixed user timeout, set before' 'client 1 60 15 5 8000, server 1 60 15 5 9000' \
    in-cgroup modes ends before:user-timeout=8000 listen:user-timeout=9000
enables 'a user timeout of idle + interval * count' getsockopt-in-bpf 6.1 $POLICY --user-timeout auto modes
if [ $COMPLETE = yes ]; then
    outputs 'auto, unset' 'client 1 60 15 5 135000, server 1 60 15 5 135000' in-cgroup modes ends
    outputs 'auto, with the idle time of the program' 'client 1 300 15 5 375000, server 1 30 15 5 105000' \
        in-cgroup modes ends before:idle=300 listen:idle=30
fi
# The namespace's sysctls apply to options that neither the policy nor the program sets.
enables 'a user timeout of an idle time alone' getsockopt-in-bpf 6.1 --idle 60 --user-timeout auto modes
[ $COMPLETE = no ] || outputs 'auto, with other sysctls' 'client 1 60 20 3 120000, server 1 60 20 3 120000' in-cgroup modes \
    unshare -n sh -c 'ip link set lo up; cd /proc/sys/net/ipv4; echo 20 >tcp_keepalive_intvl; echo 3 >tcp_keepalive_probes; exec ends'
succeeds 'disable' keepalive cgroup disable modes
outputs 'disabled' 'client 0 7200 75 9 0, server 0 7200 75 9 0' in-cgroup modes ends
