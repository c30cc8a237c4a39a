# The runtime's side of the Node Resource Interface: nri_runtime.py SOCKET calls|state|silent|configured [PODS]
#
# Written from the published definitions: pkg/net/multiplex and pkg/api/api.proto of containerd/nri, PROTOCOL.md of
# containerd/ttrpc. Reads one request a line, as JSON, calls each plugin that is connected, and prints the number of
# plugins that have answered:
#
#   {"run": POD} {"stop": ID} {"remove": ID} {"plugins": N}     the last waits until N plugins are synchronized
#
# "state": pods are reported by StateChange, as runtimes did before RunPodSandbox was a call of its own. PODS is the number of
# pods in one message of Synchronize. "silent": a registration is not answered. "configured": a plugin gets no pods. A plugin that
# does not answer within two seconds is disconnected, as by a runtime.
import json
import os
import select
import socket
import struct
import sys

from protobuf import decode, encode

PLUGIN, RUNTIME = 1, 2
REQUEST, RESPONSE = 1, 2
SERVICE = "nri.pkg.api.v1alpha1.Plugin"
EVENTS = {"run": (1, "RunPodSandbox"), "stop": (2, "StopPodSandbox"), "remove": (3, "RemovePodSandbox")}

path, style = sys.argv[1:3]
most = int(sys.argv[3]) if len(sys.argv) > 3 else 1000
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
pods, plugins = {}, []


def sandbox(pod):
    return [
        (1, pod["id"]),
        (2, pod["name"]),
        (3, pod["uid"]),
        (4, pod["namespace"]),
        (5, pod["labels"]),
        (6, pod["annotations"]),
        (8, [(3, pod["cgroup"])]),
        (9, pod["pid"]),
    ]


class Plugin:
    def __init__(self, connection):
        self.socket, self.stream = connection, 1
        connection.settimeout(2)
        self.received = {PLUGIN: b"", RUNTIME: b""}
        if style == "silent":
            return
        registration, stream = self.message(RUNTIME, REQUEST)
        request = decode(registration)
        assert (request[1], request[2]) == (b"nri.pkg.api.v1alpha1.Runtime", b"RegisterPlugin"), request
        register = decode(request[3])
        assert register[1] == b"keepalive" and register[2].isdigit() and len(register[2]) == 2, register
        self.send(RUNTIME, stream, RESPONSE, [])
        configured = self.call("Configure", [(2, "stub"), (3, "1")])
        assert decode(configured).get(2) == 7, configured
        if style == "configured":
            return
        left = list(pods.values())
        while True:
            part, left = left[:most], left[most:]
            answer = self.call("Synchronize", [(1, sandbox(pod)) for pod in part] + [(3, int(bool(left)))])
            assert decode(answer).get(2, 0) == int(bool(left)), answer
            if not left:
                break

    # A frame of more than 4096 bytes would not fit into the buffer of a runtime, and pieces are allowed.
    def send(self, connection, stream, kind, fields):
        payload = encode(fields)
        content = struct.pack(">IIBB", len(payload), stream, kind, 0) + payload
        for start in range(0, len(content), 1000):
            piece = content[start : start + 1000]
            self.socket.sendall(struct.pack(">II", connection, len(piece)) + piece)

    def exactly(self, length):
        data = b""
        while len(data) < length:
            more = self.socket.recv(length - len(data))
            if not more:
                raise ConnectionError
            data += more
        return data

    def message(self, wanted, kind):
        while True:
            data = self.received[wanted]
            if len(data) >= 10:
                length, stream, got, _ = struct.unpack(">IIBB", data[:10])
                if len(data) >= 10 + length:
                    self.received[wanted] = data[10 + length :]
                    assert got == kind, got
                    return data[10 : 10 + length], stream
            connection, length = struct.unpack(">II", self.exactly(8))
            assert length <= 4096, length
            self.received[connection] += self.exactly(length)

    def call(self, method, fields):
        stream = self.stream
        self.stream += 2
        self.send(PLUGIN, stream, REQUEST, [(1, SERVICE), (2, method), (3, fields), (4, 2_000_000_000)])
        payload, answered = self.message(PLUGIN, RESPONSE)
        assert answered == stream, (answered, stream)
        response = decode(payload)
        assert decode(response.get(1, b"")).get(1, 0) == 0, response
        return response.get(2, b"")


def accept():
    try:
        plugins.append(Plugin(listener.accept()[0]))
    except OSError:
        pass


def tell(event, pod):
    number, method = EVENTS[event]
    answered = 0
    for plugin in list(plugins):
        try:
            if style == "state":
                plugin.call("StateChange", [(1, number), (2, sandbox(pod))])
            else:
                plugin.call(method, [(1, sandbox(pod))])
            answered += 1
        except OSError:
            plugin.socket.close()
            plugins.remove(plugin)
    return answered


def is_connected(plugin):
    ready, _, _ = select.select([plugin.socket], [], [], 0)
    return not ready


def execute(request):
    [(event, value)] = request.items()
    if event == "plugins":
        while True:
            plugins[:] = [plugin for plugin in plugins if is_connected(plugin)]
            if len(plugins) == value:
                return value
            if select.select([listener], [], [], 0.05)[0]:
                accept()
    if event == "run":
        # A runtime reports a pod to the plugins before others can see it in Synchronize.
        pods[value["id"]] = value
        return tell(event, value)
    pod = pods[value]
    pod["pid"] = 0
    answered = tell(event, pod)
    if event == "remove":
        del pods[value]
    return answered


buffered = b""
while True:
    for ready in select.select([0, listener], [], [])[0]:
        if ready is listener:
            accept()
            continue
        data = os.read(0, 65536)
        if not data:
            sys.exit()
        *lines, buffered = (buffered + data).split(b"\n")
        for line in lines:
            print(execute(json.loads(line)), flush=True)
