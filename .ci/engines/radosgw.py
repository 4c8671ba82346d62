#!/usr/bin/env python3
"""Ceph's RADOS gateway, with a monitor and one storage daemon that keeps everything in memory."""

import sys
import uuid

sys.path.insert(0, __file__.rsplit("/", 1)[0] + "/lib")
from engine import Engine, debian, free_port, listening, run, wait_for
from suite import Storage, upload_suite

CONF = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
mon cluster log to file = false
auth allow insecure global id reclaim = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail crit = -1
osd objectstore = memstore
memstore device bytes = 4294967296
run dir = {work}/run
admin socket = {work}/run/$name.asok
pid file = {work}/run/$name.pid
log file = {work}/$name.log
keyring = {work}/keyring
[mon.a]
mon data = {work}/mon
mon initial members = a
[osd.0]
osd data = {work}/osd
[client.rgw]
rgw data = {work}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port}
"""
KEYS = {
    "mon.": ["mon"],
    "client.admin": ["mon", "osd", "mgr"],
    "osd.0": ["mon", "osd"],
    "client.rgw": ["mon", "osd"],
}


def start(judge):
    work, mon, port, fsid = judge.work, free_port(), free_port(), str(uuid.uuid4())
    for place in ("mon", "osd", "rgw", "run"):
        (work / place).mkdir()
    conf = work / "ceph.conf"
    conf.write_text(CONF.format(fsid=fsid, mon=mon, port=port, work=work))
    env = {"CEPH_CONF": str(conf)}

    def tool(*command):
        return run(command, env, 60).ok().out

    tool("ceph-authtool", "--create-keyring", work / "keyring")
    for name, rights in KEYS.items():
        caps = [word for right in rights for word in ("--cap", right, "allow *")]
        tool("ceph-authtool", work / "keyring", "--gen-key", "-n", name, *caps)
    address = f"[v2:127.0.0.1:{mon}]"
    tool("monmaptool", "--create", "--addv", "a", address, "--fsid", fsid, work / "monmap")
    tool(
        "ceph-mon", "--mkfs", "-i", "a", "--monmap", work / "monmap", "--keyring", work / "keyring"
    )
    judge.start(["ceph-mon", "-f", "-i", "a"], mon, env)
    disk = str(uuid.uuid4())
    tool("ceph", "--connect-timeout", "30", "osd", "new", disk)
    tool("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
    judge.start(["ceph-osd", "-f", "-i", "0"], env=env)
    wait_for(lambda: "1 up" in tool("ceph", "osd", "stat"), 60, "the storage daemon is not up")
    # This makes the gateway's pools, so it comes before the gateway.
    tool(
        "radosgw-admin",
        "user",
        "create",
        "--uid",
        "judge",
        "--display-name",
        "judge",
        "--access-key",
        "AK",
        "--secret-key",
        "SK",
    )
    judge.start(["radosgw", "-f", "-n", "client.rgw"], port, env, seconds=120)
    wait_for(lambda: listening(port), 10, "the gateway has gone")
    return port


with Engine("radosgw", "Ceph RADOS gateway") as judge:
    debian("radosgw", "ceph-mon", "ceph-osd")
    port = start(judge)
    judge.ready("Ceph " + run(["radosgw", "--version"]).ok().out.split()[2])
    upload_suite(judge, Storage(port, "AK", "SK"))
