"""The entry point: runs engines, a few at a time, and reports the results."""

import argparse
import ast
import concurrent.futures
import json
import pathlib
import signal
import subprocess
import sys
import time

import engine
import table

ENGINES = pathlib.Path(__file__).resolve().parents[1]
ORDER = [
    "moto",
    "s3rver",
    "swift",
    "radosgw",
    "s3-clients",
    "obs-sdk",
    "ims-sdk",
    "openstack",
    "slurm",
    "kubernetes",
]
# Takes minutes to install, so it starts first.
LONGEST = "openstack"


def about(name):
    """The first line of an engine's own description."""
    return ast.get_docstring(ast.parse((ENGINES / f"{name}.py").read_text())).splitlines()[0]


def arguments():
    known = [name for name in ORDER if (ENGINES / f"{name}.py").exists()]
    parser = argparse.ArgumentParser(
        prog=".ci/engines/run",
        description="Runs imgferry against programs that share no code with it: foreign storage "
        "servers, foreign clients, a foreign identity and image service. Everything is installed "
        "from PyPI, Debian and npm, listens on 127.0.0.1 only, and is stopped at the end.",
        epilog="IMGFERRY names the program [default: target/debug/imgferry], IMGFERRY_ENGINES_DIR "
        "the directory of installations and results [default: target/engines]. Results are in "
        "results/NAME.json there. Exit code 1: some check failed.",
    )
    parser.add_argument("engines", nargs="*", metavar="NAME", help="engines to run [default: all]")
    parser.add_argument("--list", action="store_true", help="list the engines and exit")
    parser.add_argument(
        "--table",
        action="store_true",
        help="write docs/interop.md from the last runs of all engines afterwards",
    )
    parser.add_argument(
        "--timeout",
        type=int,
        default=900,
        metavar="SECONDS",
        help="time limit of one engine [default: 900]",
    )
    parser.add_argument(
        "--jobs", type=int, default=2, metavar="N", help="engines that run at once [default: 2]"
    )
    given = parser.parse_args()
    for name in given.engines:
        if name not in known:
            parser.error(f"unknown engine {name}; expected one of {', '.join(known)}")
    return given, known


def run(name, seconds):
    """Runs one engine; true if nothing failed."""
    result = engine.RESULTS / f"{name}.json"
    result.unlink(missing_ok=True)
    log = engine.RESULTS / f"{name}.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, ENGINES / f"{name}.py"], stdout=output, stderr=subprocess.STDOUT
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            output.write(f"   {name} was stopped after {seconds} s\n".encode())
            code = 1
        finally:
            process.terminate()
            process.wait()
    # Whole, so that the lines of engines that run at once do not mix.
    print(log.read_text(errors="replace"), end="", flush=True)
    return code == 0 and result.exists()


def main():
    # A shell's `&` in a script ignores SIGINT, and programs inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    given, known = arguments()
    if given.list:
        for name in known:
            print(f"{name:12} {about(name)}")
        return 0
    began, totals = time.monotonic(), dict.fromkeys(("passed", "failed", "skipped"), 0)
    names = sorted(given.engines or known, key=lambda name: name != LONGEST)
    engine.RESULTS.mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(given.jobs) as pool:
        runs = pool.map(lambda name: run(name, given.timeout), names)
        failed = [name for name, passed in zip(names, runs) if not passed]
    for name in names:
        report = engine.RESULTS / f"{name}.json"
        if report.exists():
            for result in totals:
                totals[result] += json.loads(report.read_text())[result]
    print(
        f"== {', '.join(f'{n} {result}' for result, n in totals.items())}, "
        f"{len(names)} engines in {time.monotonic() - began:.0f} s"
    )
    if failed:
        print(f"failed: {', '.join(failed)}; results and logs are in {engine.HOME}")
    if given.table:
        table.write(known)
    return 1 if failed else 0


sys.exit(main())
