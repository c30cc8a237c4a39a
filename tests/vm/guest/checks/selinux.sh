# Debian's SELinux policy, enforced: confined programs get keepalive, and denials are named. nginx runs as httpd_t.
equal 'SELinux is enforced' 1 "$(cat /sys/fs/selinux/enforce)"
worker() { pgrep -P "$(systemctl show --property MainPID --value nginx)"; }
# accepts NAME WANTED: restarts nginx; its accepted connection has these values. The connection stays until release.
accepts() {
    systemctl restart nginx
    await nc -z 127.0.0.1 80
    hold 80 nc 127.0.0.1 80
    equal "$1" "server $2" "$(peek 80 | sed 's/.*, //')"
}
# examine: what doctor reports about nginx, in one line.
examine() {
    run keepalive doctor --pid "$(worker)"
    OUTPUT=$(echo "$OUTPUT" | tr -s ' \n' ' ')
}
UNSET='0 7200 75 9 0'

accepts 'nothing is enabled' "$UNSET"
release
succeeds 'a service: unit enable' keepalive unit enable --idle 62 --interval 15 --count 5 nginx
accepts 'a service: preload' '1 62 15 5 0'
examine
mentions 'doctor --pid: the context' ':httpd_t:s0 \(enforcing\)'
equal 'doctor --pid: nothing is denied' '' "$(echo "$OUTPUT" | grep 'WRONG selinux')"
succeeds 'a service: attach' keepalive attach --mode enforce --idle 64 --interval 15 --count 5 "$(worker)"
equal 'a service: attach, the values' 'server 1 64 15 5 0' "$(peek 80 | sed 's/.*, //')"
succeeds 'a service: list' keepalive list "$(worker)"
mentions 'a service: list, the values' '64/15/5'
release
succeeds 'a service: unit disable' keepalive unit disable nginx
succeeds 'a service: unit enable, cgroup' keepalive unit enable --engine cgroup --idle 63 --interval 15 --count 5 nginx
accepts 'a service: cgroup' '1 63 15 5 0'
release
succeeds 'a service: unit disable, cgroup' keepalive unit disable nginx

# New files in /etc have a context that services may not map: the command sets the context of the loader's list.
echo 'default idle=65 interval=15 count=5' >/etc/keepalive.conf
succeeds 'system enable' keepalive system enable
run ls -Z /etc/ld.so.preload
mentions 'system enable: the context of the list' ':ld_so_cache_t:'
accepts 'system enable: a service' '1 65 15 5 0'
release
chcon -t etc_runtime_t /etc/ld.so.preload
accepts 'the list has a wrong context' "$UNSET"
examine
mentions 'the list has a wrong context: doctor --pid' "WRONG selinux: SELinux's policy does not let [^ ]*:httpd_t:s0 map /etc/ld\.so\.preload"
release
succeeds 'the list has a wrong context: system enable' keepalive system enable
accepts 'the list has a wrong context: system enable mends it' '1 65 15 5 0'
release
chcon -t user_home_t /etc/keepalive.conf
# The same as without rules: the times are the kernel's.
accepts 'the rules file has a wrong context' '1 7200 75 9 0'
examine
mentions 'the rules file has a wrong context: doctor --pid' "WRONG selinux: SELinux's policy does not let [^ ]*:httpd_t:s0 read /etc/keepalive\.conf"
mentions 'the rules file has a wrong context: what helps' 'restorecon /etc/keepalive\.conf'
release
succeeds 'restorecon' restorecon /etc/keepalive.conf
accepts 'the rules file has its context' '1 65 15 5 0'
release
succeeds 'system disable' keepalive system disable
rm /etc/keepalive.conf

# A program whose context changes when this shell starts it.
systemctl stop nginx
LIBRARY=$(dpkg -L keepalive | grep '^/usr/lib/[^/]*/libkeepalive\.so$')
# says NAME PATTERN COMMAND: what doctor reports about the command, in one line, contains the pattern.
says() {
    run keepalive doctor -- "$3"
    OUTPUT=$(echo "$OUTPUT" | tr -s ' \n' ' ')
    mentions "$1" "$2"
}
says 'doctor -- COMMAND: the context' 'nginx gets the context [^ ]*:httpd_t:s0' nginx
says 'doctor -- COMMAND: nothing is denied' 'keepalive run: uses engine preload:' nginx
# runs NAME WANTED ARGUMENT...: the values of a connection that nginx accepts, started by keepalive run.
runs() {
    local name=$1 wanted=$2
    shift 2
    keepalive run "$@" --idle 67 --interval 15 --count 5 -- nginx -g 'daemon off;' &
    await nc -z 127.0.0.1 80
    hold 80 nc 127.0.0.1 80
    equal "$name" "server $wanted" "$(peek 80 | sed 's/.*, //')"
    release
    pkill -x nginx
    wait
}
for engine in preload seccomp cgroup auto; do
    runs "run --engine $engine: a program of another context" '1 67 15 5 0' --engine $engine
done

# The policy does not let the program load the library.
chcon -t user_home_t "$LIBRARY"
DENIED="SELinux's policy does not let [^ ]*:httpd_t:s0 load [^ ]*/libkeepalive\.so"
says 'the library has a wrong context: doctor -- COMMAND' "$DENIED" nginx
runs 'the library has a wrong context: run --engine preload' "$UNSET" --engine preload
runs 'the library has a wrong context: run takes the supervisor' '1 67 15 5 0'
run keepalive unit enable --idle 62 nginx
OUTPUT=$(echo "$OUTPUT" | tr -s ' \n' ' ')
mentions 'the library has a wrong context: unit enable' "$DENIED"
succeeds 'the library has a wrong context: unit disable' keepalive unit disable nginx
succeeds 'restorecon, of the library' restorecon "$LIBRARY"
