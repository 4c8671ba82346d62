#!/usr/bin/env python3
"""Kubernetes' own API schemas against the manifests of deploy/kubernetes."""

import sys

sys.path.insert(0, __file__.rsplit("/", 1)[0] + "/lib")
from engine import ROOT, Engine, libraries, run, venv

VALIDATOR = "kubernetes-validate==1.33.0"
# The first is the release that the jobs name as the oldest.
RELEASES = ["1.29", "1.31", "1.33"]

with Engine("kubernetes", __doc__.rstrip(".")) as judge:
    judge.ready(libraries(VALIDATOR))
    validate = venv(VALIDATOR) / "kubernetes-validate"
    folder = ROOT / "deploy/kubernetes"
    # What kustomize reads is no object of the API.
    manifests = sorted(set(folder.glob("*.yaml")) - {folder / "kustomization.yaml"})
    for release in RELEASES:
        with judge.check(f"the manifests are valid for Kubernetes {release}"):
            run([validate, "--strict", "-k", release, *manifests]).ok()
