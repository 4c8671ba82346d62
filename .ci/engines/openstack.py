#!/usr/bin/env python3
"""OpenStack keystone and glance as services, and OpenStack's own client against the sandbox."""

import sys

sys.path.insert(0, __file__.rsplit("/", 1)[0] + "/lib")
from engine import IMGFERRY, Engine, free_port, holds, libraries, run, same, venv, version
from sandbox import DISK, SYSTEM, Sandbox

SDK = libraries("openstacksdk==4.17.0")
import keystoneauth1.exceptions  # noqa: E402
import openstack  # noqa: E402

PASSWORD = "a-password"
KEYSTONE = """\
[database]
connection = sqlite:///{work}/keystone.db
[fernet_tokens]
key_repository = {work}/fernet
[fernet_receipts]
key_repository = {work}/fernet
[credential]
key_repository = {work}/credential
[cache]
enabled = false
"""
GLANCE = """\
[DEFAULT]
enabled_backends = files:file
worker_self_reference_url = http://127.0.0.1:{port}
[database]
connection = sqlite:///{work}/glance.db
[glance_store]
default_backend = files
[files]
filesystem_store_datadir = {work}/images
[os_glance_staging_store]
filesystem_store_datadir = {work}/staging
[os_glance_tasks_store]
filesystem_store_datadir = {work}/tasks
[oslo_concurrency]
lock_path = {work}
[paste_deploy]
flavor = keystone
config_file = {paste}
[keystone_authtoken]
www_authenticate_uri = {identity}
auth_url = {identity}
auth_type = password
username = admin
password = {password}
project_name = admin
user_domain_name = Default
project_domain_name = Default
"""


def keystone(judge, tools, serve, images):
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    for name in ("fernet", "credential"):
        (judge.work / name).mkdir(mode=0o700)
    conf = judge.work / "keystone.conf"
    conf.write_text(KEYSTONE.format(work=judge.work))
    manage = [tools / "keystone-manage", "--config-file", conf]
    user, group = (run(["id", flag]).ok().out.strip() for flag in ("-un", "-gn"))
    run([*manage, "db_sync"]).ok()
    run([*manage, "fernet_setup", "--keystone-user", user, "--keystone-group", group]).ok()
    run(
        [
            *manage,
            "bootstrap",
            "--bootstrap-password",
            PASSWORD,
            "--bootstrap-region-id",
            "RegionOne",
            "--bootstrap-public-url",
            f"{address}/v3",
            "--bootstrap-internal-url",
            f"{address}/v3",
        ]
    ).ok()
    env = {"OS_KEYSTONE_CONFIG_FILES": str(conf)}
    judge.start([tools / "python", serve, "keystone.wsgi.api", port], port, env)
    identity = administrator(address).identity
    service = identity.create_service(name="glance", type="image")
    identity.create_endpoint(
        service_id=service.id, interface="public", region_id="RegionOne", url=images
    )
    # A token's catalog is that of the moment in which it was given, so this is another connection.
    return address, administrator(address)


def administrator(address):
    return openstack.connect(
        auth={
            "auth_url": f"{address}/v3",
            "username": "admin",
            "password": PASSWORD,
            "project_name": "admin",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        },
        region_name="RegionOne",
        load_yaml_config=False,
        load_envvars=False,
    )


def glance(judge, tools, serve, port, identity):
    conf = judge.work / "glance-api.conf"
    paste = tools.parent / "etc/glance/glance-api-paste.ini"
    for name in ("images", "staging", "tasks"):
        (judge.work / name).mkdir()
    conf.write_text(
        GLANCE.format(work=judge.work, port=port, identity=identity, password=PASSWORD, paste=paste)
    )
    run([tools / "glance-manage", "--config-file", conf, "db_sync"]).ok()
    env = {"OS_GLANCE_CONFIG_DIR": str(judge.work)}
    judge.start([tools / "python", serve, "glance.wsgi.api", port], port, env)


class Ferry:
    """imgferry with what keystone knows."""

    def __init__(self, judge, identity, images, storage, connection):
        self.project = connection.current_project_id
        self.env = {
            "HW_USER_NAME": "admin",
            "HW_USER_PASSWORD": PASSWORD,
            "HW_DOMAIN_NAME": "Default",
            "HW_PROJECT_ID": self.project,
            "HW_REGION_NAME": "RegionOne",
            "IMGFERRY_IAM_ENDPOINT": identity,
            "IMGFERRY_IMS_ENDPOINT": images,
            "IMGFERRY_OBS_ENDPOINT": storage,
            "IMGFERRY_PATH_STYLE": "true",
            "XDG_STATE_HOME": str(judge.work / "state"),
            "XDG_CONFIG_HOME": str(judge.work / "config"),
        }

    def __call__(self, *arguments, without=(), **more):
        env = {name: value for name, value in {**self.env, **more}.items() if name not in without}
        return run([IMGFERRY, *arguments], env)

    def sign_in(self, **more):
        """What `config check` says of signing in and of the project."""
        checks = {c["name"]: c for c in self("config", "check", "--json", **more).json()["checks"]}
        return checks["sign-in"], checks["project"]


def one_error(done, *words):
    done.exits(3)
    errors = [line for line in done.err.splitlines() if line.startswith("error")]
    same(len(errors), 1, f"errors in {done.err!r}")
    for word in words:
        holds(word in done.err, f"{word} is not in {done.err!r}")


def identity(judge, ferry, connection, address):
    with judge.check("keystone issues a token for a password and a project id"):
        sign_in, project = ferry.sign_in()
        same(sign_in["state"], "ok", sign_in["detail"])
        holds(project["state"] != "failed", project["detail"])
    with judge.check("keystone issues a token for a password and a project name"):
        signed = ferry.sign_in(without=["HW_PROJECT_ID"], HW_PROJECT_NAME="admin")[0]
        same(signed["state"], "ok", signed["detail"])
    with judge.check("an existing token finds its project at keystone"):
        given = ferry(
            "config",
            "check",
            "--json",
            HW_AUTH_TOKEN=connection.auth_token,
            HW_PROJECT_NAME="admin",
            without=["HW_USER_NAME", "HW_USER_PASSWORD", "HW_DOMAIN_NAME", "HW_PROJECT_ID"],
        )
        project = {c["name"]: c for c in given.json()["checks"]}["project"]
        same(project["state"], "ok", project["detail"])
        holds(ferry.project in project["detail"], project["detail"])
    with judge.check("keystone's clouds.yaml is read"):
        place = judge.work / "clouds.yaml"
        place.write_text(
            "clouds:\n  here:\n    region_name: RegionOne\n    auth:\n"
            f"      auth_url: {address}/v3\n"
            f"      username: admin\n      password: {PASSWORD}\n      user_domain_name: Default\n"
            f"      project_id: {ferry.project}\n"
        )
        place.chmod(0o600)
        secrets = [
            "HW_USER_NAME",
            "HW_USER_PASSWORD",
            "HW_DOMAIN_NAME",
            "HW_PROJECT_ID",
            "IMGFERRY_IAM_ENDPOINT",
        ]
        signed = ferry.sign_in(without=secrets, OS_CLIENT_CONFIG_FILE=str(place), OS_CLOUD="here")[
            0
        ]
        same(signed["state"], "ok", signed["detail"])
    with judge.check("a wrong password gives one clear error"):
        done = ferry("image", "list", HW_USER_PASSWORD="wrong-password")
        one_error(done, "sign")
        holds("wrong-password" not in done.err, "the password is shown")


def images(judge, ferry, connection):
    image = connection.image.create_image(
        "by-openstack",
        data=DISK.read_bytes(),
        disk_format="qcow2",
        container_format="bare",
        visibility="shared",
    )
    with judge.check("image members lists the projects that an image of glance is shared with"):
        connection.image.add_member(image, member_id="a-project")
        listed = ferry("image", "members", image.id, "--json").ok()
        holds("a-project" in listed.out and "pending" in listed.out, listed.out)
    with judge.check("image members of a missing image gives one clear error"):
        one_error(ferry("image", "members", "not-there"), "404")
    # Glance has /v2/images only; imgferry asks for what the cloud's own service adds to it.
    for name, command in {
        "image list": ["image", "list"],
        "image show": ["image", "show", image.id],
        "image tags": ["image", "tags", image.id],
        "quota": ["quota"],
        "os-versions": ["os-versions"],
    }.items():
        with judge.check(f"{name} needs Huawei's own calls: one clear error"):
            one_error(ferry(*command))
    with judge.check(
        "import --register glance needs Huawei's own calls: one clear error, nothing made"
    ):
        before = len(list(connection.image.images()))
        done = ferry(
            "import",
            DISK,
            "--name",
            "ferried",
            "--bucket",
            "images",
            "--register",
            "glance",
            "--os-version",
            SYSTEM,
        )
        one_error(done, "404")
        same(len(list(connection.image.images())), before, "images")


def clients(judge, cloud):
    """OpenStack's own client, which finds every service in the token's catalog."""

    def connect(password):
        return openstack.connect(
            auth={
                "auth_url": cloud.env["IMGFERRY_IAM_ENDPOINT"].rstrip("/") + "/v3",
                "password": password,
                "username": cloud.env["HW_USER_NAME"],
                "user_domain_name": cloud.env["HW_DOMAIN_NAME"],
                "project_id": cloud.project,
            },
            region_name=cloud.region,
            load_yaml_config=False,
            load_envvars=False,
        )

    connection = connect(cloud.env["HW_USER_PASSWORD"])
    with judge.check("openstacksdk signs in to the sandbox"):
        same(connection.current_project_id, cloud.project, "project")
    with judge.check("openstacksdk finds the sandbox's image service in the catalog"):
        same(
            connection.session.get_endpoint(service_type="image").rstrip("/").removesuffix("/v2"),
            cloud.ims.rstrip("/"),
            "address",
        )
    with judge.check("openstacksdk lists, shows, changes and deletes an image of the sandbox"):
        cloud.ferry(
            "import", DISK, "--name", "seen", "--bucket", "images", "--os-version", SYSTEM
        ).ok()
        image = connection.image.find_image("seen")
        same(connection.image.get_image(image.id).status, "active", "status")
        holds(image.id in [i.id for i in connection.image.images()], "not listed")
        same(connection.image.update_image(image, name="changed").name, "changed", "name")
        connection.image.delete_image(image)
        holds(image.id not in [i.id for i in connection.image.images()], "still listed")
    with judge.check("openstacksdk is refused with a wrong password"):
        try:
            connect("wrong").authorize()
        except (keystoneauth1.exceptions.Unauthorized, openstack.exceptions.SDKException):
            pass
        else:
            raise AssertionError("taken")


with Engine("openstack", "OpenStack keystone, glance and openstacksdk") as judge:
    identity_tools = venv("keystone==30.0.0", "waitress==3.0.2")
    image_tools = venv("glance==33.0.0", "waitress==3.0.2")
    cloud = Sandbox(judge)
    serve = __file__.rsplit("/", 1)[0] + "/lib/serve.py"
    port = free_port()
    images_address = f"http://127.0.0.1:{port}"
    address, connection = keystone(judge, identity_tools, serve, images_address)
    glance(judge, image_tools, serve, port, address)
    ferry = Ferry(judge, address, images_address, cloud.obs, connection)
    judge.limits["keystone issues a token for a password and a project name"] = (
        "imgferry names a project without its domain, as the IAM reference does; keystone asks "
        "for the domain. A project id works"
    )
    judge.ready(version(identity_tools, "keystone"), version(image_tools, "glance"), SDK)
    identity(judge, ferry, connection, address)
    images(judge, ferry, connection)
    clients(judge, cloud)
