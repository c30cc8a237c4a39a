# Upgrade and removal of the package while everything is active: system, unit, cgroup and the cgroup service.
serve_connections
echo 'default idle=66 interval=15 count=5' >/etc/keepalive.conf
succeeds 'system is enabled' keepalive system enable --setuid
succeeds 'keepalive-cgroup@ is enabled' systemctl enable --now keepalive-cgroup@-.service
succeeds 'a unit is enabled' keepalive unit enable --idle 67 --interval 15 --count 5 cron
succeeds 'a unit is enabled for the cgroup engine' keepalive unit enable --engine cgroup --idle 67 --interval 15 --count 5 nginx
systemctl restart cron nginx
cp "$(command -v keepalive)" /tmp/keepalive-before

succeeds 'upgrade' dpkg -i /check/keepalive-next.deb
mentions 'upgrade: from the version of before' 'keepalive \(99\.1\) over'
outputs 'after the upgrade: a dynamic program' 'client 1 66 15 5 0, server 1 66 15 5 0' py-ends
outputs 'after the upgrade: a static program' 'client 1 66 15 5 0, server 1 66 15 5 0' ends
succeeds 'after the upgrade: system status' keepalive system status
succeeds 'after the upgrade: cgroup status' keepalive cgroup status /
succeeds 'after the upgrade: unit status' keepalive unit status cron
outputs 'after the upgrade: keepalive-cgroup@' active systemctl is-active keepalive-cgroup@-.service
succeeds 'after the upgrade: restart of keepalive-cgroup@' systemctl restart keepalive-cgroup@-.service
outputs 'after the restart: a static program' 'client 1 66 15 5 0, server 1 66 15 5 0' ends

hold 7401 py-ends port=7401 stay
succeeds 'removal' dpkg -r keepalive
holds 'removal: an open connection stays as it is' 'client 1 66 15 5 0, server 1 66 15 5 0' 7401
release
outputs 'removal: a dynamic program' 'client 0 7200 75 9 0, server 0 7200 75 9 0' py-ends
outputs 'removal: a static program' 'client 0 7200 75 9 0, server 0 7200 75 9 0' ends
# No file that names keepalive is left, except the administrator's.
equal 'removal: /etc/ld.so.preload' '' "$(cat /etc/ld.so.preload 2>/dev/null)"
equal 'removal: drop-ins' '' "$(grep -rl --exclude=check.service keepalive /etc/systemd /run/systemd/system 2>/dev/null)"
equal 'removal: links of units' '' "$(find /etc/systemd -name '*keepalive*')"
equal 'removal: pinned programs' '' "$(find /sys/fs/bpf/keepalive -mindepth 1 -type f 2>/dev/null)"
succeeds 'services start without complaint' systemctl restart cron nginx ssh
equal 'no loader complains' '' "$(journalctl --no-pager -b | grep -i 'cannot be preloaded')"
succeeds 'purge' dpkg -P keepalive
equal 'purge: files' '/etc/keepalive.conf' "$(find /etc /usr /var -xdev -name '*keepalive*' ! -path '/usr/share/*' ! -path '/var/lib/systemd/*' 2>/dev/null)"
succeeds 'the package can be installed again' dpkg -i /check/keepalive.deb
outputs 'nothing is active after that' 'client 0 7200 75 9 0, server 0 7200 75 9 0' py-ends
