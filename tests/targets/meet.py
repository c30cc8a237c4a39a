"""Meets itself: listens at each endpoint, connects to it, accepts, and prints what both ends have.

Endpoints are 10.1.2.3:80, [2001:db8::1]:80, or 7000>10.1.2.3:80 to connect from port 7000. Before them may stand
  --non-blocking           connect without waiting, then poll and ask for SO_ERROR
  --scrub                  overwrite the environment first, as programs that set their title do
  --extras                 print what TCP_SYNCNT, TCP_WINDOW_CLAMP and TCP_MAXSEG are at both ends, and TCP_DEFER_ACCEPT
                           of the listener
  --own LEVEL.NAME=VALUE   set an option on the client's socket before it connects
  --silent                 only connect, to addresses that may not answer, and print how that ended and after how many
                           seconds
Lines: ENDPOINT connect: keepalive idle interval count user-timeout accept: the same
"""

import ctypes
import os
import select
import socket
import sys
import time

TCP = socket.IPPROTO_TCP


def scrub():
    strings = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), "environ")
    for string in strings:
        if not string:
            return
        ctypes.memset(string, ord("x"), len(ctypes.string_at(string)))


def parse(text):
    start, _, end = text.rpartition(">")
    host, _, port = end.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    return family, host.strip("[]"), int(port), int(start or 0)


def has(end):
    options = [(socket.SOL_SOCKET, 9), (TCP, 4), (TCP, 5), (TCP, 6), (TCP, 18)]
    return " ".join(str(end.getsockopt(*option)) for option in options)


def extras(end):
    names = [("syn-count", 7), ("window-clamp", 10), ("max-segment", 2)]
    return " ".join(f"{name}={end.getsockopt(TCP, number)}" for name, number in names)


def make(family, own):
    end = socket.socket(family)
    for option in own:
        place, value = option.split("=")
        end.setsockopt(*map(int, place.split(".")), int(value))
    return end


def connect(client, address, waits):
    if waits:
        client.connect(address)
        return
    client.setblocking(False)
    client.connect_ex(address)
    poll = select.poll()
    poll.register(client, select.POLLOUT)
    poll.poll(10_000)
    error = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, "connect")


def meet(text, flags, own):
    family, host, port, start = parse(text)
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind((host, port))
    listener.listen()
    client = make(family, own)
    if start:
        client.bind((host, start))
    connect(client, (host, port), "--non-blocking" not in flags)
    if "--extras" in flags:
        client.sendall(b"x")
    accepted = listener.accept()[0]
    print(f"{text} connect: {has(client)} accept: {has(accepted)}")
    if "--extras" in flags:
        defer = listener.getsockopt(TCP, socket.TCP_DEFER_ACCEPT)
        print(f"{text} connect: {extras(client)} accept: {extras(accepted)} defer-accept={defer}")


def wait_in_vain(text, flags, own):
    family, host, port, _ = parse(text)
    started = time.monotonic()
    client = make(family, own)
    try:
        connect(client, (host, port), "--non-blocking" not in flags)
        ended = "connected"
    except OSError as error:
        ended = os.strerror(error.errno)
    print(f"{text} {ended}: {time.monotonic() - started:.1f}")


def main(words):
    flags, own = [], []
    while words and words[0].startswith("--"):
        flag = words.pop(0)
        flags.append(flag)
        if flag == "--own":
            own.append(words.pop(0))
    if "--scrub" in flags:
        scrub()
    for endpoint in words:
        (wait_in_vain if "--silent" in flags else meet)(endpoint, flags, own)


main(sys.argv[1:])
