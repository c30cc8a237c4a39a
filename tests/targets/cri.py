# A client of the Container Runtime Interface: reads one call a line, as JSON, and prints its answer.
#
#   {"call": "run", "pod": {...}}                  creates and starts a sandbox; prints its id
#   {"call": "exec", "sandbox": ID, "pod": {...}, "image": NAME, "command": [...], "log": FILE}
#                                                  runs a container until it ends; prints "ended"
#   {"call": "stop"|"remove", "sandbox": ID}       prints "done"
#
# A pod has name, uid, namespace, attempt, cgroup, labels, annotations and logs (a directory). The messages are those of
# runtime.v1 (k8s.io/cri-api), written here as numbers of fields.
import json
import sys
import time

import grpc

from protobuf import decode, encode

channel = grpc.insecure_channel(f"unix://{sys.argv[1]}")
HOST = 2


def call(method, fields):
    stub = channel.unary_unary(f"/runtime.v1.RuntimeService/{method}")
    return decode(stub(encode(fields), timeout=60))


def sandbox(pod):
    metadata = [(1, pod["name"]), (2, pod["uid"]), (3, pod["namespace"]), (4, pod["attempt"])]
    options = [(1, [(1, HOST)])]
    return [
        (1, metadata),
        (3, pod["logs"]),
        (6, pod["labels"]),
        (7, pod["annotations"]),
        (8, [(1, pod["cgroup"]), (2, options)]),
    ]


def execute(request):
    config = [(1, [(1, "program")]), (2, [(1, request["image"])]), (11, request["log"])]
    config += [(3, word) for word in request["command"]]
    fields = [(1, request["sandbox"]), (2, config), (3, sandbox(request["pod"]))]
    container = call("CreateContainer", fields)[1].decode()
    call("StartContainer", [(1, container)])
    ended = 2
    while decode(call("ContainerStatus", [(1, container)])[1]).get(3, 0) != ended:
        time.sleep(0.02)
    call("RemoveContainer", [(1, container)])
    return "ended"


def wait():
    grpc.channel_ready_future(channel).result(timeout=30)
    while True:
        try:
            call("Version", [])
            return "ready"
        except grpc.RpcError:
            time.sleep(0.05)


for line in sys.stdin:
    request = json.loads(line)
    kind = request["call"]
    try:
        if kind == "run":
            answer = call("RunPodSandbox", [(1, sandbox(request["pod"]))])[1].decode()
        elif kind == "exec":
            answer = execute(request)
        elif kind == "wait":
            answer = wait()
        else:
            method = {"stop": "StopPodSandbox", "remove": "RemovePodSandbox"}[kind]
            call(method, [(1, request["sandbox"])])
            answer = "done"
    except grpc.RpcError as error:
        answer = f"error: {error.details()}"
    print(answer, flush=True)
