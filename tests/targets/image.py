# Writes an image archive: image.py ARCHIVE NAME DIRECTORY ENTRYPOINT; the image contains what DIRECTORY contains.
import hashlib
import io
import json
import platform
import sys
import tarfile

archive, name, directory, entrypoint = sys.argv[1:]
content = io.BytesIO()
with tarfile.open(fileobj=content, mode="w") as layer:
    layer.add(directory, arcname=".")
layer = content.getvalue()
config = {
    "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()],
    "os": "linux",
    "config": {"Entrypoint": [entrypoint]},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
}
manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
files = {
    "config.json": json.dumps(config).encode(),
    "layer.tar": layer,
    "manifest.json": json.dumps(manifest).encode(),
}
with tarfile.open(archive, "w") as tar:
    for path, data in files.items():
        about = tarfile.TarInfo(path)
        about.size = len(data)
        tar.addfile(about, io.BytesIO(data))
