#!/usr/bin/env python3
"""Slurm on one node: the batch script of deploy/slurm, its tasks killed and submitted again."""

import json
import os
import random
import sys

sys.path.insert(0, __file__.rsplit("/", 1)[0] + "/lib")
from engine import IMGFERRY, ROOT, Engine, debian, free_port, holds, run, same, wait_for
from sandbox import Sandbox

SCRIPT = ROOT / "deploy/slurm/imgferry-batch.sh"
MIB = 1 << 20
CONF = """\
ClusterName=imgferry
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={work}/munge.socket,cred_expire=10
CredType=cred/munge
SlurmctldPort={controller}
SlurmdPort={daemon}
StateSaveLocation={work}/state-slurm
SlurmdSpoolDir={work}/spool
SlurmctldPidFile={work}/slurmctld.pid
SlurmdPidFile={work}/slurmd.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=16000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES State=UP
"""


def slurm(judge):
    """Starts munge, the controller and the node's daemon; the environment of its commands."""
    debian("slurm-wlm", "munge")
    work = judge.work
    for name in ("state-slurm", "spool"):
        (work / name).mkdir()
    (work / "munge.key").write_bytes(random.randbytes(128))
    (work / "munge.key").chmod(0o400)
    munge = [f"--{name}={work}/munge.{name.split('-')[0]}" for name in ("socket", "pid-file")]
    files = [f"--key-file={work}/munge.key", f"--seed-file={work}/munge.seed"]
    judge.start(
        ["munged", "--foreground", "--force", *munge, *files, f"--log-file={work}/munge.log"]
    )
    wait_for(lambda: (work / "munge.socket").exists(), 30, "munged makes no socket")
    host = run(["hostname", "-s"]).ok().out.strip()
    controller, daemon = free_port(), free_port()
    conf = work / "slurm.conf"
    conf.write_text(CONF.format(work=work, host=host, controller=controller, daemon=daemon))
    judge.start(["slurmctld", "-D", "-f", conf], controller)
    judge.start(["slurmd", "-D", "-f", conf, "-N", host], daemon)
    env = {"SLURM_CONF": str(conf)}
    idle = ["sinfo", "--noheader", "--format=%T"]
    wait_for(lambda: "idle" in run(idle, env).out, 60, "the node does not become idle")
    return env


class Batches:
    """Batches of disks, and the jobs that import them."""

    def __init__(self, judge, env):
        self.judge = judge
        self.sandbox = Sandbox(judge, "--bucket", "images")
        path = f"{IMGFERRY.parent}:{os.environ['PATH']}"
        self.env = {**env, **self.sandbox.env, "PATH": path, "IMGFERRY_GUEST_CHECK": "off"}

    def disks(self, batch, count):
        """A manifest of new disks."""
        images = []
        for number in range(count):
            disk = self.judge.work / f"{batch}{number}.raw"
            disk.write_bytes(bytes(MIB) + random.randbytes(24 * MIB))
            images.append({"source": str(disk), "name": f"{batch}{number}"})
        manifest = self.judge.work / f"{batch}.json"
        defaults = {"bucket": "images", "type": "DataImage", "os_type": "Linux"}
        manifest.write_text(json.dumps({"version": 1, "defaults": defaults, "images": images}))
        return manifest

    def submit(self, array, manifest, *options, shards=None):
        """Submits the script as a user does; the id of the job."""
        env = {**self.env, **({"IMGFERRY_SHARDS": str(shards)} if shards else {})}
        small = ["--cpus-per-task=1", "--mem=1536", "--chdir", self.judge.work]
        submit = ["sbatch", "--parsable", f"--array={array}", *small]
        return run([*submit, SCRIPT, manifest, *options], env).ok().out.strip()

    def states(self, job):
        show = ["scontrol", "--oneliner", "show", "job", job]
        words = run(show, self.env).out.split()
        fields = [word.partition("=") for word in words]
        return [value for key, _, value in fields if key == "JobState"]

    def ends(self, job):
        """Waits until all tasks of the job have ended; their states."""
        going = {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED"}
        wait_for(lambda: not going & set(self.states(job)), 150, f"job {job} does not end")
        return self.states(job)

    def images(self, batch):
        """The names of the batch's active images, sorted."""
        images = self.sandbox.ferry("image", "list", "--json").ok().json()["images"]
        active = [image["name"] for image in images if image["status"] == "active"]
        return sorted(name for name in active if name.startswith(batch))

    def log(self, job, task):
        return (self.judge.work / f"imgferry-{job}_{task}.log").read_text()

    def uploads(self, batch):
        listed = self.sandbox.ferry("uploads", "list", "images", "--json").ok().json()
        return f"{batch}0.zvhd2" in json.dumps(listed)


def checks(judge, batches):
    every = [f"a{number}" for number in range(5)]
    with judge.check("the tasks of an array share a batch by claims"):
        job = batches.submit("1-3", batches.disks("a", 5))
        same(set(batches.ends(job)), {"COMPLETED"}, "states")
        same(batches.images("a"), every, "images")
        reports = [judge.work / f"imgferry-{job}_{task}.json" for task in (1, 2, 3)]
        holds(all(report.exists() for report in reports), "a task has written no report")
    with judge.check("after a task was killed, a part of the array finishes the batch"):
        manifest = batches.disks("b", 3)
        job = batches.submit("1", manifest, "--limit-rate", "4MiB")
        wait_for(lambda: batches.uploads("b"), 60, "no upload begins")
        run(["pkill", "-KILL", "-f", f"batch run {manifest}"]).ok()
        same(batches.ends(job), ["FAILED"], "states")
        holds(batches.images("b") != ["b0", "b1", "b2"], "nothing was left to do")
        again = batches.submit("7", manifest)
        same(set(batches.ends(again)), {"COMPLETED"}, "states")
        same(batches.images("b"), ["b0", "b1", "b2"], "images")
    with judge.check("a task that gets SIGTERM is requeued and finishes its share"):
        manifest = batches.disks("c", 2)
        job = batches.submit("1", manifest, "--limit-rate", "4MiB")
        wait_for(lambda: batches.uploads("c"), 60, "no upload begins")
        run(["scancel", "--signal=TERM", "--batch", f"{job}_1"], batches.env).ok()
        wait_for(lambda: "PENDING" in batches.states(job), 60, "the task is not requeued")
        share = "--claim --threads 1 --memory 1024MiB"
        holds(share in batches.log(job, 1), "the share or what Slurm grants is not taken")
        same(set(batches.ends(job)), {"COMPLETED"}, "states")
        same(batches.images("c"), ["c0", "c1"], "images")
    with judge.check("a fixed share is the same in any array"):
        manifest = batches.disks("d", 4)
        job = batches.submit("2", manifest, shards=2)
        same(set(batches.ends(job)), {"COMPLETED"}, "states")
        same(batches.images("d"), ["d1", "d3"], "images of share 2 of 2")
        job = batches.submit("1", manifest, shards=2)
        same(set(batches.ends(job)), {"COMPLETED"}, "states")
        same(batches.images("d"), ["d0", "d1", "d2", "d3"], "images")


with Engine("slurm", __doc__.rstrip(".")) as judge:
    batches = Batches(judge, slurm(judge))
    judge.ready(run(["sbatch", "--version"], batches.env).ok().out.strip())
    checks(judge, batches)
