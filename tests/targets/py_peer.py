"""Evaluates each line of its input, a Python expression, and prints one line: its value, or the error."""

import ctypes
import fcntl
import os
import select
import socket
import struct
import sys
import threading
import time

SOL, TCP = socket.SOL_SOCKET, socket.IPPROTO_TCP
MPTCP = 262
OPTIONS = {"keepalive": (SOL, 9), "idle": (TCP, 4), "interval": (TCP, 5), "count": (TCP, 6), "user_timeout": (TCP, 18)}
kept = []


def own(end, **values):
    """Sets options, as a program that uses keepalive does."""
    for name, value in values.items():
        end.setsockopt(*OPTIONS[name], value)
    return end


def listen(host="127.0.0.1", port=0, family=socket.AF_INET, protocol=0):
    listener = socket.socket(family, socket.SOCK_STREAM, protocol)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.setsockopt(SOL, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(1000)
    return listener


def pair(listener, host="127.0.0.1", family=socket.AF_INET, protocol=0, **values):
    """Connects to a listener of this program, with these options. Returns the connected and the accepted end."""
    client = own(socket.socket(family, socket.SOCK_STREAM, protocol), **values)
    client.connect((host, listener.getsockname()[1]))
    return client, listener.accept()[0]


def talks(one, other):
    """Whether data arrives in both directions."""
    for sender, receiver in ((one, other), (other, one)):
        sender.settimeout(10)
        receiver.settimeout(10)
        sender.sendall(b"data")
        if receiver.recv(4) != b"data":
            return False
    return True


def fds(*ends):
    return " ".join(str(end.fileno()) for end in ends)


def connect_in_vain(host, port):
    """Returns the seconds after which a connect to an address that does not answer fails."""
    start = time.monotonic()
    try:
        silent.connect((host, port))
    except OSError:
        pass
    return time.monotonic() - start


def packets(port):
    """Yields the sequence numbers of packets without data that this port sends over loopback from now on."""
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
    sniffer.settimeout(10)

    def numbers():
        while True:
            frame, address = sniffer.recvfrom(65536)
            if address[2] != socket.PACKET_OUTGOING or frame[12:14] != b"\x08\x00" or frame[23] != TCP:
                continue
            segment = 14 + 4 * (frame[14] & 15)
            source, _, sequence, _, offset = struct.unpack_from(">HHIIB", frame, segment)
            length = struct.unpack_from(">H", frame, 16)[0] + 14 - segment - 4 * (offset >> 4)
            if source == port and length == 0:
                yield sequence

    return numbers()


def start_echo(port):
    """Starts a thread with a connection, which echoes."""

    def echo(end):
        while data := end.recv(1000):
            end.sendall(data)

    end = socket.create_connection(("127.0.0.1", port))
    threading.Thread(target=echo, args=[end], daemon=True).start()


def map_hung(address=0):
    """Maps a page of the file system of targets/hung_fuse.c, without reading it. Returns its address."""
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + 3 * [ctypes.c_int] + [ctypes.c_long]
    fd = os.open(os.environ["HUNG_FILE"], os.O_RDONLY)
    fixed = 0x10 if address else 0  # MAP_FIXED
    mapped = libc.mmap(address, 4096, 3, 2 | fixed, fd, 0)  # PROT_READ | PROT_WRITE, MAP_PRIVATE
    os.close(fd)
    assert mapped not in (None, ctypes.c_void_p(-1).value)
    return mapped


def map_hung_over_name():
    """Maps such a page over the path by which this program was started (AT_EXECFN)."""
    libc = ctypes.CDLL(None)
    libc.getauxval.restype = ctypes.c_ulong
    return map_hung(libc.getauxval(ctypes.c_ulong(31)) & ~4095)


def userfault_over_name():
    """As map_hung_over_name, with a page whose faults are not served (userfaultfd(2)). Returns the error if this is impossible."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.getauxval.restype = ctypes.c_ulong
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + 3 * [ctypes.c_int] + [ctypes.c_long]
    page = libc.getauxval(ctypes.c_ulong(31)) & ~4095
    fd = libc.syscall({"x86_64": 323, "aarch64": 282}[os.uname().machine], os.O_NONBLOCK)
    if fd < 0:
        return os.strerror(ctypes.get_errno())
    kept.append(fd)
    fcntl.ioctl(fd, 0xC018AA3F, struct.pack("QQQ", 0xAA, 0, 0))  # UFFDIO_API
    # PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS
    assert libc.mmap(page, 4096, 3, 0x32, -1, 0) == page
    fcntl.ioctl(fd, 0xC020AA00, struct.pack("QQQQ", page, 4096, 1, 0))  # UFFDIO_REGISTER, for missing pages
    return "registered"


def child_with_listener(pid):
    """Starts a child with this process number and a listener, in a pid namespace of the test."""
    listens, ready = os.pipe()
    with open("/proc/sys/kernel/ns_last_pid", "w") as last:
        last.write(str(pid - 1))
    child = os.fork()
    if child == 0:
        kept.append(listen())
        os.write(ready, b".")
        time.sleep(1000)
    os.close(ready)
    assert os.read(listens, 1) == b"."
    os.close(listens)
    return child


def thread_with_its_own_table():
    """Opens a connection that only a thread holds. Returns the thread's number, and those of the descriptors."""
    ready = threading.Event()
    results = []

    def run():
        assert ctypes.CDLL(None).unshare(0x400) == 0  # CLONE_FILES
        ends = pair(listener)
        results.append(f"{threading.get_native_id()} {fds(*ends)}")
        ready.set()
        threading.Event().wait()

    listener = listen()
    kept.append(listener)
    threading.Thread(target=run, daemon=True).start()
    ready.wait()
    return results[0]


for line in sys.stdin:
    try:
        answer = eval(line)
    except Exception as error:
        answer = f"error: {error!r}"
    print(answer, flush=True)
