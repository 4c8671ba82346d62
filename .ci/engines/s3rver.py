#!/usr/bin/env python3
"""s3rver, an S3 server of the npm registry that keeps objects as files."""

import sys

sys.path.insert(0, __file__.rsplit("/", 1)[0] + "/lib")
from engine import Engine, free_port, npm, run
from suite import Storage, upload_suite

with Engine("s3rver", "s3rver, S3 on files") as judge:
    program = npm("s3rver@3.7.1")
    port = free_port()
    judge.start([program, "-d", judge.work, "-a", "127.0.0.1", "-p", port], port)
    judge.ready("s3rver 3.7.1", "node " + run(["node", "--version"]).ok().out.strip())
    upload_suite(judge, Storage(port, "S3RVER", "S3RVER"))
