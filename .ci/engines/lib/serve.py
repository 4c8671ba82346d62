"""Serves a WSGI application that reads its settings from the environment: serve.py MODULE PORT."""

import importlib
import sys

module, port = sys.argv[1:]
# keystone would take our arguments for its own.
sys.argv[1:] = []

import waitress  # noqa: E402

waitress.serve(
    importlib.import_module(module).application, host="127.0.0.1", port=int(port), threads=8
)
