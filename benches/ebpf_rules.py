#!/usr/bin/env python3
"""Compares three ways to match rules in eBPF: generated instructions, a loop over one map value, one map lookup per rule.

usage: benches/ebpf_rules.py      as root (CAP_BPF, CAP_NET_ADMIN); Linux 5.3 or newer

An experiment for ARCHITECTURE.md; not part of keepalive. Each rule has one port and one IPv4 network, and none matches.
BPF_PROG_TEST_RUN measures a run, a clock the call of bpf(2) that loads and verifies. Prints medians.
"""

import ctypes
import os
import statistics
import struct
import time

SYS_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
MAP_CREATE, MAP_UPDATE_ELEM, PROG_LOAD, PROG_TEST_RUN = 0, 2, 5, 10
ARRAY, SCHED_CLS, MAP_LOOKUP_ELEM = 2, 3, 1
RULE = struct.Struct("<HHIII")  # lowest port, highest port, mask, network, unused
MARK = 8  # offset of mark in struct __sk_buff: a number that the verifier does not know
R0, R1, R2, R3, R4, R6, R7, R8, R10 = 0, 1, 2, 3, 4, 6, 7, 8, 10
EXIT = struct.pack("<BBhi", 0x95, 0, 0, 0)

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    """Returns the result of bpf(2), and the attributes after the call."""
    buffer = ctypes.create_string_buffer(attributes, 144)
    result = libc.syscall(SYS_BPF, command, buffer, len(buffer))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result, buffer.raw


def address(data):
    buffer = ctypes.create_string_buffer(data, len(data))
    return buffer, ctypes.addressof(buffer)


def array(values):
    """Returns the descriptor of an array map with these values."""
    fd, _ = bpf(MAP_CREATE, struct.pack("<IIIII", ARRAY, 4, len(values[0]), len(values), 0))
    for index, content in enumerate(values):
        key, key_at = address(struct.pack("<I", index))
        value, value_at = address(content)
        bpf(MAP_UPDATE_ELEM, struct.pack("<IIQQQ", fd, 0, key_at, value_at, 0))
    return fd


def load(code):
    """The descriptor of the program, and the milliseconds that loading took."""
    instructions, code_at = address(code)
    license, license_at = address(b"Dual MIT/GPL\0")
    started = time.perf_counter()
    attributes = struct.pack("<IIQQIIQ", SCHED_CLS, len(code) // 8, code_at, license_at, 0, 0, 0)
    fd, _ = bpf(PROG_LOAD, attributes)
    return fd, (time.perf_counter() - started) * 1000


def run(fd, repeat):
    """Nanoseconds of one run."""
    packet, packet_at = address(bytes(64))
    _, result = bpf(PROG_TEST_RUN, struct.pack("<IIIIQQII", fd, 0, 64, 0, packet_at, 0, repeat, 0))
    assert struct.unpack_from("<I", result, 4)[0] == 0, "a rule matched"
    return struct.unpack_from("<I", result, 36)[0]


def op(code, target=0, source=0, offset=0, number=0):
    return struct.pack("<BBhI", code, target | source << 4, offset, number & 0xFFFFFFFF)


def rules(count):
    return [(1000 + index, 1000 + index, 0xFFFFFF00, 10 << 24 | index << 8, 0) for index in range(count)]


def end(number):
    return op(0xB7, R0, 0, 0, number) + EXIT


def generated(count):
    code = op(0xBF, R6, R1)
    for port, _, mask, network, _ in rules(count):
        code += op(0x61, R2, R6, MARK) + op(0x55, R2, 0, 5, port)  # another port: the next rule
        code += op(0x61, R2, R6, MARK) + op(0x54, R2, 0, 0, mask) + op(0x56, R2, 0, 2, network)
        code += end(1)
    return code + end(0)


def rule_at_r8():
    """Compares the rule at R8; falls through if it does not match."""
    return [
        op(0x61, R3, R6, MARK), op(0x69, R4, R8, 0), op(0xAD, R3, R4, 9),  # below the lowest port
        op(0x69, R4, R8, 2), op(0x2D, R3, R4, 7),  # above the highest
        op(0x61, R3, R6, MARK), op(0x61, R4, R8, 4), op(0x5F, R3, R4), op(0x61, R4, R8, 8), op(0x5D, R3, R4, 2),
        end(1),
    ]


def lookup(fd):
    """Sets R8 to the value for the key in the four bytes below R10."""
    call = op(0x18, R1, 1, 0, fd) + bytes(8) + op(0xBF, R2, R10) + op(0x07, R2, 0, 0, -4) + op(0x85, number=MAP_LOOKUP_ELEM)
    return call + op(0x55, R0, 0, 2) + end(0) + op(0xBF, R8, R0)


def loop(body, count):
    """Runs the body with R7 from 0 to count - 1."""
    return op(0xB7, R7) + body + op(0x07, R7, 0, 0, 1) + op(0xA5, R7, 0, -(len(body) // 8 + 2), count) + end(0)


def one_value(count):
    fd = array([b"".join(RULE.pack(*rule) for rule in rules(count))])
    start = op(0xBF, R6, R1) + op(0x62, R10, 0, -4) + lookup(fd)
    return start + loop(b"".join(rule_at_r8()) + op(0x07, R8, 0, 0, RULE.size), count)


def lookup_a_rule(count):
    fd = array([RULE.pack(*rule) for rule in rules(count)])
    return op(0xBF, R6, R1) + loop(op(0x63, R10, R7, -4) + lookup(fd) + b"".join(rule_at_r8()), count)


def main():
    print("rules  way             instructions  load ms  run ns")
    for count in (1, 10, 100, 500):
        ways = [(way.__name__, way(count)) for way in (generated, one_value, lookup_a_rule)]
        loaded = {name: [load(code) for _ in range(5)] for name, code in ways}
        runs = {name: [] for name, _ in ways}
        for _ in range(15):
            for name, programs in loaded.items():
                runs[name].append(run(programs[0][0], 20000))
        for name, code in ways:
            load_ms = statistics.median(milliseconds for _, milliseconds in loaded[name])
            print(f"{count:5}  {name:14}  {len(code) // 8:12}  {load_ms:7.2f}  {statistics.median(runs[name]):6}")


if __name__ == "__main__":
    main()
