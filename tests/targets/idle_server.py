"""A server at ADDRESS:PORT that treats its connections as the rest says:

  keep              lets them be
  close SECONDS     closes each after so long
  quiet SECONDS     closes each on which no packet has come for so long
  reset SECONDS     ends each with a RST after so long
  talk SECONDS      says something on each, every so often
  probe SECONDS     lets its kernel send a keepalive probe on each, every so often
  greet SECONDS     says something on each after so long, and then lets it be
  end SECONDS       ends itself after so long, and all of them with it
  leave SECONDS     the same, but closes the connections 0.2 s earlier
  refuse COUNT      accepts so many, and then listens no more
  limit COUNT       accepts so many, and closes all others at once

Prints "listening" once connections are accepted.
"""

import os
import socket
import struct
import sys
import threading
import time

place, manner, *number = sys.argv[1:]
host, _, port = place.rpartition(":")
family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
listener = socket.create_server((host.strip("[]"), int(port)), family=family, backlog=128)
print("listening", flush=True)


def probe(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, int(number[0]))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, int(number[0]))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def talk(connection):
    while True:
        time.sleep(float(number[0]))
        connection.sendall(b"Hello\r\n")
        if manner == "greet":
            return


def quiet(connection):
    seen, since = None, time.monotonic()
    while time.monotonic() - since < float(number[0]):
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 144)
        segments = struct.unpack_from("I", info, 140)  # tcpi_segs_in
        if segments != seen:
            seen, since = segments, time.monotonic()
        time.sleep(0.1)
    connection.close()


def end(connection):
    time.sleep(float(number[0]))
    if manner == "leave":
        for other in kept:
            other.close()
        time.sleep(0.2)
    if manner in ("end", "leave"):
        os._exit(0)
    if manner == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


manners = {"close": end, "quiet": quiet, "reset": end, "end": end, "leave": end, "talk": talk, "greet": talk, "probe": probe}
kept = []
while manner != "refuse" or len(kept) < int(number[0]):
    connection = listener.accept()[0]
    if manner == "limit" and len(kept) == int(number[0]):
        connection.close()
        continue
    kept.append(connection)
    if manner in manners:
        threading.Thread(target=manners[manner], args=[connection], daemon=True).start()
listener.close()
time.sleep(1000)
