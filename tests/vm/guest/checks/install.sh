# The package: it can be installed, and activates nothing.
run uname -r
note "Linux $OUTPUT, $(. /etc/os-release; echo "$PRETTY_NAME"), $(systemctl --version | head -1)"
# Without IPv6 Debian's nginx does not start.
failed=$(systemctl --failed --no-legend --plain)
succeeds 'dpkg -i' dpkg -i /check/keepalive.deb
succeeds 'keepalive --version' keepalive --version
outputs 'nothing is active after installation' 'client 0 7200 75 9 0, server 0 7200 75 9 0' py-ends
equal 'no other unit has failed' "$failed" "$(systemctl --failed --no-legend --plain)"
