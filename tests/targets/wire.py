"""Runs a command, and prints the TCP packets to and from port 7000 in this network namespace during the command, as a JSON
list of [seconds, port of the client, whether the client sent it, flags, sequence number, bytes of data].
"""

import json
import select
import socket
import struct
import subprocess
import sys

SERVER = 7000
SO_TIMESTAMPNS = 35
TCP = socket.IPPROTO_TCP

sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
sniffer.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
packets = []


def note(frame, seconds):
    if frame[12:14] == b"\x08\x00" and frame[23] == TCP:
        segment = 14 + 4 * (frame[14] & 15)
        end = 14 + struct.unpack_from(">H", frame, 16)[0]
    elif frame[12:14] == b"\x86\xdd" and frame[20] == TCP:
        segment = 54
        end = 54 + struct.unpack_from(">H", frame, 18)[0]
    else:
        return
    source, destination, sequence, _, offset, flags = struct.unpack_from(">HHIIBB", frame, segment)
    if SERVER in (source, destination):
        is_sent = destination == SERVER
        data = end - segment - 4 * (offset >> 4)
        packets.append([seconds, source if is_sent else destination, is_sent, flags, sequence, data])


command = subprocess.Popen(sys.argv[1:])
status = None
while select.select([sniffer], [], [], 0.2)[0] or status is None:
    while select.select([sniffer], [], [], 0)[0]:
        frame, [(_, _, stamp)], *_ = sniffer.recvmsg(65536, 64)
        seconds, nanoseconds = struct.unpack("qq", stamp)
        note(frame, seconds + nanoseconds / 1e9)
    status = command.poll()
print(json.dumps(packets))
sys.exit(status)
