# keepalive cgroup enable: every mode, both families, values set before and after the connection.
new_cgroup modes
POLICY='--idle 60 --interval 15 --count 5'
for mode in fill cap floor enforce; do
    succeeds "enable --mode $mode" keepalive cgroup enable --mode $mode $POLICY modes
    for family in '' 6; do
        outputs "$mode $family: unset" 'client 1 60 15 5 0, server 1 60 15 5 0' in-cgroup modes ends $family
        # The program's own idle times: 30 and 300.
        case $mode in
        fill) low=30 high=300 ;; cap) low=30 high=60 ;; floor) low=60 high=300 ;; enforce) low=60 high=60 ;;
        esac
        outputs "$mode $family: set after" "client 1 $low 15 5 0, server 1 $high 15 5 0" \
            in-cgroup modes ends $family after:idle=30 accepted:idle=300
        outputs "$mode $family: set before" "client 1 $low 15 5 0, server 1 $high 15 5 0" \
            in-cgroup modes ends $family before:keepalive=1 before:idle=30 listen:idle=300
    done
done
succeeds 'disable' keepalive cgroup disable modes
outputs 'disabled' 'client 0 7200 75 9 0, server 0 7200 75 9 0' in-cgroup modes ends
