# Rules for programs, by the name of the program that connects or listens.
new_cgroup names
cp /check/bin/ends /tmp/other
cp /check/bin/ends /tmp/a-name-of-more-than-15-bytes
for mode in fill enforce; do
    enables "rules for programs, $mode" task-in-bpf 5.11 --mode $mode --idle 60 --interval 15 --count 5 \
        --rule 'program ends connect idle=70 interval=15 count=5' --rule 'program a-name-of-more- idle=80 interval=15 count=5' --rule 'program other off' names
    [ $COMPLETE = yes ] || continue
    for family in '' 6; do
        outputs "$mode, a rule for the client of this name $family" 'client 1 70 15 5 0, server 1 60 15 5 0' in-cgroup names ends $family
        outputs "$mode, a rule that switches off $family" 'client 0 7200 75 9 0, server 0 7200 75 9 0' in-cgroup names /tmp/other $family
        outputs "$mode, a long name $family" 'client 1 80 15 5 0, server 1 80 15 5 0' \
            in-cgroup names /tmp/a-name-of-more-than-15-bytes $family
    done
    keepalive cgroup disable names
done
