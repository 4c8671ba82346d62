"""What every engine needs: programs, servers, checks and results. Standard library only."""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[3]
HOME = pathlib.Path(os.environ.get("IMGFERRY_ENGINES_DIR", ROOT / "target/engines"))
RESULTS = HOME / "results"
IMGFERRY = pathlib.Path(os.environ.get("IMGFERRY", ROOT / "target/debug/imgferry")).resolve()
# No single command of a check takes a fraction of this, on any machine.
TIMEOUT = 180


# Settings of whoever runs this must not reach the programs under test.
OURS = ("IMGFERRY", "IMGFERRY_ENGINES_DIR")
for name in list(os.environ):
    if name.startswith(("AWS_", "HW_", "OS_", "IMGFERRY_")) and name not in OURS:
        del os.environ[name]
# The disk of these tests is a tree of files that nothing starts.
os.environ["IMGFERRY_GUEST_CHECK"] = "off"
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"


class Skip(Exception):
    """The check cannot run here, for the reason given."""


class Missing(Exception):
    """The engine cannot be installed or started."""


@dataclasses.dataclass
class Done:
    """A command that has ended."""

    command: list
    code: int
    out: str
    err: str

    def ok(self):
        return self.exits(0)

    def exits(self, code):
        if self.code != code:
            lines = (self.err or self.out).strip().splitlines()
            telling = [line for line in lines if line.startswith("error")] or lines[-1:]
            command = " ".join(str(word) for word in self.command[1:3])
            raise AssertionError(
                f"{command}: exit code {self.code}, expected {code}: {short(' '.join(telling))}"
            )
        return self

    def json(self):
        return json.loads(self.out)


def same(found, expected, what="value"):
    if found != expected:
        raise AssertionError(f"{what}: found {short(found)}, expected {short(expected)}")


def holds(condition, message):
    if not condition:
        raise AssertionError(message)


def same_bytes(found, expected, what):
    """Compares large contents without printing them."""
    if found != expected:
        sums = [hashlib.md5(data).hexdigest() for data in (found, expected)]
        raise AssertionError(
            f"{what}: found {len(found)} bytes with MD5 {sums[0]}, "
            f"expected {len(expected)} bytes with MD5 {sums[1]}"
        )


def short(value):
    text = repr(value)
    return text if len(text) <= 300 else text[:300] + "..."


def run(command, env=None, timeout=TIMEOUT, **more):
    """Runs a command to its end and returns what it said."""
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, **(env or {})},
        timeout=timeout,
        stdin=more.pop("stdin", subprocess.DEVNULL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    )
    out, err = (data.decode(errors="replace") for data in (done.stdout, done.stderr))
    return Done(list(command), done.returncode, out, err)


@contextlib.contextmanager
def alone(name):
    """Keeps other engines from the installation `name` meanwhile."""
    HOME.mkdir(parents=True, exist_ok=True)
    with open(HOME / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def venv(*packages):
    """A virtual environment with these packages. It is made once and kept."""
    name = hashlib.sha256("\n".join(packages + (sys.version,)).encode()).hexdigest()[:12]
    place = HOME / "venv" / name
    with alone(name):
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            place.parent.mkdir(parents=True, exist_ok=True)
            attempt([sys.executable, "-m", "venv", place], 120)
            pip = [place / "bin/pip", "install", "--quiet", "--disable-pip-version-check"]
            attempt([*pip, "--retries", "5", *packages], 400)
            (place / "complete").write_text("\n".join(packages) + "\n")
    return place / "bin"


def libraries(*packages):
    """Makes these packages importable here; returns their versions."""
    place = venv(*packages).parent
    sys.path[:0] = map(str, place.glob("lib/python3*/site-packages"))
    return version(place / "bin", *(package.partition("==")[0] for package in packages))


def version(tools, *distributions):
    """The installed versions, as `name 1.2, other 3.4`."""
    code = (
        "import sys, importlib.metadata as m\n"
        "print(', '.join(f'{n} {m.version(n)}' for n in sys.argv[1:]))"
    )
    return run([tools / "python", "-c", code, *distributions]).ok().out.strip()


def npm(package):
    """Installs a program of the npm registry, once, and returns its path."""
    place = HOME / "npm" / package
    name = package.rpartition("@")[0]
    if not (place / "complete").exists():
        if not shutil.which("npm"):
            debian("npm")
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        attempt(["npm", "install", "--prefix", place, "--no-audit", "--no-fund", package], 300)
        (place / "complete").touch()
    return place / "node_modules/.bin" / name


def debian(*packages):
    """Installs Debian packages that are not there yet."""
    query = ["dpkg-query", "-W", "-f", "${db:Status-Abbrev}\n"]
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]
    with alone("apt"):
        if all(run([*query, name]).out.startswith("ii") for name in packages):
            return
        if os.geteuid() != 0:
            raise Missing(f"needs root to install the Debian packages {' '.join(packages)}")
        attempt(["apt-get", "update", "-qq"], 300, quiet)
        attempt([*install, *packages], 600, quiet)


def attempt(command, timeout, env=None):
    """A step of an installation: once more if it fails, because registries are not always there."""
    for final in (False, True):
        try:
            done = run(command, env, timeout)
            if done.code == 0:
                return
            reason = (done.err or done.out).strip().splitlines()[-1:]
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = [str(error)]
        if final:
            raise Missing(f"{' '.join(map(str, command))} failed: {' '.join(reason)}")
        time.sleep(5)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Engine:
    """One run of one engine: its working directory, its servers, its checks."""

    def __init__(self, name, about):
        self.name, self.about, self.versions = name, about, []
        self.checks, self.limits, self.processes = [], {}, []
        self.work = HOME / "work" / name
        self.began = time.monotonic()
        self.installed = None

    def __enter__(self):
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        # A signal ends the run as an error does: what was started is stopped.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
        print(f"== {self.name}: {self.about}", flush=True)
        holds(IMGFERRY.exists(), f"{IMGFERRY} does not exist: run `cargo build -p imgferry` first")
        return self

    def __exit__(self, kind, error, _trace):
        for process in reversed(self.processes):
            stop(process)
        if kind is not None:
            self.note(
                "the engine starts and runs to its end", "failed", f"{kind.__name__}: {error}"
            )
            if not issubclass(kind, (Missing, SystemExit, AssertionError)):
                traceback.print_exc()
        self.write()
        bad = self.count("failed")
        shutil.rmtree(self.work, ignore_errors=True) if not bad else print(f"logs: {self.work}")
        sys.exit(1 if bad else 0)

    def ready(self, *versions):
        """Call this when the engine runs: what follows are checks."""
        self.versions = list(versions)
        self.installed = time.monotonic() - self.began
        print(f"   {'; '.join(versions)} ({self.installed:.0f} s to install and start)", flush=True)

    def start(self, command, port=None, env=None, seconds=60, cwd=None):
        """Starts a server; with a port, waits until something listens there."""
        name = pathlib.Path(str(command[0])).name
        log = self.work / f"{len(self.processes)}-{name}.log"
        with open(log, "wb") as out:
            process = subprocess.Popen(
                list(map(str, command)),
                env={**os.environ, **(env or {})},
                cwd=cwd or self.work,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.processes.append(process)
        if port:
            wait_for(
                lambda: listening(port) or process.poll() is not None,
                seconds,
                f"{name} does not listen on port {port}, see {log}",
            )
            if process.poll() is not None:
                last = log.read_text(errors="replace").strip().splitlines()[-5:]
                raise Missing(f"{name} ended at once: " + " | ".join(last))
        return process

    @contextlib.contextmanager
    def check(self, name):
        """One check: what is raised inside fails it."""
        limit = self.limits.get(name)
        try:
            yield
        except Skip as why:
            self.note(name, "skipped", str(why))
        except Exception as error:  # whatever goes wrong is the result
            text = str(error) or type(error).__name__
            if limit:
                self.note(name, "skipped", limit)
            else:
                kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
                self.note(name, "failed", kind + text)
        else:
            if limit:
                self.note(name, "failed", f"this passes now; remove the limit: {limit}")
            else:
                self.note(name, "passed", "")

    def note(self, name, result, detail):
        self.checks.append({"check": name, "result": result, "detail": detail})
        mark = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}[result]
        print(f"   {mark} {name}" + (f": {detail}" if detail else ""), flush=True)

    def count(self, result):
        return sum(check["result"] == result for check in self.checks)

    def write(self):
        total = time.monotonic() - self.began
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        counts = {result: self.count(result) for result in ("passed", "failed", "skipped")}
        print(f"   {', '.join(f'{n} {result}' for result, n in counts.items())} in {total:.0f} s")
        report = {
            "engine": self.name,
            "about": self.about,
            "versions": self.versions,
            **counts,
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "seconds": round(total),
            "processor_seconds": round(used.ru_utime + used.ru_stime),
            "start_seconds": None if self.installed is None else round(self.installed),
            "imgferry": run([IMGFERRY, "--version"]).out.strip() if IMGFERRY.exists() else None,
            "checks": self.checks,
        }
        RESULTS.mkdir(parents=True, exist_ok=True)
        target = RESULTS / f"{self.name}.json"
        target.with_suffix(".new").write_text(
            json.dumps(report, indent=1, ensure_ascii=False) + "\n"
        )
        target.with_suffix(".new").replace(target)


def stop(process):
    """Ends a server and everything that it started."""
    for sent, seconds in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sent)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            if sent == signal.SIGKILL or not group_lives(process.pid):
                return


def group_lives(group):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, 0)
        return True
    return False


def listening(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition, seconds, message):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Missing(f"{message} (waited {seconds} s)")
        time.sleep(0.05)
