#!/usr/bin/env python3
"""s3rver, an S3 server of the npm registry that keeps objects as files."""

import sys

sys.path.insert(0, __file__.rsplit("/", 1)[0] + "/lib")
from engine import Engine, free_port, npm, run
from suite import Storage, upload_suite

NO_PARTS = "s3rver has no ListParts"
NO_UPLOADS = "s3rver has no ListMultipartUploads"
NO_COPY = "s3rver cannot copy into a part"
LIMITS = {
    "a key with slashes": "s3rver stores objects as files, and a//b as a/b",
    "a key with 900 bytes": "s3rver stores objects as files, whose names are limited to 255 bytes",
    "a key with 1024 bytes": "s3rver stores objects as files, whose names are limited to 255 bytes",
    "kill -9 in the middle, and resume": NO_PARTS,
    "kill -9 before the last part, and resume": NO_PARTS,
    "kill -9 before completing, and resume": NO_PARTS,
    "kill -9 after completing, before the answer": NO_PARTS,
    "SIGINT in the middle, and resume": NO_PARTS,
    "uploads list shows an incomplete upload": NO_UPLOADS,
    "uploads abort deletes it": NO_UPLOADS,
    "import --to raw copies parts of zeros on the server": NO_COPY,
    "import --to raw leaves no helper objects and no open uploads": NO_UPLOADS,
    "a wrong secret key gives one clear error": "s3rver does not check signatures of version 4",
    "config check --write": NO_UPLOADS,
}

with Engine("s3rver", "s3rver, S3 on files") as judge:
    program = npm("s3rver@3.7.1")
    port = free_port()
    judge.start([program, "-d", judge.work, "-a", "127.0.0.1", "-p", port], port)
    judge.ready("s3rver 3.7.1", "node " + run(["node", "--version"]).ok().out.strip())
    judge.limits = LIMITS
    upload_suite(judge, Storage(port, "S3RVER", "S3RVER"))
