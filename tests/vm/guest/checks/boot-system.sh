# keepalive system enable --setuid, before a reboot.
echo 'default idle=65 interval=15 count=5' >/etc/keepalive.conf
cp "$(command -v nc)" /usr/local/bin/nc-setuid
chmod 4755 /usr/local/bin/nc-setuid
succeeds 'system enable' keepalive system enable --setuid
succeeds 'system status' keepalive system status
outputs 'a program of this boot' 'client 1 65 15 5 0, server 1 65 15 5 0' py-ends
# Entries of cron, and units that start at boot.
printf '* * * * * root nc 127.0.0.1 %s\n' 7301 >/etc/cron.d/client
cat >/etc/systemd/system/far-end.service <<END
[Service]
ExecStart=/check/bin/serve $SERVED
[Install]
WantedBy=multi-user.target
END
sed "s/$SERVED/7301/" /etc/systemd/system/far-end.service >/etc/systemd/system/far-end-cron.service
cat >/etc/systemd/system/boot-client.service <<END
[Unit]
After=far-end.service
[Service]
ExecStart=/bin/sh -c "tail -f /dev/null | /usr/bin/python3 /check/bin/py-ends port=7302 stay"
[Install]
WantedBy=multi-user.target
END
succeeds 'services for the next boot' systemctl enable far-end.service far-end-cron.service boot-client.service
