"""imgferry's own sandbox as a server, for clients that share no code with it."""

import json
import urllib.parse

from engine import IMGFERRY, ROOT, Missing, run, wait_for

DISK = ROOT / "testdata/debian-tree.qcow2"
SYSTEM = "Debian GNU/Linux 12.0.0 64bit"


class Sandbox:
    def __init__(self, judge, *options):
        self.judge = judge
        process = judge.start(
            [IMGFERRY, "sandbox", "--dir", judge.work / "cloud", "--json", *options]
        )
        log = judge.work / f"{len(judge.processes) - 1}-{IMGFERRY.name}.log"
        self.env = {}

        def told():
            text = log.read_text(errors="replace")
            if process.poll() is not None:
                raise Missing(f"the sandbox ended at once: {text}")
            try:
                start = text.index("{")
                self.env = json.JSONDecoder().raw_decode(text[start:])[0]["environment"]
            except ValueError:
                return False
            return True

        wait_for(told, 30, f"the sandbox does not tell its environment, see {log}")
        self.env.update(
            XDG_STATE_HOME=str(judge.work / "state"), XDG_CONFIG_HOME=str(judge.work / "config")
        )
        self.obs = self.env["IMGFERRY_OBS_ENDPOINT"]
        self.ims = self.env["IMGFERRY_IMS_ENDPOINT"]
        self.obs_host = urllib.parse.urlsplit(self.obs).netloc
        self.access_key, self.secret_key = self.env["HW_ACCESS_KEY"], self.env["HW_SECRET_KEY"]
        self.region, self.project = self.env["HW_REGION_NAME"], self.env["HW_PROJECT_ID"]

    def ferry(self, *arguments):
        return run([IMGFERRY, *arguments], self.env)
