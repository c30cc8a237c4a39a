# run --engine cgroup below a cgroup with limits: they apply, and the command prints those that programs cannot read.
HIDDEN='programs that read the limits'
RUN='keepalive run --engine cgroup --idle 61 --interval 15 --count 5'
W='client 1 61 15 5 0, server 1 61 15 5 0'
LIMITED='systemd-run --quiet --pipe --wait -p MemoryMax=200M -p MemorySwapMax=0 -p CPUQuota=50%'
outputs 'without limits' "$W" systemd-run --quiet --pipe --wait $RUN -- /check/bin/py-ends
equal 'without limits: nothing is reported' '' "$(echo "$OUTPUT" | grep "$HIDDEN")"
outputs 'with limits' "$W" $LIMITED $RUN -- /check/bin/py-ends
lines=$(echo "$OUTPUT" | tr -s ' \n' ' ')
for limit in 'memory\.max \(209715200\)' 'cpu\.max \(50000 100000\)'; do
    OUTPUT=$lines
    mentions "with limits: reports $limit" "$limit"
done
run $LIMITED $RUN -- python3 -c 'b"x" * (100 << 20); print("allocated")'
mentions 'with limits: below memory.max' allocated
run $LIMITED $RUN -- python3 -c 'b"x" * (400 << 20); print("allocated")'
equal 'with limits: above memory.max' '' "$(echo "$OUTPUT" | grep allocated)"
