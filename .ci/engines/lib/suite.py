"""The upload suite: what imgferry does with a storage server, whoever made that.

boto3, which shares no code with imgferry, reads every object back; it is compared byte for byte.
"""

import dataclasses
import os
import random
import shutil
import signal
import subprocess

from engine import IMGFERRY, ROOT, Skip, holds, libraries, run, same, same_bytes
from relay import Relay

libraries("boto3==1.44.8")
import boto3  # noqa: E402
import botocore.config  # noqa: E402

MIB = 1 << 20
PART = 8 * MIB
BUCKET = "images"
SYSTEM = ["--os-version", "Debian GNU/Linux 12.0.0 64bit"]
DISK = ROOT / "testdata/debian-tree.qcow2"

SIZES = {
    "an empty file": 0,
    "a file of one byte": 1,
    "a file one byte shorter than a part": PART - 1,
    "a file of exactly one part": PART,
    "a file one byte longer than a part": PART + 1,
    "a file of several parts": 3 * PART + 12345,
}

KEYS = {
    "spaces": "a key  with spaces",
    "letters that are not ASCII": "größe/图像/диск-😀",
    "a plus": "a+b c+d",
    "percent signs": "100%/%41%2F%zz",
    "slashes": "a/b//c/d",
    "dots": ".a/b..c/...d/e.",
    "quotes": 'it\'s "quoted"',
    "XML's own characters": "a&b<c>d&amp;e",
    "colons and equal signs": "a:b=c;d,e@f",
    "query characters": "a?b#c&d=e",
    "a leading dash": "-rf",
    "a tilde, a dollar, brackets": "~a$b[c]{d}(e)!*^`|",
    "a backslash": "a\\b",
    "900 bytes": "k" * 900,
    "1024 bytes": "k" * 1024,
}

# What no two servers read in the same way; imgferry takes none of them.
REFUSED_KEYS = {
    "a segment of one dot": "a/./b",
    "a segment of two dots": "a/../b",
    "control characters": "a\tb\x01c\x7fd",
    "a line break": "a\nb",
    "1025 bytes": "k" * 1025,
}


@dataclasses.dataclass
class Storage:
    """A storage server and the keys for it."""

    port: int
    access_key: str
    secret_key: str
    region: str = "us-east-1"

    def client(self):
        """The independent client."""
        config = botocore.config.Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            retries={"max_attempts": 1},
            request_checksum_calculation="when_required",
            proxies={},
            response_checksum_validation="when_required",
            read_timeout=120,
        )
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=config,
        )


class Suite:
    def __init__(self, judge, storage):
        self.judge, self.storage = judge, storage
        self.client = storage.client()
        self.relay = Relay(storage.port)
        self.random = random.Random(16)
        self.files = judge.work / "files"
        self.files.mkdir()
        self.state = judge.work / "state"

    def env(self, **more):
        storage = self.storage
        nowhere = "http://127.0.0.1:9"
        return {
            "HW_ACCESS_KEY": storage.access_key,
            "HW_SECRET_KEY": storage.secret_key,
            "HW_REGION_NAME": storage.region,
            "HW_PROJECT_ID": "none",
            "IMGFERRY_OBS_ENDPOINT": f"http://127.0.0.1:{self.relay.port}",
            "IMGFERRY_PATH_STYLE": "true",
            "IMGFERRY_IMS_ENDPOINT": nowhere,
            "IMGFERRY_IAM_ENDPOINT": nowhere,
            "XDG_STATE_HOME": str(self.state),
            "XDG_CONFIG_HOME": str(self.judge.work / "config"),
            **more,
        }

    def ferry(self, *arguments, **more):
        return run([IMGFERRY, *arguments], self.env(**more))

    def file(self, name, data):
        path = self.files / name
        path.write_bytes(data)
        return path

    def noise(self, size):
        return self.random.randbytes(size)

    def stored(self, key):
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def keys(self):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def open_uploads(self):
        return self.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])

    def upload(self, path, key, *more):
        self.ferry("upload", path, f"obs://{BUCKET}/{key}", *more).ok()

    def interrupt(self, sent, arguments, reach):
        """Starts imgferry, waits for the point that `reach` sets up, and sends a signal."""
        self.relay.clear()
        reach(self.relay)
        process = subprocess.Popen(
            [IMGFERRY, *arguments],
            env={**os.environ, **self.env()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            self.relay.wait(lambda: process.poll() is not None)
            process.send_signal(sent)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
            process.communicate()
            before = len(self.relay.parts())
            self.relay.clear()
        return process.returncode, err.decode(errors="replace"), before


def upload_suite(judge, storage):
    """All checks, against one server."""
    suite = Suite(judge, storage)
    try:
        with judge.check("create the bucket"):
            suite.client.create_bucket(Bucket=BUCKET)
        for part in (sizes, keys, overwriting, going_on, uploads, imports, refusals, wire):
            part(suite, judge.check)
    finally:
        suite.relay.close()


def sizes(suite, check):
    for name, size in SIZES.items():
        with check(f"upload {name}"):
            data = suite.noise(size)
            suite.upload(suite.file("sized", data), f"size-{size}")
            same_bytes(suite.stored(f"size-{size}"), data, "object")
    with check("upload zeros"):
        data = bytes(2 * PART + 1)
        suite.upload(suite.file("zeros", data), "zeros")
        same_bytes(suite.stored("zeros"), data, "object")
    with check("upload standard input"):
        data = suite.noise(PART + 4321)
        with open(suite.file("piped", data), "rb") as piped:
            cat = subprocess.Popen(["cat"], stdin=piped, stdout=subprocess.PIPE)
            run(
                [IMGFERRY, "upload", "-", f"obs://{BUCKET}/piped"], suite.env(), stdin=cat.stdout
            ).ok()
            cat.wait()
        same_bytes(suite.stored("piped"), data, "object")


def keys(suite, check):
    for name, key in KEYS.items():
        with check(f"a key with {name}"):
            data = suite.noise(1000)
            suite.upload(suite.file("keyed", data), key)
            same_bytes(suite.stored(key), data, "object")
            holds(key in suite.keys(), "the key is not in the bucket's list")
    for name, key in REFUSED_KEYS.items():
        with check(f"a key with {name} is refused before any request"):
            suite.relay.clear()
            suite.ferry("upload", suite.file("keyed", b"x"), f"obs://{BUCKET}/{key}").exits(2)
            same(len(suite.relay.record), 0, "requests")
    with check("a key with characters to encode, in several parts"):
        key, data = "a b+c%/é&\"'", suite.noise(PART + 1)
        suite.upload(suite.file("keyed", data), key)
        same_bytes(suite.stored(key), data, "object")


def overwriting(suite, check):
    first, second = suite.noise(1000), suite.noise(PART + 1000)
    with check("an existing object is kept without --force"):
        suite.upload(suite.file("first", first), "kept")
        refused = suite.ferry("upload", suite.file("second", second), f"obs://{BUCKET}/kept").exits(
            2
        )
        holds("--force" in refused.err, f"no hint about --force: {refused.err}")
        same_bytes(suite.stored("kept"), first, "object")
    with check("--force replaces it"):
        suite.upload(suite.file("second", second), "kept", "--force")
        same_bytes(suite.stored("kept"), second, "object")


def going_on(suite, check):
    whole = 7
    data = suite.noise((whole - 1) * PART + 777)
    path = suite.file("long", data)

    def stopped(name, signal_sent, parts_before, reach, parts_after):
        with check(name):
            key = name.replace(" ", "-")
            command = ["upload", path, f"obs://{BUCKET}/{key}"]
            code, err, before = suite.interrupt(signal_sent, command, reach)
            same(
                code, 130 if signal_sent == signal.SIGINT else -signal.SIGKILL, f"exit code ({err})"
            )
            same(before, parts_before, "parts before the interruption")
            suite.ferry(*command).ok()
            same(len(suite.relay.parts()), parts_after, "parts sent afterwards")
            same_bytes(suite.stored(key), data, "object")
            same([u["Key"] for u in suite.open_uploads() if u["Key"] == key], [], "open uploads")

    def after(parts):
        return lambda relay: setattr(relay, "most_parts", parts)

    def completing(relay):
        relay.hold_complete = True

    def completed(relay):
        relay.lose_complete = True

    kill = signal.SIGKILL
    stopped("kill -9 in the middle, and resume", kill, 3, after(3), whole - 3)
    stopped("kill -9 before the last part, and resume", kill, whole - 1, after(whole - 1), 1)
    stopped("kill -9 before completing, and resume", kill, whole, completing, 0)
    stopped("kill -9 after completing, before the answer", kill, whole, completed, 0)
    stopped("SIGINT in the middle, and resume", signal.SIGINT, 3, after(3), whole - 3)


def uploads(suite, check):
    data = suite.noise(3 * PART)
    target = f"obs://{BUCKET}/left behind"
    command = ["upload", suite.file("left", data), target]

    def two_parts(relay):
        relay.most_parts = 2

    with check("uploads list shows an incomplete upload"):
        suite.interrupt(signal.SIGKILL, command, two_parts)
        listed = suite.ferry("uploads", "list", BUCKET, "--json").ok()
        known = [u["UploadId"] for u in suite.open_uploads() if u["Key"] == "left behind"]
        same(len(known), 1, "uploads that boto3 lists")
        holds(known[0] in listed.out, f"{known[0]} is not in {listed.out}")
    with check("uploads abort deletes it"):
        shutil.rmtree(suite.state, ignore_errors=True)
        suite.ferry("uploads", "abort", BUCKET, "--all").ok()
        same(suite.open_uploads(), [], "open uploads")
    with check("after an abort the same command starts over"):
        suite.ferry(*command).ok()
        same_bytes(suite.stored("left behind"), data, "object")


def imports(suite, check):
    again = ["import", DISK, "--name", "tree", "--bucket", BUCKET, "--register", "none", *SYSTEM]
    local = suite.files / "back.zvhd2"
    with check("import --register none to ZVHD2"):
        suite.ferry(*again).ok()
        local.write_bytes(suite.stored("tree.zvhd2"))
        run([IMGFERRY, "verify", DISK, local]).ok()
    with check("the ZVHD2 object holds the disk, as qemu-img sees it"):
        if not shutil.which("qemu-img"):
            raise Skip("qemu-img is not installed")
        raw = suite.files / "back.raw"
        run([IMGFERRY, "convert", local, raw]).ok()
        run(["qemu-img", "compare", "-F", "raw", "-f", "qcow2", DISK, raw]).ok()
    with check("verify DISK obs://BUCKET/KEY"):
        suite.ferry("verify", DISK, f"obs://{BUCKET}/tree.zvhd2").ok()
    with check("verify finds another disk different"):
        other = suite.file("other.raw", suite.noise(MIB))
        suite.ferry("verify", other, f"obs://{BUCKET}/tree.zvhd2").exits(5)
    with check("a disk that is already stored is not uploaded again"):
        suite.relay.clear()
        suite.ferry(*again).ok()
        sent = sum(r.length for r in suite.relay.record if r.method == "PUT")
        holds(sent < 100_000, f"{sent} bytes sent")
    raw_import(suite, check)


def raw_import(suite, check):
    zero = bytes(4 * PART)
    disk = suite.noise(PART) + zero + suite.noise(PART) + zero + suite.noise(MIB)
    path = suite.file("disk.raw", disk)
    command = ["import", path, "--name", "raw", "--bucket", BUCKET, "--to", "raw"]
    command += ["--register", "none", *SYSTEM]
    with check("import --to raw copies parts of zeros on the server"):
        suite.relay.clear()
        suite.ferry(*command).ok()
        holds(len(suite.relay.copies()) >= 6, f"{len(suite.relay.copies())} parts copied")
        sent = sum(r.length for r in suite.relay.parts())
        holds(sent < 5 * PART, f"{sent} bytes of parts sent")
        same_bytes(suite.stored("raw.raw"), disk, "object")
    with check("the bitmap next to the raw object matches it"):
        bitmap = suite.files / "disk.mf"
        bitmap.write_bytes(suite.stored("raw.mf"))
        run([IMGFERRY, "bitmap", "--check", path, bitmap]).ok()
    with check("import --to raw leaves no helper objects and no open uploads"):
        same([k for k in suite.keys() if "zero" in k and k != "zeros"], [], "objects")
        same(suite.open_uploads(), [], "open uploads")


def refusals(suite, check):
    path = suite.file("refused", b"refused")

    def refused(name, expected, *words, target=f"obs://{BUCKET}/refused", **env):
        with check(name):
            suite.relay.clear()
            done = suite.ferry("upload", path, target, **env).exits(expected)
            errors = [line for line in done.err.splitlines() if line.startswith("error")]
            same(len(errors), 1, f"lines that begin with error in {done.err!r}")
            holds(any(w in done.err.lower() for w in words), f"none of {words} in {done.err!r}")
            holds(len(suite.relay.record) <= 4, f"{len(suite.relay.record)} requests for a refusal")
            holds("wrong-secret" not in done.err, "the secret is shown")

    refused("a wrong secret key gives one clear error", 3, "key", HW_SECRET_KEY="wrong-secret")
    refused("a wrong access key gives one clear error", 3, "key", HW_ACCESS_KEY="nobody")
    refused(
        "a missing bucket gives one clear error",
        3,
        "no-such-bucket",
        target="obs://no-such-bucket/a",
    )
    with check("a missing object gives one clear error"):
        done = suite.ferry("verify", DISK, f"obs://{BUCKET}/nothing").exits(3)
        holds("nothing" in done.err, done.err)
    with check("config check --write"):
        if "--write" not in run([IMGFERRY, "config", "check", "--help"]).out:
            raise Skip("this imgferry has no config check --write")
        before = suite.keys()
        done = suite.ferry("config", "check", "--write", "--bucket", BUCKET, "--json")
        report(done)
        same(suite.keys(), before, "objects in the bucket afterwards")
        same(suite.open_uploads(), [], "open uploads afterwards")


def report(done):
    """Only the checks of the storage count: there is no image service here."""
    found = {check.get("check", check.get("name")): check for check in done.json()["checks"]}
    holds(found, "no checks reported")
    bad = {
        n: c
        for n, c in found.items()
        if n
        and ("bucket" in n or "stor" in n)
        and c.get("result", c.get("status")) in ("failed", "error")
    }
    same(bad, {}, "storage checks that failed")


def wire(suite, check):
    """What all requests have in common: those of an upload in parts, and of one byte."""
    suite.relay.clear()
    with check("requests have a length and a signature, and no SDK parameters"):
        suite.upload(suite.file("wire", suite.noise(PART + 1)), "wire-parts")
        suite.upload(suite.file("wire", b"x"), "wire-one")
        holds(suite.relay.record, "no requests seen")
        for request in suite.relay.record:
            where = f"{request.method} {request.path} {request.query}"
            holds("authorization" in request.headers, f"{where} has no signature")
            holds("x-id" not in request.query, f"{where} has x-id")
            if request.method in ("PUT", "POST"):
                holds("content-length" in request.headers, f"{where} has no Content-Length")
            chunked = request.headers.get("content-encoding", "") + request.headers.get(
                "transfer-encoding", ""
            )
            holds("chunked" not in chunked, f"{where} is sent in chunks")
