# Programs under an enforcing AppArmor profile.
serve_connections
if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" != Y ]; then
    fail 'AppArmor is not active on this kernel'
fi
RUN='keepalive run --idle 61 --interval 15 --count 5'
for name in confined nolibrary; do
    cp "$(command -v nc)" /usr/local/bin/$name
done
# Debian's own abstraction lets programs read every library; the second profile does not.
cat >/etc/apparmor.d/check <<'END'
#include <tunables/global>
profile confined /usr/local/bin/confined {
  #include <abstractions/base>
  #include <abstractions/nameservice>
  network inet stream,
  network inet6 stream,
  /usr/local/bin/confined mr,
}
profile nolibrary /usr/local/bin/nolibrary {
  #include <abstractions/base>
  #include <abstractions/nameservice>
  network inet stream,
  network inet6 stream,
  /usr/local/bin/nolibrary mr,
  deny /usr/lib/@{multiarch}/libkeepalive.so r,
}
END
succeeds 'the profiles are enforced' apparmor_parser -r /etc/apparmor.d/check
connects 'confined, by flags' '1 61 15 5 0' $RUN -- confined 127.0.0.1 $SERVED

# The profile does not let the program read the file: its policy must not be lost without a word.
echo 'default idle=62 interval=15 count=5' >/etc/keepalive.conf
hold $SERVED keepalive run -- confined 127.0.0.1 $SERVED
values=$(client_values)
note "confined, by /etc/keepalive.conf: $values"
run keepalive doctor -- confined
if [ "$values" = 'client 1 62 15 5 0' ]; then
    ok 'confined, by /etc/keepalive.conf'
else
    mentions 'confined, by /etc/keepalive.conf: doctor says that the profile hides the file' 'apparmor.*keepalive\.conf|keepalive\.conf.*(apparmor|profile)'
fi
release
await_closed
rm /etc/keepalive.conf

hold $SERVED $RUN -- nolibrary 127.0.0.1 $SERVED
values=$(client_values)
note "a profile that hides the library: $values"
run keepalive doctor -- nolibrary
if [ "$values" = 'client 1 61 15 5 0' ]; then
    ok 'a profile that hides the library: another engine'
else
    mentions 'a profile that hides the library: doctor says so' '[Aa]pp[Aa]rmor'
fi
release
await_closed
