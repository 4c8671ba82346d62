#!/usr/bin/env python3
"""moto's server: S3 in memory, from the makers of many mocked tests."""

import sys

sys.path.insert(0, __file__.rsplit("/", 1)[0] + "/lib")
from engine import Engine, free_port, venv, version
from suite import Storage, upload_suite

with Engine("moto", "moto server, S3 in memory") as judge:
    tools = venv("moto[server,s3]==5.2.5")
    port = free_port()
    judge.start([tools / "moto_server", "-H", "127.0.0.1", "-p", port], port)
    judge.ready(version(tools, "moto"))
    upload_suite(judge, Storage(port, "AK", "SK"))
