"""Starts a program, and measures with `keepalive probe --pid` on its connection while looking at its options.

usage: probe_existing.py COUNT PLACE PROGRAM... -- COMMAND...

Waits until PROGRAM has COUNT TCP connections, then runs COMMAND with --pid and, as PLACE says, its process ("pid") or its first
connection ("fd"). Reads the options of each connection, and the number of its segments with data, by pidfd_getfd(2) before,
afterwards, and each few milliseconds meanwhile.
Prints a JSON object.
"""

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
import time

PIDFD_GETFD = 438
libc = ctypes.CDLL(None, use_errno=True)
count, place, *words = sys.argv[1:]
program, command = words[: words.index("--")], words[words.index("--") + 1 :]
OPTIONS = [(socket.SOL_SOCKET, number) for number in (socket.SO_KEEPALIVE, socket.SO_REUSEADDR)] + [
    (socket.IPPROTO_TCP, number)
    for number in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT, 19)
]


def options(pid):
    """Returns the options of the connections of a process, by descriptor."""
    found = {}
    pidfd = os.pidfd_open(pid)
    for name in os.listdir(f"/proc/{pid}/fd"):
        fd = libc.syscall(PIDFD_GETFD, pidfd, int(name), 0)
        if fd < 0:
            continue
        try:
            found[int(name)] = values(fd)
        except OSError:
            pass
        os.close(fd)
    os.close(pidfd)
    return found


def values(fd):
    """Returns the options of a connection, and the segments with data that it has received and sent. OSError means that it is
    none."""
    duplicate = socket.socket(fileno=fd)
    try:
        duplicate.getpeername()
        info = duplicate.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)
        data = struct.unpack_from("II", info, 152)  # tcpi_data_segs_in, tcpi_data_segs_out
        return [*(duplicate.getsockopt(*option) for option in OPTIONS), *data]
    finally:
        duplicate.detach()


target = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
if "psql" in program[0]:
    target.stdin.write(b"select 1;\n")
    target.stdin.flush()
deadline = time.monotonic() + 60
while len(before := options(target.pid)) < int(count):
    if time.monotonic() > deadline or target.poll() is not None:
        sys.exit(f"{program} has no {count} connections")
    time.sleep(0.05)
time.sleep(0.5)
before = options(target.pid)
pid = f"{target.pid}:{min(before)}" if place == "fd" else str(target.pid)
measuring = subprocess.Popen(command + ["--pid", pid], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
looks, changed = 0, False
while measuring.poll() is None:
    # What is closed or opened meanwhile is not compared.
    now = options(target.pid)
    changed |= any(before.get(fd, values) != values for fd, values in now.items())
    looks += 1
    time.sleep(0.002)
if target.poll() is None:
    changed |= any(before.get(fd, values) != values for fd, values in options(target.pid).items())
stdout, stderr = measuring.communicate()
print(
    json.dumps(
        {
            "status": measuring.returncode,
            "stdout": stdout,
            "stderr": stderr,
            "looks": looks,
            "changed": changed,
            "kept": options(target.pid) == before if target.poll() is None else None,
            "pid": target.pid,
        }
    )
)
target.kill()
