#!/usr/bin/env python3
"""huaweicloudsdkims, Huawei's SDK for the image service: every call of it, against the sandbox."""

import inspect
import sys
import time

sys.path.insert(0, __file__.rsplit("/", 1)[0] + "/lib")
from engine import Engine, holds, libraries, run, same
from engine import IMGFERRY
from sandbox import DISK, SYSTEM, Sandbox

VERSION = libraries("huaweicloudsdkims==3.1.219", "huaweicloudsdkcore==3.1.219")
import huaweicloudsdkims.v2 as v2  # noqa: E402
from huaweicloudsdkcore.auth.credentials import BasicCredentials  # noqa: E402
from huaweicloudsdkcore.exceptions.exceptions import ServiceResponseException  # noqa: E402

BUCKET = "images"
NOT_CALLS = {"add_file_logger", "add_stream_logger", "call_api", "close", "deserialize"}


class Sdk:
    """The SDK's client, with a note of which calls were made."""

    def __init__(self, cloud):
        keys = BasicCredentials(cloud.access_key, cloud.secret_key, cloud.project)
        self.client = (
            v2.ImsClient.new_builder().with_credentials(keys).with_endpoint(cloud.ims).build()
        )
        self.made = set()

    def call(self, name, body=None, /, **fields):
        kind = getattr(v2, "".join(word.capitalize() for word in name.split("_")) + "Request")
        if body is not None:
            fields["body"] = body
        self.made.add(name)
        try:
            return getattr(self.client, name)(kind(**fields))
        except ServiceResponseException as error:
            raise AssertionError(
                f"{name}: {error.status_code} {error.error_code} {error.error_msg}"
            ) from error

    def refused(self, name, body=None, /, **fields):
        try:
            self.call(name, body, **fields)
        except AssertionError as error:
            return str(error)
        raise AssertionError(f"{name} was not refused")

    def all_calls(self):
        """Methods that have a request of their own."""
        return {
            name
            for name, _ in inspect.getmembers(v2.ImsClient, inspect.isfunction)
            if hasattr(v2.ImsClient, f"_{name}_http_info") and name not in NOT_CALLS
        }

    def job(self, answer):
        """Follows a job to its end and returns it."""
        end = time.monotonic() + 120
        while True:
            job = self.call("show_job", job_id=answer.job_id)
            if job.status == "SUCCESS":
                return job
            holds(job.status in ("INIT", "RUNNING"), f"job: {job.status} {job.fail_reason}")
            holds(time.monotonic() < end, "the job does not end")
            time.sleep(0.2)

    def image(self, answer):
        return self.job(answer).entities.image_id

    def find(self, image):
        found = self.call("list_images", id=image).images
        same([i.id for i in found], [image], "images with this id")
        return found[0]


def releases(sdk, check):
    with check("list_versions, show_version"):
        versions = [
            v["id"] if isinstance(v, dict) else v.id for v in sdk.call("list_versions").versions
        ]
        holds("v2" in versions or "v2.0" in versions, f"versions: {versions}")
        sdk.call("show_version", version="v2")
    with check("show_image_quota, list_os_versions"):
        same(sdk.call("show_image_quota").quotas.resources[0].quota, 50, "quota")
        platforms = {entry.platform for entry in sdk.call("list_os_versions").body}
        holds("Debian" in platforms, f"{platforms}")
    with check("the four schemas"):
        for name in ("image", "images", "member", "members"):
            call = {
                "image": "glance_show_image_schemas",
                "images": "glance_list_image_schemas",
                "member": "glance_show_image_member_schemas",
                "members": "glance_list_image_member_schemas",
            }
            same(sdk.call(call[name]).name, name, "schema")


def making(sdk, check, made):
    url = f"{BUCKET}:tree.zvhd2"
    quick = {"os_version": SYSTEM, "image_url": url, "min_disk": 40}
    with check("import_image_quick, show_job, show_job_progress"):
        body = v2.QuickImportImageByFileRequestBody(
            name="quick", image_tags=[v2.ResourceTag("a", "b")], **quick
        )
        answer = sdk.call("import_image_quick", body)
        made["quick"] = sdk.image(answer)
        same(sdk.find(made["quick"]).status, "active", "status")
        same(sdk.call("show_job_progress", job_id=answer.job_id).status, "SUCCESS", "status")
    with check("import_image_quick_in_safe_mode"):
        body = v2.QuickImportImageByFileRequestBody(name="quick-safe", **quick)
        sdk.image(sdk.call("import_image_quick_in_safe_mode", body))
    for call in ("create_image", "create_image_in_safe_mode"):
        with check(call):
            body = v2.CreateImageRequestBody(
                name=call, os_version=SYSTEM, image_url=f"{BUCKET}:tree.qcow2", min_disk=40
            )
            made["common"] = sdk.image(sdk.call(call, body))
            same(sdk.find(made["common"]).status, "active", "status")
            body = v2.CreateImageRequestBody(name=f"{call}-of-server", instance_id="sandbox-server")
            sdk.image(sdk.call(call, body))
    for call in ("create_data_image", "create_data_image_in_safe_mode"):
        with check(call):
            body = v2.CreateDataImageRequestBody(
                name=call, os_type="Linux", image_url=f"{BUCKET}:tree.qcow2", min_disk=40
            )
            same(sdk.find(sdk.image(sdk.call(call, body))).virtual_env_type, "DataImage", "type")
    with check("create_whole_image"):
        body = v2.CreateWholeImageRequestBody(
            name="whole", instance_id="sandbox-server", vault_id="vault"
        )
        sdk.job(sdk.call("create_whole_image", body))
    for call in ("copy_image_in_region", "copy_image_in_region_in_safe_mode"):
        with check(call):
            copy = sdk.image(
                sdk.call(call, v2.CopyImageInRegionRequestBody(name=call), image_id=made["quick"])
            )
            same(sdk.find(copy).name, call, "name")
    with check("copy_image_cross_region"):
        body = v2.CopyImageCrossRegionRequestBody(
            agency_name="agency", name="far", project_name="far-1", region="far-1"
        )
        sdk.job(sdk.call("copy_image_cross_region", body, image_id=made["quick"]))


def exporting(sdk, check, cloud, made):
    for call in ("export_image", "export_image_in_safe_mode"):
        with check(f"{call}: the object is the disk that was imported"):
            key = f"{call}.zvhd2"
            body = v2.ExportImageRequestBody(bucket_url=f"{BUCKET}:{key}", is_quick_export=True)
            sdk.job(sdk.call(call, body, image_id=made["quick"]))
            cloud.ferry("verify", DISK, f"obs://{BUCKET}/{key}").ok()


def looking(sdk, check, made):
    with check("list_images with filters, order and pages"):
        for sort, reverse in (("asc", False), ("desc", True)):
            images = sdk.call(
                "list_images", imagetype="private", sort_key="name", sort_dir=sort
            ).images
            names = [image.name for image in images]
            same(names, sorted(names, reverse=reverse), "names")
        first = sdk.call("list_images", imagetype="private", limit=2).images
        second = sdk.call("list_images", imagetype="private", limit=2, marker=first[-1].id).images
        same(len({image.id for image in first + second}), 4, "different images on two pages")
        same([i.name for i in sdk.call("list_images", name="quick").images], ["quick"], "names")
        same(sdk.call("list_images", platform="CentOS", imagetype="private").images, [], "CentOS")
    with check("update_image"):
        body = [v2.UpdateImageRequestBody("replace", "/name", "renamed")]
        same(sdk.call("update_image", body, image_id=made["common"]).name, "renamed", "name")
    with check("invalid requests are refused with the service's own codes"):
        body = v2.QuickImportImageByFileRequestBody(
            name="no", os_version=SYSTEM, image_url=f"{BUCKET}:not-there", min_disk=40
        )
        holds("IMG." in sdk.refused("import_image_quick", body), "no IMG code")
        holds("404" in sdk.refused("glance_show_image", image_id="not-there"), "not 404")


def tags(sdk, check, made):
    image = made["quick"]

    def present():
        return {tag.key: tag.value for tag in sdk.call("list_image_tags", image_id=image).tags}

    with check("add_image_tag, list_image_tags, delete_image_tag"):
        sdk.call(
            "add_image_tag", v2.AddImageTagRequestBody(v2.ResourceTag("one", "1")), image_id=image
        )
        same(present().get("one"), "1", "tag")
        sdk.call("delete_image_tag", image_id=image, key="one")
        holds("one" not in present(), "the tag is there")
    with check("batch_add_or_delete_tags, batch_delete_tags"):
        three = [v2.ResourceTag(f"k{n}", "v") for n in range(3)]
        sdk.call(
            "batch_add_or_delete_tags",
            v2.BatchAddOrDeleteTagsRequestBody("create", three),
            image_id=image,
        )
        sdk.call(
            "batch_add_or_delete_tags",
            v2.BatchAddOrDeleteTagsRequestBody("delete", three[:1]),
            image_id=image,
        )
        sdk.call("batch_delete_tags", v2.BatchDeleteTagsRequestBody(three[1:2]), image_id=image)
        same({key for key in present() if key.startswith("k")}, {"k2"}, "tags")
    with check("list_images_tags, list_image_by_tags"):
        keys = {tag.key for tag in sdk.call("list_images_tags").tags}
        holds({"a", "k2"} <= keys, f"tags {keys}")
        body = v2.ListImageByTagsRequestBody(
            action="filter", tags=[v2.Tags("k2", ["v"])], limit="10", offset="0"
        )
        found = sdk.call("list_image_by_tags", body).resources
        same([r.resource_id for r in found], [image], "images")
        body = v2.ListImageByTagsRequestBody(action="count", tags=[v2.Tags("k2", ["v"])])
        same(sdk.call("list_image_by_tags", body).total_count, 1, "count")
    with check("create_or_update_tags, list_tags"):
        sdk.call(
            "create_or_update_tags", v2.AddOrUpdateTagsRequestBody(image_id=image, tag="text.old")
        )
        holds("text.old" in sdk.call("list_tags", id=image).tags, "not listed")
        same(sdk.call("list_tags", id=made["common"]).tags, [], "tags of an image without any")
    with check("glance_create_tag, glance_delete_tag"):
        sdk.call("glance_create_tag", image_id=image, tag="plain")
        holds("plain" in sdk.call("glance_show_image", image_id=image).tags, "not there")
        sdk.call("glance_delete_tag", image_id=image, tag="plain")
        holds("plain" not in sdk.call("glance_show_image", image_id=image).tags, "still there")


def members(sdk, check, made):
    image, other = made["quick"], "a-project"

    def statuses():
        return {
            m.member_id: m.status for m in sdk.call("list_image_members", image_id=image).members
        }

    with check("batch_add_members, list_image_members, show_image_member, batch_delete_members"):
        both = v2.BatchAddMembersRequestBody(images=[image], projects=[other])
        sdk.job(sdk.call("batch_add_members", both))
        same(statuses(), {other: "pending"}, "members")
        same(
            sdk.call("show_image_member", image_id=image, member_id=other).member_id,
            other,
            "member",
        )
        sdk.job(sdk.call("batch_delete_members", both))
        same(statuses(), {}, "members")
    with check("batch_update_members accepts an image that others share"):
        body = v2.BatchUpdateMembersRequestBody(
            images=["sandbox-image-shared"], project_id=cloud.project, status="accepted"
        )
        sdk.job(sdk.call("batch_update_members", body))
        shared = sdk.call("list_images", imagetype="shared", member_status="accepted").images
        holds("sandbox-image-shared" in [i.id for i in shared], "not among the shared images")
    with check("members one by one, in OpenStack's form"):
        sdk.call(
            "glance_add_image_member", v2.GlanceAddImageMemberRequestBody(other), image_id=image
        )
        listed = sdk.call("glance_list_image_members", image_id=image).members
        same([m.member_id for m in listed], [other], "members")
        same(
            sdk.call("glance_show_image_member", image_id=image, member_id=other).status,
            "pending",
            "status",
        )
        sdk.call(
            "glance_update_image_member",
            v2.GlanceUpdateImageMemberRequestBody("rejected"),
            image_id="sandbox-image-shared",
            member_id=cloud.project,
        )
        sdk.call("glance_delete_image_member", image_id=image, member_id=other)
        same(sdk.call("glance_list_image_members", image_id=image).members, [], "members")


def glance(sdk, check):
    with check("glance_create_image_metadata, register_image"):
        body = v2.GlanceCreateImageMetadataRequestBody(
            os_version=SYSTEM,
            container_format="bare",
            disk_format="qcow2",
            min_disk=40,
            name="two-steps",
            visibility="private",
        )
        image = sdk.call("glance_create_image_metadata", body).id
        same(sdk.call("glance_show_image", image_id=image).status, "queued", "status")
        sdk.job(
            sdk.call(
                "register_image",
                v2.RegisterImageRequestBody(f"{BUCKET}:tree.qcow2"),
                image_id=image,
            )
        )
        same(sdk.call("glance_show_image", image_id=image).status, "active", "status")
    with check("glance_list_images, glance_update_image, glance_delete_image"):
        listed = sdk.call("glance_list_images", limit=2)
        same(len(listed.images), 2, "images on a page")
        holds(listed.schema and listed.first, "no schema or first")
        body = [v2.GlanceUpdateImageRequestBody("replace", "/name", "three-steps")]
        same(sdk.call("glance_update_image", body, image_id=image).name, "three-steps", "name")
        sdk.call("glance_delete_image", v2.GlanceDeleteImageRequestBody(), image_id=image)
        end = time.monotonic() + 30
        while sdk.call("list_images", id=image).images and time.monotonic() < end:
            time.sleep(0.2)
        same(sdk.call("list_images", id=image).images, [], "images")


with Engine("ims-sdk", "huaweicloudsdkims against the sandbox") as judge:
    cloud = Sandbox(judge)
    judge.ready(VERSION)
    local = judge.work / "tree.zvhd2"
    run([IMGFERRY, "convert", DISK, local]).ok()
    cloud.ferry("upload", local, f"obs://{BUCKET}/tree.zvhd2").ok()
    cloud.ferry("upload", DISK, f"obs://{BUCKET}/tree.qcow2").ok()
    sdk, made = Sdk(cloud), {}
    releases(sdk, judge.check)
    making(sdk, judge.check, made)
    exporting(sdk, judge.check, cloud, made)
    looking(sdk, judge.check, made)
    tags(sdk, judge.check, made)
    members(sdk, judge.check, made)
    glance(sdk, judge.check)
    with judge.check("every call of the SDK was made"):
        same(sorted(sdk.all_calls() - sdk.made), [], "calls that were not made")
        print(f"   ({len(sdk.made)} calls)")
