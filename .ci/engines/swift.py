#!/usr/bin/env python3
"""OpenStack Swift with its s3api middleware: one replica, one process of each kind."""

import sys

sys.path.insert(0, __file__.rsplit("/", 1)[0] + "/lib")
from engine import Engine, free_port, run, venv, version
from suite import Storage, upload_suite

SERVER = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
swift_dir = {etc}
user = {user}
workers = 1
"""
BACKEND = (
    SERVER
    + """\
devices = {devices}
mount_check = false
disable_fallocate = true
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
)
# The order matters: s3api before the authentication, copy and slo after both.
FILTERS = (
    "catch_errors gatekeeper listing_formats bulk s3api tempauth copy slo dlo "
    "versioned_writes symlink"
)
OPTIONS = {
    "tempauth": "user_test_tester = testing .admin\n",
    "s3api": "location = us-east-1\n",
    "versioned_writes": "allow_object_versioning = true\n",
}
PROXY = (
    SERVER
    + """\
[pipeline:main]
pipeline = {filters} proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
"""
)
HASH = """\
[swift-hash]
swift_hash_path_suffix = imgferry
[storage-policy:0]
name = one
default = yes
"""


def start(judge, tools):
    etc, devices = judge.work / "etc", judge.work / "devices"
    (devices / "d1").mkdir(parents=True)
    etc.mkdir()
    (etc / "swift.conf").write_text(HASH)
    user = run(["id", "-un"]).ok().out.strip()
    servers = []
    for kind in ("account", "container", "object"):
        port = free_port()
        ring = [tools / "swift-ring-builder", etc / f"{kind}.builder"]
        run([*ring, "create", "6", "1", "1"]).ok()
        run([*ring, "add", f"r1z1-127.0.0.1:{port}/d1", "1"]).ok()
        run([*ring, "rebalance"]).ok()
        text = BACKEND.format(port=port, etc=etc, user=user, devices=devices, kind=kind)
        servers.append((kind, port, text))
    port = free_port()
    text = PROXY.format(port=port, etc=etc, user=user, filters=FILTERS)
    for name in FILTERS.split():
        text += f"[filter:{name}]\nuse = egg:swift#{name}\n{OPTIONS.get(name, '')}"
    servers.append(("proxy", port, text))
    for kind, listens, text in servers:
        conf = etc / f"{kind}-server.conf"
        conf.write_text(text)
        judge.start([tools / f"swift-{kind}-server", conf, "-v"], listens)
    return port


with Engine("swift", "OpenStack Swift with s3api") as judge:
    tools = venv("swift==2.38.3", "keystonemiddleware==13.0.1")
    port = start(judge, tools)
    judge.ready(version(tools, "swift", "eventlet"))
    judge.limits["a key with 1024 bytes"] = (
        "Swift stores a part as KEY/UPLOAD/NUMBER, and limits that name to 1024 bytes"
    )
    upload_suite(judge, Storage(port, "test:tester", "testing"))
