# Programs under an enforcing AppArmor profile: where the profile stops the library, another engine works, or the obstacle is named.
serve_connections
equal 'AppArmor is active' Y "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)"
# The library for 64-bit programs; the other files are links to it, and libraries for 32-bit programs.
LIBRARY=$(dpkg -L keepalive | grep '^/usr/lib/[^/]*/libkeepalive\.so$')
RUN='keepalive run --idle 61 --interval 15 --count 5'
for name in confined nolibrary complaining; do
    cp "$(command -v nc)" /usr/local/bin/$name
done
# Debian's abstraction permits reading every library, but only known files in /etc.
cat >/etc/apparmor.d/check <<END
#include <tunables/global>
profile confined /usr/local/bin/confined {
  #include <abstractions/base>
  #include <abstractions/nameservice>
  network inet stream,
  network inet6 stream,
  /usr/local/bin/confined mr,
}
profile complaining /usr/local/bin/complaining flags=(complain) {
  /usr/local/bin/complaining mr,
}
profile nolibrary /usr/local/bin/nolibrary {
  #include <abstractions/base>
  #include <abstractions/nameservice>
  network inet stream,
  network inet6 stream,
  /usr/local/bin/nolibrary mr,
  deny $LIBRARY rm,
}
END
succeeds 'the profiles are enforced' apparmor_parser -r /etc/apparmor.d/check
connects 'confined, by flags' '1 61 15 5 0' $RUN -- confined 127.0.0.1 $SERVED
run $RUN -v -- confined -h
mentions 'confined, by flags: the library' 'engine preload and seccomp:'

# The profile does not let the program read the rules file.
echo 'default idle=62 interval=15 count=5' >/etc/keepalive.conf
hold $SERVED keepalive run --engine preload -- confined 127.0.0.1 $SERVED
run keepalive doctor --pid "$(peek -p $SERVED | head -n 1)"
OUTPUT=$(echo "$OUTPUT" | tr -s ' \n' ' ')
mentions 'doctor --pid: the rules file is not read' 'the library in the process has no policy of'
mentions 'doctor --pid: the line for the profile' '/etc/keepalive\.conf r,'
release
await_closed
run sh -c 'KEEPALIVE_LOG=stderr keepalive run --engine preload -- confined -h 2>&1 | cat'
mentions 'the log names the rules file' 'ignored /etc/keepalive\.conf: permission denied'
run keepalive doctor -- confined
mentions 'doctor -- COMMAND: the rules file' 'profile confined does not let it read'
mentions 'doctor -- COMMAND: the line for the profile' "/etc/keepalive\.conf r,"
if has_feature seccomp-wait-killable; then
    connects 'the rules file: the supervisor reads it' '1 62 15 5 0' keepalive run -- confined 127.0.0.1 $SERVED
    connects 'the rules file: also for what a script starts' '1 62 15 5 0' keepalive run -- sh -c "confined 127.0.0.1 $SERVED; true"
else
    run keepalive run -- confined -h
    mentions 'the rules file: run warns that nothing reads it' 'profile confined does not let'
fi
# The line that doctor prints solves the problem.
sed -i 's|^  /usr/local/bin/confined mr,|&\n  /etc/keepalive.conf r,|' /etc/apparmor.d/check
succeeds 'the profile with the line' apparmor_parser -r /etc/apparmor.d/check
connects 'the profile with the line' '1 62 15 5 0' keepalive run --engine preload -- confined 127.0.0.1 $SERVED
run keepalive doctor -- confined
mentions 'the profile with the line: doctor' 'profile confined lets it read'
connects 'a profile that only complains' '1 62 15 5 0' keepalive run --engine preload -- complaining 127.0.0.1 $SERVED
rm /etc/keepalive.conf

# The profile does not let the program load the library.
run keepalive doctor -- nolibrary
mentions 'the library: doctor -- COMMAND' 'profile nolibrary does not let it load'
mentions 'the library: the line for the profile' 'libkeepalive\.so mr,'
for user in root tester; do
    as="setpriv --reuid $user --regid $user --init-groups"
    if has_feature seccomp-wait-killable; then
        connects "the library, $user: the supervisor reaches the program" '1 61 15 5 0' $as $RUN -- nolibrary 127.0.0.1 $SERVED
        run $as $RUN -- nolibrary -h
        equal "the library, $user: no loader complains" '' "$(echo "$OUTPUT" | grep 'cannot be preloaded')"
    else
        run $as $RUN -- nolibrary -h
        mentions "the library, $user: run names the profile" 'profile nolibrary does not let'
    fi
done
hold $SERVED $RUN --engine preload -- nolibrary 127.0.0.1 $SERVED
run keepalive doctor --pid "$(peek -p $SERVED | head -n 1)"
mentions 'the library: doctor --pid' 'profile nolibrary does not let it load'
release
await_closed

# Without securityfs, facts that only it contains are reported as unknown. It may be mounted more than once.
while mountpoint -q /sys/kernel/security; do umount /sys/kernel/security; done
run keepalive doctor -- nolibrary
mentions 'without securityfs: doctor' 'cannot be determined'
if has_feature seccomp-wait-killable; then
    connects 'without securityfs: the supervisor too' '1 61 15 5 0' $RUN -- nolibrary 127.0.0.1 $SERVED
fi
succeeds 'securityfs' mount -t securityfs securityfs /sys/kernel/security

# Services.
printf '[Service]\nExecStart=/usr/local/bin/nolibrary 127.0.0.1 %s\n' $SERVED >/etc/systemd/system/profiled.service
printf '[Service]\nAppArmorProfile=nolibrary\nExecStart=/usr/bin/nc 127.0.0.1 %s\n' $SERVED >/etc/systemd/system/profile-named.service
systemctl daemon-reload
for unit in profiled profile-named; do
    run keepalive unit enable --idle 61 $unit
    OUTPUT=$(echo "$OUTPUT" | tr -s ' \n' ' ')
    mentions "$unit.service: unit enable names the profile" 'profile nolibrary does not let it load'
    succeeds "$unit.service: unit disable" keepalive unit disable $unit
done
