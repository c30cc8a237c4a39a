# Clients of an HTTP server that do not follow the protocol: hostile_clients.py ADDRESS PORT SOURCE
#
# Opens connections from the address SOURCE, each of another kind, and keeps the last 200 open. Prints "ready" when there are
# 200, and continues until standard input is closed.
import itertools
import select
import socket
import sys
import time

address, port, source = sys.argv[1], int(sys.argv[2]), sys.argv[3]
KINDS = [
    b"",
    b"GET /metr",
    b"GET /metrics HTTP/1.1\r\nHost: a\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nA: " + b"a" * 1000000,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    b"\0" * 5000,
]
clients = []
for kind in itertools.cycle(KINDS):
    client = socket.socket()
    try:
        client.bind((source, 0))
        client.settimeout(1)
        client.connect((address, port))
        # What the server does not take at once is not sent.
        client.setblocking(False)
        client.send(kind)
        clients.append(client)
    except OSError:
        client.close()
        time.sleep(0.01)
    if len(clients) == 200:
        print("ready", flush=True)
    while len(clients) > 200:
        clients.pop(0).close()
    if select.select([sys.stdin], [], [], 0)[0]:
        break
