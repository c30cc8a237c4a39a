# --existing: open connections, from one policy to another, in two network namespaces.
new_cgroup existing
hold 7101 in-cgroup existing ends port=7101 stay
holds 'before' 'client 0 7200 75 9 0, server 0 7200 75 9 0' 7101

succeeds 'existing, fill' keepalive cgroup enable --existing --idle 60 --interval 15 --count 5 existing
mentions 'existing, fill: the report' ': 2 of 2 open sockets changed'
holds 'existing, fill' 'client 1 60 15 5 0, server 1 60 15 5 0' 7101

for idle in 70 80; do
    enables "existing, enforce $idle" setsockopt-in-iterators 5.15 --existing --mode enforce --idle $idle --interval 15 --count 5 existing
    [ $COMPLETE = no ] || holds "existing, enforce $idle" "client 1 $idle 15 5 0, server 1 $idle 15 5 0" 7101
done
run keepalive cgroup status
outputs 'a new connection of the last policy' 'client 1 80 15 5 0, server 1 80 15 5 0' in-cgroup existing ends after:idle=30
enables 'existing, fill again' setsockopt-in-iterators 5.15 --existing --mode fill --idle 90 --interval 15 --count 5 existing
outputs 'fill again: the program counts' 'client 1 30 15 5 0, server 1 90 15 5 0' in-cgroup existing ends after:idle=30
release
keepalive cgroup disable existing

hold 7102 in-cgroup existing unshare -n sh -c 'ip link set lo up; exec ends port=7102 stay'
holds 'another network namespace: before' 'client 0 7200 75 9 0, server 0 7200 75 9 0' 7102
enables 'existing, another network namespace' netns-cookie 5.14 --existing --idle 60 --interval 15 --count 5 existing
[ $COMPLETE = no ] || holds 'existing, another network namespace' 'client 1 60 15 5 0, server 1 60 15 5 0' 7102
release
outputs 'a new connection in another network namespace' 'client 1 60 15 5 0, server 1 60 15 5 0' \
    in-cgroup existing unshare -n sh -c 'ip link set lo up; exec ends'
succeeds 'disable' keepalive cgroup disable existing
