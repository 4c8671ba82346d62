#!/usr/bin/env python3
"""moto's server: S3 in memory, as many projects use it in their tests."""

import json
import sys

sys.path.insert(0, __file__.rsplit("/", 1)[0] + "/lib")
from engine import Engine, free_port, venv, version
from suite import Storage, boto3, upload_suite


def user(port):
    """Makes a user who may do everything with objects, and returns its keys."""
    iam = boto3.client(
        "iam",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="AK",
        aws_secret_access_key="SK",
    )
    iam.create_user(UserName="judge")
    rights = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
    }
    iam.put_user_policy(UserName="judge", PolicyName="all", PolicyDocument=json.dumps(rights))
    keys = iam.create_access_key(UserName="judge")["AccessKey"]
    return keys["AccessKeyId"], keys["SecretAccessKey"]


with Engine("moto", "moto server, S3 in memory") as judge:
    tools = venv("moto[server,s3]==5.2.5")
    port = free_port()
    # The three calls that make a user need no key; from then on signatures and rights are checked.
    env = {"INITIAL_NO_AUTH_ACTION_COUNT": "3"}
    judge.start([tools / "moto_server", "-H", "127.0.0.1", "-p", port], port, env)
    access_key, secret_key = user(port)
    judge.ready(version(tools, "moto"))
    upload_suite(judge, Storage(port, access_key, secret_key))
