#!/usr/bin/env python3
"""s3cmd, rclone, the aws tool and boto3 as clients of imgferry's sandbox."""

import base64
import hashlib
import random
import sys
import urllib.request

sys.path.insert(0, __file__.rsplit("/", 1)[0] + "/lib")
from engine import Engine, debian, holds, run, same, same_bytes, venv, version
from sandbox import Sandbox
from suite import PART, Storage

NOISE = random.Random(7)
FILES = {
    "empty": b"",
    "one byte": b"x",
    "sub/größe & +%41.bin": NOISE.randbytes(1000),
    "sub/several parts": NOISE.randbytes(3 * PART + 7),
}


def folder(judge):
    place = judge.work / "tree"
    for name, data in FILES.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return place


def contents(place):
    return {str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file()}


def same_tree(place):
    found = contents(place)
    same(sorted(found), sorted(FILES), "files")
    for name, data in FILES.items():
        same_bytes(found[name], data, name)


def s3cmd(judge, cloud, tools, tree):
    conf = judge.work / "s3cmd.conf"
    conf.write_text(
        f"[default]\naccess_key = {cloud.access_key}\nsecret_key = {cloud.secret_key}\n"
        f"host_base = {cloud.obs_host}\nhost_bucket = {cloud.obs_host}\n"
        f"use_https = False\nbucket_location = {cloud.region}\nsignature_v2 = False\n"
        "multipart_chunk_size_mb = 5\n"
    )

    def tool(*words):
        return run([tools / "s3cmd", "-c", conf, "--no-progress", *words]).ok()

    with judge.check("s3cmd mb and sync upload a tree"):
        tool("mb", "s3://by-s3cmd")
        same(tool("sync", f"{tree}/", "s3://by-s3cmd/").out.count("upload:"), len(FILES), "uploads")
    with judge.check("a second s3cmd sync uploads nothing"):
        same(tool("sync", f"{tree}/", "s3://by-s3cmd/").out.count("upload:"), 0, "uploads")
    with judge.check("s3cmd sync brings the tree back, byte for byte"):
        back = judge.work / "s3cmd"
        back.mkdir()
        tool("sync", "s3://by-s3cmd/", f"{back}/")
        same_tree(back)
    with judge.check("s3cmd ls --list-md5 shows MD5s"):
        out = tool("ls", "-r", "--list-md5", "s3://by-s3cmd/").out
        holds(hashlib.md5(b"x").hexdigest() in out, out)
    with judge.check("s3cmd multipart lists an open upload, and abortmp aborts it"):
        client = storage(cloud).client()
        upload = client.create_multipart_upload(Bucket="by-s3cmd", Key="open")["UploadId"]
        holds(upload in tool("multipart", "s3://by-s3cmd").out, "not listed")
        tool("abortmp", "s3://by-s3cmd/open", upload)
        holds(upload not in tool("multipart", "s3://by-s3cmd").out, "still listed")
    with judge.check("s3cmd cp, mv, del and rb"):
        tool("cp", "s3://by-s3cmd/one byte", "s3://by-s3cmd/copy")
        tool("mv", "s3://by-s3cmd/copy", "s3://by-s3cmd/moved")
        holds("moved" in tool("ls", "s3://by-s3cmd").out, "not moved")
        tool("del", "-r", "-f", "s3://by-s3cmd/")
        tool("rb", "s3://by-s3cmd")


def rclone(judge, cloud, tree):
    env = {
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_CONFIG_R_TYPE": "s3",
        "RCLONE_CONFIG_R_PROVIDER": "Other",
        "RCLONE_CONFIG_R_FORCE_PATH_STYLE": "true",
        "RCLONE_CONFIG_R_ACCESS_KEY_ID": cloud.access_key,
        "RCLONE_CONFIG_R_ENDPOINT": cloud.obs,
        "RCLONE_CONFIG_R_SECRET_ACCESS_KEY": cloud.secret_key,
        "RCLONE_CONFIG_R_REGION": cloud.region,
        "RCLONE_RETRIES": "1",
        "RCLONE_LOW_LEVEL_RETRIES": "2",
        "RCLONE_S3_UPLOAD_CUTOFF": "5M",
        "RCLONE_S3_CHUNK_SIZE": "5M",
    }

    def tool(*words):
        return run(["rclone", *words], env).ok()

    with judge.check("rclone copies a tree"):
        tool("copy", tree, "r:by-rclone")
    with judge.check("rclone check downloads the tree and finds no difference"):
        tool("check", "--download", tree, "r:by-rclone")
    with judge.check("rclone md5sum gives the MD5s of objects in one piece"):
        lines = dict(
            reversed(line.split("  ", 1)) for line in tool("md5sum", "r:by-rclone").out.splitlines()
        )
        for name in ("empty", "one byte", "sub/größe & +%41.bin"):
            same(lines.get(name), hashlib.md5(FILES[name]).hexdigest(), name)
    with judge.check("a second rclone sync transfers nothing"):
        same("Copied" in tool("sync", "-v", tree, "r:by-rclone").err, False, "copied")
    with judge.check("rclone purge leaves no bucket"):
        tool("purge", "r:by-rclone")
        holds("by-rclone" not in tool("lsd", "r:").out, "create the bucket")


def aws(judge, cloud, tools, tree):
    env = {
        "AWS_ACCESS_KEY_ID": cloud.access_key,
        "AWS_SECRET_ACCESS_KEY": cloud.secret_key,
        "AWS_DEFAULT_REGION": cloud.region,
        "AWS_ENDPOINT_URL": cloud.obs,
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }

    def tool(*words):
        return run([tools / "aws", *words], env).ok()

    with judge.check("aws s3 sync uploads a tree, and nothing the second time"):
        tool("s3", "mb", "s3://by-aws")
        # Alone: botocore misreads what follows on a connection when a server answers an empty
        # body without 100 Continue, which it may.
        tool("s3", "cp", tree / "empty", "s3://by-aws/empty")
        out = tool("s3", "sync", "--size-only", tree, "s3://by-aws").out
        same(out.count("upload:"), len(FILES) - 1, "uploads")
        same(tool("s3", "sync", tree, "s3://by-aws").out.count("upload:"), 0, "uploads")
    with judge.check("aws s3 cp brings the tree back, byte for byte"):
        tool("s3", "cp", "--recursive", "s3://by-aws", judge.work / "aws")
        same_tree(judge.work / "aws")
    with judge.check("aws s3 rb --force"):
        tool("s3", "rb", "--force", "s3://by-aws")


def storage(cloud, **keys):
    port = int(cloud.obs_host.rpartition(":")[2])
    keys = {"access_key": cloud.access_key, "secret_key": cloud.secret_key, **keys}
    return Storage(port, region=cloud.region, **keys)


def content_md5(request, **_):
    for name in ("x-amz-checksum-crc32", "x-amz-sdk-checksum-algorithm"):
        if name in request.headers:
            del request.headers[name]
    digest = hashlib.md5(request.body).digest()
    request.headers["Content-MD5"] = base64.b64encode(digest).decode()


def boto3(judge, cloud):
    client = storage(cloud).client()
    data = FILES["sub/several parts"]

    def code(call):
        try:
            call()
        except client.exceptions.ClientError as error:
            return error.response["Error"]["Code"]
        return "no error"

    with judge.check("boto3 puts, gets, copies and deletes"):
        client.create_bucket(Bucket="by-boto3")
        same(
            client.put_object(Bucket="by-boto3", Key="a", Body=b"abc")["ETag"],
            f'"{hashlib.md5(b"abc").hexdigest()}"',
            "ETag",
        )
        client.copy_object(
            Bucket="by-boto3", Key="b", CopySource={"Bucket": "by-boto3", "Key": "a"}
        )
        same(client.get_object(Bucket="by-boto3", Key="b")["Body"].read(), b"abc", "copy")
        client.delete_object(Bucket="by-boto3", Key="b")
        same(code(lambda: client.get_object(Bucket="by-boto3", Key="b")), "NoSuchKey", "error")
    with judge.check("boto3 uploads in parts, out of order, and reads a range"):
        upload = client.create_multipart_upload(Bucket="by-boto3", Key="parts")["UploadId"]
        place = {"Bucket": "by-boto3", "Key": "parts", "UploadId": upload}
        pieces = [data[i : i + PART] for i in range(0, len(data), PART)]
        done = {}
        for number in reversed(range(1, len(pieces) + 1)):
            answer = client.upload_part(PartNumber=number, Body=pieces[number - 1], **place)
            done[number] = {"PartNumber": number, "ETag": answer["ETag"]}
        same(len(client.list_parts(**place)["Parts"]), len(pieces), "parts")
        client.complete_multipart_upload(
            MultipartUpload={"Parts": [done[n] for n in sorted(done)]}, **place
        )
        same_bytes(client.get_object(Bucket="by-boto3", Key="parts")["Body"].read(), data, "object")
        part = client.get_object(Bucket="by-boto3", Key="parts", Range="bytes=100-199")
        same_bytes(part["Body"].read(), data[100:200], "range")
    with judge.check("boto3 lists in pages, with a delimiter"):
        for name in ("d/1", "d/2", "e"):
            client.put_object(Bucket="by-boto3", Key=name, Body=b"")
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket="by-boto3", PaginationConfig={"PageSize": 2}
        )
        keys = [e["Key"] for page in pages for e in page.get("Contents", [])]
        same(keys, ["a", "d/1", "d/2", "e", "parts"], "keys")
        answer = client.list_objects_v2(Bucket="by-boto3", Delimiter="/")
        same([p["Prefix"] for p in answer["CommonPrefixes"]], ["d/"], "prefixes")
    with judge.check("boto3's presigned URL works without keys"):
        url = client.generate_presigned_url("get_object", {"Bucket": "by-boto3", "Key": "a"})
        same(urllib.request.urlopen(url, timeout=30).read(), b"abc", "body")
    with judge.check("boto3 gets the error codes of S3"):
        wrong = storage(cloud, secret_key="wrong").client()
        same(
            code(lambda: wrong.list_objects_v2(Bucket="by-boto3")),
            "SignatureDoesNotMatch",
            "wrong secret",
        )
        nobody = storage(cloud, access_key="nobody").client()
        same(
            code(lambda: nobody.list_objects_v2(Bucket="by-boto3")),
            "InvalidAccessKeyId",
            "unknown key",
        )
        same(code(lambda: client.list_objects_v2(Bucket="not-there")), "NoSuchBucket", "no bucket")
        same(code(lambda: client.delete_bucket(Bucket="by-boto3")), "BucketNotEmpty", "full bucket")
    with judge.check("boto3 deletes many objects at once, with the Content-MD5 that OBS requires"):
        # Since 1.36 it sends a checksum in its place, which OBS does not know.
        client.meta.events.register("before-sign.s3.DeleteObjects", content_md5)
        keys = [{"Key": e["Key"]} for e in client.list_objects_v2(Bucket="by-boto3")["Contents"]]
        same(
            len(client.delete_objects(Bucket="by-boto3", Delete={"Objects": keys})["Deleted"]),
            len(keys),
            "deleted",
        )
        client.delete_bucket(Bucket="by-boto3")


with Engine("s3-clients", "s3cmd, rclone, aws and boto3 against the sandbox") as judge:
    debian("rclone")
    tools = venv("s3cmd==2.4.0", "awscli==1.46.3")
    cloud = Sandbox(judge)
    rclone_version = run(["rclone", "version"]).ok().out.split()[1]
    judge.ready(version(tools, "s3cmd", "awscli"), f"rclone {rclone_version}", "boto3 1.44.8")
    tree = folder(judge)
    s3cmd(judge, cloud, tools, tree)
    rclone(judge, cloud, tree)
    aws(judge, cloud, tools, tree)
    boto3(judge, cloud)
