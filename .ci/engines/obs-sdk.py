#!/usr/bin/env python3
"""esdk-obs-python, Huawei's SDK for the object storage, as a client of the sandbox."""

import hashlib
import random
import sys
import urllib.request

sys.path.insert(0, __file__.rsplit("/", 1)[0] + "/lib")
from engine import Engine, holds, libraries, same, same_bytes
from sandbox import Sandbox

VERSION = libraries("esdk-obs-python==3.26.6")
import obs  # noqa: E402

MIB = 1 << 20
BUCKET = "by-sdk"
KEY = "größe & +%41/a b"


def ok(answer):
    holds(answer.status < 300, f"{answer.status} {answer.errorCode}: {answer.errorMessage}")
    return answer


def client(cloud, secret=None, signature="v4"):
    return obs.ObsClient(
        access_key_id=cloud.access_key,
        secret_access_key=secret or cloud.secret_key,
        server=cloud.obs,
        region=cloud.region,
        signature=signature,
        path_style=True,
        max_retry_count=0,
        timeout=60,
    )


def read(sdk, key, **more):
    return ok(sdk.getObject(BUCKET, key, loadStreamInMemory=True, **more)).body.buffer


def buckets(sdk, check, cloud):
    with check("createBucket, headBucket, listBuckets"):
        ok(sdk.createBucket(BUCKET, location=cloud.region))
        ok(sdk.headBucket(BUCKET))
        holds(BUCKET in [b.name for b in ok(sdk.listBuckets()).body.buckets], "not listed")
        same(sdk.headBucket("not-there").status, 404, "status for a bucket that is not there")
    with check("getBucketLocation, getBucketMetadata"):
        ok(sdk.getBucketLocation(BUCKET))
        ok(sdk.getBucketMetadata(BUCKET))
    with check("getBucketLocation returns the region"):
        same(ok(sdk.getBucketLocation(BUCKET)).body.location, cloud.region, "location")


def objects(sdk, check):
    data = random.Random(1).randbytes(100_000)
    with check("putContent, getObject, getObjectMetadata, headObject"):
        answer = ok(sdk.putContent(BUCKET, KEY, data, metadata={"who": "sdk"}))
        same(answer.body.etag.strip('"'), hashlib.md5(data).hexdigest(), "ETag")
        same_bytes(read(sdk, KEY), data, "object")
        told = ok(sdk.getObjectMetadata(BUCKET, KEY))
        same(int(told.body.contentLength), len(data), "length")
        same(
            dict(told.header).get("who") or dict(told.header).get("x-amz-meta-who"),
            "sdk",
            "metadata",
        )
        ok(sdk.headObject(BUCKET, KEY))
    with check("getObject reads a range"):
        part = read(sdk, KEY, headers=obs.GetObjectHeader(range="10-19"))
        same(part, data[10:20], "range")
    with check("putFile, copyObject"):
        ok(sdk.putFile(BUCKET, "file", __file__))
        ok(sdk.copyObject(BUCKET, "file", BUCKET, "copy"))
        with open(__file__, "rb") as source:
            same_bytes(read(sdk, "copy"), source.read(), "copy")
    with check("listObjects with prefix, delimiter and pages"):
        for name in ("d/1", "d/2", "e"):
            ok(sdk.putContent(BUCKET, name, ""))
        found, marker = [], None
        while True:
            page = ok(sdk.listObjects(BUCKET, marker=marker, max_keys=2)).body
            found += [entry.key for entry in page.contents]
            if not page.is_truncated:
                break
            marker = page.next_marker or found[-1]
        same(found, sorted(["copy", "d/1", "d/2", "e", "file", KEY], key=str.encode), "keys")
        page = ok(sdk.listObjects(BUCKET, delimiter="/", prefix="d")).body
        same([p.prefix for p in page.commonPrefixs], ["d/"], "prefixes")
        entry = ok(sdk.listObjects(BUCKET, prefix="d/1")).body.contents[0]
        same(entry.etag.strip('"'), hashlib.md5(b"").hexdigest(), "ETag in the list")
        same(entry.storageClass, "STANDARD", "class in the list")
    with check("createSignedUrl works without keys"):
        url = sdk.createSignedUrl("GET", BUCKET, "file").signedUrl
        with open(__file__, "rb") as source:
            same_bytes(urllib.request.urlopen(url, timeout=30).read(), source.read(), "body")


def parts(sdk, check, work):
    data = random.Random(2).randbytes(13 * MIB + 5)
    with check("initiateMultipartUpload, uploadPart, copyPart, listParts, completeMultipartUpload"):
        ok(sdk.putContent(BUCKET, "source", data[: 6 * MIB]))
        upload = ok(sdk.initiateMultipartUpload(BUCKET, "parts")).body.uploadId
        place = (BUCKET, "parts")
        first = ok(sdk.copyPart(*place, 1, upload, f"{BUCKET}/source")).body.etag
        second = ok(sdk.uploadPart(*place, 2, upload, data[6 * MIB :], isAttachMd5=True)).body.etag
        same([p.partNumber for p in ok(sdk.listParts(*place, upload)).body.parts], [1, 2], "parts")
        done = [obs.CompletePart(partNum=1, etag=first), obs.CompletePart(partNum=2, etag=second)]
        ok(
            sdk.completeMultipartUpload(
                *place, upload, obs.CompleteMultipartUploadRequest(parts=done)
            )
        )
        same_bytes(read(sdk, "parts"), data, "object")
    with check("listMultipartUploads, abortMultipartUpload"):
        upload = ok(sdk.initiateMultipartUpload(BUCKET, "open")).body.uploadId
        listed = ok(sdk.listMultipartUploads(BUCKET)).body.upload
        same([u.uploadId for u in listed], [upload], "open uploads")
        ok(sdk.abortMultipartUpload(BUCKET, "open", upload))
        same(len(ok(sdk.listMultipartUploads(BUCKET)).body.upload), 0, "open uploads")
    with check("uploadFile and downloadFile, in parts, with checkpoints"):
        source, back = work / "source", work / "back"
        source.write_bytes(data)
        ok(
            sdk.uploadFile(
                BUCKET,
                "by-uploadFile",
                str(source),
                5 * MIB,
                3,
                True,
                str(work / "up"),
                checkSum=True,
            )
        )
        ok(
            sdk.downloadFile(
                BUCKET, "by-uploadFile", str(back), 5 * MIB, 3, True, str(work / "down")
            )
        )
        same_bytes(back.read_bytes(), data, "file")


def refusals(sdk, check, cloud):
    with check("unsupported requests are refused and change nothing"):
        ok(sdk.putContent(BUCKET, "kept", b"kept"))
        calls = {
            "setObjectMetadata": lambda: sdk.setObjectMetadata(BUCKET, "kept", {"a": "b"}),
            "appendObject": lambda: sdk.appendObject(
                BUCKET, "kept", obs.AppendObjectContent(content="x", position=4)
            ),
            "modifyFile": lambda: sdk.modifyFile(BUCKET, "kept", 0, "x"),
            "truncateFile": lambda: sdk.truncateFile(BUCKET, "kept", 1),
            "renameFile": lambda: sdk.renameFile(BUCKET, "kept", "renamed"),
            "getBucketStorageInfo": lambda: sdk.getBucketStorageInfo(BUCKET),
            "getBucketQuota": lambda: sdk.getBucketQuota(BUCKET),
        }
        for name, call in calls.items():
            status = call().status
            holds(status in (400, 404, 405, 501), f"{name} was answered {status}")
            same(read(sdk, "kept"), b"kept", f"object after {name}")
    with check("a wrong secret key is refused with SignatureDoesNotMatch"):
        wrong = client(cloud, secret="wrong").listObjects(BUCKET)
        same((wrong.status, wrong.errorCode), (403, "SignatureDoesNotMatch"), "answer")
    with check("signatures of version 2 are also checked"):
        ok(client(cloud, signature="v2").listObjects(BUCKET))
        same(client(cloud, "wrong", "v2").listObjects(BUCKET).status, 403, "status for a wrong key")
    with check("a bucket that is not empty is not deleted"):
        same(sdk.deleteBucket(BUCKET).errorCode, "BucketNotEmpty", "code")


def deleting(sdk, check):
    with check("deleteObject, deleteObjects, deleteBucket"):
        ok(sdk.deleteObject(BUCKET, KEY))
        keys = [entry.key for entry in ok(sdk.listObjects(BUCKET)).body.contents]
        request = obs.DeleteObjectsRequest(
            quiet=False, objects=[obs.Object(key=key) for key in keys]
        )
        same(len(ok(sdk.deleteObjects(BUCKET, request)).body.deleted), len(keys), "deleted")
        ok(sdk.deleteBucket(BUCKET))


with Engine("obs-sdk", "esdk-obs-python against the sandbox") as judge:
    cloud = Sandbox(judge)
    judge.ready(VERSION)
    judge.limits["getBucketLocation returns the region"] = (
        "with signature version 4 the SDK looks for LocationConstraint inside S3's element "
        "of that name"
    )
    sdk = client(cloud)
    buckets(sdk, judge.check, cloud)
    objects(sdk, judge.check)
    parts(sdk, judge.check, judge.work)
    refusals(sdk, judge.check, cloud)
    deleting(sdk, judge.check)
