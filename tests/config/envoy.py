"""The real Envoy, where a venv beside the sources has it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def binary() -> Path:
    """The executable; skips the test where there is none."""
    named = os.environ.get("OUTRIDER_ENVOY_BINARY")
    found = [Path(named)] if named else sorted(ROOT.glob(".venv-envoy/lib/python3*/site-packages/envoy/_bin/envoy"))
    if not found or not found[0].is_file():
        pytest.skip("no Envoy binary")
    return found[0]


def server_info() -> dict[str, Any]:
    """What /server_info of a running Envoy says."""
    with tempfile.TemporaryDirectory() as folder:
        address = Path(folder) / "admin"
        config = Path(folder) / "envoy.yaml"
        config.write_text("admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}\n")
        process = subprocess.Popen(
            [binary(), "-c", config, "--admin-address-path", address, "--use-dynamic-base-id", "--concurrency", "1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + 20
            while not (address.exists() and re.fullmatch(r".+:\d+", address.read_text())):
                assert process.poll() is None and time.monotonic() < deadline, "Envoy did not start"
                time.sleep(0.05)
            with urllib.request.urlopen(f"http://{address.read_text()}/server_info", timeout=10) as answer:
                result: dict[str, Any] = json.load(answer)
                return result
        finally:
            process.kill()
            process.wait()
