"""Writes docs/interop.md from the results of the last runs."""

import json
import textwrap

import engine

TARGET = engine.ROOT / "docs/interop.md"
HEAD = """\
# Foreign servers and clients

Interoperability tests with programs that share no code with imgferry. `.ci/engines/run --table`
generates this page from the results; do not edit it by hand.

```sh
.ci/engines/run --list             # the engines
.ci/engines/run moto swift         # some of them; without a name, all
.ci/engines/run --table            # all, and this page
```

The scripts install everything on a fresh Debian 12: packages from PyPI, npm and Debian (which need
root). Every server listens on 127.0.0.1 only and is stopped at the end. Installations are kept in
`target/engines`, results as JSON in `target/engines/results`. `.ci/run` runs all of it, two engines
at a time, in less than ten minutes. None of these servers is the cloud itself.

Storage servers run the upload suite, `.ci/engines/lib/suite.py`: sizes around one part, keys that
need encoding, `kill -9` and SIGINT with resume, server-side copies, imports, `verify`, refusals.
boto3 reads every object back, and the suite compares it byte for byte. A relay in front of the
server holds back requests, so that imgferry is killed exactly where the check says. Clients and
SDKs run against `imgferry sandbox`; every call of the image service's SDK is made.

"""
REST = """
## Checks that did not pass

"""
WRAP = textwrap.TextWrapper(
    100, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
)
CHECKS = """
## Checks

"""


def cell(text):
    return str(text).replace("|", "\\|").replace("\n", " ")


def overview(reports):
    lines = [
        "| engine | program | version | passed | failed | skipped | date | seconds | processor |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in reports:
        row = [
            f"`{r['engine']}`",
            r["about"],
            "; ".join(r["versions"]),
            r["passed"],
            r["failed"],
            r["skipped"],
            r["date"],
            r["seconds"],
            r["processor_seconds"],
        ]
        lines.append("| " + " | ".join(map(cell, row)) + " |")
    return "\n".join(lines) + "\n"


def without(reports):
    """What did not pass, one line for each."""
    lines = []
    for r in reports:
        for c in r["checks"]:
            if c["result"] != "passed":
                detail = cell(c["detail"][:300])
                line = f"- `{r['engine']}`: {c['check']} ({c['result']}): {detail}"
                lines.append(WRAP.fill(line) + "\n")
    return "".join(lines) or "Nothing.\n"


def checks(reports):
    """All checks by name, and which engines passed them."""
    passed = {}
    for r in reports:
        for c in r["checks"]:
            passed.setdefault(c["check"], [])
            if c["result"] == "passed":
                passed[c["check"]].append(r["engine"])
    lines = ["| check | passed by |", "|---|---|"]
    lines += [f"| {cell(name)} | {', '.join(engines)} |" for name, engines in passed.items()]
    return "\n".join(lines) + "\n"


def write(order):
    reports = []
    for name in order:
        place = engine.RESULTS / f"{name}.json"
        if place.exists():
            reports.append(json.loads(place.read_text()))
    programs = sorted({r["imgferry"] for r in reports})
    text = HEAD + f"These results are of {', '.join(programs)}.\n\n" + overview(reports)
    text += REST + without(reports) + CHECKS + checks(reports)
    TARGET.write_text(text)
    print(f"wrote {TARGET.relative_to(engine.ROOT)}: {len(reports)} engines")
