# /proc mounted with hidepid: an ordinary user gets a message about hidden processes, a user with access to all gets none.
sleep 1000 &
other=$!
for hidepid in 1 2 4; do
    run mount -o "remount,hidepid=$hidepid" /proc
    if [ "$STATUS" != 0 ]; then
        note "no hidepid=$hidepid on this kernel"
        continue
    fi
    for words in "list $other" "attach $other" "doctor --pid $other" 'list --program sleep' 'attach --program sleep' 'list'; do
        run as-nobody keepalive $words
        OUTPUT=$(echo "$OUTPUT" | tr -s ' \n' ' ')
        [ "$words" = list ] || equal "hidepid=$hidepid, $words: exit status" 1 "$STATUS"
        case $words in
        list) ;; # prints no message unless there are sockets of others
        *) mentions "hidepid=$hidepid, $words" "/proc is mounted with hidepid=$hidepid: .*hint: run keepalive as root" ;;
        esac
    done
    run as-nobody keepalive doctor
    OUTPUT=$(echo "$OUTPUT" | tr -s ' \n' ' ')
    mentions "hidepid=$hidepid, doctor" "note processes: /proc is mounted with hidepid=$hidepid: "
    run keepalive doctor
    if echo "$OUTPUT" | grep -q hidepid; then
        fail "hidepid=$hidepid, doctor of root names what is not hidden from it"
    else
        ok "hidepid=$hidepid, doctor of root"
    fi
    succeeds "hidepid=$hidepid, list of root" keepalive list $other
done
succeeds 'hidepid=2 for all but a group' mount -o remount,hidepid=2,gid=65534 /proc
run as-nobody keepalive list $other
if echo "$OUTPUT" | grep -q hidepid; then fail 'a member of the group sees all'; else ok 'a member of the group sees all'; fi
succeeds 'hidepid=0' mount -o remount,hidepid=0,gid=0 /proc
kill $other
